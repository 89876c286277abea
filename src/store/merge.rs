//! The rows of a filter, in order, without reading the others.
//!
//! Each combination in the dictionary has an ordered list of entries; the lists that a filter
//! selects are merged. A list is read only once no other can have the next row, so the newest rows
//! of ten thousand lists cost little more than those of ten.

use std::collections::{BinaryHeap, HashSet, VecDeque};

use rusqlite::Connection;

/// Sequence numbers fetched from a list per query: at first, and at most.
const FIRST_CHUNK: i64 = 16;
const LARGEST_CHUNK: i64 = 1024;

/// Sort order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// A list of sequence numbers.
#[derive(Debug)]
pub(super) enum Source {
    /// All decisions.
    All,
    /// The indexed decisions of one facet.
    Facet(i64),
    /// Unindexed decisions of the facets given to [`Merge::new`].
    Tail,
}

/// A sorted list, partly fetched.
#[derive(Debug)]
struct List {
    source: Source,
    lowest: i64,
    highest: i64,
    fetched: VecDeque<i64>,
    chunk: i64,
    over: bool,
}

/// A k-way merge of sorted lists.
#[derive(Debug)]
pub(super) struct Merge<'c> {
    connection: &'c Connection,
    direction: Direction,
    facets: HashSet<i64>,
    lists: Vec<List>,
    /// Per list, an upper bound of the rank of its next element.
    heap: BinaryHeap<(i64, usize)>,
}

impl<'c> Merge<'c> {
    /// An empty merge. `facets` are those that a [`Source::Tail`] selects.
    pub(super) fn new(
        connection: &'c Connection,
        direction: Direction,
        facets: HashSet<i64>,
    ) -> Self {
        Self { connection, direction, facets, lists: Vec::new(), heap: BinaryHeap::new() }
    }

    /// Adds the decisions of `source` from `lowest` to `highest`, inclusive.
    pub(super) fn add(&mut self, source: Source, lowest: i64, highest: i64) {
        if lowest > highest {
            return;
        }
        let fetched = VecDeque::new();
        let list = List { source, lowest, highest, fetched, chunk: FIRST_CHUNK, over: false };
        let best = self.rank(list.bound(self.direction));
        self.heap.push((best, self.lists.len()));
        self.lists.push(list);
    }

    /// The next sequence number; `None` at the end.
    pub(super) fn next(&mut self) -> rusqlite::Result<Option<i64>> {
        while let Some((best, index)) = self.heap.pop() {
            let Some(list) = self.lists.get_mut(index) else { continue };
            let mut next = None;
            if list.fetched.is_empty() {
                list.fetch(self.connection, &self.facets, self.direction)?;
            } else {
                next = list.fetched.pop_front();
            }
            let bound = match list.fetched.front() {
                Some(first) => Some(*first),
                None if list.over => None,
                None => Some(list.bound(self.direction)),
            };
            if let Some(bound) = bound {
                let best = self.rank(bound);
                self.heap.push((best, index));
            }
            if next.is_some() {
                debug_assert_eq!(next.map(|seq| self.rank(seq)), Some(best));
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Maps `seq` so that elements to be returned first have the highest rank.
    fn rank(&self, seq: i64) -> i64 {
        match self.direction {
            Direction::Ascending => -seq,
            Direction::Descending => seq,
        }
    }
}

impl List {
    /// The best sequence number that the unfetched part can contain.
    fn bound(&self, direction: Direction) -> i64 {
        match direction {
            Direction::Ascending => self.lowest,
            Direction::Descending => self.highest,
        }
    }

    fn fetch(
        &mut self,
        connection: &Connection,
        facets: &HashSet<i64>,
        direction: Direction,
    ) -> rusqlite::Result<()> {
        let (table, which) = match self.source {
            Source::All => ("entry", "kind = 0"),
            Source::Tail => ("entry", "kind = 0"),
            Source::Facet(_) => ("posting", "facet = ?4"),
        };
        let order = match direction {
            Direction::Ascending => "ASC",
            Direction::Descending => "DESC",
        };
        let sql = format!(
            "SELECT seq, facet FROM {table} WHERE {which} AND seq BETWEEN ?1 AND ?2 AND ?4 = ?4
             ORDER BY seq {order} LIMIT ?3"
        );
        let facet = if let Source::Facet(facet) = self.source { facet } else { 0 };
        let mut select = connection.prepare_cached(&sql)?;
        let mut rows = select.query([self.lowest, self.highest, self.chunk, facet])?;
        let (mut count, mut last) = (0, None);
        while let Some(row) = rows.next()? {
            let (seq, facet) = (row.get(0)?, row.get(1)?);
            if !matches!(self.source, Source::Tail) || facets.contains(&facet) {
                self.fetched.push_back(seq);
            }
            (count, last) = (count + 1, Some(seq));
        }
        match (last, direction) {
            (Some(last), Direction::Ascending) => self.lowest = last + 1,
            (Some(last), Direction::Descending) => self.highest = last - 1,
            (None, _) => {}
        }
        self.over = count < self.chunk || self.lowest > self.highest;
        self.chunk = (self.chunk * 2).min(LARGEST_CHUNK);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn database(facets: &[u8], indexed: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema/1.sql")).unwrap();
        for (index, facet) in facets.iter().enumerate() {
            let seq = index as i64 + 1;
            // Facet 0 marks entries that are not decisions.
            let kind = i64::from(*facet == 0);
            connection
                .execute(
                    "INSERT INTO entry (seq, kind, at, facet, hash) VALUES (?1, ?2, 0, ?3, x'')",
                    [seq, kind, i64::from(*facet)],
                )
                .unwrap();
            if index < indexed && kind == 0 {
                connection
                    .execute("INSERT INTO posting VALUES (?1, ?2)", [i64::from(*facet), seq])
                    .unwrap();
            }
        }
        connection
    }

    fn collect(mut merge: Merge<'_>) -> Vec<i64> {
        std::iter::from_fn(|| merge.next().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn a_merge_is_a_filter(
            facets in proptest::collection::vec(0u8..5, 0..200),
            wanted in proptest::collection::hash_set(1i64..5, 0..4),
            indexed in 0usize..200,
            (low, high) in (0i64..210, 0i64..210),
            up: bool,
        ) {
            let connection = database(&facets, indexed);
            let indexed = indexed as i64;
            let direction = if up { Direction::Ascending } else { Direction::Descending };
            let numbered = facets.iter().enumerate().map(|(index, facet)| (index as i64 + 1, *facet));
            let mut expected: Vec<i64> = numbered
                .filter(|(seq, facet)| (low..=high).contains(seq) && wanted.contains(&i64::from(*facet)))
                .map(|(seq, _)| seq)
                .collect();
            let mut all: Vec<i64> = facets.iter().enumerate()
                .map(|(index, facet)| (index as i64 + 1, *facet))
                .filter(|(seq, facet)| (low..=high).contains(seq) && *facet != 0)
                .map(|(seq, _)| seq)
                .collect();
            if !up {
                expected.reverse();
                all.reverse();
            }
            let mut merge = Merge::new(&connection, direction, wanted.clone());
            for facet in &wanted {
                merge.add(Source::Facet(*facet), low, high.min(indexed));
            }
            merge.add(Source::Tail, low.max(indexed + 1), high);
            prop_assert_eq!(collect(merge), expected);

            let mut merge = Merge::new(&connection, direction, HashSet::new());
            merge.add(Source::All, low, high);
            prop_assert_eq!(collect(merge), all);
        }
    }
}
