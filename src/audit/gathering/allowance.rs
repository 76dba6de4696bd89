//! How many rows they may add who have no account: some at once, and some in each second from then on.
//!
//! Owns the counting. What is done with the others is its callers'.

use std::time::Instant;

/// Rows that may still be added, as of a time.
pub(super) struct Allowance {
    most: f64,
    a_second: f64,
    left: f64,
    earned: Instant,
}

impl Allowance {
    /// `most` at once, and so many a second.
    pub fn new(most: f64, a_second: f64) -> Self {
        Self {
            most,
            a_second,
            left: most,
            earned: Instant::now(),
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.earned).as_secs_f64() * self.a_second;
        (self.left, self.earned) = ((self.left + earned).min(self.most), now);
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}
