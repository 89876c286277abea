//! A minimal MCP server, so that its own cost is negligible.

use std::io::{self, BufRead as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem;

/// Answers every request with the value of `"text"`, and `initialize` with the time when the
/// process started, in nanoseconds since 1970.
pub(crate) fn run() -> io::Result<()> {
    let started = now().to_string();
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let (mut line, mut reply) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line)? > 0 {
        if let Some(id) = behind(&line, b"\"id\":", b",}") {
            reply.clear();
            reply.extend(b"{\"jsonrpc\":\"2.0\",\"id\":");
            reply.extend(id);
            reply.extend(b",\"result\":");
            if memmem::find(&line, b"\"initialize\"").is_some() {
                reply.extend(b"{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"echo\",\"version\":\"");
                reply.extend(started.as_bytes());
                reply.extend(b"\"}}");
            } else if memmem::find(&line, b"\"tools/list\"").is_some() {
                reply.extend(b"{\"tools\":[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"},\"annotations\":{\"readOnlyHint\":true}}]}");
            } else {
                reply.extend(b"{\"content\":[{\"type\":\"text\",\"text\":\"");
                reply.extend(behind(&line, b"\"text\":\"", b"\"").unwrap_or_default());
                reply.extend(b"\"}]}");
            }
            reply.extend(b"}\n");
            output.write_all(&reply)?;
            output.flush()?;
        }
        line.clear();
    }
    Ok(())
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// The text after `key` up to the first of `ends`. Enough for the requests of this bench.
fn behind<'l>(line: &'l [u8], key: &[u8], ends: &[u8]) -> Option<&'l [u8]> {
    let value = line.get(memmem::find(line, key)? + key.len()..)?;
    let end = value.iter().position(|byte| ends.contains(byte))?;
    value.get(..end)
}
