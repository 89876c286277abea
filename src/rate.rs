//! Exact sliding windows: at most `max` requests in any window of the given
//! length. Pure; the store provides when slots were taken.

use std::time::Duration;

use jiff::Timestamp;

use crate::policy::Limit;
use crate::verdict::{Full, Quota};

/// The one nearer to exhaustion; if equal, the one that stays so for longer.
#[must_use]
pub fn nearer(one: Quota, other: Quota) -> Quota {
    let key = |quota: &Quota| (quota.remaining, std::cmp::Reverse(quota.reset));
    std::cmp::min_by_key(one, other, key)
}

/// What an action demands of rate limits: as many slots of each as it counts as requests.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'l> {
    /// The limits that apply.
    pub limits: &'l [Limit],
    /// Number of requests that the action counts as.
    pub requests: u32,
}

/// A rate limit and its current use.
#[derive(Debug, Clone)]
pub struct Usage {
    /// The limit.
    pub limit: Limit,
    /// Number of requests that the action counts as.
    pub requests: u32,
    /// Time of the slot that has to leave the window before the action fits: for one request
    /// the `max`-th newest; `None` if there are fewer. While it is in the window, the window is
    /// full.
    pub oldest_counted: Option<Timestamp>,
    /// Times of the slots before that one which may still count, newest first: there may be
    /// room for some of an action's requests.
    pub older: Vec<Timestamp>,
}

impl Usage {
    /// Time until a slot is free; `None` if one is free at `now`. A slot taken exactly one
    /// window ago does not count any more.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        self.left(self.oldest_counted?, now)
    }

    /// The state of the window, if the action does not fit at `now`.
    #[must_use]
    pub fn full(&self, now: Timestamp) -> Option<Full> {
        let retry_after = self.retry_after(now)?;
        // An action with more requests than the limit never fits.
        let newer = self.limit.max.checked_sub(self.requests).map(|newer| newer.saturating_add(1));
        let mut counted = newer.unwrap_or_default();
        let retry_after = newer.map(|_| retry_after);
        let mut reset = retry_after.unwrap_or_default();
        for left in self.older.iter().map_while(|taken| self.left(*taken, now)) {
            (counted, reset) = (counted.saturating_add(1), left);
        }
        let remaining = self.limit.max.saturating_sub(counted);
        Some(Full { retry_after, remaining, reset })
    }

    /// Time for which a slot taken at `taken` still counts; `None` if it does not.
    fn left(&self, taken: Timestamp, now: Timestamp) -> Option<Duration> {
        let age = now.duration_since(taken);
        // Setting the clock back must not free slots.
        let age = Duration::try_from(age).unwrap_or(Duration::ZERO);
        self.limit.window.checked_sub(age).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_quota_is_exact_for_actions_of_several_requests() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let (window, now) = (Duration::from_secs(60), at(100));
        let full = |max: u32, requests: u32, oldest: Option<i64>, older: &[i64]| {
            let limit = Limit { policy: "p".into(), window, max, observed: false };
            let older = older.iter().map(|taken| at(*taken)).collect();
            let oldest_counted = oldest.map(at);
            Usage { limit, requests, oldest_counted, older }.full(now).map(|full| {
                let retry_after = full.retry_after.map(|after| after.as_secs());
                (retry_after, full.remaining, full.reset.as_secs())
            })
        };
        assert_eq!(full(5, 1, None, &[]), None);
        assert_eq!(full(5, 1, Some(40), &[]), None, "just out");
        assert_eq!(full(5, 1, Some(41), &[]), Some((Some(1), 0, 1)));
        // Three are taken, three more are asked for: the third newest has to go.
        assert_eq!(full(5, 3, Some(80), &[]), Some((Some(40), 2, 40)));
        assert_eq!(full(5, 3, Some(80), &[70]), Some((Some(40), 1, 30)));
        assert_eq!(full(5, 3, Some(80), &[70, 41]), Some((Some(40), 0, 1)));
        assert_eq!(full(5, 3, Some(80), &[70, 40]), Some((Some(40), 1, 30)));
        let never = Some(1_000);
        assert_eq!(full(5, 6, never, &[]), Some((None, 5, 0)));
        assert_eq!(full(5, 6, never, &[90, 80, 30]), Some((None, 3, 40)));
        assert_eq!(full(0, 1, never, &[]), Some((None, 0, 0)));
        assert_eq!(full(u32::MAX, 2, Some(80), &[]), Some((Some(40), 1, 40)));
    }
}
