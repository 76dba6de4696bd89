//! Passwords come from standard input, never from an argument: arguments stand in every process list.

use super::exit::Failure;
use super::output;
use super::terminal::Quiet;
use std::io::{IsTerminal as _, Read};

/// The most that a password may be; more is a wrong file.
const MAX: u64 = 4096;

/// All of standard input as a password, for `--password-stdin`; one newline at its end is dropped.
pub fn from_stdin() -> Result<String, Failure> {
    read(std::io::stdin().lock())
}

fn read(input: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input.take(MAX + 1).read_to_end(&mut bytes).map_err(|e| {
        Failure::failed(format!("cannot read the password from standard input: {e}"))
    })?;
    if bytes.len() as u64 > MAX {
        return Err(Failure::usage(format!(
            "the password on standard input is longer than {MAX} bytes"
        )));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::usage("the password is not UTF-8 text"))?;
    let text = trim(&text);
    if text.is_empty() {
        return Err(Failure::usage("the password on standard input is empty"));
    }
    Ok(text.to_owned())
}

/// Without one newline (`\n` or `\r\n`) at the end.
fn trim(text: &str) -> &str {
    text.strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(text)
}

/// Asks for a new password twice on the terminal, without showing it; an error where there is no terminal.
pub fn ask() -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "no password given. Pipe it in: printf %s \"$PASSWORD\" | dryport ... --password-stdin",
        ));
    }
    let first = hidden("New password: ")?;
    let second = hidden("Once more: ")?;
    if first != second {
        return Err(Failure::usage(
            "the two passwords are not the same; nothing was changed",
        ));
    }
    if first.is_empty() {
        return Err(Failure::usage("the password is empty; nothing was changed"));
    }
    Ok(first)
}

fn hidden(prompt: &str) -> Result<String, Failure> {
    let fail = |e: std::io::Error| Failure::failed(format!("cannot read from the terminal: {e}"));
    output::prompt(prompt);
    let quiet = Quiet::typing().map_err(fail)?;
    quiet.until_interrupted().map_err(fail)?;
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    drop(quiet);
    // The person's own newline was not shown, either.
    output::prompt("\n");
    read.map_err(fail)?;
    Ok(trim(&line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_dropped() {
        for (input, password) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\n\n", "a\n"),
            (" a \n", " a "),
            ("a\r\n", "a"),
        ] {
            assert_eq!(
                read(input.as_bytes()).ok().as_deref(),
                Some(password),
                "{input:?}"
            );
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(read(&b"\n"[..]).is_err());
        assert!(read(&b""[..]).is_err());
        assert!(read(&b"\xff\xfe"[..]).is_err());
        assert!(read(&[b'x'; 5000][..]).is_err());
    }
}
