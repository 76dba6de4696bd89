//! Counters of this server and their Prometheus text; the plain counters of the modules below are added when the text
//! is asked for. Labels have few values, whatever clients do: no repository, no user.

use super::route::Class;
use crate::app::App;
use crate::store::{BATCH_BOUNDS, COMMIT_MICROS_BOUNDS, Counters};
use crate::telemetry::lost_lines;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const CLASSES: usize = Class::ALL.len();
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
pub struct Done {
    /// Kind of route.
    pub class: Class,
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
    pub fn record(&self, done: Done) {
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
        single(
            &mut out,
            "dryport_http_connections",
            "gauge",
            "Open connections.",
            connections,
        );
        let failed = self.handshakes_failed.load(Relaxed);
        single(
            &mut out,
            "dryport_tls_handshakes_failed_total",
            "counter",
            "TLS handshakes that failed.",
            failed,
        );
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
        store(&mut out, app);
        content(&mut out, app);
        collector(&mut out, app);
        scrub(&mut out, app);
        out
    }

    fn requests(&self, out: &mut String) {
        head(
            out,
            "dryport_http_requests_total",
            "counter",
            "Requests by kind of route and class of status.",
        );
        for (class, counts) in Class::ALL.iter().zip(&self.classes) {
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
            for (class, counts) in Class::ALL.iter().zip(&self.classes) {
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
        for (class, counts) in Class::ALL.iter().zip(&self.classes) {
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

/// Microseconds as decimal seconds.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "{name}{{{labels}}} {value}");
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

fn decimal(out: &mut String, name: &str, help: &str, micros: u64) {
    head(out, name, "counter", help);
    let _ = writeln!(out, "{name} {}", seconds(micros));
}

/// A histogram without labels; `counts` has one bucket more than `ends`, and each counts its own values only.
fn histogram(out: &mut String, name: &str, help: &str, ends: &[String], counts: &[u64], sum: &str) {
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

fn store(out: &mut String, app: &App) {
    let c = app.store.counters();
    counter(
        out,
        "dryport_store_commits_total",
        "Durable commits.",
        c.commits,
    );
    counter(
        out,
        "dryport_store_file_commits_total",
        "Commits that wrote and synced the metadata file itself, not its log.",
        c.settled,
    );
    counter(
        out,
        "dryport_store_closures_total",
        "Transactions grouped into commits.",
        c.closures,
    );
    counter(
        out,
        "dryport_store_failed_commits_total",
        "Commits whose outcome is unknown.",
        c.failed_commits,
    );
    single(
        out,
        "dryport_store_queue",
        "gauge",
        "Transactions that wait for the writer.",
        c.queued,
    );
    single(
        out,
        "dryport_store_largest_batch",
        "gauge",
        "Most transactions in one commit.",
        c.largest_batch,
    );
    let ends = COMMIT_MICROS_BOUNDS.map(seconds);
    let name = "dryport_store_commit_seconds";
    let sum = seconds(c.commit_micros);
    let counts = &c.commit_micros_buckets;
    histogram(out, name, "Time of a commit.", &ends, counts, &sum);
    let ends = BATCH_BOUNDS.map(|n| n.to_string());
    let name = "dryport_store_batch_size";
    let help = "Transactions that one commit answered.";
    let sum = c.closures.to_string();
    histogram(out, name, help, &ends, &c.batch_buckets, &sum);
    looks(out, &c);
    single(
        out,
        "dryport_store_file_bytes",
        "gauge",
        "Size of the metadata file.",
        c.file_bytes,
    );
    single(
        out,
        "dryport_store_reserve_owed_bytes",
        "gauge",
        "What the reserve lacks: while it is not 0 the disk is full, and pushes are refused; or the file system keeps no room for files, and it stays so.",
        c.reserve_owed,
    );
    let refused = "Changes refused because the disk is full.";
    counter(
        out,
        "dryport_store_refused_full_total",
        refused,
        c.refused_full,
    );
}

/// What no client may choose: how much one of its requests looks at.
fn looks(out: &mut String, c: &Counters) {
    let rows = "Rows that reads looked at.";
    counter(out, "dryport_store_read_rows_total", rows, c.read_rows);
    single(
        out,
        "dryport_store_read_rows_max",
        "gauge",
        "Most rows that one read looked at.",
        c.read_looks,
    );
    single(
        out,
        "dryport_store_write_rows_max",
        "gauge",
        "Most rows that one transaction looked at.",
        c.write_looks,
    );
}

fn content(out: &mut String, app: &App) {
    let b = app.blobs.counters();
    let fsyncs = "Flushes of content files and folders.";
    counter(out, "dryport_blobs_fsyncs_total", fsyncs, b.fsyncs);
    let name = "dryport_blobs_fsync_seconds_total";
    decimal(out, name, "Time spent in them.", b.fsync_micros);
    let bytes = "Bytes written to content files.";
    counter(out, "dryport_blobs_received_bytes_total", bytes, b.bytes_in);
    let sealed = "Contents made durable.";
    counter(out, "dryport_blobs_sealed_total", sealed, b.blobs_sealed);
    let r = app.repos.counters();
    let open = "Upload sessions that are open.";
    gauge(out, "dryport_uploads_open", open, r.open_uploads);
    let memory = "Bytes of uploads in memory.";
    gauge(out, "dryport_upload_memory_bytes", memory, r.upload_memory);
    let entries = "Entries in the cache of small bodies.";
    gauge(out, "dryport_cache_entries", entries, r.cache.entries);
    gauge(out, "dryport_cache_bytes", "Bytes in it.", r.cache.bytes);
    let hits = "Look-ups that it answered.";
    counter(out, "dryport_cache_hits_total", hits, r.cache.hits);
    let misses = "Look-ups that it did not answer.";
    counter(out, "dryport_cache_misses_total", misses, r.cache.misses);
}

fn collector(out: &mut String, app: &App) {
    let c = app.collector.counters();
    counter(
        out,
        "dryport_gc_sweeps_total",
        "Sweeps that ended.",
        c.sweeps,
    );
    let failed = "Sweeps that failed; the next one goes on from there.";
    counter(out, "dryport_gc_failed_total", failed, c.failed);
    let blobs = "Blobs that nothing needed any more.";
    counter(out, "dryport_gc_freed_blobs_total", blobs, c.freed_blobs);
    counter(
        out,
        "dryport_gc_freed_bytes_total",
        "Their bytes.",
        c.freed_bytes,
    );
}

fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    single(out, name, "counter", help, value);
}

fn gauge(out: &mut String, name: &str, help: &str, value: u64) {
    single(out, name, "gauge", help, value);
}

fn scrub(out: &mut String, app: &App) {
    let c = app.checker.scrub_counters();
    counter(
        out,
        "dryport_scrub_blobs_total",
        "Blobs that the scrub has read.",
        c.blobs,
    );
    counter(
        out,
        "dryport_scrub_bytes_total",
        "Bytes that the scrub has read.",
        c.bytes,
    );
    counter(
        out,
        "dryport_scrub_damaged_total",
        "Blobs that the scrub found damaged.",
        c.damaged,
    );
    counter(
        out,
        "dryport_scrub_unreadable_total",
        "Blobs that the disk refused to read.",
        c.unreadable,
    );
    gauge(
        out,
        "dryport_scrub_stray_files",
        "Content files that no blob needs.",
        c.strays,
    );
    gauge(
        out,
        "dryport_scrub_pass_bytes",
        "Bytes of this pass that are read.",
        c.pass_bytes,
    );
    gauge(
        out,
        "dryport_scrub_pass_total_bytes",
        "All bytes of this pass.",
        c.pass_total,
    );
    gauge(
        out,
        "dryport_scrub_last_full_timestamp_seconds",
        "When the last full pass ended; 0: never.",
        c.last_full_ms / 1000,
    );
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

    #[test]
    fn counts_by_class_and_bucket() {
        let metrics = Metrics::default();
        let time = Duration::from_micros(700);
        metrics.record(Done {
            class: Class::Blob,
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
