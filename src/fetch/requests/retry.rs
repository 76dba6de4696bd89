//! When to try again, and after which wait (RFC 9110 section 10.2.3: `Retry-After`).

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// A wait before another try, as told to the observer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// What went wrong.
    pub why: String,
    /// How long the wait is.
    pub wait: Duration,
}

/// The longest wait that a server may ask for; beyond it the command ends and says so.
pub(in crate::fetch) const LONGEST: Duration = Duration::from_mins(5);
const STEP_MAX: Duration = Duration::from_secs(30);

/// Counts the tries of one request.
#[derive(Debug)]
pub(in crate::fetch) struct Backoff {
    base: Duration,
    tries: u32,
    failed: u32,
}

impl Backoff {
    pub(in crate::fetch) fn new(base: Duration, tries: u32) -> Self {
        Self {
            base,
            tries: tries.max(1),
            failed: 0,
        }
    }

    /// Something moved: the count starts again.
    pub(in crate::fetch) fn reset(&mut self) {
        self.failed = 0;
    }

    /// The wait before the next try: what the server asked for, else a doubling one with jitter. `None`: no more tries.
    pub(in crate::fetch) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= self.tries {
            return None;
        }
        let step = self
            .base
            .saturating_mul(1 << (self.failed - 1).min(16))
            .min(STEP_MAX);
        // Half fixed, half random: many clients cut off together do not come back together.
        let own = step / 2 + (step / 2).mul_f64(jitter());
        Some(asked.map_or(own, |asked| asked.max(own)))
    }
}

/// From 0 to 1.
pub(in crate::fetch) fn jitter() -> f64 {
    let mut byte = [128u8];
    // Without random bytes the wait is simply not spread.
    if getrandom::fill(&mut byte).is_err() {
        return 0.5;
    }
    f64::from(byte[0]) / 255.0
}

/// Whether this status may pass by itself.
pub(in crate::fetch) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// The wait that an answer asks for: seconds, or a date.
pub(in crate::fetch) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    let millis = date.as_millisecond() - jiff::Timestamp::now().as_millisecond();
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut backoff = Backoff::new(Duration::from_secs(1), 4);
        let waits: Vec<_> = std::iter::from_fn(|| backoff.next(None)).collect();
        assert_eq!(waits.len(), 3);
        for (wait, most) in waits.iter().zip([1u64, 2, 4]) {
            let most = Duration::from_secs(most);
            assert!(*wait >= most / 2 && *wait <= most, "{wait:?}");
        }
        backoff.reset();
        assert_eq!(
            backoff.next(Some(Duration::from_mins(1))),
            Some(Duration::from_mins(1))
        );
    }

    #[test]
    fn retry_after() {
        let header = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("value"));
            asked(&headers)
        };
        assert_eq!(header("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            header("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert!(header("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|w| w > LONGEST));
        assert_eq!(header("soon"), None);
    }
}
