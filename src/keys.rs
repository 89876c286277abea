//! The gate's own keys: their headers and their format.

use percent_encoding::percent_decode;

/// The header of agents' keys.
pub const AGENT_KEY: &str = "x-agent-key";

/// The header of the admin API's key; it is never forwarded.
pub const MASTER_KEY: &str = "x-master-key";

/// Prefix of every agent's key.
pub const KEY_PREFIX: &str = "ag_";

/// Number of hexadecimal digits after the prefix.
const KEY_DIGITS: usize = 64;

/// Whether `text` contains anything in the format of an agent's key, valid or not, plain or
/// percent-encoded.
#[must_use]
pub fn holds_key(text: &[u8]) -> bool {
    // Most texts are too short, and building a searcher costs more than this check.
    if text.len() < KEY_PREFIX.len() + KEY_DIGITS {
        return false;
    }
    let is_encoded = text.contains(&b'%');
    holds_plain_key(text)
        || is_encoded && holds_plain_key(&percent_decode(text).collect::<Vec<_>>())
}

fn holds_plain_key(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, KEY_PREFIX).any(|at| {
        let digits = text.get(at + KEY_PREFIX.len()..).and_then(|rest| rest.get(..KEY_DIGITS));
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_however_it_is_written() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [
            format!("ag_{digits}"),
            format!("a=ag_{digits}0"),
            format!("ag%5F{digits}"),
            format!("x%61g_%30{}", &digits[1..]),
        ] {
            assert!(holds_key(text.as_bytes()), "{text}");
        }
        for text in [format!("ag_{}", &digits[1..]), format!("ag%255F{digits}"), "%".to_owned()] {
            assert!(!holds_key(text.as_bytes()), "{text}");
        }
    }
}
