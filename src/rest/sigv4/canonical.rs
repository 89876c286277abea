//! The canonical request, which is what a signature covers.
//! Source: AWS General Reference, "Create a canonical request".

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode,
};

use crate::rest::aws::ClientRequest;

/// Unreserved characters (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl ClientRequest {
    /// The first value of a header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The canonical request with the headers `signed` and the body's hash (or its placeholder)
    /// `payload`. `None` if a signed header is missing.
    pub(super) fn canonical(
        &self,
        service: &str,
        signed: &[String],
        payload: &str,
    ) -> Option<String> {
        let (path, query) = (self.canonical_path(service), self.canonical_query());
        let mut canonical = format!("{}\n{path}\n{query}\n", self.method);
        for name in signed {
            let values: Vec<String> = self
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            if values.is_empty() {
                return None;
            }
            // INVARIANT (infallible): writing into a string cannot fail.
            let _ = writeln!(canonical, "{name}:{}", values.join(","));
        }
        let _ = write!(canonical, "\n{}\n{payload}", signed.join(";"));
        Some(canonical)
    }

    /// The canonical path: as sent for S3, encoded once more for all other services.
    fn canonical_path(&self, service: &str) -> Cow<'_, str> {
        if service == "s3" {
            return Cow::Borrowed(&self.path);
        }
        let segments = self.path.split('/');
        let encoded = segments.map(|part| utf8_percent_encode(part, UNRESERVED).to_string());
        encoded.collect::<Vec<_>>().join("/").into()
    }

    /// The canonical query, without the signature itself.
    fn canonical_query(&self) -> String {
        let mut query: Vec<(String, String)> = self
            .query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (encoded_once(name), encoded_once(value)))
            .filter(|(name, _)| name != "X-Amz-Signature")
            .collect();
        query.sort();
        let query = query.into_iter().map(|(name, value)| format!("{name}={value}"));
        query.collect::<Vec<_>>().join("&")
    }
}

/// Percent-encodes in the form that signatures use; `+` is read as a space.
fn encoded_once(text: &str) -> String {
    let text = text.replace('+', " ");
    let decoded: Vec<u8> = percent_decode_str(&text).collect();
    percent_encode(&decoded, UNRESERVED).to_string()
}
