//! The entries that this process appended last, for the index: reading them again costs
//! more than remembering them.

use std::collections::VecDeque;

use super::index::{Entry, MAX_LAG};

/// The last entries of the log, without gaps. The writer has to clear them when another process
/// writes; the log itself is read then.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry>,
    /// Sequence number of the entry to come next.
    next: i64,
}

impl Recent {
    /// Adds the entry `seq`.
    pub(super) fn push(&mut self, seq: i64, entry: Entry) {
        let has_room = i64::try_from(self.entries.len()).is_ok_and(|len| len < 2 * MAX_LAG);
        if seq != self.next || !has_room {
            self.entries.clear();
        }
        self.entries.push_back(entry);
        self.next = seq + 1;
    }

    /// All entries after `seq`; `None` if some of them are not in memory.
    pub(super) fn behind(&self, seq: i64) -> Option<impl Iterator<Item = (i64, &Entry)>> {
        let known = usize::try_from(seq + 1 - self.first()).ok()?;
        let numbers = seq + 1..;
        (known < self.entries.len()).then(|| numbers.zip(self.entries.iter().skip(known)))
    }

    /// Removes entries up to `seq`.
    pub(super) fn forget(&mut self, seq: i64) {
        let gone = usize::try_from(seq + 1 - self.first()).unwrap_or_default();
        self.entries.drain(..gone.min(self.entries.len()));
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    fn first(&self) -> i64 {
        self.next - i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(decision: i64) -> Entry {
        Entry::Result { decision, failed: false, upstream_us: 0 }
    }

    fn numbers(recent: &Recent, seq: i64) -> Option<Vec<i64>> {
        let behind = recent.behind(seq)?;
        Some(
            behind.inspect(|(seq, it)| assert_eq!(**it, entry(*seq))).map(|(seq, _)| seq).collect(),
        )
    }

    #[test]
    fn recent_entries_have_no_gap() {
        let mut recent = Recent::default();
        assert_eq!(numbers(&recent, 0), None);
        (4..8).for_each(|seq| recent.push(seq, entry(seq)));
        assert_eq!(numbers(&recent, 2), None, "3 is not known");
        assert_eq!(numbers(&recent, 3).unwrap(), [4, 5, 6, 7]);
        assert_eq!(numbers(&recent, 6).unwrap(), [7]);
        assert_eq!(numbers(&recent, 7), None);
        recent.forget(5);
        assert_eq!(numbers(&recent, 5).unwrap(), [6, 7]);
        assert_eq!(numbers(&recent, 4), None);
        recent.forget(2);
        recent.push(9, entry(9));
        assert_eq!((numbers(&recent, 8).unwrap(), numbers(&recent, 7)), (vec![9], None));
        recent.clear();
        assert_eq!(numbers(&recent, 8), None);
        recent.push(10, entry(10));
        recent.forget(99);
        assert_eq!(numbers(&recent, 10), None);
    }

    #[test]
    fn recent_entries_are_bounded() {
        let mut recent = Recent::default();
        (0..3 * MAX_LAG).for_each(|seq| recent.push(seq, entry(seq)));
        assert!(recent.entries.len() <= 2 * MAX_LAG as usize);
        assert_eq!(numbers(&recent, 3 * MAX_LAG - 2).unwrap(), [3 * MAX_LAG - 1]);
    }
}
