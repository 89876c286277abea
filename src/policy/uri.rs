//! URIs of resources that a server may read as other ones than they are written. Pure.

use percent_encoding::percent_decode_str;
use url::Url;

use super::alternate_spellings::LONGEST_NAME;
use super::host;
use super::relative_path::is_drive;

/// The schemes that WHATWG's parser mends.
const MENDED: [&str; 6] = ["file", "http", "https", "ws", "wss", "ftp"];

/// Whether everybody reads `uri` alike: its scheme in lower case, no dot segment, no
/// escape of a character that needs none (RFC 3986, section 6.2.2), and nothing that
/// parsers drop or turn (WHATWG URL, section 4.4: white space around it, tabs and line
/// ends in it, backslashes; of `http` and the like, slashes that are missing or too many;
/// of `file`, the host `localhost`).
pub(super) fn is_plain(uri: &str) -> bool {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    !uri.contains(|c: char| c.is_control() || c == '\\')
        && uri.trim() == uri
        && !scheme.contains(|c: char| c.is_ascii_uppercase())
        && is_whole(scheme, rest)
        && !path.split('/').any(is_dots)
        && !escapes_needlessly(uri)
}

/// What else than it seems to be a text that is a URI may be read as: as browsers and
/// JavaScript do (WHATWG URL), and without the escapes of what may stand in a URI.
pub(super) fn others(text: &str) -> Vec<String> {
    let mut others = Vec::new();
    let parsed = as_browsers_do(text).map(|parsed| in_the_words_of(text, &parsed));
    for uri in parsed.as_deref().into_iter().chain([text]) {
        let plain = unescaped(uri, is_unreserved);
        let (path, query) = plain.split_at(end_of_path(&plain));
        others.push(unescaped(path, is_of_uris) + query);
        // Without escapes its dots may be segments.
        others.extend(as_browsers_do(&plain).map(|parsed| in_the_words_of(text, &parsed)));
        others.push(plain);
    }
    others.extend(with_backslashes(text));
    if let Some(inner) = within(text) {
        // It has no other within, so this is not called a third time.
        others.extend(self::others(inner));
        others.push(inner.to_owned());
    }
    others
}

/// The URI behind a scheme that stands for how it is got: `view-source:https:`, `git+https:`.
fn within(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let (_, inner) = scheme.rsplit_once([':', '+'])?;
    text.get(scheme.len() - inner.len()..).filter(|inner| is_uri(inner))
}

/// The URI as who goes by RFC 3986 (Python's `urllib`, `httpx`) finds its host: behind the
/// last `@` before a slash, whatever backslashes stand there.
fn with_backslashes(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@')?;
    user.contains('\\').then(|| format!("{scheme}://{host}{path}"))
}

/// How else it is written: with its host in small letters, in ASCII or without what may
/// stand around it, with the escapes that browsers make, without any; of a file, as its path.
pub(super) fn names(text: &str) -> Vec<String> {
    let parsed = Url::parse(text).ok().map(String::from);
    let both = as_browsers_do(text).into_iter().chain([text.to_owned()]).chain(parsed);
    let all = both.chain(bare(text)).chain(path_of_file(text)).chain(at_this_computer(text));
    all.flat_map(|uri| [unescaped(&uri, |_| true), uri]).collect()
}

/// What a text that is no URI is to a server that puts it into one or takes it for a part of
/// one: without escapes, up to where a query or a fragment begins, without the white space
/// that parsers drop.
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

/// A text with its escapes taken off once, twice and so on, for as long as that changes it.
pub(super) fn decodings(text: &str) -> impl Iterator<Item = String> {
    /// How often it is done: some servers do so twice.
    const TIMES: usize = 3;
    let decoded = |text: &str| {
        let other = text.contains('%').then(|| unescaped(text, |_| true));
        other.filter(|other| other != text)
    };
    std::iter::successors(decoded(text), move |text| decoded(text)).take(TIMES)
}

/// The URI without a user in front of its host and a dot behind it, and with an address that
/// is one of IPv4 by way of IPv6 as what it is.
fn bare(uri: &str) -> Option<String> {
    let parsed = Url::parse(uri).ok()?;
    let mut url = parsed.clone();
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    url.set_host(Some(&host::usual(parsed.host()?).to_string())).ok()?;
    (url != parsed).then(|| url.into())
}

/// The URI of a server on the computer itself by the names that this has.
fn at_this_computer(uri: &str) -> Vec<String> {
    let parsed = Url::parse(uri).ok();
    parsed.iter().flat_map(host::by_local_names).map(|(_, url)| url.into()).collect()
}

/// The path that whoever takes URIs of files for paths opens.
fn path_of_file(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok().filter(|url| url.scheme() == "file")?;
    let path = unescaped(url.path(), |_| true);
    let with_drive = path.strip_prefix('/').filter(|path| is_drive(path));
    Some(with_drive.unwrap_or(&path).to_owned())
}

/// The URI as WHATWG's parser writes it, but for the `/` that stands for no path.
fn as_browsers_do(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    let has_path = uri.split_once("://").is_none_or(|(_, rest)| rest.contains('/'));
    let is_bare = !has_path && url.path() == "/" && url.query().is_none();
    let text: &str = url.as_str();
    Some(if is_bare { text.trim_end_matches('/') } else { text }.to_owned())
}

/// `parsed`, with the host as in `uri` where it is the same, and without the escapes of what
/// `uri` has none of.
fn in_the_words_of(uri: &str, parsed: &str) -> String {
    let (own, (theirs, rest)) =
        (uri.split_at(end_of_host(uri)).0, parsed.split_at(end_of_host(parsed)));
    let origin = if is_same_host(own, theirs) { own } else { theirs };
    let has_escapes = unescaped(uri, is_of_no_uri) != uri;
    let rest = if has_escapes { rest.to_owned() } else { unescaped(rest, is_of_no_uri) };
    origin.to_owned() + &rest
}

/// Whether the beginnings of two URIs differ in capitals, in Punycode or in the port that
/// is left out because it goes without saying.
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

/// Where the host ends; 0 if there is none.
fn end_of_host(uri: &str) -> usize {
    let Some(start) = uri.find("://").map(|at| at + 3) else { return 0 };
    let host = uri.get(start..).unwrap_or_default();
    start + host.find(['/', '?', '#', '\\']).unwrap_or(host.len())
}

/// Where a query or a fragment begins, which only schemes of the web have for certain.
fn end_of_path(uri: &str) -> usize {
    let is_web = uri.split_once(':').is_some_and(|(scheme, _)| is_of_the_web(scheme));
    let end = uri.find(['?', '#']).filter(|_| is_web);
    end.unwrap_or(uri.len())
}

fn is_of_the_web(scheme: &str) -> bool {
    MENDED.iter().any(|known| *known != "file" && scheme.trim_start().eq_ignore_ascii_case(known))
}

/// A URI of no scheme of the web as who cuts it behind its host sees it, without escapes:
/// the beginning, and the path with whatever follows it.
pub(super) fn cut(text: &str) -> Option<(String, String)> {
    let is_web = text.split_once(':').is_none_or(|(scheme, _)| is_of_the_web(scheme));
    if is_web || end_of_host(text) == 0 {
        return None;
    }
    let plain = unescaped(text, |_| true);
    let (origin, path) = plain.split_at(end_of_host(&plain));
    Some((origin.to_owned(), path.to_owned()))
}

/// Whether `text` begins as a URI does: with a scheme that WHATWG's parser mends, or with
/// another and `//`.
pub(super) fn is_uri(text: &str) -> bool {
    /// The longest beginning that is looked at, in bytes.
    const BEGINNING: usize = 256;
    let start = text.trim_start_matches(|c: char| c <= ' ');
    let start: String =
        start.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).take(BEGINNING).collect();
    let Some((scheme, rest)) = start.split_once(':') else { return false };
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_known = |scheme: &str| MENDED.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    // One scheme may stand for how the other is got.
    let is_inner = || rest.split_once("://").is_some_and(|(inner, _)| is_known(inner));
    !scheme.is_empty()
        && scheme.bytes().all(is_scheme)
        && (rest.starts_with("//") || is_known(scheme) || is_inner())
}

/// `uri` without the escapes of the bytes that `which` says yes to.
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

/// Whether a byte may stand in a URI as it is (RFC 3986), or parts names on Windows.
fn is_of_uris(byte: u8) -> bool {
    is_unreserved(byte) || b":/?#[]@!$&'()*+,;=%\\".contains(&byte)
}

fn is_of_no_uri(byte: u8) -> bool {
    !is_of_uris(byte)
}

/// Whether a URI of one of the schemes that WHATWG's parser mends needs no mending.
fn is_whole(scheme: &str, rest: &str) -> bool {
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
    fn a_uri_is_read_in_every_way_that_servers_do() {
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
    fn only_one_way_to_write_a_uri_is_plain() {
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
