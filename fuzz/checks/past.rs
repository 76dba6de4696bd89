//! What people type for times and snapshots: titles, references to the past, patterns of repositories, schedules.

use super::names::is_repository;
use super::text;
use dryport::jobs::{Rhythm, Schedule};
use dryport::repo::At;
use dryport::types::{Moment, RepoName, RepoPattern, Title};

/// Titles: one component of a name, and neither a revision nor a time; what is a reference is one of the three.
pub fn title(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let is_component = text.len() <= 100 && !text.contains('/') && is_repository(text);
    assert_eq!(At::named(text).is_some(), is_component, "{text:?}");
    let title = text.parse::<Title>().ok();
    if let Some(title) = &title {
        assert_eq!(title.as_str(), text);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_revision = text.strip_prefix('g').is_some_and(digits);
    if let Some(rev) = Title::revision(text) {
        assert!(is_revision);
        let number = text[1..].trim_start_matches('0');
        assert_eq!(
            number,
            if rev.0 == 0 {
                String::new()
            } else {
                rev.0.to_string()
            }
        );
    }
    if !is_component {
        return assert_eq!(title, None, "{text:?}");
    }
    let past = |first: &str| {
        let name = format!("{first}/{text}/x").parse::<RepoName>();
        name.ok().and_then(|name| name.moment()).map(|(at, _)| at)
    };
    let is_time = past("at").is_some();
    assert_eq!(title.is_some(), !is_revision && !is_time, "{text:?}");
    assert_eq!(past("snap"), title.map(Moment::Snapshot), "{text:?}");
}

/// A line with a pattern, then a name: it is one of those that the pattern stands for if a table says so.
pub fn pattern(data: &[u8]) {
    let Some((pattern, name)) = text(data).and_then(|text| text.split_once('\n')) else {
        return;
    };
    let Ok(read) = pattern.parse::<RepoPattern>() else {
        return;
    };
    assert_eq!(read.to_string(), pattern);
    if let Some(own) = read.as_name() {
        assert!(!pattern.contains('*') && read.matches(&own), "{pattern:?}");
    }
    let Ok(name) = name.parse::<RepoName>() else {
        return;
    };
    let (parts, components): (Vec<&str>, Vec<&str>) = (
        pattern.split('/').collect(),
        name.as_str().split('/').collect(),
    );
    // Behind the last pattern at least one component follows where it stands for any number.
    let (parts, least) = match parts.split_last() {
        Some((&"**", before)) => (before, 1),
        _ => (&parts[..], 0),
    };
    let reach = table(
        parts,
        &components,
        |part| *part == "**",
        |part, own| {
            let (part, own): (Vec<char>, Vec<char>) =
                (part.chars().collect(), own.chars().collect());
            let ends = table(&part, &own, |c| *c == '*', |c, own| c == own);
            ends[own.len()]
        },
    );
    let is_one = match least {
        0 => reach[components.len()],
        _ => reach[..components.len()].contains(&true),
    };
    assert_eq!(read.matches(&name), is_one, "{pattern:?} {name}");
}

/// For each length of `text`, whether the pattern stands for its first pieces of that number.
fn table<P, T>(
    pattern: &[P],
    text: &[T],
    is_any: impl Fn(&P) -> bool,
    is_one: impl Fn(&P, &T) -> bool,
) -> Vec<bool> {
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for piece in pattern {
        let before = reach.clone();
        for at in 0..=text.len() {
            reach[at] = if is_any(piece) {
                before[..=at].contains(&true)
            } else {
                at > 0 && before[at - 1] && is_one(piece, &text[at - 1])
            };
        }
    }
    reach
}

/// Lines with five fields, a time zone and a time (ms): whatever can be kept goes on for ever, in whole minutes, each later
/// than the one before.
pub fn schedule(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (cron, zone, from) = (line(), line(), line());
    let schedule = Schedule {
        rhythm: Rhythm::Cron {
            cron: cron.to_owned(),
            zone: zone.to_owned(),
        },
        jitter_ms: 0,
    };
    // Times of the years 2000 to 2100: no zone has odd seconds any more.
    let from = 946_684_800_000 + from.parse().unwrap_or(0_u64) % 3_155_760_000_000;
    if schedule.check(from).is_err() {
        return assert!(schedule.next(from).is_err(), "{text:?}");
    }
    let mut at = from;
    for _ in 0..3 {
        let next = schedule.next(at).expect("a next time");
        assert!(
            next > at && next.is_multiple_of(60_000),
            "{text:?}: {at}, {next}"
        );
        at = next;
    }
}
