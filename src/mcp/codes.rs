//! The codes of JSON-RPC errors, each said once.

use super::bridge::raw;

/// JSON-RPC's for what is not JSON.
pub const PARSE_ERROR: i64 = -32_700;

/// JSON-RPC's for what is no request.
pub const INVALID_REQUEST: i64 = -32_600;

/// JSON-RPC's for a method that is not there.
pub const METHOD_NOT_FOUND: i64 = -32_601;

/// JSON-RPC's for parameters that a method does not take.
pub const INVALID_PARAMS: i64 = -32_602;

/// 2026-07-28's for headers that disagree with the body.
pub const HEADER_MISMATCH: i64 = -32_020;

/// 2026-07-28's for a request that needs what the client cannot do.
pub const MISSING_CAPABILITY: i64 = -32_021;

/// 2026-07-28's for a revision that the server does not speak.
pub const UNSUPPORTED_VERSION: i64 = -32_022;

/// The gate's own for a refusal that is an error. As all of its own, outside the
/// range that JSON-RPC and MCP keep for themselves.
pub const REFUSED: i64 = -31_403;

/// The gate's own for a message that is too large, or one request too many.
pub const TOO_MUCH: i64 = -31_413;

/// The gate's own for a failure of a remote server.
pub const UPSTREAM: i64 = -31_502;

/// The code of an answer that is an error.
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
