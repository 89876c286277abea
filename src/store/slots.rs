//! Rate windows in the database: which slots are taken, exactly.
//!
//! The slots of an agent and policy are numbered in the order taken, so the
//! `max`-th newest is found by its number. All of this runs inside the
//! transaction that writes the row. A writer caches the newest slots and the
//! oldest that counts, while nobody else writes: most rows then cost one statement,
//! which takes their slot.

mod windows;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::policy::Limit;
use crate::rate::{self, Demand, Usage};
use crate::verdict::Quota;
use windows::{Begin, Known};
pub(super) use windows::{Windows, shift};

/// The current use of each limit by the agent, for an action with this demand.
pub(super) fn usage(
    connection: &Connection,
    windows: &mut Windows,
    agent: &Arc<str>,
    Demand { limits, requests }: Demand<'_>,
) -> rusqlite::Result<Vec<Usage>> {
    let mut usage = Vec::with_capacity(limits.len());
    for limit in limits {
        let mut slots = Slots::of(connection, windows, agent, &limit.policy)?;
        let (oldest_counted, newer) = match limit.max.checked_sub(requests) {
            // An action with more requests than the limit never fits.
            None => (Some(Timestamp::MAX), 0),
            Some(before) => (slots.oldest_counted(limit, before)?, before.saturating_add(1)),
        };
        let older = match oldest_counted {
            Some(_) if requests > 1 => slots.taken_before(limit, newer)?,
            _ => Vec::new(),
        };
        usage.push(Usage { limit: limit.clone(), requests, oldest_counted, older });
    }
    Ok(usage)
}

/// Takes the demanded slots of each of `policies` at `at`. Returns what remains of the enforced
/// limit nearest to exhaustion; limits in observe mode refuse nothing.
pub(super) fn take_all(
    connection: &Connection,
    windows: &mut Windows,
    agent: &Arc<str>,
    (policies, at): (&[Arc<str>], i64),
    Demand { limits, requests }: Demand<'_>,
) -> rusqlite::Result<Option<Quota>> {
    let mut nearest: Option<Quota> = None;
    for policy in policies {
        let of_policy = || limits.iter().filter(|limit| limit.policy == *policy);
        let longest = of_policy().map(|limit| limit.window).max().unwrap_or_default();
        let mut newest = 0;
        for _ in 0..requests {
            newest = windows.take(connection, (agent, policy), (at, longest))?;
        }
        let mut slots = Slots::of(connection, windows, agent, policy)?;
        for limit in of_policy().filter(|limit| !limit.observed) {
            let left = slots.left(limit, (newest, at))?;
            nearest = Some(nearest.map_or(left, |nearest| rate::nearer(nearest, left)));
        }
    }
    Ok(nearest)
}

/// The slots of one agent and policy.
struct Slots<'t> {
    connection: &'t Connection,
    agent: &'t str,
    policy: &'t str,
    known: &'t mut Known,
}

impl<'t> Slots<'t> {
    fn of(
        connection: &'t Connection,
        windows: &'t mut Windows,
        agent: &'t Arc<str>,
        policy: &'t Arc<str>,
    ) -> rusqlite::Result<Self> {
        let known = windows.known(connection, agent, policy)?;
        Ok(Self { connection, agent, policy, known })
    }

    /// Time of the slot that has to leave the window before another request fits, after
    /// `before` of this action; `None` if it fits, or if no slot in the window counts.
    fn oldest_counted(
        &mut self,
        limit: &Limit,
        before: u32,
    ) -> rusqlite::Result<Option<Timestamp>> {
        let counted = self.newest()? - i64::from(before);
        let at = match self.begin(limit.window) {
            Some(begin) if counted < begin.n => None,
            Some(Begin { n, at: Some(at), .. }) if counted == n => Some(at),
            _ => self.taken_at(counted)?,
        };
        Ok(at.and_then(|at| Timestamp::from_microsecond(at).ok()))
    }

    /// Times of the slots, newest first, that count against `limit`, without the newest
    /// `newer`.
    fn taken_before(&mut self, limit: &Limit, newer: u32) -> rusqlite::Result<Vec<Timestamp>> {
        let newest = self.newest()?;
        let (first, last) = (lowest(newest, limit), newest - i64::from(newer));
        let placed = self.known.first_queued().map_or(newest, |queued| queued - 1).min(last);
        let queued = (first.max(placed + 1)..=last).rev().filter_map(|n| self.known.queued_at(n));
        let mut taken: Vec<i64> = queued.collect();
        let mut select = self.connection.prepare_cached(
            "SELECT at FROM slot_window WHERE agent = ?1 AND policy = ?2 AND n BETWEEN ?3 AND ?4
             ORDER BY n DESC",
        )?;
        let rows = params![self.agent, self.policy, first, placed];
        for at in select.query_map(rows, |row| row.get(0))? {
            taken.push(at?);
        }
        let taken = taken.into_iter();
        Ok(taken.filter_map(|at| Timestamp::from_microsecond(at).ok()).collect())
    }

    /// What remains of `limit` after the slot `newest` was taken at `at`.
    fn left(&mut self, limit: &Limit, (newest, at): (i64, i64)) -> rusqlite::Result<Quota> {
        let window = i64::try_from(limit.window.as_micros()).unwrap_or(i64::MAX);
        let begin = self.find_begin(limit, window, (newest, at))?;
        let used = u32::try_from(newest - begin.n + 1).unwrap_or(u32::MAX);
        let reset = begin.at.unwrap_or(at).saturating_add(window) - at;
        Ok(Quota {
            limit: limit.max,
            window: limit.window,
            remaining: limit.max.saturating_sub(used),
            reset: Duration::from_micros(u64::try_from(reset).unwrap_or_default()),
        })
    }

    /// The oldest slot in the window, among those that fit into `limit`. Continues from the
    /// last result, so it costs only the slots that have left the window since.
    fn find_begin(
        &mut self,
        limit: &Limit,
        window: i64,
        (newest, at): (i64, i64),
    ) -> rusqlite::Result<Begin> {
        // Slots beyond the limit need not be counted.
        let lowest = lowest(newest, limit);
        let known = self.begin(limit.window).filter(|known| (lowest..=newest).contains(&known.n));
        // Slots before `out` are outside the window, `begin` is within it: gallop, then bisect.
        let mut out = known.map_or(lowest, |known| known.n);
        let mut begin = Begin { window: limit.window, n: newest, at: Some(at) };
        let mut step = 0;
        while out < begin.n {
            let n = out + step.min((begin.n - out) / 2);
            let taken = match known {
                Some(Begin { n: first, at: Some(taken), .. }) if n == first => Some(taken),
                _ => self.taken_at(n)?,
            };
            match taken.filter(|taken| at.saturating_sub(*taken) < window) {
                Some(taken) => (begin.n, begin.at) = (n, Some(taken)),
                None => (out, step) = (n + 1, 2 * step + 1),
            }
        }
        // If the window is full, earlier slots were not examined.
        if known.is_some() || begin.n > lowest {
            self.remember(begin);
        }
        Ok(begin)
    }

    fn begin(&self, window: Duration) -> Option<Begin> {
        self.known.begins.iter().find(|begin| begin.window == window).copied()
    }

    fn remember(&mut self, begin: Begin) {
        let begins = &mut self.known.begins;
        match begins.iter_mut().find(|known| known.window == begin.window) {
            Some(known) => *known = begin,
            None => begins.push(begin),
        }
    }

    fn newest(&mut self) -> rusqlite::Result<i64> {
        self.known.newest(self.connection, self.agent, self.policy)
    }

    /// Time when slot `n` was taken.
    fn taken_at(&self, n: i64) -> rusqlite::Result<Option<i64>> {
        // Slots are numbered from 1.
        if n < 1 {
            return Ok(None);
        }
        if let Some(at) = self.known.queued_at(n) {
            return Ok(Some(at));
        }
        self.connection
            .prepare_cached(
                "SELECT at FROM slot_window WHERE agent = ?1 AND policy = ?2 AND n = ?3",
            )?
            .query_row(params![self.agent, self.policy, n], |row| row.get(0))
            .optional()
    }
}

/// The first slot that fits into `limit` if `newest` is the last.
fn lowest(newest: i64, limit: &Limit) -> i64 {
    newest - i64::from(limit.max.max(1)) + 1
}
