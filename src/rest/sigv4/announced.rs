//! What a request's headers declare about a body of signed chunks.

use http::HeaderMap;

/// Unsigned body in chunks, with a checksum in a trailer.
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// Body in signed chunks.
const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// Body in signed chunks, with a signed trailer.
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// Declared properties of a body in signed chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Total length of the data, in bytes.
    pub length: u64,
    /// Names of the trailer's fields, in lower case and sorted; empty without a trailer.
    pub trailer: Vec<String>,
}

impl Announced {
    /// Parses `headers` if `payload`, the value of `x-amz-content-sha256`, declares signed
    /// chunks; else `None`.
    ///
    /// # Errors
    /// Why such a body is not supported.
    pub fn read(payload: &str, headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        let has_trailer = match payload {
            SIGNED => false,
            SIGNED_TRAILER => true,
            UNSIGNED_TRAILER => return Ok(None),
            // Such as `…-ECDSA-P256-SHA256-…` or `…-EVENTS`.
            _ if payload.starts_with("STREAMING-") => {
                return Err(
                    "a body is signed whole, in chunks with AWS4-HMAC-SHA256, or not at all",
                );
            }
            _ => return Ok(None),
        };
        let length = length(headers).ok_or("chunks need one `x-amz-decoded-content-length`")?;
        let names = headers.get_all("x-amz-trailer").iter();
        let names = names.flat_map(|value| value.to_str().unwrap_or("?").split(','));
        let mut trailer: Vec<String> = names.map(|name| name.trim().to_ascii_lowercase()).collect();
        trailer.sort();
        let is_twice = trailer.windows(2).any(|pair| pair.first() == pair.last());
        match trailer.is_empty() == has_trailer || is_twice {
            true => Err("`x-amz-trailer` and `x-amz-content-sha256` do not agree"),
            false => Ok(Some(Self { length, trailer })),
        }
    }
}

/// The declared length of the data, if unambiguous.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all("x-amz-decoded-content-length").iter();
    let length = lengths.next()?.to_str().ok()?;
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    length.parse().ok().filter(|_| is_number && lengths.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn read(payload: &str, lengths: &[&str], trailers: &[&str]) -> Result<Option<Announced>, ()> {
        let lengths = lengths.iter().map(|value| ("x-amz-decoded-content-length", *value));
        let trailers = trailers.iter().map(|value| ("x-amz-trailer", *value));
        let mut headers = HeaderMap::new();
        for (name, value) in lengths.chain(trailers) {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        Announced::read(payload, &headers).map_err(drop)
    }

    #[test]
    fn contradictory_declarations_of_chunks_are_refused() {
        let good = |length, trailer: &[&str]| {
            let trailer = trailer.iter().map(|name| (*name).to_owned()).collect();
            Ok(Some(Announced { length, trailer }))
        };
        assert_eq!(read(SIGNED, &["0"], &[]), good(0, &[]));
        let two = read(SIGNED_TRAILER, &["7"], &["x-amz-B, x-amz-a"]);
        assert_eq!(two, good(7, &["x-amz-a", "x-amz-b"]));
        let lines = read(SIGNED_TRAILER, &["7"], &["x-amz-b", "x-amz-a"]);
        assert_eq!(lines, good(7, &["x-amz-a", "x-amz-b"]));
        for unsigned in ["UNSIGNED-PAYLOAD", UNSIGNED_TRAILER, "e3b0"] {
            assert_eq!(read(unsigned, &[], &[]), Ok(None));
        }
        for (payload, lengths, trailers) in [
            (SIGNED, &[][..], &[][..]),
            (SIGNED, &["1", "1"], &[]),
            (SIGNED, &["+1"], &[]),
            (SIGNED, &[""], &[]),
            (SIGNED, &["18446744073709551616"], &[]),
            (SIGNED, &["1"], &["x-amz-a"]),
            (SIGNED_TRAILER, &["1"], &[]),
            (SIGNED_TRAILER, &["1"], &["x-amz-a", "X-Amz-A"]),
            ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", &["1"], &[]),
            ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", &["1"], &["x-amz-a"]),
            ("STREAMING-AWS4-HMAC-SHA256-EVENTS", &["1"], &[]),
        ] {
            let refused = read(payload, lengths, trailers);
            assert_eq!(refused, Err(()), "{payload} {lengths:?} {trailers:?}");
        }
    }
}
