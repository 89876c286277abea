//! Exact sliding windows: at most `max` requests in any window of the given
//! length. Pure; the store provides when slots were taken.

use std::time::Duration;

use jiff::Timestamp;

use crate::policy::Limit;
use crate::verdict::{Full, Quota};

/// The one of two limits that is nearer to being used up; of two alike the one
/// that stays so for longer.
#[must_use]
pub fn nearer(one: Quota, other: Quota) -> Quota {
    let key = |quota: &Quota| (quota.remaining, std::cmp::Reverse(quota.reset));
    std::cmp::min_by_key(one, other, key)
}

/// A limit together with what the log says of it.
#[derive(Debug, Clone)]
pub struct Usage {
    /// The limit.
    pub limit: Limit,
    /// As how many requests the action counts.
    pub requests: u32,
    /// When the slot was taken that has to leave the window before the action fits in:
    /// for one request, the `max`-th newest; `None` while fewer are taken. As long as
    /// it is inside the window, the window is full.
    pub oldest_counted: Option<Timestamp>,
    /// When the slots before that one were taken which may count still, newest first:
    /// an action of several requests may find room for some of them.
    pub older: Vec<Timestamp>,
}

impl Usage {
    /// How long until a slot is free; `None` where one is free at `now`. A
    /// slot taken exactly one window ago no longer counts.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        self.left(self.oldest_counted?, now)
    }

    /// What the window is like where the action does not fit in at `now`.
    #[must_use]
    pub fn full(&self, now: Timestamp) -> Option<Full> {
        let retry_after = self.retry_after(now)?;
        // What is more than the limit waits for a slot that nobody took.
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

    /// How long a slot that was taken then counts; `None` where it does not.
    fn left(&self, taken: Timestamp, now: Timestamp) -> Option<Duration> {
        let age = now.duration_since(taken);
        // A clock that was set back must not free slots.
        let age = Duration::try_from(age).unwrap_or(Duration::ZERO);
        self.limit.window.checked_sub(age).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_for_an_action_of_several_requests_is_exact() {
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
