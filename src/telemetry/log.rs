//! The log on stderr: lines for people or JSON, times in UTC.

use super::TelemetryError;
use super::access::Quick;
use super::lines::{Lines, Log};
use super::shown::{Fields, VisibleJson};
use std::io::{self, IsTerminal};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// True where nobody looks at stderr as it is written: then programs read the log, and JSON serves them.
pub fn json_by_default() -> bool {
    !io::stderr().is_terminal()
}

/// Starts logging to stderr for the whole process; call it once. `level` is a filter: `info`, or `info,dryport::http=debug`.
pub fn init(level: &str, json: bool) -> Result<(), TelemetryError> {
    let filter = filter(level)?;
    let started = if json {
        json_lines(filter, io::stderr).try_init()
    } else {
        people(filter)
    };
    started.map_err(|e| twice(&e))
}

/// The same for a server, which writes many lines: those in JSON are gathered for up to 20 ms unless one is a warning. All
/// of them are written by when the [`Log`] is dropped.
pub fn init_server(level: &str, json: bool) -> Result<Option<Log>, TelemetryError> {
    if !json {
        return init(level, json).map(|()| None);
    }
    let filter = filter(level)?;
    let (lines, log) = Lines::start(io::stderr()).map_err(TelemetryError::Thread)?;
    json_lines(filter, lines)
        .try_init()
        .map_err(|e| twice(&e))?;
    Ok(Some(log))
}

fn twice(error: &TryInitError) -> TelemetryError {
    TelemetryError::Twice(error.to_string())
}

fn people(filter: EnvFilter) -> Result<(), TryInitError> {
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let human = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(Fields)
        .with_writer(io::stderr)
        .with_ansi(color)
        .with_target(false);
    // The journal writes its own time beside each line.
    if std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal() {
        human.without_time().finish().try_init()
    } else {
        human.with_timer(SystemTime).finish().try_init()
    }
}

fn json_lines<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_timer(SystemTime)
        .map_event_format(|rest| Quick { rest })
        .with_writer(VisibleJson(writer))
        .finish()
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(level).map_err(|e| TelemetryError::Filter {
        filter: level.to_owned(),
        why: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_are_flat_utc_and_filtered() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = json_lines(filter("info").unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("hidden");
            tracing::info!(bytes = 5, "served");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "served");
        assert_eq!(line["bytes"], 5);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn access_lines_look_like_all_others() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = json_lines(filter("info").unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let path = "/v2/a\"\u{1}\u{e9}";
            let (status, ms) = (200_u16, -1_i64);
            tracing::info!(target: "access", path, status, ms, ok = true, from = %"::1", what = ?Some("x"));
            tracing::info!(target: "other", path, status, ms, ok = true, from = %"::1", what = ?Some("x"));
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        // Both times have the same length.
        let (time, rest) = lines[1].split_at(r#"{"timestamp":"2026-11-28T10:56:59.789581Z""#.len());
        let quick = &lines[0][time.len()..];
        assert_eq!(quick, rest.replace("\"other\"", "\"access\""));
        for line in lines {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let time = line["timestamp"].as_str().unwrap();
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        }
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = filter("info,dryport=loud").unwrap_err();
        assert!(error.to_string().contains("info,dryport=loud"));
    }
}
