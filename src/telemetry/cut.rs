//! Long texts in log lines: what others send is cut, so that a line costs the disk no more than it tells.

use std::fmt::{self, Write as _};

/// The most bytes of a field that a client chooses (path, method) in a line of its own.
const FIELD: usize = 600;
/// The most bytes of any field.
const LONGEST: usize = 4096;

/// A text that a client chose, at most 600 bytes of it; what is cut says how long it was.
pub fn cut(text: &str) -> String {
    // Nearly every one is short, and there is one of each for every request.
    if text.len() <= FIELD {
        return text.to_owned();
    }
    Cut {
        value: &format_args!("{text}"),
        most: FIELD,
    }
    .to_string()
}

/// Whether a field of this text is shown whole.
pub(super) fn is_short(text: &str) -> bool {
    text.len() <= LONGEST
}

/// Shows a field, at most 4 KiB of it.
pub(super) fn field(value: &dyn fmt::Debug) -> impl fmt::Display + '_ {
    Cut {
        value,
        most: LONGEST,
    }
}

struct Cut<'a> {
    value: &'a dyn fmt::Debug,
    most: usize,
}

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut begin = Begin {
            out: f,
            left: self.most,
            bytes: 0,
        };
        write!(begin, "{:?}", self.value)?;
        let bytes = begin.bytes;
        if bytes > self.most {
            write!(f, "... [{bytes} bytes]")?;
        }
        Ok(())
    }
}

/// Passes on as much as there is room for, up to the end of a character, and counts all.
struct Begin<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    left: usize,
    bytes: usize,
}

impl fmt::Write for Begin<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len();
        if text.len() <= self.left {
            self.left -= text.len();
            return self.out.write_str(text);
        }
        let end = text.floor_char_boundary(self.left);
        self.left = 0;
        self.out.write_str(text.get(..end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters_and_say_so() {
        let whole = "a".repeat(FIELD);
        assert_eq!(cut(&whole), whole);
        assert_eq!(cut(&format!("{whole}b")), format!("{whole}... [601 bytes]"));
        let wide = "\u{e4}".repeat(400);
        assert_eq!(
            cut(&wide),
            format!("{}... [800 bytes]", "\u{e4}".repeat(300))
        );
        let odd = format!("x{wide}");
        assert_eq!(
            cut(&odd),
            format!("x{}... [801 bytes]", "\u{e4}".repeat(299))
        );
        let long = "\n".repeat(LONGEST);
        let shown = field(&long).to_string();
        assert!(
            shown.starts_with("\"\\n\\n") && shown.ends_with("... [8194 bytes]"),
            "{shown}"
        );
        assert!(shown.len() < LONGEST + 20);
    }
}
