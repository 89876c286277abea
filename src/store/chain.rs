//! The hash chain: what makes a changed, removed or reordered entry show.
//!
//! Each entry's hash is an HMAC-SHA256 over the hash before it, its own
//! position and time, and every value it stands for, dictionary values
//! included. Without the key nobody can make a log that verifies; with it, or
//! by cutting off the tail, one can: a head hash kept elsewhere finds the latter.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::files::SECRET_LEN;

/// Hash of an entry, covering all entries before it.
pub(super) type Hash = [u8; 32];

/// The predecessor hash of the first entry.
pub(super) const GENESIS: Hash = [0; 32];

/// The keys derived from a database's secret, one per purpose.
#[derive(Clone)]
pub(super) struct Keys {
    secret: [u8; SECRET_LEN],
    chain: Hmac<Sha256>,
    arguments: Hmac<Sha256>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys(…)")
    }
}

impl Keys {
    /// Derives the keys. `None` cannot happen: HMAC accepts keys of this length.
    pub(super) fn derive(secret: [u8; SECRET_LEN]) -> Option<Self> {
        let chain = subkey(&secret, b"agentgate audit chain v1")?;
        let arguments = subkey(&secret, b"agentgate arguments v1")?;
        Some(Self { secret, chain, arguments })
    }

    /// The secret the keys are derived from, to restore a deleted key file.
    pub(super) fn secret(&self) -> &[u8; SECRET_LEN] {
        &self.secret
    }

    /// Identifies the secret without revealing it, to detect a wrong key file.
    pub(super) fn fingerprint(&self) -> Hash {
        tag(self.chain.clone(), b"fingerprint")
    }

    /// Authenticates the salt of row ids, which no entry covers.
    pub(super) fn of_salt(&self, salt: u16) -> Hash {
        let [low, high] = salt.to_le_bytes();
        tag(self.chain.clone(), &[b's', b'a', b'l', b't', low, high])
    }

    /// Keyed digest of canonical arguments. Keyed, so that short arguments cannot be found by
    /// brute force.
    pub(super) fn digest(&self, canonical: &str) -> Hash {
        tag(self.arguments.clone(), canonical.as_bytes())
    }

    /// Hash of the entry `seq`, chained to the hash `before`.
    pub(super) fn link(&self, before: &Hash, seq: i64, at: i64, content: &Content<'_>) -> Hash {
        let mut canonical = Canonical(self.chain.clone());
        canonical.0.update(before);
        canonical.number(seq);
        canonical.number(at);
        content.write(&mut canonical);
        canonical.0.finalize().into_bytes().into()
    }
}

/// Derives the key for one purpose (`label`) from a database's secret.
pub(super) fn subkey(secret: &[u8], label: &[u8]) -> Option<Hmac<Sha256>> {
    let derived = tag(Hmac::new_from_slice(secret).ok()?, label);
    Hmac::new_from_slice(&derived).ok()
}

/// HMAC-SHA256 over `message`.
pub(super) fn tag(mut mac: Hmac<Sha256>, message: &[u8]) -> Hash {
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The hashed content of an entry, with dictionary values resolved.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'e> {
    /// A decision about an action.
    Decision {
        /// Canonical bytes of the facet ([`super::facet::Facet::canonical`]).
        facet: &'e [u8],
        session: &'e str,
        tool: Option<&'e str>,
        reason: &'e str,
        args: &'e str,
        digest: &'e Hash,
        decision_us: i64,
    },
    /// The result of a forwarded action.
    Result { decision: i64, outcome: &'e str, status: &'e str, upstream_us: i64 },
    /// The entries up to `upto` were purged; `hash` is the hash of the last of them.
    Purge { upto: i64, hash: &'e Hash },
    /// The clock was set back from `from`.
    Clock { from: i64 },
    /// The log was recreated after its file had disappeared.
    Anew,
    /// Entries up to `upto`, whose hash is `hash`, were lost, and an operator accepted the
    /// loss.
    Loss { upto: i64, hash: &'e Hash },
}

/// Values of the column `kind`.
pub(super) mod kind {
    pub(in crate::store) const DECISION: i64 = 0;
    pub(in crate::store) const RESULT: i64 = 1;
    pub(in crate::store) const PURGE: i64 = 2;
    pub(in crate::store) const CLOCK: i64 = 3;
    pub(in crate::store) const ANEW: i64 = 4;
    pub(in crate::store) const LOSS: i64 = 5;
}

impl Content<'_> {
    fn write(&self, out: &mut Canonical) {
        match *self {
            Self::Decision { facet, session, tool, reason, args, digest, decision_us } => {
                out.number(kind::DECISION);
                out.bytes(facet);
                out.bytes(session.as_bytes());
                out.number(i64::from(tool.is_some()));
                out.bytes(tool.unwrap_or_default().as_bytes());
                out.bytes(reason.as_bytes());
                out.bytes(args.as_bytes());
                out.bytes(digest);
                out.number(decision_us);
            }
            Self::Result { decision, outcome, status, upstream_us } => {
                out.number(kind::RESULT);
                out.number(decision);
                out.bytes(outcome.as_bytes());
                out.bytes(status.as_bytes());
                out.number(upstream_us);
            }
            Self::Purge { upto, hash } => {
                out.number(kind::PURGE);
                out.number(upto);
                out.bytes(hash);
            }
            Self::Clock { from } => {
                out.number(kind::CLOCK);
                out.number(from);
            }
            Self::Anew => out.number(kind::ANEW),
            Self::Loss { upto, hash } => {
                out.number(kind::LOSS);
                out.number(upto);
                out.bytes(hash);
            }
        }
    }
}

/// Unambiguous encoding: numbers as eight bytes, strings with a length prefix.
struct Canonical(Hmac<Sha256>);

impl Canonical {
    fn number(&mut self, number: i64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&length(bytes));
        self.0.update(bytes);
    }
}

/// The length prefix of the canonical encoding.
pub(super) fn length(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::derive([7; SECRET_LEN]).unwrap()
    }

    fn decision<'e>(session: &'e str, reason: &'e str, digest: &'e Hash) -> Content<'e> {
        Content::Decision {
            facet: b"f",
            session,
            tool: None,
            reason,
            args: "{}",
            digest,
            decision_us: 1,
        }
    }

    #[test]
    fn moving_bytes_between_fields_changes_the_hash() {
        let link = |content| keys().link(&GENESIS, 1, 2, &content);
        assert_ne!(link(decision("ab", "c", &GENESIS)), link(decision("a", "bc", &GENESIS)),);
    }

    #[test]
    fn the_hash_depends_on_position_time_and_predecessor() {
        let content = Content::Anew;
        let hash = keys().link(&GENESIS, 1, 2, &content);
        assert_ne!(hash, keys().link(&[1; 32], 1, 2, &content));
        assert_ne!(hash, keys().link(&GENESIS, 2, 2, &content));
        assert_ne!(hash, keys().link(&GENESIS, 1, 3, &content));
        assert_ne!(hash, Keys::derive([8; 32]).unwrap().link(&GENESIS, 1, 2, &content));
    }

    #[test]
    fn the_keys_of_one_secret_are_of_no_use_for_each_other() {
        let keys = keys();
        assert_ne!(keys.digest("fingerprint"), keys.fingerprint());
    }
}
