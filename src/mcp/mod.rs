//! The MCP adapter: messages of a client and a server, whatever carries them.

pub mod answer;
pub mod bridge;
pub mod codes;
pub mod envelope;
pub mod era;
pub mod frames;
pub mod http;
pub mod listing;
pub mod name;
pub mod open_requests;
pub mod params;
pub mod pending;
pub mod queue;
pub mod relay;
pub mod reply;
pub mod round_trips;
pub mod scan;
pub mod server_requests;
pub mod session;
pub mod tools;

#[cfg(test)]
mod tests {
    //! What the tests of several files share.

    /// A file of the shared truth; `None`, with a line that says so, where it is not here.
    pub(super) fn truth(name: &str) -> Option<String> {
        let root = std::env::var("AGENTGATE_TRUTH").map_or_else(
            |_| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/truth"),
            Into::into,
        );
        let text = std::fs::read_to_string(root.join(name)).ok();
        if text.is_none() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "skipped: no {name} under {}", root.display());
        }
        text
    }

    /// RFC 4648, section 4; anything else in the text is skipped.
    pub(super) fn base64(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bits, mut held, mut out) = (0u32, 0u32, Vec::new());
        for value in text.bytes().filter_map(|byte| ALPHABET.iter().position(|one| *one == byte)) {
            bits = bits << 6 | value as u32;
            held += 6;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        out
    }
}
