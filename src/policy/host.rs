//! Hosts in texts: one host has many names. Pure.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Maximum length of a text that is checked, in bytes: host names have at most 253 (RFC 1035), plus
/// what may surround them.
const LONGEST: usize = 512;

/// Usual names of the local machine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whether a text names the host `wanted`, which is an address, a name with a dot, or `localhost`:
/// as an address in another notation (`2130706433` and `127.1` are 127.0.0.1), with a trailing dot,
/// with what may surround a host in a URL, or by another name of the local machine.
pub(super) fn may_be(text: &str, wanted: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    let may_be_one = (1..=LONGEST).contains(&wanted.len())
        && wanted.bytes().all(is_name)
        && (wanted.contains(['.', ':']) || is_localhost(wanted))
        && text.len() <= LONGEST
        && (!is_plain(text) || is_localhost(text));
    // Connecting to the unspecified address reaches the local machine, but not vice versa.
    let is_it = |text: Host<String>, wanted: Host<String>| {
        text == wanted || is_local(&text) && is_loopback(&wanted)
    };
    let both = || Some((of(text)?, of(wanted)?));
    may_be_one
        && (is_host(wanted) || is_localhost(wanted))
        && both().is_some_and(|(text, wanted)| is_it(text, wanted))
}

/// If a text is, or begins with, a name of the local machine: variants with each of its usual
/// names.
pub(super) fn local_names(text: &str) -> Vec<String> {
    let text = text.trim();
    let starts = |c: char| c == '[' || c == ':' || c.is_numeric();
    let is_small = text.len() < 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let may_be_one = text.len() <= LONGEST
        && (text.starts_with(starts) && !is_small || text.to_lowercase().contains("localhost"));
    let parse = || {
        let host = text.parse::<Ipv6Addr>().map_or(text.to_owned(), |it| format!("[{it}]"));
        Url::parse(&format!("http://{host}")).ok()
    };
    let Some(url) = may_be_one.then(parse).flatten() else { return Vec::new() };
    let shown = |(name, url): (&str, Url)| {
        let named = url.as_str().strip_prefix("http://")?;
        let named = if text.contains('/') { named } else { named.trim_end_matches('/') };
        Some([named.to_owned(), name.trim_matches(['[', ']']).to_owned()])
    };
    by_local_names(&url).filter_map(shown).flatten().collect()
}

/// A URL of the local machine with each of its usual names; nothing for other hosts.
pub(super) fn by_local_names(url: &Url) -> impl Iterator<Item = (&'static str, Url)> {
    let names = match url.host().is_some_and(|host| is_local(&usual(host))) {
        true => &LOCAL[..],
        false => &[],
    };
    names.iter().filter_map(|name| {
        let mut url = url.clone();
        url.set_host(Some(name)).ok()?;
        Some((*name, url))
    })
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let end = name.len().checked_sub("localhost".len()).and_then(|at| name.split_at_checked(at));
    end.is_some_and(|(before, end)| {
        end.eq_ignore_ascii_case("localhost") && (before.is_empty() || before.ends_with('.'))
    })
}

/// Whether connecting to `host`, in its usual form, reaches the local machine (RFC 6761, section
/// 6.3; RFC 1122, section 3.2.1.3).
fn is_local(host: &Host<String>) -> bool {
    let is_unspecified = match host {
        Host::Domain(_) => false,
        Host::Ipv4(address) => address.is_unspecified(),
        Host::Ipv6(address) => address.is_unspecified(),
    };
    is_unspecified || is_loopback(host)
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => is_localhost(name),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// The usual notation of an address in another one: as a single number, in octal or hexadecimal,
/// IPv4-mapped, or with a port.
pub(super) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let is_short = (1..=LONGEST).contains(&text.len());
    let may_be_one = is_short && text.starts_with(|c: char| c == '[' || c == ':' || c.is_numeric());
    if !may_be_one || is_number(text) || text.parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    match of(text)? {
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
        Host::Domain(_) => None,
    }
}

/// The URLs that browsers make of a text that begins with a host instead of a scheme.
pub(super) fn urls(text: &str) -> Option<[String; 2]> {
    /// Maximum length of such a URL, in bytes.
    const LONGEST_URL: usize = 4 << 10;
    let bare = text.trim().trim_start_matches('/');
    let bare = (bare.len() <= LONGEST_URL).then_some(bare)?;
    let end = bare.find(['/', '?', '#', ':']).unwrap_or(bare.len());
    let host = bare.get(..end).filter(|host| host.contains('.') && host.len() <= LONGEST)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let may_be_one = !bare.contains("://") && host.bytes().all(is_name) && is_host(host);
    let url = may_be_one.then(|| Url::parse(&format!("http://{bare}")).ok()).flatten()?;
    let (_, rest) = url.as_str().split_once("://")?;
    Some(["https", "http"].map(|scheme| format!("{scheme}://{rest}")))
}

/// Whether a glob, prefix or regex may be about URLs of a host.
pub(super) fn is_of_urls(pattern: &str) -> bool {
    let host = pattern.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    host.is_some_and(|host| {
        host.contains('.') && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Whether a glob, prefix or regex may be about addresses.
pub(super) fn is_of_addresses(pattern: &str) -> bool {
    pattern.contains(['.', ':']) && pattern.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether a glob, prefix or regex may be about the local machine.
pub(super) fn is_of_local(pattern: &str) -> bool {
    pattern.contains("127")
        || pattern.contains("::1")
        || pattern.to_lowercase().contains("localhost")
}

/// Whether a text is a small number or a version, so that it is not treated as an address unless a
/// rule asks for one.
fn is_number(text: &str) -> bool {
    let is_decimal =
        |part: &str| part == "0" || !part.starts_with('0') && part.parse::<u8>().is_ok();
    let is_small = text.len() < 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_small || text.split('.').count() < 4 && text.split('.').all(is_decimal)
}

/// Whether a text has no other spelling as a host.
fn is_plain(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('.')
        && text.bytes().all(|byte| is_letter(byte) || byte == b'.')
}

/// Whether a value in a rule is a host: an address, or a name that ends in letters.
fn is_host(wanted: &str) -> bool {
    let bare = wanted.trim_start_matches('[').trim_end_matches(']');
    let last = wanted.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_name = !wanted.contains(['[', ']', ':', '_'])
        && last.len() > 1
        && last.bytes().all(|byte| byte.is_ascii_alphabetic());
    bare.parse::<IpAddr>().is_ok() || is_name
}

/// The host that a text names, alone or in a URL; the same for all its spellings.
fn of(text: &str) -> Option<Host<String>> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(usual(Host::Ipv6(address)));
    }
    let url = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("http://{text}")),
    };
    Some(match usual(url.ok()?.host()?) {
        Host::Domain(name) => Host::Domain(name.to_ascii_lowercase()),
        address => address,
    })
}

/// A host in its usual form: without trailing dots; IPv4-mapped addresses as IPv4.
pub(super) fn usual(host: Host<&str>) -> Host<String> {
    match host {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
        Host::Ipv4(address) => Host::Ipv4(address),
        Host::Ipv6(address) => match address.to_canonical() {
            IpAddr::V4(address) => Host::Ipv4(address),
            IpAddr::V6(address) => Host::Ipv6(address),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_many_names() {
        for (text, wanted) in [
            ("127.1", "127.0.0.1"),
            // A server that listens at all addresses listens at each of 127.0.0.0/8.
            ("127.0.0.2", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("127\u{3002}0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("[::ffff:7f00:1]", "127.0.0.1"),
            ("http://127.1/x", "127.0.0.1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("[::1]", "::1"),
            ("::1", "[::1]"),
            ("evil.example.", "evil.example"),
            ("evil.example:443", "evil.example"),
            ("me@evil.example/x?y", "evil.example"),
            ("evil\u{3002}example", "evil.example"),
            ("%65vil.example", "evil.example"),
            ("https://evil.example", "evil.example"),
            ("//evil.example/x", "evil.example"),
        ] {
            assert!(may_be(text, wanted), "{text} for {wanted}");
        }
        for (text, wanted) in [
            ("evil.example", "other.example"),
            ("sub.evil.example", "evil.example"),
            ("evil.example.org", "evil.example"),
            ("128.0.0.1", "127.0.0.1"),
            // Versions and file names are not hosts.
            ("1.0.2", "1.2"),
            ("0x16", "22"),
            ("a/main", "main"),
            ("src/main", "src"),
            ("", "a.example"),
        ] {
            assert!(!may_be(text, wanted), "{text} for {wanted}");
        }
    }

    #[test]
    fn addresses_are_distinguished_from_numbers() {
        for (text, expected) in [
            ("127.65535", Some("127.0.255.255")),
            ("1.2", None),
            ("1.0.2", None),
            ("0177.0.0.1", Some("127.0.0.1")),
            ("2130706433", Some("127.0.0.1")),
            ("0x7f.1", Some("127.0.0.1")),
            ("[::ffff:10.0.0.1]", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("10.0.0.1", None),
            ("1234567", None),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("evil.example", None),
            ("", None),
            ("22 USD", None),
        ] {
            assert_eq!(address(text).as_deref(), expected, "{text}");
        }
        assert!(is_of_addresses("10.*") && is_of_addresses(r"^127\."));
        assert!(!is_of_addresses("[^a-z0-9]") && !is_of_addresses("*.pem"));
    }

    #[test]
    fn urls_may_lack_a_scheme() {
        for (text, rest) in [
            ("Evil.example/x", "evil.example/x"),
            ("//evil.example", "evil.example/"),
            ("evil.example:443?x", "evil.example:443/?x"),
            ("10.0.0.1/x", "10.0.0.1/x"),
        ] {
            let made = [format!("https://{rest}"), format!("http://{rest}")];
            assert_eq!(urls(text), Some(made), "{text}");
        }
        for text in ["main", "/srv/a.md", "src/main.rs", "https://a.example", "1.2", "a b.example"]
        {
            assert_eq!(urls(text), None, "{text}");
        }
        assert!(is_of_urls("https://*.evil.example/**") && is_of_urls(r"^https?://evil\.example"));
        assert!(!is_of_urls("https://") && !is_of_urls("http*") && !is_of_urls("https://*/a.b"));
    }

    proptest::proptest! {
        #[test]
        fn notations_of_a_host_are_equivalent(number: u32) {
            let address = Ipv4Addr::from(number).to_string();
            for written in [number.to_string(), format!("{number:#x}"), format!("{address}.")] {
                proptest::prop_assert!(may_be(&written, &address), "{}", written);
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,16}", wanted in "[a-z0-9.:\\[\\]]{0,12}") {
            may_be(&text, &wanted);
            address(&text);
            urls(&text);
        }
    }
}
