//! URIs of resources that servers may interpret as others. Pure.

use percent_encoding::percent_decode_str;
use url::Url;

use super::alternate_spellings::LONGEST_NAME;
use super::host;
use super::relative_path::is_drive;

/// Schemes that WHATWG's parser normalizes.
const NORMALIZED_SCHEMES: [&str; 6] = ["file", "http", "https", "ws", "wss", "ftp"];

/// Whether all parsers interpret `uri` alike: its scheme in lower case, no dot segments, no escaped
/// unreserved characters (RFC 3986, section 6.2.2), and nothing that parsers drop or replace
/// (WHATWG URL, section 4.4: surrounding white space, tabs and line breaks within, backslashes;
/// with `http` and the like, missing or additional slashes; with `file`, the host `localhost`).
pub(super) fn is_plain(uri: &str) -> bool {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    !uri.contains(|c: char| c.is_control() || c == '\\')
        && uri.trim() == uri
        && !scheme.contains(|c: char| c.is_ascii_uppercase())
        && has_plain_authority(scheme, rest)
        && !path.split('/').any(is_dots)
        && !escapes_needlessly(uri)
}

/// URIs with another meaning that `text`, a URI, may be taken for: as WHATWG's parser normalizes
/// it, and with unreserved or all URI characters unescaped.
pub(super) fn others(text: &str) -> Vec<String> {
    let mut others = Vec::new();
    let parsed = whatwg_form(text).map(|parsed| with_spelling_of(text, &parsed));
    for uri in parsed.as_deref().into_iter().chain([text]) {
        let plain = unescaped(uri, is_unreserved);
        let (path, query) = plain.split_at(end_of_path(&plain));
        others.push(unescaped(path, is_of_uris) + query);
        // Unescaped dots may form dot segments.
        others.extend(whatwg_form(&plain).map(|parsed| with_spelling_of(text, &parsed)));
        others.push(plain);
    }
    others.extend(with_rfc3986_host(text));
    if let Some(inner) = inner_uri(text) {
        // The inner URI has none within itself, so the recursion ends here.
        others.extend(self::others(inner));
        others.push(inner.to_owned());
    }
    others
}

/// The URI after a scheme prefix that only says how to fetch it: `view-source:https:`,
/// `git+https:`.
fn inner_uri(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let (_, inner) = scheme.rsplit_once([':', '+'])?;
    text.get(scheme.len() - inner.len()..).filter(|inner| is_uri(inner))
}

/// The URI with the host that parsers by RFC 3986 (Python's `urllib`, `httpx`) find: after the last
/// `@` before a slash, even if backslashes precede it.
fn with_rfc3986_host(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@')?;
    user.contains('\\').then(|| format!("{scheme}://{host}{path}"))
}

/// Other spellings of the same URI: with the host in lower case, in Punycode or without user and
/// trailing dot, with the escapes of WHATWG's parser, without any escapes, without a fragment; for
/// files, without a query, and the path.
pub(super) fn names(text: &str) -> Vec<String> {
    let parsed = Url::parse(text).ok().map(String::from);
    let both = whatwg_form(text).into_iter().chain([text.to_owned()]).chain(parsed);
    let all = both.chain(without_user(text)).chain(path_of_file(text)).chain(by_local_names(text));
    let all = all.flat_map(|uri| [without_fragment(&uri), Some(uri)]).flatten();
    all.flat_map(|uri| [unescaped(&uri, |_| true), uri]).collect()
}

/// The URI by which a resource is retrieved, if `uri` has a part that plays no role in it: the
/// fragment (RFC 3986, section 3.5), and for files what follows the path.
fn without_fragment(uri: &str) -> Option<String> {
    let is_file = uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"));
    let end = uri.find(|c| c == '#' || c == '?' && is_file)?;
    uri.get(..end).map(str::to_owned)
}

/// What a text that is no URI becomes on servers that insert it into one: unescaped, cut at `?` and
/// `#`, without tabs and line breaks, which parsers drop.
pub(super) fn as_part(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    if text.len() <= LONGEST_NAME && !text.contains(' ') {
        let is_dropped = |c: char| matches!(c, '\t' | '\n' | '\r');
        let whole = if text.contains(is_dropped) { &text.replace(is_dropped, "") } else { text };
        parts.extend((whole.len() < text.len()).then(|| whole.to_owned()));
        parts.extend(whole.split_once(['?', '#']).map(|(path, _)| path.to_owned()));
    }
    let all = parts.iter().map(String::as_str).chain([text]);
    let decoded: Vec<_> = all.flat_map(decodings).collect();
    parts.extend(decoded);
    parts
}

/// `text` unescaped once, twice and so on, as long as that changes it.
pub(super) fn decodings(text: &str) -> impl Iterator<Item = String> {
    /// Maximum number of rounds; some servers unescape twice.
    const TIMES: usize = 3;
    let decoded = |text: &str| {
        let other = text.contains('%').then(|| unescaped(text, |_| true));
        other.filter(|other| other != text)
    };
    std::iter::successors(decoded(text), move |text| decoded(text)).take(TIMES)
}

/// The URI without user and trailing dot, and with an IPv4-mapped address as IPv4. `None` if that
/// changes nothing.
fn without_user(uri: &str) -> Option<String> {
    let parsed = Url::parse(uri).ok()?;
    let mut url = parsed.clone();
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    url.set_host(Some(&host::usual(parsed.host()?).to_string())).ok()?;
    (url != parsed).then(|| url.into())
}

/// If the host is the local machine: the URI with each of its usual names.
fn by_local_names(uri: &str) -> Vec<String> {
    let parsed = Url::parse(uri).ok();
    parsed.iter().flat_map(host::by_local_names).map(|(_, url)| url.into()).collect()
}

/// The path of a `file` URI.
fn path_of_file(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok().filter(|url| url.scheme() == "file")?;
    let path = unescaped(url.path(), |_| true);
    let with_drive = path.strip_prefix('/').filter(|path| is_drive(path));
    Some(with_drive.unwrap_or(&path).to_owned())
}

/// The URI as normalized by WHATWG's parser, without a `/` added for an empty path.
fn whatwg_form(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    let has_path = uri.split_once("://").is_none_or(|(_, rest)| rest.contains('/'));
    let is_bare = !has_path && url.path() == "/" && url.query().is_none();
    let text: &str = url.as_str();
    Some(if is_bare { text.trim_end_matches('/') } else { text }.to_owned())
}

/// `parsed` with the spelling of `uri`: its host if it is the same, and without escapes of
/// characters that `uri` does not escape.
fn with_spelling_of(uri: &str, parsed: &str) -> String {
    let (own, (theirs, rest)) =
        (uri.split_at(end_of_host(uri)).0, parsed.split_at(end_of_host(parsed)));
    let origin = if is_same_host(own, theirs) { own } else { theirs };
    let has_escapes = unescaped(uri, is_of_no_uri) != uri;
    let rest = if has_escapes { rest.to_owned() } else { unescaped(rest, is_of_no_uri) };
    origin.to_owned() + &rest
}

/// Whether the origins of two URIs differ only in case, Punycode or an omitted default port.
fn is_same_host(uri: &str, parsed: &str) -> bool {
    let uri = uri.to_lowercase();
    let is_port = |rest: &str| {
        rest.strip_prefix(':').unwrap_or(rest).bytes().all(|byte| byte.is_ascii_digit())
    };
    let unicode = parsed
        .split_once("://")
        .map(|(scheme, host)| format!("{scheme}://{}", url::quirks::domain_to_unicode(host)));
    let mut both = [Some(parsed.to_owned()), unicode].into_iter().flatten();
    both.any(|parsed| uri.strip_prefix(&parsed).is_some_and(is_port))
}

/// Index of the end of the host; 0 if there is none.
fn end_of_host(uri: &str) -> usize {
    let Some(start) = uri.find("://").map(|at| at + 3) else { return 0 };
    let host = uri.get(start..).unwrap_or_default();
    start + host.find(['/', '?', '#', '\\']).unwrap_or(host.len())
}

/// Index of the query or fragment, which only web schemes certainly have.
fn end_of_path(uri: &str) -> usize {
    let is_web = uri.split_once(':').is_some_and(|(scheme, _)| is_of_the_web(scheme));
    let end = uri.find(['?', '#']).filter(|_| is_web);
    end.unwrap_or(uri.len())
}

fn is_of_the_web(scheme: &str) -> bool {
    NORMALIZED_SCHEMES
        .iter()
        .any(|known| *known != "file" && scheme.trim_start().eq_ignore_ascii_case(known))
}

/// A URI of another than the web schemes, unescaped and split after the host: the origin, and the
/// path with all that follows.
pub(super) fn split_after_host(text: &str) -> Option<(String, String)> {
    let is_web = text.split_once(':').is_none_or(|(scheme, _)| is_of_the_web(scheme));
    if is_web || end_of_host(text) == 0 {
        return None;
    }
    let plain = unescaped(text, |_| true);
    let (origin, path) = plain.split_at(end_of_host(&plain));
    Some((origin.to_owned(), path.to_owned()))
}

/// Whether `text` begins like a URI: with a scheme that WHATWG's parser normalizes, or with any
/// other and `//`.
pub(super) fn is_uri(text: &str) -> bool {
    /// Maximum length of the beginning that is checked, in bytes.
    const BEGINNING: usize = 256;
    let start = text.trim_start_matches(|c: char| c <= ' ');
    let start: String =
        start.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).take(BEGINNING).collect();
    let Some((scheme, rest)) = start.split_once(':') else { return false };
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_known =
        |scheme: &str| NORMALIZED_SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    // A prefix of the scheme may say how to fetch it.
    let is_inner = || rest.split_once("://").is_some_and(|(inner, _)| is_known(inner));
    !scheme.is_empty()
        && scheme.bytes().all(is_scheme)
        && (rest.starts_with("//") || is_known(scheme) || is_inner())
}

/// `uri` with the escapes of those bytes decoded for which `which` is true.
fn unescaped(uri: &str, which: fn(u8) -> bool) -> String {
    let mut out = Vec::with_capacity(uri.len());
    let mut rest = uri;
    while let Some((before, after)) = rest.split_once('%') {
        out.extend_from_slice(before.as_bytes());
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| which(*byte)) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(b'%');
                rest = after;
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether a byte is allowed in URIs (RFC 3986), or is a separator of paths on Windows.
fn is_of_uris(byte: u8) -> bool {
    is_unreserved(byte) || b":/?#[]@!$&'()*+,;=%\\".contains(&byte)
}

fn is_of_no_uri(byte: u8) -> bool {
    !is_of_uris(byte)
}

/// Whether WHATWG's parser would leave the authority of a URI as it is.
fn has_plain_authority(scheme: &str, rest: &str) -> bool {
    let host = rest.strip_prefix("//");
    match scheme {
        "file" => host.is_some_and(|below| {
            let host = below.split('/').next().unwrap_or_default();
            !host.eq_ignore_ascii_case("localhost")
        }),
        "http" | "https" | "ws" | "wss" | "ftp" => host.is_some_and(|host| !host.starts_with('/')),
        _ => true,
    }
}

fn is_dots(segment: &str) -> bool {
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    matches!(&*decoded, "." | "..")
}

fn escapes_needlessly(uri: &str) -> bool {
    let mut escapes = uri.match_indices('%').filter_map(|(at, _)| uri.get(at..at + 3));
    escapes.any(|escape| percent_decode_str(escape).next().is_some_and(is_unreserved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_have_the_readings_of_all_servers() {
        let readings = |text: &str| {
            let all = others(text).into_iter().chain(names(text));
            all.filter(|reading| is_uri(text) && reading != text).collect::<Vec<_>>()
        };
        for (uri, reading) in [
            ("file:///etc/%70asswd", "file:///etc/passwd"),
            ("file:///etc%2Fpasswd", "file:///etc/passwd"),
            ("file:///srv/%2e%2e/etc/passwd", "file:///etc/passwd"),
            ("file:///srv/%2E./etc/passwd", "file:///etc/passwd"),
            ("file:/etc/passwd", "file:///etc/passwd"),
            ("file://localhost/etc/passwd", "file:///etc/passwd"),
            (" FILE:///etc/passwd", "file:///etc/passwd"),
            ("fi\tle:///etc/passwd", "file:///etc/passwd"),
            ("http:\\\\127.1\\a", "http://127.0.0.1/a"),
            ("http://2130706433/", "http://127.0.0.1/"),
            ("https://Example.com:443/a", "https://example.com/a"),
            ("https://example.com", "https://example.com/"),
            ("https://me:you@example.com/a", "https://example.com/a"),
            ("https://example.com./a", "https://example.com/a"),
            ("ssh://git@example.com/a", "ssh://example.com/a"),
            ("http://[::ffff:7f00:1]/a", "http://127.0.0.1/a"),
            ("file:///etc/pass%77d?a#b", "/etc/passwd"),
            ("file:///etc/passwd?a#b", "file:///etc/passwd"),
            ("FILE:/etc/pass%77d#b", "file:///etc/passwd"),
            ("notes://all/secret#b", "notes://all/secret"),
            ("file:///C:/etc/passwd", "C:/etc/passwd"),
            ("https://x.org\\@evil.example/a", "https://evil.example/a"),
            ("view-source:https://evil.example/a", "https://evil.example/a"),
            ("git+https://evil.example/a", "https://evil.example/a"),
            ("x://public/../private/a", "x://public/private/a"),
        ] {
            let found = readings(uri);
            let expected = if uri.starts_with("x:") { "x://public/private/a" } else { reading };
            assert!(found.iter().any(|found| found == expected), "{uri:?}: {found:?}");
        }
        for text in [
            "https://example.com/a/b?c=d",
            "x://docs/a",
            "note: 100%25",
            "/etc/%70asswd",
            "main",
            "",
        ] {
            assert_eq!(readings(text), Vec::<String>::new(), "{text:?}");
        }
    }

    #[test]
    fn only_normalized_uris_are_plain() {
        for uri in [
            "demo://resource/static/document/a..b.md",
            "file:///srv/caf%C3%A9/a%20b%2Fc?d=../e",
            "postgres://user@HOST/Table/schema",
            "note:Today",
            "https://example.com",
            "",
        ] {
            assert!(is_plain(uri), "{uri:?}");
        }
        for uri in [
            " demo://resource/static/a",
            "DEMO://resource/static/a",
            "demo://resource/sta\ttic/a",
            "demo://resource/static/a\n",
            "demo://resource/dynamic/../static/a",
            "demo://resource/dynamic/%2E%2e/static/a",
            "demo://resource/./static/a",
            "demo://resource\\static/a",
            "demo://resource/st%61tic/a",
            "file:..",
            "file:/etc/secret",
            "file:etc/secret",
            "file://LocalHost/etc/secret",
            "https:/example.com/a",
            "https:example.com/a",
            "https:///example.com/a",
        ] {
            assert!(!is_plain(uri), "{uri:?}");
        }
    }
}
