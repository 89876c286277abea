//! JSON-RPC error codes.

use super::bridge::raw;

/// JSON-RPC: parse error.
pub const PARSE_ERROR: i64 = -32_700;

/// JSON-RPC: invalid request.
pub const INVALID_REQUEST: i64 = -32_600;

/// JSON-RPC: method not found.
pub const METHOD_NOT_FOUND: i64 = -32_601;

/// JSON-RPC: invalid params.
pub const INVALID_PARAMS: i64 = -32_602;

/// MCP 2026-07-28: headers do not match the body.
pub const HEADER_MISMATCH: i64 = -32_020;

/// MCP 2026-07-28: the client lacks a required capability.
pub const MISSING_CAPABILITY: i64 = -32_021;

/// MCP 2026-07-28: the server does not support the revision.
pub const UNSUPPORTED_VERSION: i64 = -32_022;

/// AgentGate: refused, where the refusal has to be an error. Our codes are outside of the
/// ranges reserved by JSON-RPC and MCP.
pub const REFUSED: i64 = -31_403;

/// AgentGate: the message is too large, or too many requests are in flight.
pub const TOO_MUCH: i64 = -31_413;

/// AgentGate: the remote server failed.
pub const UPSTREAM: i64 = -31_502;

/// The error code of a response, if it is an error.
#[must_use]
pub fn of(answer: &[u8]) -> Option<i64> {
    std::str::from_utf8(raw(answer, &["error", "code"])?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_our_own_lie_outside_the_reserved_range() {
        for code in [REFUSED, TOO_MUCH, UPSTREAM] {
            assert!(!(-32_768..=-32_000).contains(&code));
        }
    }

    #[test]
    fn the_code_of_an_error_is_read_and_of_nothing_else() {
        assert_eq!(of(br#"{"id":1,"error":{"code": -32601}}"#), Some(METHOD_NOT_FOUND));
        for other in [r#"{"result":{"error":{"code":1}}}"#, r#"{"error":{"code":"1"}}"#, "", "[]"] {
            assert_eq!(of(other.as_bytes()), None, "{other}");
        }
    }
}
