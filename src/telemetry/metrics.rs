//! Counters of requests, bytes and logins, and the text of `/metrics`. No repository name ever becomes a label.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// (name without `dryport_` and `_total`, help, value now, true for a counter and false for a gauge).
pub type Sample<'a> = (&'a str, &'a str, f64, bool);

/// (name without `dryport_`, help, per bucket its upper bound and how many fell into it alone, sum of all values).
/// Bounds rise; a last bound of infinity is added where there is none.
pub type HistogramSample<'a> = (&'a str, &'a str, &'a [(f64, u64)], f64);

/// From a cached answer to a large layer.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    result: &'static str,
}

/// The counters of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RequestLabels, Histogram, fn() -> Histogram>,
    bytes_in: Counter,
    bytes_out: Counter,
    logins: Family<LoginLabels, Counter>,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Self {
        let requests = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let (bytes_in, bytes_out) = (Counter::default(), Counter::default());
        let logins = Family::default();
        let mut registry = Registry::with_prefix("dryport");
        registry.register("requests", "Answered requests", requests.clone());
        registry.register(
            "request_seconds",
            "Time from the request's head to the end of the answer",
            seconds.clone(),
        );
        registry.register(
            "received_bytes",
            "Bytes of request bodies",
            bytes_in.clone(),
        );
        registry.register("sent_bytes", "Bytes of answer bodies", bytes_out.clone());
        registry.register("logins", "Checked passwords and tokens", logins.clone());
        let inner = Inner {
            registry,
            requests,
            seconds,
            bytes_in,
            bytes_out,
            logins,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Counts a finished request. `route` is a class such as `blob` or `manifest`, never a path; unknown methods count as one.
    pub fn request(&self, route: &'static str, method: &str, status: u16, took: Duration) {
        let labels = RequestLabels {
            route,
            method: method_class(method),
            status: status_class(status),
        };
        self.inner.requests.get_or_create(&labels).inc();
        let seconds = self.inner.seconds.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
    }

    /// Counts bytes received in bodies.
    pub fn bytes_in(&self, bytes: u64) {
        self.inner.bytes_in.inc_by(bytes);
    }

    /// Counts bytes sent in bodies.
    pub fn bytes_out(&self, bytes: u64) {
        self.inner.bytes_out.inc_by(bytes);
    }

    /// Counts a login, right or wrong.
    pub fn login(&self, good: bool) {
        let result = if good { "good" } else { "refused" };
        self.inner
            .logins
            .get_or_create(&LoginLabels { result })
            .inc();
    }

    /// The text of `/metrics` with values that others count.
    pub fn render(&self, extra: &[Sample<'_>]) -> String {
        self.render_all(extra, &[])
    }

    /// As [`Metrics::render`], with distributions that others count.
    pub fn render_all(&self, extra: &[Sample<'_>], histograms: &[HistogramSample<'_>]) -> String {
        let mut others = Registry::with_prefix("dryport");
        for (name, help, value, is_counter) in extra {
            if *is_counter {
                others.register(*name, *help, ConstCounter::new(*value));
            } else {
                others.register(*name, *help, ConstGauge::new(*value));
            }
        }
        for (name, help, buckets, sum) in histograms {
            others.register(*name, *help, Plain::new(buckets, *sum));
        }
        let (mut own, mut more) = (String::new(), String::new());
        // Writing to a String cannot fail; what was written before would be shown all the same.
        let _ = prometheus_client::encoding::text::encode_registry(&mut own, &self.inner.registry);
        let _ = encode(&mut more, &others);
        own + &more
    }
}

/// A distribution counted elsewhere.
#[derive(Debug)]
struct Plain {
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Plain {
    fn new(buckets: &[(f64, u64)], sum: f64) -> Self {
        let mut buckets = buckets.to_vec();
        if buckets.last().is_none_or(|(upper, _)| upper.is_finite()) {
            buckets.push((f64::INFINITY, 0));
        }
        Self { buckets, sum }
    }
}

impl TypedMetric for Plain {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Plain {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Clients may send any word as a method; each would become a series of its own.
fn method_class(method: &str) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

fn status_class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_holds_own_and_given_values() {
        let metrics = Metrics::new();
        metrics.request("blob", "GET", 206, Duration::from_millis(2));
        metrics.request("blob", "BREW", 404, Duration::from_secs(400));
        metrics.bytes_in(7);
        metrics.bytes_out(9);
        metrics.login(false);
        let text = metrics.render_all(
            &[
                ("store_commits", "Commits", 3.0, true),
                ("uploads", "Open uploads", 2.0, false),
            ],
            &[(
                "store_batch",
                "Changes in a commit",
                &[(1.0, 4), (8.0, 2)],
                11.0,
            )],
        );
        for line in [
            "dryport_requests_total{route=\"blob\",method=\"GET\",status=\"2xx\"} 1\n",
            "dryport_requests_total{route=\"blob\",method=\"other\",status=\"4xx\"} 1\n",
            "dryport_request_seconds_bucket{le=\"0.0025\",route=\"blob\",method=\"GET\",status=\"2xx\"} 1\n",
            "dryport_received_bytes_total 7\n",
            "dryport_sent_bytes_total 9\n",
            "dryport_logins_total{result=\"refused\"} 1\n",
            "# TYPE dryport_store_commits counter\n",
            "dryport_store_commits_total 3.0\n",
            "dryport_uploads 2.0\n",
            "dryport_store_batch_sum 11.0\n",
            "dryport_store_batch_count 6\n",
            "dryport_store_batch_bucket{le=\"8.0\"} 6\n",
            "dryport_store_batch_bucket{le=\"+Inf\"} 6\n",
        ] {
            assert!(text.contains(line), "{line}in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(metrics.render(&[]).ends_with("# EOF\n"));
    }
}
