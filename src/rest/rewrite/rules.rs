//! What becomes of the URLs in answers: those of the API itself come back
//! through the gate, pre-authenticated ones through a signed path, all others
//! stay. Pure, but for the clock that signed paths need.

use super::scan::{Edit, Editor};
use crate::action::Provider;
use crate::rest::hosts;
use crate::rest::minted::Minted;
use crate::rest::proxy::Site;
use crate::rest::ticket::Signer;

/// Ends of the names of members that hold URLs of the API itself. A text that
/// happens to begin with such a URL is nobody's business.
const MEMBERS: [&str; 9] =
    ["url", "uri", "link", "links", "self", "next", "previous", "nextpage", "href"];

/// What a name says of the string behind it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Member {
    /// A URL of the API's.
    Api,
    /// The same, where its path begins like this: names that texts have, too.
    ApiBelow(&'static [&'static str]),
    /// A pre-authenticated URL, where the host is one of the row's.
    Minted(&'static Minted),
}

/// The rules for the answers to one request.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    provider: Provider,
    /// Where the provider begins, as the client sees it.
    base: String,
    /// What URLs of the API begin with, and what they are to begin with.
    api: Vec<(String, String)>,
    /// Scheme, host and path of what the configuration put in place of the
    /// vendor's hosts.
    configured: Vec<String>,
    signer: Option<Signer>,
}

impl Rules {
    pub(super) fn new(
        provider: Provider,
        site: Option<&Site>,
        base: &str,
        signer: Option<Signer>,
    ) -> Self {
        // Not all of Slack's own host is its API.
        let below = if provider == Provider::Slack { "/api" } else { "" };
        let vendors = hosts::of_api(provider).iter();
        let vendors =
            vendors.map(|host| (format!("https://{host}{below}"), format!("{base}{below}")));
        let mut api: Vec<(String, String)> = Vec::new();
        let mut configured = Vec::new();
        if let Some(site) = site {
            // The most exact first: two of them may be one.
            for (name, place) in site.hosts.places() {
                configured.push(place.origin());
                if let Some(to) = of_host(provider, name, base) {
                    api.push((place.origin(), to));
                }
            }
            if let Some(upstream) = &site.upstream {
                configured.push(upstream.origin());
                api.push((upstream.origin(), base.to_owned()));
            }
        }
        api.extend(vendors);
        Self { provider, base: base.to_owned(), api, configured, signer }
    }

    /// What becomes of the URL in a header that leads on.
    pub(super) fn in_location(&self, url: &str) -> Option<Edit> {
        let row = Minted::in_location(self.provider);
        let host = vendors_host(url);
        match row.filter(|row| host.is_some_and(|host| row.is_on(host))) {
            Some(row) => self.signed(row, url),
            None => self.api(url),
        }
    }

    /// What becomes of a URL of the API's.
    pub(super) fn api(&self, url: &str) -> Option<Edit> {
        let found = self.api.iter().find_map(|(from, to)| {
            let until = begins(url, from)?;
            Some(Edit::Prefix { until, to: to.clone() })
        });
        found.or_else(|| self.googles(url))
    }

    /// Each of Google's services has a host, which the path names.
    fn googles(&self, url: &str) -> Option<Edit> {
        if self.provider != Provider::Google {
            return None;
        }
        let host = vendors_host(url)?;
        let to = of_host(Provider::Google, host, &self.base)?;
        Some(Edit::Prefix { until: begins(url, &format!("https://{host}"))?, to })
    }

    fn signed(&self, row: &Minted, url: &str) -> Option<Edit> {
        let signer = self.signer.as_ref()?;
        Some(Edit::Whole(signer.sign(url, row.methods)))
    }
}

impl Editor for Rules {
    type Member = Member;

    fn member(&self, name: &str) -> Option<Member> {
        if let Some(row) = Minted::in_member(self.provider, name) {
            return Some(Member::Minted(row));
        }
        match (self.provider, name) {
            // `_links` of contents.
            (Provider::Github, "git") => return Some(Member::Api),
            // Attachments; comments have a `content`, too.
            (Provider::Jira, "content" | "thumbnail") => {
                return Some(Member::ApiBelow(&["/rest/api/", "/secure/"]));
            }
            _ => {}
        }
        let name = name.to_ascii_lowercase();
        MEMBERS.iter().any(|member| name.ends_with(member)).then_some(Member::Api)
    }

    fn edit(&self, member: Member, text: &str) -> Option<Edit> {
        match member {
            Member::Api => self.api(text),
            Member::ApiBelow(starts) => self.api(text).filter(|edit| match edit {
                Edit::Prefix { until, .. } => {
                    let path = text.get(*until..).unwrap_or_default();
                    starts.iter().any(|start| path.starts_with(start))
                }
                Edit::Whole(_) => false,
            }),
            Member::Minted(row) => {
                let is_vendors = vendors_host(text).is_some_and(|host| row.is_on(host));
                let is_configured =
                    || self.configured.iter().any(|origin| begins(text, origin).is_some());
                match is_vendors || is_configured() {
                    true => self.signed(row, text),
                    false => self.api(text),
                }
            }
        }
    }
}

/// What URLs of one host of the API's are to begin with; `None` where it is no
/// host of the API's.
fn of_host(provider: Provider, host: &str, base: &str) -> Option<String> {
    match provider {
        Provider::Google if host == "www.googleapis.com" => Some(base.to_owned()),
        Provider::Google => {
            let service = host.strip_suffix(".googleapis.com")?;
            (!service.is_empty() && !service.contains('.')).then(|| format!("{base}/{host}"))
        }
        _ => hosts::of_api(provider).contains(&host).then(|| base.to_owned()),
    }
}

/// The host of an `https` URL on its own port.
fn vendors_host(url: &str) -> Option<&str> {
    let start = url.get(.."https://".len())?;
    let rest = url.get(start.len()..).filter(|_| start.eq_ignore_ascii_case("https://"))?;
    let end = rest.find(['/', '?', '#', '\\', '{']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (!host.is_empty() && host.bytes().all(is_plain)).then_some(host)
}

/// How much of `url` is `origin` and ends there: `https://api.github.com.evil`
/// begins alike.
fn begins(url: &str, origin: &str) -> Option<usize> {
    let start = url.get(..origin.len()).filter(|start| start.eq_ignore_ascii_case(origin))?;
    let rest = url.get(start.len()..).unwrap_or_default();
    let port = if rest.starts_with(":443") && origin.starts_with("https:") { 4 } else { 0 };
    let next = rest.as_bytes().get(port);
    let ends = matches!(next, None | Some(b'/' | b'?' | b'#' | b'{'));
    ends.then_some(start.len() + port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::hosts::Hosts;
    use crate::rest::route::Upstream;

    const BASE: &str = "http://gate:8100/proxy/x";

    fn after(rules: &Rules, name: &str, url: &str) -> String {
        match rules.member(name).and_then(|member| rules.edit(member, url)) {
            Some(Edit::Prefix { until, to }) => format!("{to}{}", &url[until..]),
            Some(Edit::Whole(to)) => to,
            None => url.to_owned(),
        }
    }

    fn of(provider: Provider, site: Option<&Site>) -> Rules {
        Rules::new(provider, site, BASE, None)
    }

    #[test]
    fn urls_of_the_api_lead_back_and_no_others_do() {
        use Provider::*;
        let jira = Site {
            upstream: Upstream::parse("https://acme.atlassian.net").ok(),
            ..Site::default()
        };
        for (provider, site, name, url, led) in [
            (Github, None, "url", "https://api.github.com/r", "/r"),
            (
                Github,
                None,
                "upload_url",
                "https://uploads.github.com/r{?name,label}",
                "/r{?name,label}",
            ),
            (Github, None, "git", "https://api.github.com/r", "/r"),
            (Github, None, "next", "https://api.github.com", ""),
            (Github, None, "url", "HTTPS://API.github.com:443/r", "/r"),
            (
                Microsoft,
                None,
                "@odata.nextLink",
                "https://graph.microsoft.com/v1.0/me?$skip=1",
                "/v1.0/me?$skip=1",
            ),
            (Google, None, "nextLink", "https://www.googleapis.com/x", "/x"),
            (
                Google,
                None,
                "selfLink",
                "https://bigquery.googleapis.com/x",
                "/bigquery.googleapis.com/x",
            ),
            (
                Notion,
                None,
                "upload_url",
                "https://api.notion.com/v1/file_uploads/1/send",
                "/v1/file_uploads/1/send",
            ),
            (Hubspot, None, "link", "https://api.hubapi.com/x?after=1", "/x?after=1"),
            (Slack, None, "url", "https://slack.com/api/x", "/api/x"),
            (
                Jira,
                Some(&jira),
                "self",
                "https://acme.atlassian.net/rest/api/3/issue/1",
                "/rest/api/3/issue/1",
            ),
            (
                Jira,
                Some(&jira),
                "content",
                "https://acme.atlassian.net/rest/api/3/attachment/content/1",
                "/rest/api/3/attachment/content/1",
            ),
        ] {
            assert_eq!(after(&of(provider, site), name, url), format!("{BASE}{led}"));
        }
        for (provider, site, name, url) in [
            (Github, None, "html_url", "https://github.com/a/b"),
            (Github, None, "body", "https://api.github.com/x"),
            (Github, None, "url", "https://api.github.com.evil/x"),
            (Github, None, "url", "https://api.github.com@evil/x"),
            (Github, None, "url", "https://api.github.com:8443/x"),
            (Github, None, "url", "see https://api.github.com/x"),
            (Google, None, "selfLink", "https://evil.com.googleapis.com/x"),
            (Google, None, "webViewLink", "https://drive.google.com/x"),
            (Microsoft, None, "@odata.id", "https://graph.microsoft.com/v1.0/users/1"),
            (Slack, None, "url", "https://slack.com/archives/C1"),
            (Jira, Some(&jira), "content", "https://acme.atlassian.net/browse/X-1"),
        ] {
            assert_eq!(after(&of(provider, site), name, url), url);
        }
    }

    #[test]
    fn hosts_that_were_put_elsewhere_are_the_providers_own() {
        let named =
            [("gmail", "http://127.0.0.1:1"), ("www.googleapis.com", "http://127.0.0.1:2/g")];
        let named = named.map(|(name, url)| (name.to_owned(), url.to_owned()));
        let hosts = Hosts::parse(Provider::Google, &named.into()).unwrap();
        let site = Site { hosts, ..Site::default() };
        let rules = of(Provider::Google, Some(&site));
        let led = |url| after(&rules, "nextLink", url);
        assert_eq!(
            led("http://127.0.0.1:1/gmail/v1/x"),
            format!("{BASE}/gmail.googleapis.com/gmail/v1/x")
        );
        assert_eq!(led("http://127.0.0.1:2/g/drive/x"), format!("{BASE}/drive/x"));
        assert_eq!(led("http://127.0.0.1:20/g/x"), "http://127.0.0.1:20/g/x");
        assert_eq!(led("http://127.0.0.1:2/gx"), "http://127.0.0.1:2/gx");
    }
}
