//! The Prometheus text format: a name's help and kind, then its values. Must not know what is counted.

use std::fmt::Write as _;

/// Microseconds as decimal seconds.
pub(super) fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The lines before the values of a name.
pub(super) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One value with labels.
pub(super) fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "{name}{{{labels}}} {value}");
}

/// A name with one value.
pub(super) fn single(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

/// A counter of seconds, from microseconds.
pub(super) fn decimal(out: &mut String, name: &str, help: &str, micros: u64) {
    head(out, name, "counter", help);
    let _ = writeln!(out, "{name} {}", seconds(micros));
}

/// A histogram without labels; `counts` has one bucket more than `ends`, and each counts its own values only.
pub(super) fn histogram(
    out: &mut String,
    name: &str,
    help: &str,
    ends: &[String],
    counts: &[u64],
    sum: &str,
) {
    head(out, name, "histogram", help);
    let mut all = 0;
    for (i, count) in counts.iter().enumerate() {
        all += count;
        let end = ends.get(i).map_or("+Inf", String::as_str);
        line(
            out,
            &format!("{name}_bucket"),
            &format!("le=\"{end}\""),
            all,
        );
    }
    let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {all}");
}

/// A counter with one value.
pub(super) fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    single(out, name, "counter", help, value);
}

/// A gauge with one value.
pub(super) fn gauge(out: &mut String, name: &str, help: &str, value: u64) {
    single(out, name, "gauge", help, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_adds_its_buckets_up() {
        let mut out = String::new();
        let ends = ["1".to_owned(), "2".to_owned()];
        histogram(&mut out, "x", "help", &ends, &[3, 0, 4], "9");
        let lines: Vec<&str> = out.lines().skip(2).collect();
        let want = [
            "x_bucket{le=\"1\"} 3",
            "x_bucket{le=\"2\"} 3",
            "x_bucket{le=\"+Inf\"} 7",
            "x_sum 9",
            "x_count 7",
        ];
        assert_eq!(lines, want);
    }
}
