//! Our own lines in JSON, with every field cut where it is long. Access lines are most of the log, and the general formatter
//! takes a fifth of all that a small request costs; the shape is the same as of every other line.

use super::cut;
use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer as _};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// The target of events that tell of one request each.
pub const ACCESS: &str = "access";

/// Targets of our own lines begin with one of these.
const OURS: [&str; 3] = [ACCESS, "audit", "dryport"];

/// Formats our own lines itself, and leaves those of libraries, which may lie in spans, to another.
pub(super) struct Quick<F> {
    /// Formats the others.
    pub rest: F,
}

impl<S, N, F> FormatEvent<S, N> for Quick<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let target = event.metadata().target();
        if !OURS.iter().any(|ours| target.starts_with(ours)) || context.lookup_current().is_some() {
            return self.rest.format_event(context, writer, event);
        }
        let line = line(event).map_err(|_| fmt::Error)?;
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

fn line(event: &Event<'_>) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    let mut json = serde_json::Serializer::new(&mut line);
    let mut map = json.serialize_map(None)?;
    map.serialize_entry("timestamp", &format_args!("{:.6}", Timestamp::now()))?;
    map.serialize_entry("level", event.metadata().level().as_str())?;
    let mut fields = Fields {
        map: &mut map,
        done: Ok(()),
    };
    event.record(&mut fields);
    fields.done?;
    map.serialize_entry("target", event.metadata().target())?;
    map.end()?;
    line.push(b'\n');
    Ok(line)
}

/// Writes the fields of an event as they come, until one cannot be written.
struct Fields<'a, M: SerializeMap> {
    map: &'a mut M,
    done: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn put(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        if self.done.is_ok() {
            self.done = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<'_, M> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if cut::is_short(value) {
            return self.put(field, value);
        }
        self.put(
            field,
            &format_args!("{}", cut::field(&format_args!("{value}"))),
        );
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format_args!("{}", cut::field(value)));
    }
}
