//! Names that mean the past: `at/TIME/NAME` is the repository NAME as it was at that time, `snap/TITLE/NAME` as its snapshot
//! TITLE shows it, for every stock client.

use crate::types::{RepoName, Title};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The first component of a name of a time; followed by a time it belongs to no repository.
const AT: &str = "at/";
/// The first component of a name of a snapshot; followed by a title that the rest has one of, it belongs to no repository.
const SNAP: &str = "snap/";

/// As of when a name means another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// At this time (wall clock, ms).
    Time(u64),
    /// As a snapshot shows it, if there is one of this title.
    Snapshot(Title),
}

impl RepoName {
    /// As of when, and the repository that a name of the past means; `None` for every other name. Whether there is such a
    /// snapshot is not known here.
    ///
    /// TIME is UTC: `20261101t120000z`, or `20261101` for the end of that day.
    pub fn moment(&self) -> Option<(Moment, Self)> {
        if let Some(rest) = self.as_str().strip_prefix(AT) {
            let (time, name) = rest.split_once('/')?;
            return Some((Moment::Time(parse(time)?), name.parse().ok()?));
        }
        let (title, name) = self.as_str().strip_prefix(SNAP)?.split_once('/')?;
        Some((Moment::Snapshot(title.parse().ok()?), name.parse().ok()?))
    }

    /// Whether the name can be one of the past, as far as its first component says.
    pub fn may_be_past(&self) -> bool {
        self.as_str().starts_with(AT) || self.as_str().starts_with(SNAP)
    }

    /// The repository whose rights hold for this name, unless it is that of a snapshot: there it depends on whether there is
    /// one.
    pub fn present(&self) -> std::borrow::Cow<'_, Self> {
        match self.moment() {
            Some((Moment::Time(_), name)) => std::borrow::Cow::Owned(name),
            _ => std::borrow::Cow::Borrowed(self),
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
            let moment = name.moment();
            moment.map(|(at, name)| match at {
                Moment::Time(at) => (at.to_string(), name.to_string()),
                Moment::Snapshot(title) => (title.to_string(), name.to_string()),
            })
        };
        let noon: u64 = 1_793_534_400_999;
        assert_eq!(
            moment("at/20261101t120000z/team/app"),
            Some((noon.to_string(), "team/app".to_owned()))
        );
        assert_eq!(
            moment("at/20261101/app"),
            Some(((noon + 43_199_000).to_string(), "app".to_owned()))
        );
        assert_eq!(
            moment("snap/june/team/app"),
            Some(("june".to_owned(), "team/app".to_owned()))
        );
        for other in [
            "snap/june",
            "snap/g7/app",
            "snap/20261101/app",
            "x/snap/june/app",
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
        let name: RepoName = "snap/june/app".parse().expect("a name");
        assert_eq!(name.present().as_str(), "snap/june/app");
    }
}
