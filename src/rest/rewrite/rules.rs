//! Rewrite rules for URLs in responses: those of the API and of its file hosts lead through
//! the gate, pre-authenticated ones through a signed path, all others stay. Pure, but for
//! the clock that signed paths need.

use std::sync::Arc;

use super::scan::{Edit, Editor};
use crate::action::Provider;
use crate::rest::hosts::{self, HostOverrides};
use crate::rest::preauthenticated_urls::{self, Place, PreauthenticatedUrl};
use crate::rest::route::Upstream;
use crate::rest::ticket::Signer;

/// Suffixes of the names of members that hold URLs of the API. Other strings that happen to
/// begin with such a URL are left alone.
const MEMBERS: [&str; 9] =
    ["url", "uri", "link", "links", "self", "next", "previous", "nextpage", "href"];

/// What a member's name says about its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    api: Api,
    /// The row for members of this name.
    row: Option<&'static PreauthenticatedUrl>,
}

/// Whether a string may be a URL of the API.
#[derive(Debug, Clone, Copy)]
enum Api {
    No,
    Yes,
    /// Only with one of these path prefixes: members of these names also hold text.
    Below(&'static [&'static str]),
}

/// The URL mappings of one provider, made once per configuration: from an origin to the
/// path that follows the provider's base URL as the client sees it.
#[derive(Debug, Default)]
pub struct UrlMappings {
    /// Origins of the API.
    api: Vec<(String, String)>,
    /// Origins of file hosts.
    files: Vec<(String, String)>,
    /// Configured origins that replace single hosts, by host pattern.
    overrides: Vec<(String, String)>,
    /// The configured origin that replaces every host.
    upstream: Option<String>,
}

impl UrlMappings {
    /// Those of `provider`, whose hosts are where `hosts` and `upstream` say, and
    /// else the vendor's.
    #[must_use]
    pub fn new(provider: Provider, hosts: &HostOverrides, upstream: Option<&Upstream>) -> Self {
        // Not all of Slack's own host is its API.
        let below = if provider == Provider::Slack { "/api" } else { "" };
        let (mut api, mut files) = (Vec::new(), Vec::new());
        // The most specific first, as two may have the same origin.
        let overrides = hosts.overrides().map(|(name, at)| (name.to_owned(), at.origin()));
        let overrides: Vec<_> = overrides.collect();
        for (name, origin) in &overrides {
            if let Some(follows) = of_host(provider, name) {
                api.push((origin.clone(), follows));
            } else if provider.file_hosts().contains(&name.as_str()) {
                files.push((origin.clone(), format!("/{name}")));
            }
        }
        let upstream = upstream.map(Upstream::origin);
        api.extend(upstream.iter().map(|origin| (origin.clone(), String::new())));
        let vendors = hosts::of_api(provider).iter();
        api.extend(vendors.map(|host| (format!("https://{host}{below}"), below.to_owned())));
        let vendors = provider.file_hosts().iter();
        files.extend(vendors.map(|host| (format!("https://{host}"), format!("/{host}"))));
        Self { api, files, overrides, upstream }
    }
}

/// The rules for the response to one request.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    provider: Provider,
    mappings: Arc<UrlMappings>,
    /// The provider's base URL as the client sees it.
    base: String,
    /// Whether the body is certainly the API's, so that member names tell which strings are
    /// its URLs.
    is_api_body: bool,
    signer: Option<Box<Signer>>,
}

impl Rules {
    pub(super) fn new(
        provider: Provider,
        mappings: Arc<UrlMappings>,
        base: &str,
        signer: Option<Signer>,
        is_api_body: bool,
    ) -> Self {
        let (base, signer) = (base.to_owned(), signer.map(Box::new));
        Self { provider, mappings, base, is_api_body, signer }
    }

    /// The edit for a URL in a header that clients follow.
    pub(super) fn in_location(&self, url: &str) -> Option<Edit> {
        let mut rows = self.rows().filter(|row| row.place == Place::Header);
        match rows.find(|row| self.is_of_row(row, url)) {
            Some(row) => self.signed(row, url),
            None => self.file(url).or_else(|| self.api(url)),
        }
    }

    /// The edit for a URL of the API.
    pub(super) fn api(&self, url: &str) -> Option<Edit> {
        self.rewrite_origin(&self.mappings.api, url).or_else(|| self.google_url(url))
    }

    /// The edit for the URL of a file that needs the credential.
    fn file(&self, url: &str) -> Option<Edit> {
        self.rewrite_origin(&self.mappings.files, url)
    }

    /// The edit by the first of `mappings` whose origin `url` begins with.
    fn rewrite_origin(&self, mappings: &[(String, String)], url: &str) -> Option<Edit> {
        let (until, follows) =
            mappings.iter().find_map(|(from, follows)| Some((begins(url, from)?, follows)))?;
        self.prefixed(url, until, follows)
    }

    /// Replaces the prefix of `url`, unless dot segments would lead to another provider.
    fn prefixed(&self, url: &str, until: usize, follows: &str) -> Option<Edit> {
        let path = url.get(until..)?.split(['?', '#']).next().unwrap_or_default();
        let to = || Edit::Prefix { until, to: format!("{}{follows}", self.base) };
        (!preauthenticated_urls::may_leave_folder(path)).then(to)
    }

    /// Each of Google's services has its own host, which becomes a path segment.
    fn google_url(&self, url: &str) -> Option<Edit> {
        if self.provider != Provider::Google {
            return None;
        }
        let (host, _) = preauthenticated_urls::split_https_url(url)?;
        let until = begins(url, &format!("https://{host}"))?;
        self.prefixed(url, until, &of_host(Provider::Google, host)?)
    }

    /// The kinds of pre-authenticated URLs that this response may contain.
    fn rows(&self) -> impl Iterator<Item = &'static PreauthenticatedUrl> {
        self.signer.iter().flat_map(|signer| signer.rows.iter().copied())
    }

    fn signed(&self, row: &PreauthenticatedUrl, url: &str) -> Option<Edit> {
        let signer = self.signer.as_ref()?;
        Some(Edit::Whole(signer.sign(url, row.methods)))
    }

    /// The kind of pre-authenticated URL that `url` is.
    fn row(&self, member: Member, url: &str) -> Option<&'static PreauthenticatedUrl> {
        let in_place_of_all =
            self.mappings.upstream.as_deref().and_then(|origin| target(url, origin));
        let at_all =
            |row: &PreauthenticatedUrl| in_place_of_all.is_some_and(|at| row.matches_anywhere(at));
        let named = member.row.filter(|row| self.is_of_row(row, url) || at_all(row));
        named.or_else(|| {
            let mut rows = self.rows().filter(|row| row.place == Place::Anywhere);
            rows.find(|row| self.is_of_row(row, url))
        })
    }

    /// Whether `url` is of the kind `row`, at the vendor's host or at a configured override.
    fn is_of_row(&self, row: &PreauthenticatedUrl, url: &str) -> bool {
        let mut overrides = self.mappings.overrides.iter();
        row.matches(url)
            || overrides.any(|(name, origin)| {
                target(url, origin).is_some_and(|target| row.matches_at(name, target))
            })
    }

    /// Whether members of any name may hold URLs.
    fn looks_everywhere(&self) -> bool {
        !self.mappings.files.is_empty() || self.rows().any(|row| row.place == Place::Anywhere)
    }
}

impl Editor for Rules {
    type Member = Member;

    fn member(&self, name: &str) -> Option<Member> {
        let is_meant =
            |row: &&PreauthenticatedUrl| matches!(row.place, Place::Member(own) if own == name);
        let row = self.rows().find(is_meant);
        let api = match (self.provider, name) {
            // In `_links` of contents.
            (Provider::Github, "git") => Api::Yes,
            // Of attachments. Comments have a member `content`, too.
            (Provider::Jira, "content" | "thumbnail") => Api::Below(&["/rest/api/", "/secure/"]),
            // In `avatarUrls`.
            (Provider::Jira, "16x16" | "24x24" | "32x32" | "48x48") => {
                Api::Below(&["/rest/api/", "/secure/"])
            }
            _ if is_url(name) => Api::Yes,
            _ => Api::No,
        };
        let api = if self.is_api_body { api } else { Api::No };
        let may_hold_url = row.is_some() || !matches!(api, Api::No);
        may_hold_url.then_some(Member { api, row })
    }

    fn unnamed(&self) -> Option<Member> {
        self.looks_everywhere().then_some(Member { api: Api::No, row: None })
    }

    fn may_begin(&self, start: &[u8]) -> bool {
        let plain = start.iter().take_while(|byte| **byte != b'\\');
        plain.zip(b"http").all(|(byte, of_scheme)| byte.eq_ignore_ascii_case(of_scheme))
    }

    fn edit(&self, member: Member, text: &str) -> Option<Edit> {
        if let Some(row) = self.row(member, text) {
            return self.signed(row, text);
        }
        self.file(text).or_else(|| match member.api {
            Api::No => None,
            Api::Yes => self.api(text),
            Api::Below(starts) => self.api(text).filter(|edit| match edit {
                Edit::Prefix { until, .. } => {
                    let path = text.get(*until..).unwrap_or_default();
                    starts.iter().any(|start| path.starts_with(start))
                }
                Edit::Whole(_) => false,
            }),
        })
    }
}

/// Whether a member of this name holds a URL.
fn is_url(name: &str) -> bool {
    let ends_in = |member: &&str| {
        let end = name.len().checked_sub(member.len()).and_then(|start| name.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(member))
    };
    MEMBERS.iter().any(ends_in)
}

/// The path that a host of the API is mapped to; `None` for other hosts.
fn of_host(provider: Provider, host: &str) -> Option<String> {
    match provider {
        Provider::Google if host == "www.googleapis.com" => Some(String::new()),
        Provider::Google => {
            let service = host.strip_suffix(".googleapis.com")?;
            (!service.is_empty() && !service.contains('.')).then(|| format!("/{host}"))
        }
        _ => hosts::of_api(provider).contains(&host).then(String::new),
    }
}

/// What follows `origin` in `url`.
fn target<'u>(url: &'u str, origin: &str) -> Option<&'u str> {
    begins(url, origin).and_then(|until| url.get(until..))
}

/// The length of `origin` in `url`, where the authority ends there:
/// `https://api.github.com.evil` does not match.
fn begins(url: &str, origin: &str) -> Option<usize> {
    let start = url.get(..origin.len()).filter(|start| start.eq_ignore_ascii_case(origin))?;
    let rest = url.get(start.len()..).unwrap_or_default();
    let port = if rest.starts_with(":443") && origin.starts_with("https:") { 4 } else { 0 };
    let next = rest.as_bytes().get(port);
    let ends = matches!(next, None | Some(b'/' | b'?' | b'#' | b'{'));
    ends.then_some(start.len() + port)
}

#[cfg(test)]
mod tests;
