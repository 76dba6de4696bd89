//! Foreign text made harmless for terminals: characters that a terminal obeys, or that reorder or hide what stands beside them,
//! are spelled out. Printed text goes through here once, at its way out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal acts on this character instead of showing it: control characters (C0, DEL, C1), line and paragraph
/// separators, and characters that change the direction of text or are not seen (Unicode's format characters). Joiners stay:
/// scripts and emoji need them.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn spelled(text: &str, stays: fn(char) -> bool, spell: fn(&mut String, char)) -> Cow<'_, str> {
    // Every line of the log comes this way: plain ones are told apart without a branch for each byte.
    let is_odd = |odd: bool, b: &u8| odd | !(b' '..0x7f).contains(b);
    let shows = |c: char| stays(c) || !is_active(c);
    if !text.as_bytes().iter().fold(false, is_odd) || text.chars().all(shows) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if shows(c) {
            out.push(c);
        } else {
            spell(&mut out, c);
        }
    }
    Cow::Owned(out)
}

fn as_escape(out: &mut String, c: char) {
    out.extend(c.escape_default());
}

/// Text for a terminal: line ends and tabs stay, all else that acts is spelled `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    spelled(text, |c| matches!(c, '\n' | '\t'), as_escape)
}

/// The same for text that must stay within one line, or one cell of a table.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    spelled(text, |_| false, as_escape)
}

/// JSON text with the same value, in which nothing acts: such characters stand in strings only, where `\u001b` means them.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    spelled(
        text,
        |c| matches!(c, '\n' | '\r' | '\t'),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_seen() {
        for (text, want) in [
            ("plain, \u{e4} \u{4e2d} \u{1f468}\u{200d}\u{1f469}", None),
            ("two\nlines\tand a tab", None),
            (
                "\u{1b}[31mred\u{1b}]0;title\u{7}",
                Some("\\u{1b}[31mred\\u{1b}]0;title\\u{7}"),
            ),
            ("\u{9b}31m \u{7f}", Some("\\u{9b}31m \\u{7f}")),
            ("over\rwritten", Some("over\\rwritten")),
            ("user\u{202e}gpj.exe", Some("user\\u{202e}gpj.exe")),
            (
                "a\u{2066}b\u{200b}c\u{feff}",
                Some("a\\u{2066}b\\u{200b}c\\u{feff}"),
            ),
            ("tag\u{e0041}", Some("tag\\u{e0041}")),
        ] {
            assert_eq!(visible(text), want.unwrap_or(text));
            assert_eq!(matches!(visible(text), Cow::Borrowed(_)), want.is_none());
        }
        assert_eq!(visible_line("a\nb\tc"), "a\\nb\\tc");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a\u{202e}": "\u{9b}31m\u{7f}\u{1b}\u{e0041}\n\u{e4}", "b": [1, "\\u{1b}"]});
        for text in [
            value.to_string(),
            serde_json::to_string_pretty(&value).expect("json"),
        ] {
            let shown = visible_json(&text);
            assert!(!shown.chars().any(|c| c != '\n' && is_active(c)), "{shown}");
            let back: serde_json::Value = serde_json::from_str(&shown).expect("json");
            assert_eq!(back, value);
        }
    }

    proptest! {
        #[test]
        fn nothing_acts_afterwards(text in any::<String>()) {
            prop_assert!(!visible_line(&text).chars().any(is_active));
            prop_assert!(!visible(&text).chars().any(|c| c != '\n' && c != '\t' && is_active(c)));
            let json = serde_json::to_string(&text).expect("json");
            let back: String = serde_json::from_str(&visible_json(&json)).expect("json");
            prop_assert_eq!(back, text);
        }
    }
}
