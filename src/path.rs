//! Paths of REST requests: the forwarded and the judged form, whether from the proxy, a batch or a
//! request written by hand. Pure.
//!
//! A path is normalized by RFC 3986, section 6.2.2 (hex digits in upper case, unreserved characters
//! unescaped), and refused if servers could interpret it differently: dot segments in any disguise,
//! double encoding, backslashes, control characters, invalid UTF-8, look-alikes of `/` and `.`,
//! path parameters.

use crate::action::Provider;
use crate::keys::holds_key;
use crate::segment::{is_dots, looks_like_a_separator};

/// Maximum length of a path, in decoded characters.
pub const MAX_PATH: usize = 2_048;

/// Maximum length of a path as it is sent, in bytes: four bytes per character, each of them
/// escaped.
const MAX_WRITTEN: usize = MAX_PATH * 12;

/// A normalized path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    forwarded: String,
    judged: String,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`MAX_PATH`]: 414.
    #[error("the path is longer than {MAX_PATH} characters")]
    TooLong,
    /// No leading `/`.
    #[error("the path does not begin with `/`")]
    Relative,
    /// `.` or `..` as a segment in any disguise, or an escaped `.`.
    #[error("the path contains a dot segment or an encoded dot")]
    Dots,
    /// `//`.
    #[error("the path contains an empty segment")]
    EmptySegment,
    /// `%2F`, where the provider does not use it in names.
    #[error("the path contains an encoded `/`")]
    EncodedSlash,
    /// `\`, plain or escaped.
    #[error("the path contains a backslash")]
    Backslash,
    /// `;`.
    #[error("the path contains a path parameter (`;`)")]
    Parameter,
    /// A control character, plain or escaped.
    #[error("the path contains a control character")]
    Control,
    /// `%` without two hex digits.
    #[error("the path contains a `%` that is no escape")]
    BadEscape,
    /// An escape that decodes to another escape.
    #[error("the path is encoded twice")]
    Twice,
    /// Invalid UTF-8, including overlong forms.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// A character that some servers map to `/`, `\` or `.`.
    #[error("the path contains a look-alike of `/` or `.`")]
    LookAlike,
    /// A key of the gate; it must not be forwarded.
    #[error("the path contains a key of the gate: send it as X-Agent-Key")]
    Key,
    /// A character that RFC 3986 does not allow in a path.
    #[error("the path contains a character that must be encoded")]
    Illegal,
}

impl Path {
    /// Parses a path as the client sent it, without the query.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(provider: Provider, raw: &str) -> Result<Self, PathError> {
        if raw.len() > MAX_WRITTEN {
            return Err(PathError::TooLong);
        }
        if !raw.starts_with('/') {
            return Err(PathError::Relative);
        }
        let mut path = Self { forwarded: String::with_capacity(raw.len()), judged: String::new() };
        let mut decoded = Vec::with_capacity(raw.len());
        let mut rest = raw.bytes();
        while let Some(byte) = rest.next() {
            decoded.push(match byte {
                b'%' => path.escape(hex(rest.next())? << 4 | hex(rest.next())?, provider)?,
                _ => path.plain(byte)?,
            });
        }
        check_decoded(&decoded, provider)?;
        if holds_key(&decoded) {
            return Err(PathError::Key);
        }
        path.judged = judged(&path.forwarded, provider)?;
        Ok(path)
    }

    /// The form that is forwarded.
    #[must_use]
    pub fn forwarded(&self) -> &str {
        &self.forwarded
    }

    /// The form that policies and intent analysis see: decoded, so that `%40` and `@` are equal,
    /// except for `/`, `%`, and an escaped `:` that Google would otherwise take for the start of a
    /// custom verb.
    #[must_use]
    pub fn judged(&self) -> &str {
        &self.judged
    }

    /// The same path after `prefix`, which must be normalized.
    #[must_use]
    pub fn behind(&self, prefix: &str) -> Self {
        Self {
            forwarded: format!("{prefix}{}", self.forwarded),
            judged: format!("{prefix}{}", self.judged),
        }
    }

    fn plain(&mut self, byte: u8) -> Result<u8, PathError> {
        match byte {
            b'\\' => Err(PathError::Backslash),
            b';' => Err(PathError::Parameter),
            0..=0x1f | 0x7f => Err(PathError::Control),
            _ if byte == b'/' || is_pchar(byte) => {
                self.forwarded.push(char::from(byte));
                Ok(byte)
            }
            _ => Err(PathError::Illegal),
        }
    }

    fn escape(&mut self, byte: u8, provider: Provider) -> Result<u8, PathError> {
        match byte {
            b'.' => Err(PathError::Dots),
            b'\\' => Err(PathError::Backslash),
            b'/' if !takes_encoded_slash(provider) => Err(PathError::EncodedSlash),
            0..=0x1f | 0x7f => Err(PathError::Control),
            _ if is_unreserved(byte) => {
                self.forwarded.push(char::from(byte));
                Ok(byte)
            }
            _ => {
                push_escape(&mut self.forwarded, byte);
                Ok(byte)
            }
        }
    }
}

/// Decodes the forwarded form, except for escapes that would change its structure.
fn judged(forwarded: &str, provider: Provider) -> Result<String, PathError> {
    if !forwarded.contains('%') {
        return Ok(forwarded.to_owned());
    }
    let mut judged = Vec::with_capacity(forwarded.len());
    let mut rest = forwarded.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            judged.push(byte);
            continue;
        }
        let (high, low) = (rest.next(), rest.next());
        match hex(high)? << 4 | hex(low)? {
            b'/' => judged.extend_from_slice(b"%2F"),
            b'%' => judged.extend_from_slice(b"%25"),
            b':' if provider.names_with_colon(end(forwarded, rest.len())) => {
                judged.extend_from_slice(b"%3A");
            }
            other => judged.push(other),
        }
    }
    String::from_utf8(judged).map_err(|_| PathError::NotUtf8)
}

/// The last `length` bytes of `text`.
fn end(text: &str, length: usize) -> &str {
    text.len().checked_sub(length).and_then(|start| text.get(start..)).unwrap_or_default()
}

/// Checks the decoded path.
fn check_decoded(decoded: &[u8], provider: Provider) -> Result<(), PathError> {
    let is_escape = |three: &[u8]| matches!(three, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    if decoded.contains(&b'%') && decoded.windows(3).any(is_escape) {
        return Err(PathError::Twice);
    }
    let text = std::str::from_utf8(decoded).map_err(|_| PathError::NotUtf8)?;
    if text.chars().count() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    // Control characters of ASCII were refused before.
    if !text.is_ascii() && text.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    if !text.is_ascii() && text.chars().any(looks_like_a_separator) {
        return Err(PathError::LookAlike);
    }
    if text.split('/').any(is_dots) {
        return Err(PathError::Dots);
    }
    // Keys of S3 objects may contain `//`.
    let takes_empty = provider == Provider::Aws && text.starts_with("/s3");
    if !takes_empty && text.as_bytes().windows(2).any(|two| two == b"//") {
        return Err(PathError::EmptySegment);
    }
    Ok(())
}

/// Whether names may contain an escaped `/`, as SDKs send it: files and branches of GitHub, objects
/// of Google, ARNs of AWS, items by path of Microsoft Graph (`items/root%3A%2Fa`), files of
/// HubSpot, external ids of Salesforce. For these, both interpretations are judged.
fn takes_encoded_slash(provider: Provider) -> bool {
    match provider {
        Provider::Github
        | Provider::Google
        | Provider::Aws
        | Provider::Microsoft
        | Provider::Hubspot
        | Provider::Salesforce => true,
        Provider::Slack | Provider::Jira | Provider::Notion | Provider::Linear => false,
    }
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986, section 3.3, without escapes and `;`.
fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

fn hex(digit: Option<u8>) -> Result<u8, PathError> {
    let digit = digit.map(char::from).and_then(|digit| digit.to_digit(16));
    digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(PathError::BadEscape)
}

fn push_escape(out: &mut String, byte: u8) {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    out.push('%');
    out.push(digit(byte >> 4).to_ascii_uppercase());
    out.push(digit(byte & 15).to_ascii_uppercase());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(raw: &str) -> Result<Path, PathError> {
        Path::parse(Provider::Github, raw)
    }

    #[test]
    fn ordinary_paths_are_forwarded_as_they_were_sent() {
        for path in [
            "/repos/a/b/contents/src%2Fmain.rs",
            "/repos/a/b/issues/1/",
            "/calendars/me%40example.com/events",
            "/users('x')/messages/$count",
            "/v1/projects/p:search",
            "/x/..hidden/...",
            "/100%25",
            "/caf%C3%A9",
            "/a%3Fb%23c",
        ] {
            assert_eq!(parse(path).unwrap().forwarded(), path);
        }
    }

    fn url_encoded(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn international_names_pass() {
        for name in [
            "テスト。txt",
            "報告（最終）：100％.pdf",
            "émoji 👍🏽",
            "l·l",
            "..a",
            "a..",
            "...",
            "नमस्ते",
        ] {
            let escaped: String = name.split('.').map(url_encoded).collect::<Vec<_>>().join(".");
            assert!(parse(&format!("/repos/a/b/contents/{escaped}")).is_ok(), "{name}");
        }
        let key = format!("/b/{}", "%E3%83%86".repeat(340));
        assert_eq!(Path::parse(Provider::Aws, &key).unwrap().forwarded(), key);
    }

    #[test]
    fn normal_form_and_judged_form() {
        let path = parse("/%61cme/%7euser/me%40x/%c3%a9/%3adelete").unwrap();
        assert_eq!(path.forwarded(), "/acme/~user/me%40x/%C3%A9/%3Adelete");
        assert_eq!(path.judged(), "/acme/~user/me@x/\u{e9}/:delete");
    }

    #[test]
    fn escaped_colon_of_google_starts_no_custom_verb() {
        let judged = |path: &str| Path::parse(Provider::Google, path).unwrap().judged().to_owned();
        assert_eq!(judged("/v1/topics%3asearch/"), "/v1/topics%3Asearch/");
        assert_eq!(judged("/v1/topics:search"), "/v1/topics:search");
        assert_eq!(judged("/v3/sites/sc%3Aa.example"), "/v3/sites/sc:a.example");
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        use PathError::*;
        for (path, fault) in [
            ("/a/../b", Dots),
            ("/a/./b", Dots),
            ("/a/..", Dots),
            ("/%2e%2e/b", Dots),
            ("/.%2E/b", Dots),
            ("/a/..%2Fb", Dots),
            ("/a%2f..%2fb", Dots),
            ("/..%3b/b", Dots),
            ("/.%E2%80%8B./b", Dots),
            ("/%252e%252e/b", Twice),
            ("/a%25%32%66b", Twice),
            ("/a\\b", Backslash),
            ("/a%5Cb", Backslash),
            ("/a%00b", Control),
            ("/a%0d%0ab", Control),
            ("/a%C2%85b", Control),
            ("/a;b", Parameter),
            ("/a//b", EmptySegment),
            ("//a", EmptySegment),
            ("/a%2F%2Fb", EmptySegment),
            ("/%c0%ae%c0%ae/b", NotUtf8),
            ("/%ff", NotUtf8),
            ("/a%EF%BC%8Fb", LookAlike),
            ("/%EF%BC%8E%EF%BC%8E/b", LookAlike),
            ("/a%E2%88%95b", LookAlike),
            ("/a%E2%81%84b", LookAlike),
            ("/%E2%80%A5/b", LookAlike),
            ("/%E2%80%A4%E2%80%A4/b", LookAlike),
            ("/a%E2%A7%B8b", LookAlike),
            ("/a%EF%B9%A8b", LookAlike),
            ("/%E3%80%82%E3%80%82/b", Dots),
            ("/%EF%BD%A1./b", Dots),
            ("/.%C2%B7/b", Dots),
            ("/.%EF%B8%8F./b", Dots),
            ("/%F3%A0%80%81../b", Dots),
            ("/..%20/b", Dots),
            ("/%20..%C2%A0/b", Dots),
            ("/.%20./b", Dots),
            ("/..%EF%BC%9Bx/b", Dots),
            ("/a%", BadEscape),
            ("/a%zz", BadEscape),
            ("/a%u002e", BadEscape),
            ("/a b", Illegal),
            ("/a<b", Illegal),
            ("/caf\u{e9}", Illegal),
            ("a", Relative),
        ] {
            assert_eq!(parse(path), Err(fault), "{path}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(MAX_PATH))), Err(TooLong));
    }

    #[test]
    fn encoded_slash_is_accepted_only_from_some_providers() {
        let path = "/pages/a%2Fb";
        assert_eq!(Path::parse(Provider::Notion, path), Err(PathError::EncodedSlash));
        assert_eq!(Path::parse(Provider::Google, path).unwrap().judged(), path);
        assert!(Path::parse(Provider::Aws, "/s3/bucket//key").is_ok());
        let elsewhere = "/portal.sso//federation//credentials";
        assert_eq!(Path::parse(Provider::Aws, elsewhere), Err(PathError::EmptySegment));
    }

    proptest! {
        #[test]
        fn forwarded_paths_are_normalized(raw in "/([a-z%./;:@]|%[0-9a-fA-F]{2}){0,24}") {
            if let Ok(path) = parse(&raw) {
                prop_assert_eq!(&parse(path.forwarded()).unwrap(), &path);
                let decoded = percent_encoding::percent_decode_str(path.forwarded());
                let decoded = decoded.decode_utf8().unwrap();
                prop_assert!(decoded.split('/').all(|part| part != "." && part != ".."));
                let judged = percent_encoding::percent_decode_str(path.judged());
                prop_assert_eq!(judged.decode_utf8().unwrap(), decoded);
            }
        }
    }
}
