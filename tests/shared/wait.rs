//! Waiting for what must happen.

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. Far beyond what any of it
/// takes, so that reaching it means that it never comes.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What a condition comes to: `true`, or `Some`.
pub(crate) trait Condition {
    type Found;

    /// What is found where it holds.
    fn found(self) -> Option<Self::Found>;
}

impl Condition for bool {
    type Found = ();

    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Condition for Option<T> {
    type Found = T;

    fn found(self) -> Option<T> {
        self
    }
}

/// Waits until `condition` holds, and gives what it finds; fails the test with `what`
/// if it never does.
#[track_caller]
pub(crate) fn eventually<C: Condition>(what: &str, mut condition: impl FnMut() -> C) -> C::Found {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = condition().found() {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
