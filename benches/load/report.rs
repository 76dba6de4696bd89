//! What was measured: medians over the rounds, as a table for people and as JSON.

use serde_json::{Value, json};

use crate::work::{Kind, Sample, Workload};

/// The figures of one workload and one target.
#[derive(Debug, Clone)]
pub struct Figures {
    pub target: String,
    /// Operations a second, the median over the rounds.
    pub rate: f64,
    /// Bytes a second.
    pub bytes: f64,
    /// Milliseconds, each the median over the rounds.
    pub p50: f64,
    pub p99: f64,
    /// CPU of the server process, in microseconds an operation.
    pub cpu: Option<f64>,
    /// Share of the machine that others took meanwhile.
    pub others: Option<f64>,
    pub operations: u64,
    pub errors: u64,
    pub why: Option<String>,
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
impl Figures {
    pub fn of(target: &str, samples: &[Sample]) -> Self {
        let over = |figure: &dyn Fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
        let at = |sample: &Sample, q: f64| {
            let last = sample.micros.len().saturating_sub(1);
            let place = (last as f64 * q).round() as usize;
            sample.micros.get(place).map_or(0.0, |m| *m as f64 / 1000.0)
        };
        let cpu: Option<Vec<f64>> = samples
            .iter()
            .map(|s| Some(s.cpu? * 1e6 / s.operations.max(1) as f64))
            .collect();
        let others: Option<Vec<f64>> = samples.iter().map(|s| s.others).collect();
        Self {
            target: target.to_owned(),
            rate: over(&|s| s.operations as f64 / s.seconds),
            bytes: over(&|s| s.bytes as f64 / s.seconds),
            p50: over(&|s| at(s, 0.5)),
            p99: over(&|s| at(s, 0.99)),
            cpu: cpu.map(median),
            others: others.map(median),
            operations: samples.iter().map(|s| s.operations).sum(),
            errors: samples.iter().map(|s| s.errors).sum(),
            why: samples.iter().find_map(|s| s.why.clone()),
        }
    }

    fn json(&self) -> Value {
        json!({
            "target": self.target, "operations_per_second": self.rate, "bytes_per_second": self.bytes,
            "p50_ms": self.p50, "p99_ms": self.p99, "cpu_us_per_operation": self.cpu, "others_share": self.others,
            "operations": self.operations, "errors": self.errors, "first_error": self.why,
        })
    }
}

/// What a workload came to, of each target that it could be run against; the first one is what others are compared with.
pub struct Row {
    pub work: Workload,
    pub figures: Vec<Figures>,
}

impl Row {
    fn moves_bytes(&self) -> bool {
        matches!(self.work.kind, Kind::Blob(size) | Kind::Push(size) | Kind::File(size) | Kind::PutFile(size) if size >= 1 << 20)
    }
}

pub fn table(rows: &[Row]) -> String {
    let head = [
        "workload",
        "target",
        "rate",
        "p50 ms",
        "p99 ms",
        "CPU us/op",
        "ratio",
        "others",
        "errors",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    for row in rows {
        let first = row.figures.first().map_or(0.0, |f| f.rate);
        for one in &row.figures {
            let rate = if row.moves_bytes() {
                format!("{:.0} MiB/s", one.bytes / f64::from(1 << 20))
            } else {
                format!("{:.0}/s", one.rate)
            };
            lines.push([
                row.work.name.to_owned(),
                one.target.clone(),
                rate,
                format!("{:.2}", one.p50),
                format!("{:.2}", one.p99),
                one.cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.0}")),
                format!("{:.2}", if first > 0.0 { one.rate / first } else { 0.0 }),
                one.others
                    .map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
                one.errors.to_string(),
            ]);
        }
    }
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column < 2 {
                    format!("{cell:width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        text.extend(["| ", &cells.join(" | "), " |\n"]);
        if at == 0 {
            let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
            text.extend(["| ", &rule.join(" | "), " |\n"]);
        }
    }
    text
}

pub fn json(rows: &[Row], rounds: usize, seconds: f64) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let figures: Vec<Value> = row.figures.iter().map(Figures::json).collect();
            json!({
                "workload": row.work.name, "connections": row.work.connections, "tls": row.work.tls,
                "targets": figures,
            })
        })
        .collect();
    json!({"rounds": rounds, "seconds": seconds, "rows": rows})
}
