//! What people and machines read: tables, JSON, notes. Everything printed goes through here, where foreign text in it loses
//! what a terminal would obey (`tests/architecture.rs` allows no other way).

use super::exit::Failure;
use crate::types::{visible, visible_json, visible_line};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal as _, Write as _};

/// The switch of every command whose answer a machine may read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct OutputFormat {
    /// Print JSON for machines instead of text for people
    #[arg(long)]
    pub json: bool,
}

/// Prints text to stdout. A reader that has read enough (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let text = visible(text);
    let mut out = std::io::stdout().lock();
    let end: &[u8] = if text.ends_with('\n') || text.is_empty() {
        b""
    } else {
        b"\n"
    };
    match out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(end))
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Prints a value as JSON, indented.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print(&visible_json(&text))
}

/// Whether `--json` was given; also where the arguments could not be understood as a whole.
pub fn json_wanted() -> bool {
    std::env::args_os()
        .skip(1)
        .take_while(|arg| arg != "--")
        .any(|arg| arg == "--json")
}

/// Says on stderr why a command failed: text, or with `--json` one line `{"error": {"kind": ..., "message": ...}}`.
pub fn error(failure: &Failure) {
    if json_wanted() {
        json_line(&serde_json::json!({ "error": failure }));
    } else {
        stderr(&format!("error: {}", failure.message));
    }
}

/// Says on stderr what is odd and hinders nothing: text, or with `--json` one line `{"warning": ...}`.
pub fn warning(text: &str) {
    if json_wanted() {
        json_line(&serde_json::json!({ "warning": text }));
    } else {
        stderr(&format!("warning: {text}"));
    }
}

/// A word on stderr about how things go: text, or with `--json` one line `{"note": ...}`.
pub fn note(text: &str) {
    if json_wanted() {
        json_line(&serde_json::json!({ "note": text }));
    } else {
        stderr(text);
    }
}

/// The words of the argument parser on a wrong use.
pub fn usage(error: &clap::Error) {
    let text = error.render().to_string();
    write_stderr(&visible(&text));
}

/// A question on stderr; what is typed follows on the same line.
pub fn prompt(question: &str) {
    write_stderr(&visible(question));
}

fn json_line(value: &serde_json::Value) {
    write_stderr(&format!("{}\n", visible_json(&value.to_string())));
}

/// Further lines are set off: none of them can pass for a message of its own.
fn stderr(text: &str) {
    let text = visible(text).replace('\n', "\n  ");
    write_stderr(&format!("{text}\n"));
}

fn write_stderr(text: &str) {
    let mut err = std::io::stderr().lock();
    // Where stderr is closed nobody listens.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// A line above the bars of a terminal; false if it could not be drawn.
pub fn above(bars: &MultiProgress, text: &str) -> bool {
    bars.println(visible_line(text)).is_ok()
}

/// The bar under this name.
pub fn named(bar: ProgressBar, name: &str) -> ProgressBar {
    bar.set_prefix(visible_line(name).into_owned());
    bar
}

/// Has the bar tell how things go.
pub fn tell(bar: &ProgressBar, text: &str) {
    bar.set_message(visible_line(text).into_owned());
}

/// Whether a person reads stdout.
pub fn to_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns as wide as they need to be, two spaces between; no space at the end of a line.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let seen = |row: &Vec<String>| {
        row.iter()
            .map(|cell| visible_line(cell).into_owned())
            .collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(seen).collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|r| r.get(column))
            .map(|c| c.chars().count());
        cells
            .chain(head.get(column).map(|h| h.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// `1 blob`, `2 blobs`.
pub fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// `2026-11-21 14:05:00Z` of milliseconds since 1970.
pub fn time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || "?".to_owned(),
            |t| t.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["longer".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            "NAME    N\na       1\nlonger\n"
        );
    }

    #[test]
    fn a_cell_stays_a_cell() {
        let rows = [vec!["a\u{1b}[2J\nb".to_owned(), "1".to_owned()]];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            "NAME           N\na\\u{1b}[2J\\nb  1\n"
        );
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
    }
}
