//! What other servers write into their answers, read with forbearance: many write it in ways of their own.

use serde_json::value::RawValue;
use std::collections::HashMap;
use std::time::Duration;

/// What a token service that says nothing means, in seconds (its specification).
const DEFAULT_LIFE: u64 = 60;
/// No token is used longer, in seconds.
const LIFE_MAX: u32 = 86_400;

/// What a token service's answer holds. Services differ in how they write it: the token under one name or the other, the
/// empty one beside the good one, the life as a number with a fraction or as text.
pub struct TokenAnswer {
    /// The token, if there is one.
    pub token: Option<String>,
    /// How long it may be used, in seconds; at least 1.
    pub life: u64,
}

impl TokenAnswer {
    /// `None` if it is no JSON object.
    pub fn read(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        // As they came: a number may be larger than numbers are.
        let fields: HashMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
        let text = |name: &str| {
            let text = serde_json::from_str::<String>(fields.get(name)?.get()).ok()?;
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let seconds = fields.get("expires_in");
        let seconds =
            seconds.and_then(|raw| raw.get().trim_matches('"').trim().parse::<f64>().ok());
        let life = match seconds.filter(|seconds| *seconds > 0.0) {
            Some(seconds) => Duration::try_from_secs_f64(seconds.min(f64::from(LIFE_MAX))),
            None => Ok(Duration::from_secs(DEFAULT_LIFE)),
        };
        Some(Self {
            token: text("token").or_else(|| text("access_token")),
            life: life.map_or(DEFAULT_LIFE, |life| life.as_secs().max(1)),
        })
    }
}

/// The first byte of the part that came, by `Content-Range: bytes FIRST-LAST/TOTAL` (RFC 9110 section 14.4); `None` if that
/// does not say it, or says what cannot be of a body of `size` bytes.
pub fn first_byte(header: &str, size: u64) -> Option<u64> {
    let (unit, rest) = header.trim().split_once([' ', '='])?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (first, last, total) = (number(first)?, number(last)?, total.trim());
    let fits = unit.eq_ignore_ascii_case("bytes")
        && first <= last
        && last < size
        && (total == "*" || number(total) == Some(size));
    fits.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_many_services() {
        for (body, token, life) in [
            (r#"{"token":"t"}"#, Some("t"), 60),
            (r#"{"access_token":"a"}"#, Some("a"), 60),
            (r#"{"token":"","access_token":"a"}"#, Some("a"), 60),
            (r#"{"token":" ","access_token":"a"}"#, Some("a"), 60),
            (r#"{"token":null,"access_token":"a"}"#, Some("a"), 60),
            (r#"{"token":7,"access_token":"a"}"#, Some("a"), 60),
            (r#"{"token":"t","access_token":null}"#, Some("t"), 60),
            (r#"{"token":"t","token":"u"}"#, Some("u"), 60),
            (r#"{"token":"t","expires_in":300}"#, Some("t"), 300),
            (r#"{"token":"t","expires_in":300.9}"#, Some("t"), 300),
            (r#"{"token":"t","expires_in":3e2}"#, Some("t"), 300),
            (r#"{"token":"t","expires_in":"300"}"#, Some("t"), 300),
            (r#"{"token":"t","expires_in":" 300.5 "}"#, Some("t"), 300),
            (r#"{"token":"t","expires_in":"soon"}"#, Some("t"), 60),
            (r#"{"token":"t","expires_in":null}"#, Some("t"), 60),
            (r#"{"token":"t","expires_in":{}}"#, Some("t"), 60),
            (r#"{"token":"t","expires_in":0}"#, Some("t"), 60),
            (r#"{"token":"t","expires_in":-5}"#, Some("t"), 60),
            (r#"{"token":"t","expires_in":0.2}"#, Some("t"), 1),
            (
                r#"{"token":"t","expires_in":99999999999999999999999}"#,
                Some("t"),
                86_400,
            ),
            (r#"{"token":"t","expires_in":1e999}"#, Some("t"), 86_400),
            ("\u{feff}{\"token\":\"t\"}", Some("t"), 60),
            ("{}", None, 60),
        ] {
            let answer = TokenAnswer::read(body.as_bytes()).expect(body);
            assert_eq!(
                (answer.token.as_deref(), answer.life),
                (token, life),
                "{body}"
            );
        }
        for body in ["", "[]", "\"t\"", "<html>", "{\"token\":\"t\"", "{} x"] {
            assert!(TokenAnswer::read(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn which_part_came() {
        for (header, first) in [
            ("bytes 4-9/10", Some(4)),
            ("Bytes 4-9/*", Some(4)),
            (" bytes=0-9/10 ", Some(0)),
            ("bytes 4-10/10", None),
            ("bytes 5-4/10", None),
            ("bytes 4-9/11", None),
            ("bytes */10", None),
            ("bytes 4-9", None),
            ("octets 4-9/10", None),
            ("bytes -9/10", None),
            ("", None),
        ] {
            assert_eq!(first_byte(header, 10), first, "{header}");
        }
    }
}
