//! Which bytes of a file a PUT brings: `Content-Range` of RFC 9110 section 14.4.
//!
//! Owns its grammar. Whether a part follows those that came is the repository's to say.

use crate::http::answer::Fail;
use crate::repo::PartRange;
use crate::types::ContentRange;

/// The part that a header's value means.
///
/// # Errors
/// 400 for what is not of its grammar.
pub fn parse(text: &str) -> Result<PartRange, Fail> {
    let rest = text.trim().strip_prefix("bytes ").map(str::trim);
    let (range, total) = rest
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(malformed)?;
    let total = match total {
        "*" => None,
        digits => Some(number(digits).ok_or_else(malformed)?),
    };
    if range == "*" {
        return Ok(PartRange { range: None, total });
    }
    let (first, last) = range.split_once('-').ok_or_else(malformed)?;
    let range = number(first).zip(number(last));
    let (first, last) = range
        .filter(|(first, last)| first <= last && *last < u64::MAX)
        .ok_or_else(malformed)?;
    let range = ContentRange { first, last };
    if total.is_some_and(|total| range.last >= total) {
        let text = "the Content-Range ends behind the end of the file that it names";
        return Err(Fail::bad("SIZE_INVALID", text));
    }
    let range = Some(range);
    Ok(PartRange { range, total })
}

fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

fn malformed() -> Fail {
    let text = "a Content-Range is written bytes FIRST-LAST/TOTAL, or bytes */TOTAL to ask how much has come; * stands for a total that is \
                not known yet";
    Fail::bad("SIZE_INVALID", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let of = |text: &str| {
            let part = parse(text).ok()?;
            Some((part.range.map(|r| (r.first, r.last)), part.total))
        };
        assert_eq!(of("bytes 0-9/20"), Some((Some((0, 9)), Some(20))));
        assert_eq!(of("bytes 10-19/20"), Some((Some((10, 19)), Some(20))));
        assert_eq!(of("bytes 10-19/*"), Some((Some((10, 19)), None)));
        assert_eq!(of("bytes */20"), Some((None, Some(20))));
        assert_eq!(of("bytes */*"), Some((None, None)));
        for bad in [
            "",
            "bytes",
            "0-9/20",
            "bytes 0-9",
            "bytes 9-0/20",
            "bytes 0-20/20",
            "bytes 0-9/x",
            "bytes 0-9/+20",
            "bytes 0-18446744073709551615/*",
            "items 0-9/20",
            "bytes bytes 0-9/20",
            "bytes bytes=0-9/20",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
