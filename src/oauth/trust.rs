//! Which addresses a login may use. A server's metadata is untrusted input: it must not
//! make the gate send tokens in clear text, call services of this machine or network
//! (SSRF), or have the system's opener run something.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The network zone of a host, by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Zone {
    /// This machine.
    Loopback,
    /// An address literal of a private network.
    Private,
    /// A name, or any other address. A name may resolve to a private address, like a company's
    /// own authorization server, whose certificate authenticates it.
    Public,
}

/// The trust policy of one server's login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trust {
    server: Zone,
}

impl Trust {
    /// The policy for the server at `url`; `None` if no token may be sent there.
    pub(super) fn for_server(url: &Url) -> Option<Self> {
        let server = zone(url)?;
        let trust = Self { server };
        trust.allows(url).then_some(trust)
    }

    /// Whether the gate may call `url` or show it in a browser: only by https, and not in a
    /// zone closer than the server's; http only on this machine.
    pub(super) fn allows(self, url: &Url) -> bool {
        let Some(zone) = zone(url) else { return false };
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_safe = match url.scheme() {
            "https" => true,
            "http" => zone == Zone::Loopback,
            _ => false,
        };
        is_plain && is_safe && zone >= self.server
    }

    /// [`Self::allows`] for text.
    pub(super) fn parse(self, text: &str) -> Option<Url> {
        Url::parse(text).ok().filter(|url| self.allows(url))
    }
}

/// The zone of a URL's host; `None` for hosts never allowed: link-local (cloud metadata
/// services), multicast, unspecified.
fn zone(url: &Url) -> Option<Zone> {
    match url.host()? {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let is_local = name == "localhost" || name.ends_with(".localhost");
            Some(if is_local { Zone::Loopback } else { Zone::Public })
        }
        Host::Ipv4(address) => ipv4_zone(address),
        Host::Ipv6(address) => match address.to_canonical() {
            IpAddr::V4(address) => ipv4_zone(address),
            IpAddr::V6(address) if address.is_loopback() => Some(Zone::Loopback),
            IpAddr::V6(address) if address.is_unique_local() => Some(Zone::Private),
            IpAddr::V6(address) if embedded_ipv4(address).is_some() => {
                ipv4_zone(embedded_ipv4(address)?)
            }
            IpAddr::V6(address)
                if address.is_unspecified()
                    || address.is_multicast()
                    || address.is_unicast_link_local() =>
            {
                None
            }
            IpAddr::V6(_) => Some(Zone::Public),
        },
    }
}

/// The IPv4 address embedded in an IPv6 address: IPv4-compatible (RFC 4291, section
/// 2.5.5.1), NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => 12,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => 12,
        [0x2002, ..] => 2,
        _ => return None,
    };
    let four: [u8; 4] = octets.get(at..at + 4)?.try_into().ok()?;
    Some(four.into())
}

fn ipv4_zone(address: Ipv4Addr) -> Option<Zone> {
    let [first, second, ..] = address.octets();
    if address.is_loopback() {
        return Some(Zone::Loopback);
    }
    if address.is_link_local() || address.is_multicast() || address.is_broadcast() || first == 0 {
        return None;
    }
    // RFC 6598: shared by carriers and their customers.
    let is_shared = first == 100 && (64..128).contains(&second);
    Some(if address.is_private() || is_shared { Zone::Private } else { Zone::Public })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(server: &str, url: &str) -> bool {
        let trust = Trust::for_server(&Url::parse(server).unwrap()).unwrap();
        trust.parse(url).is_some()
    }

    #[test]
    fn tokens_travel_encrypted_but_on_this_machine() {
        for (server, may) in [
            ("https://mcp.example.com/mcp", true),
            ("http://127.0.0.1:3000/mcp", true),
            ("http://localhost:3000/mcp", true),
            ("http://[::1]:3000/mcp", true),
            ("http://mcp.example.com/mcp", false),
            ("http://10.0.0.4/mcp", false),
            ("ftp://mcp.example.com/mcp", false),
            ("https://user:word@mcp.example.com/mcp", false),
            ("data:text/html,x", false),
        ] {
            let trust = Trust::for_server(&Url::parse(server).unwrap());
            assert_eq!(trust.is_some(), may, "{server}");
        }
    }

    #[test]
    fn a_public_server_cannot_point_inwards() {
        let server = "https://mcp.example.com/mcp";
        assert!(allowed(server, "https://login.example.com/authorize"));
        assert!(allowed(server, "https://93.184.216.34/authorize"));
        for url in [
            "http://login.example.com/authorize",
            "http://127.0.0.1/authorize",
            "https://127.0.0.1/authorize",
            "https://localhost/authorize",
            "https://a.localhost./authorize",
            "https://10.0.0.1/authorize",
            "https://100.64.0.1/authorize",
            "https://169.254.169.254/latest",
            "https://[::1]/authorize",
            "https://[::ffff:127.0.0.1]/authorize",
            "https://[::127.0.0.1]/authorize",
            "https://[::ffff:0:0]/authorize",
            "https://[64:ff9b::169.254.169.254]/latest",
            "https://[2002:a00:1::]/authorize",
            "https://2130706433/authorize",
            "https://0x7f.1/authorize",
            "https://%31%32%37.0.0.1/authorize",
            "https://[fd00::1]/authorize",
            "https://[fe80::1]/authorize",
            "https://0.0.0.0/authorize",
            "https://user@login.example.com/authorize",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "x-evil://open",
            "/authorize",
            "",
        ] {
            assert!(!allowed(server, url), "{url}");
        }
    }

    #[test]
    fn private_server_may_point_to_private_addresses() {
        assert!(allowed("http://127.0.0.1:3000/mcp", "http://localhost:4000/authorize"));
        assert!(allowed("http://127.0.0.1:3000/mcp", "https://login.example.com/authorize"));
        assert!(allowed("https://10.0.0.4/mcp", "https://10.0.0.9/authorize"));
        assert!(!allowed("https://10.0.0.4/mcp", "https://127.0.0.1/authorize"));
        assert!(!allowed("https://10.0.0.4/mcp", "http://10.0.0.9/authorize"));
    }
}
