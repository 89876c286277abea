//! URIs of resources that a server may read as other ones than they are written. Pure.

use percent_encoding::percent_decode_str;

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
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut escapes = uri.match_indices('%').filter_map(|(at, _)| uri.get(at..at + 3));
    escapes.any(|escape| percent_decode_str(escape).next().is_some_and(is_unreserved))
}

#[cfg(test)]
mod tests {
    use super::*;

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
