//! What may be asked of an upstream and when: as the operator says (requests and bytes a second), and as the upstream says
//! (429, `Retry-After`, `ratelimit-remaining`). Computes times; must not wait itself.

use crate::fetch::retry;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// No upstream is believed that wants more.
const LONGEST: Duration = Duration::from_hours(1);
/// Where it says over which time it counts and not when it begins anew, it is asked again after that.
const GUESS: Duration = Duration::from_mins(1);
/// The longest of the waits after a 429 that names none.
const STEP_MAX: u64 = 30;
const NANOS: u128 = 1_000_000_000;
/// A number of seconds beyond that is a time since 1970.
const IS_EPOCH: u64 = 1_000_000_000;

/// So much a second, and never more at once than `burst` holds.
pub(super) struct Bucket {
    /// Units a second; 0 is no limit.
    rate: u64,
    burst: Duration,
    /// When everything that was taken is paid.
    paid: Mutex<Option<Instant>>,
}

impl Bucket {
    pub(super) fn new(rate: u64, burst: Duration) -> Self {
        Self {
            rate,
            burst,
            paid: Mutex::new(None),
        }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.rate > 0
    }

    /// Takes `n` units, to be used after this wait; an error is a wait longer than `most`, and nothing is taken. Whoever comes
    /// first is served first.
    pub(super) fn take(&self, n: u64, now: Instant, most: Duration) -> Result<Duration, Duration> {
        if self.rate == 0 {
            return Ok(Duration::ZERO);
        }
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let full = now.checked_sub(self.burst).unwrap_or(now);
        let from = paid.map_or(full, |paid| paid.max(full));
        let nanos = u128::from(n) * NANOS / u128::from(self.rate);
        let until = from + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let wait = until.saturating_duration_since(now);
        if wait > most {
            return Err(wait);
        }
        *paid = Some(until);
        Ok(wait)
    }
}

/// What an upstream says about its budget.
#[derive(Default)]
pub(super) struct Quota(Mutex<Said>);

#[derive(Default)]
struct Said {
    limit: Option<u64>,
    left: Option<u64>,
    /// Nothing that counts is left until then.
    spent_until: Option<Instant>,
    /// It answered 429: nothing is asked until then.
    busy_until: Option<Instant>,
    /// When the last 429 came.
    busy_since: Option<Instant>,
    /// How many came in a row without a time.
    steps: u32,
}

impl Quota {
    fn said<T>(&self, with: impl FnOnce(&mut Said) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads an answer to a request that was sent at `sent`.
    pub(super) fn answered(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        sent: Instant,
        now: Instant,
    ) {
        let left = number(headers, "ratelimit-remaining");
        let limit = number(headers, "ratelimit-limit");
        let is_busy = status == StatusCode::TOO_MANY_REQUESTS;
        let is_fine = !is_busy && status.as_u16() < 400;
        self.said(|said| {
            if left.is_some() {
                (said.left, said.limit) = (left, limit);
                said.spent_until = (left == Some(0)).then(|| now + renewal(headers));
            }
            if is_busy {
                said.busy(headers, sent, now);
            } else if is_fine && said.busy_since.is_none_or(|since| sent >= since) {
                said.steps = 0;
            }
        });
    }

    /// Until when a request must wait; `counts`: one that the upstream's budget is about.
    pub(super) fn held_until(&self, counts: bool, now: Instant) -> Option<Instant> {
        self.said(|said| {
            let spent = said.spent_until.filter(|_| counts);
            let until = said.busy_until.max(spent)?;
            (until > now).then_some(until)
        })
    }

    /// The budget, and what is left of it, as it was last said.
    pub(super) fn budget(&self) -> (Option<u64>, Option<u64>) {
        self.said(|said| (said.limit, said.left))
    }
}

impl Said {
    fn busy(&mut self, headers: &HeaderMap, sent: Instant, now: Instant) {
        let asked = retry::asked(headers).or_else(|| reset(headers));
        let asked = asked.filter(|wait| !wait.is_zero());
        let wait = asked.map_or_else(|| self.step(sent), |wait| wait.min(LONGEST));
        self.busy_until = self.busy_until.max(Some(now + wait));
        self.busy_since = Some(now);
    }

    /// The wait after a 429 that names none.
    fn step(&mut self, sent: Instant) -> Duration {
        // Of requests that went together one counts.
        if self.busy_since.is_none_or(|since| sent >= since) {
            self.steps = (self.steps + 1).min(8);
        }
        let step = 1 << self.steps.saturating_sub(1);
        Duration::from_secs(STEP_MAX.min(step))
    }
}

/// The number that such a header begins with: `100`, or `100;w=21600` as Docker Hub writes it.
fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?;
    let digits = text.trim().split([';', ',']).next()?;
    digits.trim().parse().ok()
}

/// `w=SECONDS` of the same.
fn window(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("ratelimit-remaining")?.to_str().ok()?;
    let mut parts = text.split(';').skip(1);
    let seconds = parts.find_map(|part| part.trim().strip_prefix("w=")?.trim().parse().ok())?;
    Some(Duration::from_secs(seconds))
}

/// When the budget begins anew, if that is said: in so many seconds, or at a time since 1970.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let said = number(headers, "ratelimit-reset")?;
    if said < IS_EPOCH {
        return Some(Duration::from_secs(said));
    }
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    Some(Duration::from_secs(said.saturating_sub(now)))
}

/// How long nothing is left.
fn renewal(headers: &HeaderMap) -> Duration {
    let said = reset(headers).or_else(|| retry::asked(headers));
    let wait = said.unwrap_or_else(|| window(headers).map_or(GUESS, |window| window.min(GUESS)));
    wait.clamp(Duration::from_secs(1), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let name = reqwest::header::HeaderName::from_static(name);
            (name, value.parse().expect("value"))
        };
        list.iter().map(pair).collect()
    }

    /// How long an answer of this status with these headers holds: a request that counts, and another.
    fn held(status: u16, list: &[(&'static str, &str)]) -> (f64, f64) {
        let (quota, now) = (Quota::default(), Instant::now());
        let status = StatusCode::from_u16(status).expect("status");
        quota.answered(status, &headers(list), now, now);
        let wait = |counts| {
            let until = quota.held_until(counts, now);
            until.map_or(0.0, |until| (until - now).as_secs_f64())
        };
        (wait(true), wait(false))
    }

    #[test]
    fn what_an_upstream_says_holds() {
        let hub = ("ratelimit-limit", "100;w=21600");
        for (status, list, want) in [
            (200, &[][..], (0.0, 0.0)),
            (
                200,
                &[hub, ("ratelimit-remaining", "76;w=21600")],
                (0.0, 0.0),
            ),
            (
                200,
                &[hub, ("ratelimit-remaining", "0;w=21600")],
                (60.0, 0.0),
            ),
            (200, &[("ratelimit-remaining", "0;w=10")], (10.0, 0.0)),
            (200, &[("ratelimit-remaining", "0")], (60.0, 0.0)),
            (
                200,
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "20")],
                (20.0, 0.0),
            ),
            (
                200,
                &[
                    ("ratelimit-remaining", "0"),
                    ("ratelimit-reset", "99999999999"),
                ],
                (3600.0, 0.0),
            ),
            (200, &[("ratelimit-remaining", "many")], (0.0, 0.0)),
            (429, &[("retry-after", "7")], (7.0, 7.0)),
            (429, &[("retry-after", "999999")], (3600.0, 3600.0)),
            (429, &[("ratelimit-reset", "9")], (9.0, 9.0)),
            (429, &[("retry-after", "0")], (1.0, 1.0)),
            (429, &[], (1.0, 1.0)),
            (
                429,
                &[("retry-after", "Wed, 21 Oct 2099 07:28:00 GMT")],
                (3600.0, 3600.0),
            ),
            // A 503 is the breaker's.
            (503, &[("retry-after", "7")], (0.0, 0.0)),
        ] {
            assert_eq!(held(status, list), want, "{status} {list:?}");
        }
    }

    #[test]
    fn waits_after_a_429_double_and_begin_anew() {
        let (quota, none) = (Quota::default(), HeaderMap::new());
        let busy = StatusCode::TOO_MANY_REQUESTS;
        let mut now = Instant::now();
        for want in [1, 2, 4, 8, 16, 30, 30] {
            // Ten went together: that is one.
            let sent = now;
            now += Duration::from_millis(50);
            for _ in 0..10 {
                quota.answered(busy, &none, sent, now);
            }
            let until = quota.held_until(false, now).expect("held");
            assert_eq!((until - now).as_secs(), want);
            now = until;
            assert_eq!(quota.held_until(true, now), None);
        }
        quota.answered(StatusCode::OK, &none, now, now);
        quota.answered(busy, &none, now, now);
        assert_eq!(
            quota.held_until(true, now),
            Some(now + Duration::from_secs(1))
        );
    }

    #[test]
    fn a_later_answer_lifts_a_spent_budget() {
        let (quota, now) = (Quota::default(), Instant::now());
        quota.answered(
            StatusCode::OK,
            &headers(&[("ratelimit-remaining", "0")]),
            now,
            now,
        );
        assert!(quota.held_until(true, now).is_some());
        let more = headers(&[("ratelimit-remaining", "5"), ("ratelimit-limit", "100")]);
        quota.answered(StatusCode::OK, &more, now, now);
        assert_eq!(quota.held_until(true, now), None);
        assert_eq!(quota.budget(), (Some(100), Some(5)));
    }

    #[test]
    fn so_many_a_second() {
        let second = Duration::from_secs(1);
        let bucket = Bucket::new(10, second);
        let now = Instant::now() + Duration::from_hours(1);
        let most = Duration::from_secs(2);
        let waits: Vec<_> = (0..31).map(|_| bucket.take(1, now, most)).collect();
        assert!(waits[..10].iter().all(|wait| *wait == Ok(Duration::ZERO)));
        for (n, wait) in (1..=20).zip(&waits[10..30]) {
            let wait = wait.expect("in time").as_secs_f64();
            assert!((wait - f64::from(n) / 10.0).abs() < 1e-6, "{wait}");
        }
        // It is refused at once, and takes nothing.
        assert!(waits[30].is_err());
        assert!(
            bucket
                .take(1, now + second, most)
                .is_ok_and(|wait| wait <= Duration::from_millis(1101))
        );
        // A long pause saves no more than one second's worth.
        let later = now + Duration::from_mins(1);
        assert_eq!(bucket.take(10, later, most), Ok(Duration::ZERO));
        assert!(
            bucket
                .take(1, later, most)
                .is_ok_and(|wait| !wait.is_zero())
        );
        let open = Bucket::new(0, second);
        assert_eq!(open.take(u64::MAX, now, Duration::ZERO), Ok(Duration::ZERO));
    }
}
