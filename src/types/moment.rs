//! Names that mean the past: `at/TIME/NAME` is the repository NAME as it was at that time, for every stock client.

use super::RepoName;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The first component of such a name; followed by a time it belongs to no repository.
const WORD: &str = "at/";

impl RepoName {
    /// The time (wall clock, ms) and the repository that a name of the past means; `None` for every other name.
    ///
    /// TIME is UTC: `20261101t120000z`, or `20261101` for the end of that day.
    pub fn moment(&self) -> Option<(u64, Self)> {
        let (time, name) = self.as_str().strip_prefix(WORD)?.split_once('/')?;
        let at = parse(time)?;
        Some((at, name.parse().ok()?))
    }

    /// The repository whose rights hold for this name.
    pub fn present(&self) -> std::borrow::Cow<'_, Self> {
        match self.moment() {
            Some((_, name)) => std::borrow::Cow::Owned(name),
            None => std::borrow::Cow::Borrowed(self),
        }
    }
}

/// The time (wall clock, ms) that a text in UTC means, to the end of its second: `20261101t120000z`, or `20261101` for the end
/// of that day.
pub fn parse(text: &str) -> Option<u64> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<i16>().ok();
    let all = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (date, time) = match text.len() {
        8 => (text, None),
        16 => {
            let (date, rest) = text.split_once('t')?;
            (date, Some(rest.strip_suffix('z')?))
        }
        _ => return None,
    };
    if date.len() != 8 || !all(date) || !time.is_none_or(|t| t.len() == 6 && all(t)) {
        return None;
    }
    let small = |range| digits(range).and_then(|n| i8::try_from(n).ok());
    let (hour, minute, second) = match time {
        Some(_) => (small(9..11)?, small(11..13)?, small(13..15)?),
        None => (23, 59, 59),
    };
    let civil = DateTime::new(
        digits(0..4)?,
        small(4..6)?,
        small(6..8)?,
        hour,
        minute,
        second,
        0,
    );
    let at = civil.ok()?.to_zoned(TimeZone::UTC).ok()?;
    // To the end of that second: what happened within it had happened.
    u64::try_from(at.timestamp().as_millisecond() + 999).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_past() {
        let moment = |text: &str| {
            let name: RepoName = text.parse().expect("a name");
            name.moment().map(|(at, name)| (at, name.to_string()))
        };
        let noon = 1_793_534_400_999;
        assert_eq!(
            moment("at/20261101t120000z/team/app"),
            Some((noon, "team/app".to_owned()))
        );
        assert_eq!(
            moment("at/20261101/app"),
            Some((noon + 43_199_000, "app".to_owned()))
        );
        for other in [
            "at/20261101",
            "at/2026110/app",
            "at/20261301/app",
            "at/20261101t250000z/app",
            "at/20261101t12000z/app",
            "at/app/20261101",
            "x/at/20261101/app",
            "at/2026110a/app",
        ] {
            assert_eq!(moment(other), None, "{other}");
        }
        let name: RepoName = "at/20261101/app".parse().expect("a name");
        assert_eq!(name.present().as_str(), "app");
    }
}
