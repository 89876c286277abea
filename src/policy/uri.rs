//! URIs of resources that a server may read as other ones than they are written. Pure.

use percent_encoding::percent_decode_str;

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

/// How else a text that is a URI may be read: as browsers and JavaScript do (WHATWG URL),
/// without the escapes of characters that need none, and without any escapes. None where
/// it is no URI, or everybody reads it alike.
pub(super) fn readings(text: &str) -> Vec<String> {
    if !is_uri(text) {
        return Vec::new();
    }
    let mut readings = Vec::new();
    let mut add = |reading: String| {
        if reading != text && !readings.contains(&reading) {
            readings.push(reading);
        }
    };
    let parsed = as_browsers_do(text);
    for uri in parsed.as_deref().into_iter().chain([text]) {
        let plain = without_needless_escapes(uri);
        add(percent_decode_str(&plain).decode_utf8_lossy().into_owned());
        // Without escapes its dots may be segments.
        add(as_browsers_do(&plain).unwrap_or_default());
        add(plain);
    }
    readings.retain(|reading| !reading.is_empty());
    readings
}

/// The URI as WHATWG's parser writes it, but for the `/` that stands for no path.
fn as_browsers_do(uri: &str) -> Option<String> {
    let url = url::Url::parse(uri).ok()?;
    let has_path = uri.split_once("://").is_none_or(|(_, rest)| rest.contains('/'));
    let is_bare = !has_path && url.path() == "/" && url.query().is_none();
    let text: &str = url.as_str();
    Some(if is_bare { text.trim_end_matches('/') } else { text }.to_owned())
}

/// Whether `text` begins as a URI does: with a scheme that WHATWG's parser mends, or with
/// another and `//`.
fn is_uri(text: &str) -> bool {
    /// The longest beginning that is looked at, in bytes.
    const BEGINNING: usize = 256;
    let start = text.trim_start_matches(|c: char| c <= ' ');
    let start: String =
        start.chars().take(BEGINNING).filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let Some((scheme, rest)) = start.split_once(':') else { return false };
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    !scheme.is_empty()
        && scheme.bytes().all(is_scheme)
        && (rest.starts_with("//") || MENDED.iter().any(|known| scheme.eq_ignore_ascii_case(known)))
}

fn without_needless_escapes(uri: &str) -> String {
    let mut out = String::with_capacity(uri.len());
    let mut rest = uri;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| is_unreserved(*byte)) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
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
            ("x://public/../private/a", "x://public/private/a"),
        ] {
            let found = readings(uri);
            let expected = if uri.starts_with("x:") { "x://public/private/a" } else { reading };
            assert!(found.iter().any(|found| found == expected), "{uri:?}: {found:?}");
        }
        for text in [
            "https://example.com",
            "https://example.com/a/b?c=d",
            "file:///srv/a.md",
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
