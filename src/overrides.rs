//! How an HTTP request asks some servers to take it for another one than its head
//! says: for one of another method, or at another place. Pure.

/// Headers that ask for another method, in lower case.
pub const METHOD_HEADERS: [&str; 3] =
    ["x-http-method-override", "x-http-method", "x-method-override"];

/// Headers that ask for another place, in lower case.
const PLACE_HEADERS: [&str; 3] = ["x-original-url", "x-rewrite-url", "x-override-url"];

/// Parameters that ask for another method, in lower case; one that stands for
/// headers may hold any (Closure's `goog.net.rpc.HttpCors`, as Google reads it).
pub const PARAMETERS: [&str; 4] = ["_method", "_httpmethod", "$httpmethod", "$httpheaders"];

/// Whether a header of this name, in lower case, asks for another request.
#[must_use]
pub fn is_header(name: &str) -> bool {
    METHOD_HEADERS.contains(&name) || PLACE_HEADERS.contains(&name)
}

/// Whether a parameter of this name does. Some servers take the headers from there.
#[must_use]
pub fn is_parameter(name: &str) -> bool {
    let mut known = PARAMETERS.iter().chain(&METHOD_HEADERS);
    known.any(|known| name.trim().eq_ignore_ascii_case(known))
}
