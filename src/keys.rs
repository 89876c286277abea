//! The gate's own keys: in which headers they come, and what they look like.

/// The header for agents' keys.
pub const AGENT_KEY: &str = "x-agent-key";

/// The header for the key of the admin API; it never goes upstream.
pub const MASTER_KEY: &str = "x-master-key";

/// What every agent's key begins with.
pub const KEY_PREFIX: &str = "ag_";

/// Hexadecimal digits that follow.
const KEY_DIGITS: usize = 64;

/// Whether `text` holds something of the form of an agent's key, whoever's.
#[must_use]
pub fn holds_key(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, KEY_PREFIX).any(|at| {
        let digits = text.get(at + KEY_PREFIX.len()..).and_then(|rest| rest.get(..KEY_DIGITS));
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
