//! Exact sliding windows: at most `max` requests in any window of the given
//! length. Pure; the store hands in when slots were taken.

use std::time::Duration;

use jiff::Timestamp;

use crate::policy::Limit;
use crate::verdict::Quota;

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
    /// When the slot was taken that has to leave the window before the action fits in:
    /// for one request, the `max`-th newest; `None` while fewer are taken. As long as
    /// it is inside the window, the window is full.
    pub oldest_counted: Option<Timestamp>,
}

impl Usage {
    /// How long until a slot is free; `None` where one is free at `now`. A
    /// slot taken exactly one window ago no longer counts.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let taken = self.oldest_counted?;
        let age = now.duration_since(taken);
        // A clock that was set back must not free slots.
        let age = Duration::try_from(age).unwrap_or(Duration::ZERO);
        self.limit.window.checked_sub(age).filter(|left| !left.is_zero())
    }
}
