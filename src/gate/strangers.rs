//! Requests that bear no valid key: one row a minute and source, with the count,
//! so that nobody can flood the log without a key.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The length of a window.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Sources counted at once; beyond it they are counted together.
pub(super) const MAX_SOURCES: usize = 10_000;

/// Counts refused requests by source.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    windows: Mutex<HashMap<Option<IpAddr>, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// Requests since the row of this window was written.
    unwritten: u64,
    row: Option<String>,
}

/// What to do about a refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// Write a row; so many before it have none of their own.
    Row {
        /// Requests since the last row.
        more: u64,
    },
    /// It is counted; this is the row that it belongs to.
    Counted(Option<String>),
}

impl Strangers {
    /// Counts a request from `source` that was refused at `now`.
    pub(super) fn note(&self, source: IpAddr, now: Instant) -> Note {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let source = Some(source);
        let full = windows.len() >= MAX_SOURCES && !windows.contains_key(&source);
        if full {
            windows.retain(|_, window| {
                window.unwritten > 0 || now.duration_since(window.began) < WINDOW
            });
        }
        let source = if windows.len() >= MAX_SOURCES { None } else { source };
        match windows.get_mut(&source) {
            Some(window) if now.duration_since(window.began) < WINDOW => {
                window.unwritten += 1;
                Note::Counted(window.row.clone())
            }
            other => {
                let more = other.map_or(0, |window| window.unwritten);
                windows.insert(source, Window { began: now, unwritten: 0, row: None });
                Note::Row { more }
            }
        }
    }

    /// The row of the present window of `source`, for those that follow.
    pub(super) fn wrote(&self, source: IpAddr, row: Option<String>) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(&Some(source)) {
            window.row = row;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_one_row_a_window() {
        let strangers = Strangers::default();
        let (one, other): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let start = Instant::now();
        assert_eq!(strangers.note(one, start), Note::Row { more: 0 });
        strangers.wrote(one, Some("row".to_owned()));
        for _ in 0..5 {
            assert_eq!(strangers.note(one, start), Note::Counted(Some("row".to_owned())));
        }
        assert_eq!(strangers.note(other, start), Note::Row { more: 0 });
        assert_eq!(strangers.note(one, start + WINDOW), Note::Row { more: 5 });
        assert_eq!(strangers.note(one, start + WINDOW), Note::Counted(None));
    }
}
