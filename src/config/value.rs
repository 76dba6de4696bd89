//! Kinds of settings and how their text is read and written; knows no key, no file and no environment.

use super::network::Network;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a setting may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// A log filter: a level, or `module=level`, separated by commas.
    Filter,
    /// Any text; empty means not set.
    Text,
    /// Texts.
    Texts,
    /// A path of a file or folder; empty means not set.
    Path,
    /// `http://` or `https://`, a host and perhaps a port; empty means not set.
    Url,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// true or false.
    Switch,
    /// Bytes, as `1GiB`.
    Size,
    /// A whole number.
    Count,
    /// A span of time, as `24h`; kept in milliseconds.
    Duration,
    /// Host names or addresses.
    Names,
    /// `ADDRESS:PORT` each.
    Listeners,
    /// Addresses or CIDR blocks.
    Networks,
}

/// A setting's value after reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Switch(bool),
    /// Bytes or milliseconds.
    Number(u64),
    List(Vec<String>),
}

impl ValueKind {
    /// True for kinds that hold several values.
    pub(super) fn is_list(self) -> bool {
        matches!(
            self,
            Self::Names | Self::Listeners | Self::Networks | Self::Texts
        )
    }

    /// The kind in words, for messages and the generated file.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Filter => "a log level such as \"info\"".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Texts => "a list of texts".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Url => "an address such as \"https://registry.example:8443\"".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Switch => "true or false".to_owned(),
            Self::Size => "a size such as \"1GiB\"".to_owned(),
            Self::Count => "a whole number such as 2000".to_owned(),
            Self::Duration => "a duration such as \"24h\"".to_owned(),
            Self::Names => "a list of host names or addresses".to_owned(),
            Self::Listeners => "a list of ADDRESS:PORT, such as [\"[::]:8443\"]".to_owned(),
            Self::Networks => {
                "a list of addresses or networks, such as [\"10.0.0.0/8\"]".to_owned()
            }
        }
    }

    /// Reads text as given in the environment or by a flag; lists are separated by commas.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if self.is_list() {
            let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
            return self.list(parts.map(str::to_owned).collect());
        }
        match self {
            Self::Switch => switch(text).map(Value::Switch),
            Self::Size => size(text).map(Value::Number),
            Self::Count => text
                .parse()
                .map(Value::Number)
                .map_err(|_| format!("\"{text}\" is not {}", self.describe())),
            Self::Duration => duration(text).map(Value::Number),
            Self::Url => url(text).map(Value::Text),
            Self::Filter => filter(text).map(Value::Text),
            Self::Choice(words) if !words.contains(&text) => Err(format!(
                "\"{text}\" is not {}{}",
                self.describe(),
                super::key::hint(text, words.iter().copied())
            )),
            _ => Ok(Value::Text(text.to_owned())),
        }
    }

    /// Checks the members of a list.
    pub(super) fn list(self, items: Vec<String>) -> Result<Value, String> {
        for item in &items {
            match self {
                Self::Listeners => drop(listener(item)?),
                Self::Networks => drop(item.parse::<Network>()?),
                Self::Texts => {}
                _ => host_name(item)?,
            }
        }
        Ok(Value::List(items))
    }

    /// The value as it would stand in the file, as JSON.
    pub(super) fn json(self, value: &Value) -> serde_json::Value {
        match value {
            Value::Text(text) => text.as_str().into(),
            Value::Switch(on) => (*on).into(),
            Value::Number(n) if self == Self::Duration => show_duration(*n).into(),
            Value::Number(n) if self == Self::Count => (*n).into(),
            Value::Number(n) => show_size(*n).into(),
            Value::List(items) => items.clone().into(),
        }
    }

    /// The value as it would stand in the file.
    pub(super) fn show(self, value: &Value) -> String {
        match value {
            Value::Text(text) => quote(text),
            Value::Switch(on) => on.to_string(),
            Value::Number(n) if self == Self::Duration => quote(&show_duration(*n)),
            Value::Number(n) if self == Self::Count => n.to_string(),
            Value::Number(n) => quote(&show_size(*n)),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quote(item)).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false")),
    }
}

/// Splits `10MiB` into 10 and `MiB`; the number may be absent.
fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Bytes of `1GiB`, `500MB`, `4096`; the error is a text for people.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || {
        format!(
            "\"{text}\" is not a size: write a whole number and B, KiB, MiB, GiB or TiB, such as \"1GiB\""
        )
    };
    let (number, unit) = number_and_unit(text);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Ok(number);
    }
    let known = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    known
        .and_then(|(_, factor)| number.checked_mul(*factor))
        .ok_or_else(bad)
}

fn show_size(bytes: u64) -> String {
    let unit = SIZES[..4]
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(
        || format!("{bytes}B"),
        |(name, factor)| format!("{}{name}", bytes / factor),
    )
}

const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Milliseconds of `90s`, `1h30m`, `250ms`, `0`; the error is a text for people.
pub fn duration(text: &str) -> Result<u64, String> {
    let bad = || {
        format!(
            "\"{text}\" is not a duration: write whole numbers with ms, s, m, h or d, such as \"90s\" or \"1h30m\""
        )
    };
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = number_and_unit(rest);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let factor = TIMES.iter().find(|(name, _)| *name == unit.trim());
        let number: u64 = number.parse().map_err(|_| bad())?;
        total = factor
            .and_then(|(_, factor)| number.checked_mul(*factor))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(bad)?;
        rest = next.trim_start();
    }
    if text.is_empty() {
        Err(bad())
    } else {
        Ok(total)
    }
}

fn show_duration(millis: u64) -> String {
    // Days are never shown: people write 24h, and should read it back.
    let unit = TIMES[1..]
        .iter()
        .find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor));
    unit.map_or_else(
        || "0s".to_owned(),
        |(name, factor)| format!("{}{name}", millis / factor),
    )
}

/// Scheme, host and perhaps port, without a trailing slash.
fn url(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let bad = |why: &str| {
        Err(format!(
            "\"{text}\" {why}: write the scheme, host and port that clients use, such as \"https://registry.example:8443\""
        ))
    };
    let trimmed = text.trim_end_matches('/');
    let Ok(uri) = trimmed.parse::<http::Uri>() else {
        return bad("is not an address");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return bad("does not begin with https:// or http://");
    }
    let authority = uri.authority().map_or("", |a| a.as_str());
    if authority.is_empty() || authority.contains('@') {
        return bad("has no plain host");
    }
    if uri.path() != "/" || uri.query().is_some() {
        return bad("has a path, but registry clients know none");
    }
    Ok(trimmed.to_owned())
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The log library takes an unknown word for a module's name and would then log nothing: refused here.
fn filter(text: &str) -> Result<String, String> {
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or_default().trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let hint = super::key::hint(level, LEVELS.into_iter());
            return Err(format!(
                "\"{part}\" is no log level: write error, warn, info, debug, trace or off, for one module such as dryport::http=debug{hint}"
            ));
        }
    }
    Ok(text.to_owned())
}

fn host_name(text: &str) -> Result<(), String> {
    let bare = text.strip_prefix("*.").unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let is_name = bare.len() <= 253 && bare.split('.').all(label);
    if text.parse::<IpAddr>().is_ok() || is_name {
        return Ok(());
    }
    Err(format!(
        "\"{text}\" is neither a host name nor an address (no scheme, no port)"
    ))
}

/// Reads `ADDRESS:PORT`; `:PORT` and `*:PORT` mean all addresses, `localhost:PORT` is 127.0.0.1.
pub(super) fn listener(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && let Ok(port) = port.parse::<u16>()
    {
        match host {
            "" | "*" => return Ok((Ipv6Addr::UNSPECIFIED, port).into()),
            "localhost" => return Ok((Ipv4Addr::LOCALHOST, port).into()),
            _ => {}
        }
    }
    Err(format!(
        "\"{text}\" is not ADDRESS:PORT: write for example \"[::]:8443\", \"127.0.0.1:8443\" or \":8443\" (an address, not a host name)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_back() {
        for (text, bytes) in [
            ("1GiB", 1 << 30),
            ("4MiB", 4 << 20),
            ("0B", 0),
            ("1500B", 1500),
        ] {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(show_size(bytes), text);
        }
        assert_eq!(size("2 kb"), Ok(2000));
        for bad in ["", "GiB", "-1", "1.5GiB", "99999999TiB", "1XB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for (text, millis) in [
            ("24h", 86_400_000),
            ("250ms", 250),
            ("90s", 90_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(millis));
            assert_eq!(show_duration(millis), text);
        }
        assert_eq!(duration("1h30m"), Ok(5_400_000));
        for bad in ["", "10", "s", "1x", "-1s", "1.5h", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listeners_urls_and_names() {
        assert_eq!(
            listener(":8443").map(|a| a.to_string()),
            Ok("[::]:8443".into())
        );
        assert_eq!(
            listener("localhost:1").map(|a| a.to_string()),
            Ok("127.0.0.1:1".into())
        );
        for bad in ["8443", "host:80", "127.0.0.1", "1.2.3.4:99999"] {
            assert!(listener(bad).is_err(), "{bad}");
        }
        assert_eq!(
            url("https://a.example:1/"),
            Ok("https://a.example:1".into())
        );
        for bad in [
            "a.example",
            "ftp://a",
            "https://a/b",
            "https://u@a",
            "https://",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert!(host_name("a_b.example").is_ok() && host_name("::1").is_ok());
        assert!(filter("info,dryport::http=debug").is_ok());
        assert!(filter("inof").is_err_and(|e| e.contains("`info`")) && filter("").is_err());
        assert!(host_name("https://a").is_err() && host_name("a:1").is_err());
    }
}
