//! When something runs again and again: so often, or at times of the wall clock in a time zone, each time a little later by
//! chance. Pure: what is the next time after this one.
//!
//! Must not know rows, jobs or what the time is now. The only place that knows the crate for cron.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The shortest interval, and the longest (ms).
const SHORTEST: u64 = 1000;
const LONGEST: u64 = 366 * DAY;
/// The most that a run may be late by chance (ms).
const JITTER: u64 = DAY;
const DAY: u64 = 24 * 3_600_000;

/// A rule that can never be kept, or that nobody can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The five fields do not read.
    #[error(
        "{text:?} is no time that this program can read: {why}. Give five fields (minute, hour, day of the month, month, day of the week), for example '0 3 * * *' for 03:00 every day"
    )]
    Fields {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// No time matches, for example on 30 February.
    #[error("no time ever matches {0:?}; nothing would run")]
    Never(String),
    /// No such time zone.
    #[error(
        "there is no time zone {0:?}; give a name of the IANA database, for example Europe/Berlin or UTC"
    )]
    Zone(String),
    /// The interval.
    #[error("an interval has at least one second and at most 366 days")]
    Interval,
    /// The jitter.
    #[error(
        "a run may be late by one day at most, and by no more than the interval; this jitter is longer"
    )]
    Jitter,
}

/// The rule without its jitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Rhythm {
    /// One begins so long after the one before (ms of running time: while no server runs, it stands still).
    Every {
        /// The interval.
        every_ms: u64,
    },
    /// At times of the wall clock.
    Cron {
        /// Minute, hour, day of the month, month, day of the week.
        cron: String,
        /// The time zone's name in the IANA database.
        zone: String,
    },
}

/// When something runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Schedule {
    /// The rule.
    #[serde(flatten)]
    pub rhythm: Rhythm,
    /// Each run is late by a random part of this (ms).
    #[serde(default)]
    pub jitter_ms: u64,
}

impl Schedule {
    /// Whether it can be kept, looked at from `wall_ms`.
    pub fn check(&self, wall_ms: u64) -> Result<(), ScheduleError> {
        let most = match &self.rhythm {
            Rhythm::Every { every_ms } if (SHORTEST..=LONGEST).contains(every_ms) => *every_ms,
            Rhythm::Every { .. } => return Err(ScheduleError::Interval),
            Rhythm::Cron { cron, zone } => {
                next_of(cron, zone, wall_ms)?;
                JITTER
            }
        };
        if self.jitter_ms > most.min(JITTER) {
            return Err(ScheduleError::Jitter);
        }
        Ok(())
    }

    /// The next time strictly after `after`, without jitter: of an interval on the clock of running time, else on the
    /// wall clock (ms since 1970).
    ///
    /// A time that the zone leaves out (its clock is put forward) comes right after the gap; one that the zone has twice
    /// comes once, unless the rule names every hour or every minute.
    pub fn next(&self, after: u64) -> Result<u64, ScheduleError> {
        match &self.rhythm {
            Rhythm::Every { every_ms } => Ok(after.saturating_add(*every_ms)),
            Rhythm::Cron { cron, zone } => next_of(cron, zone, after),
        }
    }

    /// By how much one run is late, of a random number (ms).
    pub fn late(&self, random: u64) -> u64 {
        random % (self.jitter_ms + 1)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rhythm {
            Rhythm::Every { every_ms } => write!(f, "every {}", Length(*every_ms))?,
            Rhythm::Cron { cron, zone } => write!(f, "{cron} {zone}")?,
        }
        match self.jitter_ms {
            0 => Ok(()),
            jitter => write!(f, ", up to {} later", Length(jitter)),
        }
    }
}

/// A length of time (ms), in the largest unit that it is a whole number of.
struct Length(u64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(DAY, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let fits = units.iter().find(|(ms, _)| self.0.is_multiple_of(*ms));
        match fits {
            Some((ms, unit)) => write!(f, "{}{unit}", self.0 / ms),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// The first match after a time of the wall clock.
fn next_of(fields: &str, zone: &str, after_ms: u64) -> Result<u64, ScheduleError> {
    let cron = read(fields)?;
    let never = || ScheduleError::Never(fields.to_owned());
    let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
    let after = i64::try_from(after_ms).map_err(|_| never())?;
    let after = Timestamp::from_millisecond(after).map_err(|_| never())?;
    let next = cron.find_next_occurrence(&after.to_zoned(zone), false);
    let next = next.map_err(|_| never())?;
    u64::try_from(next.timestamp().as_millisecond()).map_err(|_| never())
}

fn read(fields: &str) -> Result<Cron, ScheduleError> {
    let wrong = |why: String| ScheduleError::Fields {
        text: fields.to_owned(),
        why,
    };
    let found = fields.split_whitespace().count();
    if found != 5 {
        return Err(wrong(format!("it has {found} fields")));
    }
    // The parser takes it, and then looks for a time through thousands of years.
    let mut items = fields.split_whitespace().flat_map(|field| field.split(','));
    if items.any(str::is_empty) {
        return Err(wrong("a list in it has an empty item".to_owned()));
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    // It ends as a sentence; ours goes on.
    parser
        .parse(fields)
        .map_err(|e| wrong(e.to_string().trim_end_matches('.').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "Europe/Berlin";

    fn ms(time: &str) -> u64 {
        let time: Timestamp = time.parse().expect("a time");
        u64::try_from(time.as_millisecond()).expect("after 1970")
    }

    fn cron(fields: &str, zone: &str) -> Schedule {
        Schedule {
            rhythm: Rhythm::Cron {
                cron: fields.into(),
                zone: zone.into(),
            },
            jitter_ms: 0,
        }
    }

    /// The times after one, in UTC.
    fn times(fields: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (rule, mut at) = (cron(fields, zone), ms(after));
        let mut next = || {
            at = rule.next(at).expect("a next time");
            let at = i64::try_from(at).expect("small");
            let at = Timestamp::from_millisecond(at).expect("a time");
            at.strftime("%m-%d %H:%M").to_string()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn quarters_names_of_days_and_ends_of_months() {
        let after = "2026-11-30T22:50:30.5Z";
        assert_eq!(
            times("*/15 * * * *", "UTC", after, 3),
            ["11-30 23:00", "11-30 23:15", "11-30 23:30"]
        );
        // 30 November 2026 is a Monday.
        assert_eq!(
            times("30 6 * * MON-WED,sat", "UTC", after, 4),
            ["12-01 06:30", "12-02 06:30", "12-05 06:30", "12-07 06:30"]
        );
        assert_eq!(times("0 0 * * 7", "UTC", after, 1), ["12-06 00:00"]);
        // Of two days each counts.
        assert_eq!(
            times("0 0 13 * FRI", "UTC", after, 4),
            ["12-04 00:00", "12-11 00:00", "12-13 00:00", "12-18 00:00"]
        );
        assert_eq!(
            times("0 0 31 * *", "UTC", after, 3),
            ["12-31 00:00", "01-31 00:00", "03-31 00:00"]
        );
        assert_eq!(
            times("0 0 L * *", "UTC", after, 4),
            ["12-31 00:00", "01-31 00:00", "02-28 00:00", "03-31 00:00"]
        );
        assert_eq!(times("0 12 29 FEB *", "UTC", after, 1), ["02-29 12:00"]);
    }

    #[test]
    fn strictly_after_and_in_its_zone() {
        let at = "2026-11-30T03:00:00Z";
        assert_eq!(times("0 3 * * *", "UTC", at, 1), ["12-01 03:00"]);
        let before = "2026-11-30T02:59:59.999Z";
        assert_eq!(times("0 3 * * *", "UTC", before, 1), ["11-30 03:00"]);
        assert_eq!(times("0 3 * * *", BERLIN, before, 1), ["12-01 02:00"]);
        assert_eq!(times("0 3 * * *", "Asia/Kolkata", at, 1), ["11-30 21:30"]);
    }

    #[test]
    fn a_gap_of_the_zone_leaves_nothing_out() {
        // Berlin's clock goes from 02:00 to 03:00 on 29 March 2026, 01:00 UTC.
        let after = "2026-03-28T12:00:00Z";
        assert_eq!(
            times("30 2 * * *", BERLIN, after, 2),
            ["03-29 01:00", "03-30 00:30"]
        );
        // Every half hour has none there, and nothing twice.
        assert_eq!(
            times("*/30 * * * *", BERLIN, "2026-03-29T00:29:00Z", 3),
            ["03-29 00:30", "03-29 01:00", "03-29 01:30"]
        );
    }

    #[test]
    fn an_hour_that_comes_twice_counts_once_for_a_fixed_time() {
        // Berlin's clock goes from 03:00 to 02:00 on 25 October 2026, 01:00 UTC.
        let after = "2026-10-24T12:00:00Z";
        assert_eq!(
            times("30 2 * * *", BERLIN, after, 2),
            ["10-25 00:30", "10-26 01:30"]
        );
        // Also for who looks in the second of them.
        let second = "2026-10-25T01:10:00Z";
        assert_eq!(times("30 2 * * *", BERLIN, second, 1), ["10-26 01:30"]);
        assert_eq!(
            times("*/30 * * * *", BERLIN, "2026-10-25T00:29:00Z", 4),
            ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"]
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let now = ms("2026-11-30T22:00:00Z");
        for fields in [
            "*/15 , * * *",
            "0 1,,2 * * *",
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * * * MONDAY",
            "x * * * *",
            "*/0 * * * *",
        ] {
            let refused = cron(fields, "UTC").check(now);
            assert!(
                matches!(refused, Err(ScheduleError::Fields { .. })),
                "{fields}: {refused:?}"
            );
        }
        let refused = cron("0 0 30 2 *", "UTC").check(now);
        assert!(
            matches!(refused, Err(ScheduleError::Never(_))),
            "{refused:?}"
        );
        let refused = cron("61 * * * *", "UTC").check(now);
        let text = refused.expect_err("no minute").to_string();
        assert!(!text.contains(".."), "{text}");
        let refused = cron("0 0 * * *", "Europe/Nowhere").check(now);
        assert!(
            matches!(refused, Err(ScheduleError::Zone(_))),
            "{refused:?}"
        );
        let every = |every_ms, jitter_ms| Schedule {
            rhythm: Rhythm::Every { every_ms },
            jitter_ms,
        };
        assert_eq!(every(999, 0).check(now), Err(ScheduleError::Interval));
        assert_eq!(every(u64::MAX, 0).check(now), Err(ScheduleError::Interval));
        assert_eq!(every(1000, 1001).check(now), Err(ScheduleError::Jitter));
        assert_eq!(every(1000, 1000).check(now), Ok(()));
    }

    #[test]
    fn jitter_stays_within_its_bound() {
        let mut rule = cron("0 3 * * *", "UTC");
        assert_eq!(rule.late(u64::MAX), 0);
        rule.jitter_ms = 600_000;
        assert!((0..5000).all(|n| rule.late(n << 50) <= 600_000));
        assert_eq!(rule.late(600_000), 600_000);
        assert_eq!(rule.to_string(), "0 3 * * * UTC, up to 10m later");
    }

    #[test]
    fn json_is_flat() {
        let json = serde_json::to_value(cron("0 3 * * *", BERLIN)).expect("json");
        let flat = serde_json::json!({"cron": "0 3 * * *", "zone": BERLIN, "jitter_ms": 0});
        assert_eq!(json, flat);
        let back: Schedule = serde_json::from_value(flat).expect("same");
        assert_eq!(back, cron("0 3 * * *", BERLIN));
        let every: Schedule = serde_json::from_str(r#"{"every_ms": 21600000}"#).expect("same");
        assert_eq!(every.to_string(), "every 6h");
    }
}
