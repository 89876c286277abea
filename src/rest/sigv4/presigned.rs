//! Signatures in the query (presigned URLs). Source: AWS General Reference,
//! "Add the signature to the query string", and Amazon S3 API Reference, "Using
//! query parameters".

use std::time::Duration;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::signer::ALGORITHM;

/// Parameters of the signature. All others with the prefix `X-Amz-` stand for headers.
const PARAMETERS: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// Maximum validity of a URL, in seconds: seven days.
const MAX_EXPIRES: u64 = 604_800;

/// A signature in a query.
#[derive(Debug, Default)]
pub(super) struct QuerySignature {
    pub(super) credential: String,
    pub(super) date: String,
    pub(super) expires: Duration,
    pub(super) signed: String,
    pub(super) signature: String,
    /// `X-Amz-Content-Sha256`.
    pub(super) payload: Option<String>,
}

/// Whether the query contains any parameter of a signature.
pub(super) fn is_in(query: &str) -> bool {
    amz(query).any(|(name, _)| PARAMETERS.iter().any(|other| name.eq_ignore_ascii_case(other)))
}

/// Parses the signature in `query`; `None` if a part of it is missing, duplicate, misspelt, or
/// also given as a header.
pub(super) fn read(query: &str, headers: &HeaderMap) -> Option<QuerySignature> {
    let mut found = QuerySignature::default();
    let mut seen: Vec<String> = Vec::new();
    let mut algorithm = String::new();
    for (name, value) in amz(query) {
        let folded = name.to_ascii_lowercase();
        let is_misspelt =
            PARAMETERS.iter().any(|other| name.eq_ignore_ascii_case(other) && name != *other);
        if is_misspelt || seen.contains(&folded) || headers.contains_key(&*folded) {
            return None;
        }
        match &*name {
            "X-Amz-Algorithm" => algorithm = value,
            "X-Amz-Credential" => found.credential = value,
            "X-Amz-Date" => found.date = value,
            "X-Amz-Expires" => found.expires = expires(&value)?,
            "X-Amz-SignedHeaders" => found.signed = value,
            "X-Amz-Signature" => found.signature = value,
            _ if folded == super::CONTENT_SHA256 => found.payload = Some(value),
            _ => {}
        }
        seen.push(folded);
    }
    // The session token is optional.
    let is_there = |name: &str| seen.iter().any(|seen| seen.eq_ignore_ascii_case(name));
    let is_whole = PARAMETERS.iter().take(6).all(|name| is_there(name));
    (is_whole && algorithm == ALGORITHM).then_some(found)
}

fn expires(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_number)?;
    (1..=MAX_EXPIRES).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Removes the signature from the query, and turns other `X-Amz-` parameters into headers,
/// where a request signed in its headers has them. The rest of the query is unchanged. `None`
/// if a parameter is not a valid header.
pub(super) fn strip(parts: &mut Parts) -> Option<()> {
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in amz(query) {
        if PARAMETERS.contains(&&*name) {
            continue;
        }
        let name: HeaderName = name.parse().ok()?;
        let value = HeaderValue::from_str(&value).ok()?;
        parts.headers.insert(name, value);
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| pair_of(pair).is_none()).collect();
    let target = match kept.is_empty() {
        true => parts.uri.path().to_owned(),
        false => format!("{}?{}", parts.uri.path(), kept.join("&")),
    };
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(target.parse::<PathAndQuery>().ok()?);
    parts.uri = Uri::from_parts(uri).ok()?;
    Some(())
}

/// The decoded parameters with the prefix `X-Amz-`.
fn amz(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter_map(pair_of)
}

fn pair_of(pair: &str) -> Option<(String, String)> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let name = decoded(name);
    let starts = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
    starts.then(|| (name, decoded(value)))
}
