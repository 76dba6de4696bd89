//! Counters of this server and their Prometheus text; the plain counters of the modules below are added when the text
//! is asked for. Labels have few values, whatever clients do: no repository, no user.

mod below;
mod class;
mod text;

pub use class::RequestClass;

use crate::app::App;
use crate::telemetry::lost_lines;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use text::{counter, gauge, head, line, seconds};

const CLASSES: usize = RequestClass::ALL.len();
/// Upper ends of the latency buckets in microseconds; the last bucket has none.
const BUCKETS: [u64; 11] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 60_000_000,
];

#[derive(Default)]
struct PerClass {
    status: [AtomicU64; 6],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What this server has done since it started.
#[derive(Default)]
pub struct Metrics {
    classes: [PerClass; CLASSES],
    /// TLS handshakes that failed.
    pub handshakes_failed: AtomicU64,
    /// Handlers that panicked.
    pub panics: AtomicU64,
    /// Lines of refused requests that were not written.
    pub left_out: AtomicU64,
}

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub struct RequestDone {
    /// Kind of route.
    pub class: RequestClass,
    /// HTTP status; 0 if the client went before there was one.
    pub status: u16,
    /// Bytes of the request body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// From the head of the request to the end of the answer.
    pub time: Duration,
}

impl Metrics {
    /// Counts a finished request.
    pub fn record(&self, done: RequestDone) {
        let Some(class) = self.classes.get(done.class as usize) else {
            return;
        };
        let add = |counter: Option<&AtomicU64>, n| {
            if let Some(counter) = counter {
                counter.fetch_add(n, Relaxed);
            }
        };
        let micros = done.time.as_micros() as u64;
        add(class.status.get(usize::from(done.status / 100)), 1);
        add(
            class
                .buckets
                .get(BUCKETS.partition_point(|end| *end < micros)),
            1,
        );
        class.micros.fetch_add(micros, Relaxed);
        class.bytes_in.fetch_add(done.bytes_in, Relaxed);
        class.bytes_out.fetch_add(done.bytes_out, Relaxed);
    }

    /// The Prometheus text, with the counters of `app` and the number of open connections.
    pub fn render(&self, app: &App, connections: u64) -> String {
        let mut out = String::with_capacity(8 * 1024);
        self.requests(&mut out);
        self.latency(&mut out);
        let open = "Open connections.";
        gauge(&mut out, "dryport_http_connections", open, connections);
        let failed = self.handshakes_failed.load(Relaxed);
        let name = "dryport_tls_handshakes_failed_total";
        counter(&mut out, name, "TLS handshakes that failed.", failed);
        let panics = self.panics.load(Relaxed);
        let panicked = "Requests that ended in a panic.";
        counter(&mut out, "dryport_http_panics_total", panicked, panics);
        let lost = "Log lines that nobody read, or that could not be written.";
        counter(&mut out, "dryport_log_lines_lost_total", lost, lost_lines());
        let left_out = self.left_out.load(Relaxed);
        let too_many = "Log lines of refused requests left out because their address had too many.";
        counter(
            &mut out,
            "dryport_log_lines_left_out_total",
            too_many,
            left_out,
        );
        below::render(&mut out, app);
        out
    }

    fn requests(&self, out: &mut String) {
        head(
            out,
            "dryport_http_requests_total",
            "counter",
            "Requests by kind of route and class of status.",
        );
        for (class, counts) in RequestClass::ALL.iter().zip(&self.classes) {
            for (status, count) in counts.status.iter().enumerate() {
                let n = count.load(Relaxed);
                if n > 0 {
                    let code = if status == 0 {
                        "gone".to_owned()
                    } else {
                        format!("{status}xx")
                    };
                    line(
                        out,
                        "dryport_http_requests_total",
                        &format!("route=\"{}\",status=\"{code}\"", class.name()),
                        n,
                    );
                }
            }
        }
        for (name, help, pick) in [
            (
                "dryport_http_received_bytes_total",
                "Bytes of request bodies.",
                bytes_in as fn(&PerClass) -> u64,
            ),
            (
                "dryport_http_sent_bytes_total",
                "Bytes of answer bodies.",
                bytes_out,
            ),
        ] {
            head(out, name, "counter", help);
            for (class, counts) in RequestClass::ALL.iter().zip(&self.classes) {
                line(
                    out,
                    name,
                    &format!("route=\"{}\"", class.name()),
                    pick(counts),
                );
            }
        }
    }

    fn latency(&self, out: &mut String) {
        let name = "dryport_http_request_seconds";
        head(
            out,
            name,
            "histogram",
            "Time from the head of a request to the end of its answer.",
        );
        for (class, counts) in RequestClass::ALL.iter().zip(&self.classes) {
            let mut sum = 0;
            for (i, bucket) in counts.buckets.iter().enumerate() {
                sum += bucket.load(Relaxed);
                let end = BUCKETS.get(i).map_or("+Inf".to_owned(), |us| seconds(*us));
                line(
                    out,
                    &format!("{name}_bucket"),
                    &format!("route=\"{}\",le=\"{end}\"", class.name()),
                    sum,
                );
            }
            let label = format!("route=\"{}\"", class.name());
            let _ = writeln!(
                out,
                "{name}_sum{{{label}}} {}",
                seconds(counts.micros.load(Relaxed))
            );
            line(out, &format!("{name}_count"), &label, sum);
        }
    }
}

fn bytes_in(class: &PerClass) -> u64 {
    class.bytes_in.load(Relaxed)
}

fn bytes_out(class: &PerClass) -> u64 {
    class.bytes_out.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_class_and_bucket() {
        let metrics = Metrics::default();
        let time = Duration::from_micros(700);
        metrics.record(RequestDone {
            class: RequestClass::Blob,
            status: 206,
            bytes_in: 1,
            bytes_out: 2,
            time,
        });
        let mut out = String::new();
        metrics.requests(&mut out);
        metrics.latency(&mut out);
        assert!(
            out.contains("requests_total{route=\"blob\",status=\"2xx\"} 1"),
            "{out}"
        );
        assert!(
            out.contains("bucket{route=\"blob\",le=\"0.000500\"} 0"),
            "{out}"
        );
        assert!(
            out.contains("bucket{route=\"blob\",le=\"0.001000\"} 1"),
            "{out}"
        );
        assert!(out.contains("sum{route=\"blob\"} 0.000700"), "{out}");
    }
}
