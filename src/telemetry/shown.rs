//! Foreign text in log lines: spelled out where a terminal would obey it, and kept within its line.

use crate::types::{visible_json, visible_line};
use std::fmt;
use std::io::{self, Write};
use tracing::Metadata;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{FormatFields, Writer};

/// The fields of a line for people: the message, then `name=value` each.
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Put {
            writer,
            begun: false,
            done: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.done
    }
}

/// Writes fields as they come, until one cannot be written.
struct Put<'w> {
    writer: Writer<'w>,
    begun: bool,
    done: fmt::Result,
}

impl Put<'_> {
    fn put(&mut self, name: &str, value: &str) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.writer.write_char(' ')?;
        }
        let value = visible_line(value);
        if name == "message" {
            return self.writer.write_str(&value);
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        if self.writer.has_ansi_escapes() {
            // In italics, and a dim sign.
            write!(
                self.writer,
                "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"
            )
        } else {
            write!(self.writer, "{name}={value}")
        }
    }
}

impl Visit for Put<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // What the log crate's events carry for tracing itself.
        if self.done.is_ok() && !field.name().starts_with("log.") {
            self.done = self.put(field.name(), &format!("{value:?}"));
        }
    }
}

/// Gives writers for lines of JSON, which mean the same afterwards. Each write must be a whole line, as the formatter's are.
pub(super) struct VisibleJson<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for VisibleJson<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Line(self.0.make_writer_for(meta))
    }
}

/// A writer of [`VisibleJson`].
pub(super) struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (line, end) = match bytes.split_last() {
            Some((b'\n', line)) => (line, "\n"),
            _ => (bytes, ""),
        };
        match std::str::from_utf8(line).map(visible_json) {
            Ok(std::borrow::Cow::Owned(shown)) => {
                self.0.write_all(format!("{shown}{end}").as_bytes())?;
            }
            // As it is: it is plain, or no line of the formatter's.
            _ => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FOREIGN: &str = "a\u{1b}[31mb\u{9b}2Jc\rd\u{202e}e\nINFO f\u{7f}";

    fn acts(c: char) -> bool {
        c.is_control() || c == '\u{202e}'
    }

    /// What the log says of foreign text in each place where an event holds some.
    fn logged<S: tracing::Subscriber + Send + Sync>(with: impl Fn(Sink) -> S) -> String {
        let sink = Sink::default();
        tracing::subscriber::with_default(with(sink.clone()), || {
            let error = io::Error::other(FOREIGN);
            let (shown, maybe) = (FOREIGN, Some(FOREIGN));
            tracing::info!(quoted = FOREIGN, %shown, ?maybe, %error, r#type = 1, "of {FOREIGN}");
        });
        let text = sink.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn foreign_text_does_nothing() {
        let people = |colors: bool| {
            logged(|sink| {
                tracing_subscriber::fmt()
                    .with_writer(move || sink.clone())
                    .with_ansi(colors)
                    .fmt_fields(Fields)
                    .finish()
            })
        };
        let plain = people(false);
        let line = plain.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(acts), "{line:?}");
        for said in [
            "of a\\u{1b}[31mb",
            " shown=a\\u{1b}",
            " quoted=\"a",
            "\\nINFO f",
            " type=1",
        ] {
            assert!(line.contains(said), "{said}: {line}");
        }
        // The formatter's own colours stay, and none are foreign.
        let colored = people(true);
        assert_eq!(colored.matches('\n').count(), 1);
        assert!(colored.contains("\u{1b}[3mshown") && !colored.contains("\u{1b}[31m"));
        assert!(
            !colored
                .chars()
                .any(|c| acts(c) && c != '\u{1b}' && c != '\n'),
            "{colored:?}"
        );
    }

    #[test]
    fn json_means_the_same() {
        let text = logged(|sink| {
            let writer = VisibleJson(move || sink.clone());
            tracing_subscriber::fmt()
                .json()
                .with_writer(writer)
                .finish()
        });
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(acts), "{line:?}");
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["fields"]["shown"], FOREIGN);
        assert_eq!(value["fields"]["message"], format!("of {FOREIGN}"));
    }
}
