//! Which eras clients have been seen to speak. Pure; the time is a parameter.
//!
//! A client that supports both eras and one that supports only the stateless era start alike: with
//! a request that a server of the older era refuses. The first falls back to `initialize`; the
//! second, if it tries again, repeats its request. That is how they are distinguished.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::raw;
use crate::mcp::{answer, era};

/// How long a client's era is remembered.
pub const RETENTION: Duration = Duration::from_secs(3_600);

/// How long a refused client has to fall back before it counts as unable to.
pub const FALLBACK_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum number of clients remembered; the least recently seen is evicted.
pub const MAX_CLIENTS: usize = 10_000;

/// Maximum length of a client's name and of its version, in characters.
const MAX_NAME: usize = 100;

/// Identifies the sender of a message by its credentials and the `clientInfo` it sends.
#[must_use]
pub fn name_of(principal: &str, message: &[u8]) -> String {
    let info = raw(message, &["params", era::META, era::CLIENT_INFO]);
    let info = info.or_else(|| raw(message, &["params", "clientInfo"])).unwrap_or_default();
    let member = |key: &str| {
        let member = raw(info, &[key]).and_then(answer::string).unwrap_or_default();
        member.chars().take(MAX_NAME).collect::<String>()
    };
    format!("{principal}\n{}\n{}", member("name"), member("version"))
}

/// The eras of clients, by [`name_of`].
#[derive(Debug, Default)]
pub struct ClientEras {
    known: HashMap<String, ClientEra>,
}

#[derive(Debug, Clone, Copy)]
struct ClientEra {
    last: Instant,
    /// Whether it started a handshake.
    handshake: bool,
    /// Whether a stateless request of it succeeded.
    stateless: bool,
    /// Time when a stateless request of it was first refused.
    refused: Option<Instant>,
}

impl ClientEras {
    /// Records that the client started a handshake.
    pub fn initialized(&mut self, client: &str, now: Instant) {
        let seen = self.entry(client, now);
        (seen.handshake, seen.refused) = (true, None);
    }

    /// Records that a stateless request succeeded.
    pub fn succeeded(&mut self, client: &str, now: Instant) {
        self.entry(client, now).stateless = true;
    }

    /// Records that a stateless request was refused.
    pub fn refused(&mut self, client: &str, now: Instant) {
        self.entry(client, now).refused.get_or_insert(now);
    }

    /// Whether the client was refused in the stateless era and has not fallen back in time.
    pub fn cannot_fall_back(&mut self, client: &str, now: Instant) -> bool {
        let Some(seen) = self.known.get_mut(client).filter(|seen| !seen.is_over(now)) else {
            return false;
        };
        seen.last = now;
        let refused = |since: Instant| now.saturating_duration_since(since) >= FALLBACK_TIMEOUT;
        !seen.handshake && seen.refused.is_some_and(refused)
    }

    /// Whether the client is known to speak the stateless era.
    #[must_use]
    pub fn speaks_stateless(&self, client: &str, now: Instant) -> bool {
        self.known.get(client).is_some_and(|seen| seen.stateless && !seen.is_over(now))
    }

    fn entry(&mut self, client: &str, now: Instant) -> &mut ClientEra {
        if self.known.len() >= MAX_CLIENTS && !self.known.contains_key(client) {
            self.evict(now);
        }
        let fresh = ClientEra { last: now, handshake: false, stateless: false, refused: None };
        let seen = self.known.entry(client.to_owned()).or_insert(fresh);
        if seen.is_over(now) {
            *seen = fresh;
        }
        seen.last = now;
        seen
    }

    fn evict(&mut self, now: Instant) {
        self.known.retain(|_, seen| !seen.is_over(now));
        if self.known.len() >= MAX_CLIENTS {
            let oldest = self.known.iter().min_by_key(|(_, seen)| seen.last);
            let oldest = oldest.map(|(client, _)| client.clone());
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
    }
}

impl ClientEra {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= RETENTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_name_in_both_eras() {
        let stateless = br#"{"params":{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}}}}"#;
        let handshake =
            br#"{"params":{"clientInfo":{"version": "1","name":"\u0063","title":"C"}}}"#;
        assert_eq!(name_of("ann", stateless), name_of("ann", handshake));
        assert_ne!(name_of("ann", stateless), name_of("bob", stateless));
        assert_ne!(name_of("ann", stateless), name_of("ann", b"{}"));
    }

    #[test]
    fn repeated_refusal_after_the_timeout_means_no_fallback() {
        let (mut known, began) = (ClientEras::default(), Instant::now());
        assert!(!known.cannot_fall_back("a", began));
        known.refused("a", began);
        assert!(!known.cannot_fall_back("a", began), "it may be about to fall back");
        known.refused("a", began + FALLBACK_TIMEOUT / 2);
        assert!(known.cannot_fall_back("a", began + FALLBACK_TIMEOUT));
        assert!(!known.cannot_fall_back("b", began + FALLBACK_TIMEOUT), "another client");
        assert!(!known.cannot_fall_back("a", began + FALLBACK_TIMEOUT + RETENTION), "long ago");
    }

    #[test]
    fn a_client_that_falls_back_is_never_taken_for_one_that_does_not() {
        let (mut known, began) = (ClientEras::default(), Instant::now());
        known.refused("a", began);
        known.initialized("a", began);
        known.refused("a", began + FALLBACK_TIMEOUT);
        assert!(!known.cannot_fall_back("a", began + 3 * FALLBACK_TIMEOUT));
        known.succeeded("a", began);
        assert!(known.speaks_stateless("a", began) && !known.speaks_stateless("b", began));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut known, began) = (ClientEras::default(), Instant::now());
        for client in 0..=MAX_CLIENTS {
            known.refused(&client.to_string(), began + Duration::from_micros(client as u64));
        }
        assert_eq!(known.known.len(), MAX_CLIENTS);
        assert!(!known.known.contains_key("0"), "the oldest went");
    }
}
