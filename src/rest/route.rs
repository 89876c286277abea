//! Where a provider's requests go: the vendor's own hosts, or what the
//! configuration names in their place.

use std::borrow::Cow;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::action::Provider;
use crate::intent;

/// A provider's upstream: scheme, host and a path that everything stands below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

/// Why a text is no upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// Not `http://host[:port][/path]` or `https://…`.
    #[error("`{0}` is not a base URL; write https://host or https://host/path")]
    NotAUrl(String),
    /// User information, a query or a fragment.
    #[error("`{0}` must be a scheme, a host and a path, and nothing else")]
    TooMuch(String),
}

impl Upstream {
    /// Reads a base URL.
    ///
    /// # Errors
    /// See [`UpstreamFault`].
    pub fn parse(url: &str) -> Result<Self, UpstreamFault> {
        let wrong = || UpstreamFault::NotAUrl(url.to_owned());
        let parts = url.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(wrong());
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong());
        }
        let path = parts.path_and_query;
        let has_query = path.as_ref().is_some_and(|path| path.query().is_some());
        if has_query || authority.as_str().contains('@') || url.contains('#') {
            return Err(UpstreamFault::TooMuch(url.to_owned()));
        }
        let base = path.map_or(String::new(), |path| path.path().trim_end_matches('/').to_owned());
        Ok(Self { scheme, authority, base })
    }

    /// One of a vendor's own hosts; `None` where it may be a customer's of the vendor.
    pub(super) fn vendor(host: &str) -> Option<Self> {
        let authority = host.parse().ok().filter(|_| !is_of_customer(host))?;
        Some(Self { scheme: Scheme::HTTPS, authority, base: String::new() })
    }

    /// The host, with a port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Scheme, host and base path, as URLs in answers begin.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.base)
    }

    /// Path and query of `url` below it; `None` where it stands elsewhere.
    #[must_use]
    pub fn target<'u>(&self, url: &'u Uri) -> Option<&'u str> {
        let is_here =
            url.scheme() == Some(&self.scheme) && url.authority() == Some(&self.authority);
        let below = url.path_and_query()?.as_str().strip_prefix(&self.base)?;
        (is_here && (below.is_empty() || below.starts_with(['/', '?']))).then_some(below)
    }

    /// The URI of `path` and `query`, both as they are to be sent.
    #[must_use]
    pub fn uri(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let target = match (self.base.is_empty(), query) {
            (true, None) => Cow::Borrowed(path),
            (_, None) => format!("{}{path}", self.base).into(),
            (_, Some(query)) => format!("{}{path}?{query}", self.base).into(),
        };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(&*target)
            .build()
            .ok()
    }
}

/// Where a path leads: the host it is meant for, and what is left of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination<'p> {
    /// The vendor's host; `None` where only the configuration can say.
    pub host: Option<Cow<'static, str>>,
    /// The path on that host.
    pub path: Cow<'p, str>,
}

/// The region of AWS requests that name none.
const AWS_REGION: &str = "us-east-1";

/// Finds the vendor's host for a path in normal form.
#[must_use]
pub fn destination<'p>(provider: Provider, path: &'p str, region: Option<&str>) -> Destination<'p> {
    if let Some((host, below)) = provider.file_at(path) {
        let below = if below.is_empty() { "/" } else { below };
        return Destination { host: Some(host.into()), path: below.into() };
    }
    let host = match provider {
        Provider::Google => return google(path),
        Provider::Aws => return aws(path, region.unwrap_or(AWS_REGION)),
        Provider::Github if is_upload(path) => Some("uploads.github.com"),
        _ => provider.main_host(),
    };
    Destination { host: host.map(Cow::Borrowed), path: provider.full_form(path) }
}

/// Release assets are the one thing that GitHub takes elsewhere.
fn is_upload(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    let fixed = [parts.next(), parts.nth(2), parts.nth(1)];
    fixed == [Some("repos"), Some("releases"), Some("assets")] && parts.next().is_none()
}

/// Most of Google's services have a host of their own: named by the first
/// segment (`/gmail.googleapis.com/gmail/v1/…`), or told by the path. The rest
/// shares one.
fn google(path: &str) -> Destination<'_> {
    let rest = path.get(1..).unwrap_or_default();
    let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
    let is_host = first.strip_suffix(".googleapis.com").is_some_and(|service| {
        !service.is_empty()
            && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    });
    if is_host {
        let start = path.len() - below.len() - usize::from(rest.contains('/'));
        let below = path.get(start..).filter(|below| !below.is_empty()).unwrap_or("/");
        return Destination { host: Some(first.to_owned().into()), path: below.into() };
    }
    const TOLD_BY_PATH: [(&str, &str); 9] = [
        ("/gmail/", "gmail.googleapis.com"),
        ("/upload/gmail/", "gmail.googleapis.com"),
        ("/v4/spreadsheets", "sheets.googleapis.com"),
        ("/v1/documents", "docs.googleapis.com"),
        ("/v1/presentations", "slides.googleapis.com"),
        ("/v1/people", "people.googleapis.com"),
        ("/v1/contactGroups", "people.googleapis.com"),
        ("/v1/forms", "forms.googleapis.com"),
        ("/tasks/", "tasks.googleapis.com"),
    ];
    let told = TOLD_BY_PATH.iter().find(|(start, _)| path.starts_with(start));
    let host = told.map(|(_, host)| *host).or(Provider::Google.main_host());
    Destination { host: host.map(Cow::Borrowed), path: Provider::Google.full_form(path) }
}

/// Services of AWS that have one place for the world.
const GLOBAL: [&str; 4] = ["iam", "route53", "cloudfront", "organizations"];

/// Whether a host of AWS's may be a machine or a bucket of somebody's
/// (`ec2-203-0-113-25.compute-1`, `bucket.s3`): the region is a client's word, and
/// its own hosts have one of the regions' form.
fn is_of_customer(host: &str) -> bool {
    let Some(name) = host.strip_suffix(".amazonaws.com") else { return false };
    match name.split_once('.') {
        None => !GLOBAL.contains(&name),
        Some((_, region)) => !intent::is_aws_region(region),
    }
}

/// `/s3/bucket/key`: the service comes first, as SDKs are told their endpoint.
fn aws<'p>(path: &'p str, region: &str) -> Destination<'p> {
    let rest = path.get(1..).unwrap_or_default();
    let (service, _) = rest.split_once('/').unwrap_or((rest, ""));
    let is_label = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let below = path.get(1 + service.len()..).filter(|below| !below.is_empty()).unwrap_or("/");
    let host = match is_label(service) && is_label(region) {
        true if GLOBAL.contains(&service) => Some(format!("{service}.amazonaws.com").into()),
        true => Some(format!("{service}.{region}.amazonaws.com").into()),
        false => None,
    };
    Destination { host, path: below.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(provider: Provider, path: &str) -> String {
        let destination = destination(provider, path, Some("eu-west-1"));
        format!("{}{}", destination.host.as_deref().unwrap_or("?"), destination.path)
    }

    #[test]
    fn paths_lead_to_the_vendors_hosts() {
        use Provider::*;
        for (provider, path, leads_to) in [
            (Google, "/drive/v3/files", "www.googleapis.com/drive/v3/files"),
            (Google, "/calendars/x/events", "www.googleapis.com/calendar/v3/calendars/x/events"),
            (
                Google,
                "/gmail/v1/users/me/messages",
                "gmail.googleapis.com/gmail/v1/users/me/messages",
            ),
            (Google, "/v4/spreadsheets/x", "sheets.googleapis.com/v4/spreadsheets/x"),
            (Google, "/pubsub.googleapis.com/v1/x", "pubsub.googleapis.com/v1/x"),
            (Google, "/pubsub.googleapis.com", "pubsub.googleapis.com/"),
            (Google, "/evil.com.googleapis.com/x", "www.googleapis.com/evil.com.googleapis.com/x"),
            (Slack, "/chat.postMessage", "slack.com/api/chat.postMessage"),
            (Slack, "/files.slack.com/files-pri/T-F/a.png", "files.slack.com/files-pri/T-F/a.png"),
            (Slack, "/files.slack.com", "files.slack.com/"),
            (Slack, "/files.slack.com.evil/x", "slack.com/api/files.slack.com.evil/x"),
            (Linear, "/uploads.linear.app/a/b", "uploads.linear.app/a/b"),
            (Notion, "/uploads.linear.app/a", "api.notion.com/v1/uploads.linear.app/a"),
            (
                Github,
                "/repos/a/b/releases/1/assets",
                "uploads.github.com/repos/a/b/releases/1/assets",
            ),
            (Github, "/repos/a/b/releases", "api.github.com/repos/a/b/releases"),
            (Jira, "/issue/X-1", "?/rest/api/3/issue/X-1"),
            (Aws, "/s3/bucket/key", "s3.eu-west-1.amazonaws.com/bucket/key"),
            (Aws, "/dynamodb", "dynamodb.eu-west-1.amazonaws.com/"),
            (Aws, "/dynamodb/", "dynamodb.eu-west-1.amazonaws.com/"),
            (Aws, "/iam/", "iam.amazonaws.com/"),
            (Aws, "/evil.com/x", "?/x"),
        ] {
            assert_eq!(lead(provider, path), leads_to);
        }
    }

    #[test]
    fn upstreams_are_base_urls_and_nothing_else() {
        let upstream = Upstream::parse("http://127.0.0.1:9000/api/").unwrap();
        let uri = upstream.uri("/x%2Fy", Some("a=1")).unwrap();
        assert_eq!(uri, "http://127.0.0.1:9000/api/x%2Fy?a=1");
        let plain = Upstream::parse("https://example.com").unwrap();
        assert_eq!(plain.uri("/", None).unwrap(), "https://example.com/");
        for wrong in
            ["example.com", "ftp://x", "/x", "https://u:p@x", "https://x?y", "https://x/#y", ""]
        {
            assert!(Upstream::parse(wrong).is_err(), "{wrong}");
        }
    }
}
