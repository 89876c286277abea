//! Pre-authenticated URLs: a provider issues them in its answers, and a request to one
//! needs no credential. One row each.
//!
//! A response may contain text of others. So a URL counts only where it is on a host that is
//! the provider's alone (or in its own folder on a shared one) and has a signature, and one
//! to write to only in the response to a request for such a URL.

use percent_encoding::percent_decode_str;

use crate::action::Provider;

/// A kind of pre-authenticated URLs.
#[derive(Debug, PartialEq, Eq)]
pub struct PreauthenticatedUrl {
    /// The provider that issues it.
    pub provider: Provider,
    /// Position in a response.
    pub place: Place,
    /// Requests in whose responses it occurs.
    request_pattern: RequestPattern,
    /// Hosts of the provider, each with the path prefix that belongs to the provider.
    origins: &'static [&'static str],
    /// Query parameters, one of which must be present; empty if every URL at this place
    /// is pre-authenticated.
    signature_parameters: &'static [&'static str],
    /// Methods that the URL allows.
    pub methods: &'static [&'static str],
}

/// Position of a URL in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a header that clients follow (`Location`).
    Header,
    /// In the member of this name.
    Member(&'static str),
    /// In any string: there are many member names, or the client chooses them.
    Anywhere,
}

/// A set of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestPattern {
    /// All requests.
    Any,
    /// Requests whose path ends in one of these segments.
    Ending(&'static [&'static str]),
    /// Requests with this string in path or query.
    Naming(&'static str),
    /// All requests that do more than read.
    Writes,
}

/// Hosts of file contents of OneDrive, SharePoint, Outlook and Universal Print (Microsoft
/// Graph, "uploadSession resource type" and "Download driveItem content").
const CONTENTS: &[&str] = &[
    "*.sharepoint.com",
    "*.sharepoint.us",
    "*.sharepoint.cn",
    "*.1drv.com",
    "*.svc.ms",
    "api.onedrive.com",
    "my.microsoftpersonalcontent.com",
    "outlook.office.com",
    "outlook.office365.com",
    "print.print.microsoft.com",
];

/// Hosts of reports (Microsoft Graph, "reportRoot").
const REPORTS: &[&str] = &["*.office.com"];

/// Hosts of archives, assets and logs (GitHub, "Download a repository archive", "Get a release
/// asset", "Download an organization migration archive"), and of the results of Actions: the
/// accounts listed for `actions` in GitHub's meta API. Listed one by one, as anybody can open
/// another account there.
const ARCHIVES: &[&str] = &[
    "codeload.github.com",
    "*.githubusercontent.com",
    "github-cloud.s3.amazonaws.com",
    "productionresultssa0.blob.core.windows.net",
    "productionresultssa1.blob.core.windows.net",
    "productionresultssa2.blob.core.windows.net",
    "productionresultssa3.blob.core.windows.net",
    "productionresultssa4.blob.core.windows.net",
    "productionresultssa5.blob.core.windows.net",
    "productionresultssa6.blob.core.windows.net",
    "productionresultssa7.blob.core.windows.net",
    "productionresultssa8.blob.core.windows.net",
    "productionresultssa9.blob.core.windows.net",
    "productionresultssa10.blob.core.windows.net",
    "productionresultssa11.blob.core.windows.net",
    "productionresultssa12.blob.core.windows.net",
    "productionresultssa13.blob.core.windows.net",
    "productionresultssa14.blob.core.windows.net",
    "productionresultssa15.blob.core.windows.net",
    "productionresultssa16.blob.core.windows.net",
    "productionresultssa17.blob.core.windows.net",
    "productionresultssa18.blob.core.windows.net",
    "productionresultssa19.blob.core.windows.net",
];

/// Linear's storage: its own host, and its buckets.
const LINEARS: &[&str] = &[
    "uploads.linear.app",
    "storage.googleapis.com/uploads.linear.app/",
    "storage.googleapis.com/imports.linear.app/",
    "storage.googleapis.com/public.linear.app/",
];

/// Notion's storage: bucket names are unique across regions.
const NOTIONS: &[&str] = &[
    "prod-files-secure.s3.*.amazonaws.com",
    "s3.*.amazonaws.com/secure.notion-static.com/",
    "file.notion.so",
    "file.notion.com",
];

const HUBSPOTS: &[&str] = &[
    "*.hubspotusercontent-na1.net",
    "*.hubspotusercontent-na2.net",
    "*.hubspotusercontent-na3.net",
    "*.hubspotusercontent-eu1.net",
    "*.hubspotusercontent-ap1.net",
];

/// Hosts of Drive's previews.
const PREVIEWS: &[&str] = &[
    "lh3.googleusercontent.com",
    "lh4.googleusercontent.com",
    "lh5.googleusercontent.com",
    "lh6.googleusercontent.com",
];

/// Signatures of S3, Cloud Storage and CloudFront, and providers' own.
const SIGNATURES: &[&str] = &["X-Amz-Signature", "X-Goog-Signature", "Signature"];

const DOWNLOAD: &[&str] = &["GET", "HEAD"];

const fn row(
    provider: Provider,
    place: Place,
    origins: &'static [&'static str],
    methods: &'static [&'static str],
) -> PreauthenticatedUrl {
    PreauthenticatedUrl {
        provider,
        place,
        request_pattern: RequestPattern::Any,
        origins,
        signature_parameters: &[],
        methods,
    }
}

impl PreauthenticatedUrl {
    const fn request_pattern(self, request_pattern: RequestPattern) -> Self {
        Self { request_pattern, ..self }
    }

    const fn signed(self, signature_parameters: &'static [&'static str]) -> Self {
        Self { signature_parameters, ..self }
    }
}

static ROWS: [PreauthenticatedUrl; 16] = {
    use Place::{Anywhere, Header, Member};
    use Provider::{Github, Google, Hubspot, Jira, Linear, Microsoft, Notion, Slack};
    [
        row(Slack, Member("upload_url"), &["files.slack.com/upload/"], &["POST", "PUT"])
            .request_pattern(RequestPattern::Ending(&["files.getUploadURLExternal"])),
        // PUT uploads ranges, GET returns the progress, DELETE aborts.
        row(Microsoft, Member("uploadUrl"), CONTENTS, &["PUT", "POST", "GET", "DELETE"])
            .request_pattern(RequestPattern::Ending(&[
                "createUploadSession",
                "upload.createSession",
                "$batch",
            ])),
        row(Microsoft, Member("@microsoft.graph.downloadUrl"), CONTENTS, DOWNLOAD),
        row(Microsoft, Member("@content.downloadUrl"), CONTENTS, DOWNLOAD),
        // Other members of that name link to web pages, possibly of third parties.
        row(Microsoft, Member("url"), CONTENTS, DOWNLOAD)
            .request_pattern(RequestPattern::Naming("thumbnails"))
            .signed(&["tempauth", "access_token"]),
        // `302` to the content, `202` to the progress of a copy.
        row(Microsoft, Header, CONTENTS, DOWNLOAD),
        row(Microsoft, Header, REPORTS, DOWNLOAD),
        row(Github, Header, ARCHIVES, DOWNLOAD),
        // Files of private repositories (`download_url`).
        row(Github, Anywhere, &["raw.githubusercontent.com"], DOWNLOAD).signed(&["token"]),
        row(Jira, Header, &["api.media.atlassian.com", "media-cdn.atlassian.com"], DOWNLOAD),
        row(Linear, Member("uploadUrl"), LINEARS, &["PUT"]).request_pattern(RequestPattern::Writes),
        // In GraphQL the client chooses the names of members.
        row(Linear, Anywhere, LINEARS, &["PUT", "GET", "HEAD"])
            .request_pattern(RequestPattern::Writes)
            .signed(SIGNATURES),
        row(Linear, Anywhere, LINEARS, DOWNLOAD).signed(SIGNATURES),
        row(Notion, Anywhere, NOTIONS, DOWNLOAD).signed(SIGNATURES),
        row(Hubspot, Anywhere, HUBSPOTS, DOWNLOAD).signed(SIGNATURES),
        // They have no signature parameter: the path is the secret.
        row(Google, Member("thumbnailLink"), PREVIEWS, DOWNLOAD),
    ]
};

impl PreauthenticatedUrl {
    /// Whether it may occur in the response to a request for `path`. `is_read`: the request
    /// only reads.
    fn may_occur_in_answer(&self, path: &str, query: &[(String, String)], is_read: bool) -> bool {
        match self.request_pattern {
            RequestPattern::Any => true,
            RequestPattern::Writes => !is_read,
            RequestPattern::Naming(name) => {
                let is_name = |segment: &str| segment.eq_ignore_ascii_case(name);
                path.split('/').any(is_name)
                    || query.iter().any(|(_, value)| value.split([',', '(']).any(is_name))
            }
            RequestPattern::Ending(names) => {
                let path = path.trim_end_matches('/').trim_end_matches("()");
                let last = path.rsplit('/').next().unwrap_or_default();
                names.iter().any(|name| is_called(last, name))
            }
        }
    }

    /// Whether `url` is of this kind, on the vendor's own host.
    #[must_use]
    pub fn matches(&self, url: &str) -> bool {
        split_https_url(url).is_some_and(|(host, target)| {
            self.folders(|pattern| host_matches(pattern, host))
                .any(|folder| self.accepts(folder, target))
        })
    }

    /// Whether `target` (path and query) is of this kind, on the override of the host `name`.
    #[must_use]
    pub fn matches_at(&self, name: &str, target: &str) -> bool {
        self.folders(|pattern| pattern == name || host_matches(pattern, name))
            .any(|folder| self.accepts(folder, target))
    }

    /// As [`Self::matches_at`], on the upstream that replaces all hosts.
    #[must_use]
    pub fn matches_anywhere(&self, target: &str) -> bool {
        matches!(self.place, Place::Member(_))
            && self.folders(|_| true).any(|folder| self.accepts(folder, target))
    }

    fn folders(&self, is_meant: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
        let origins = self.origins.iter().map(|origin| split_origin(origin));
        origins.filter(move |(host, _)| is_meant(host)).map(|(_, folder)| folder)
    }

    fn accepts(&self, folder: &str, target: &str) -> bool {
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        let is_below = || path.starts_with(folder) && !may_leave_folder(path);
        (folder.is_empty() || is_below())
            && (self.signature_parameters.is_empty()
                || names.any(|name| {
                    self.signature_parameters.iter().any(|sign| name.eq_ignore_ascii_case(sign))
                }))
    }
}

/// The kinds that may occur in the response to a request for `path`. `is_read`: the request
/// only reads.
#[must_use]
pub fn in_answer(
    provider: Provider,
    (path, query): (&str, &[(String, String)]),
    is_read: bool,
) -> Vec<&'static PreauthenticatedUrl> {
    rows(provider).filter(|row| row.may_occur_in_answer(path, query, is_read)).collect()
}

/// All kinds of `provider`.
pub fn rows(provider: Provider) -> impl Iterator<Item = &'static PreauthenticatedUrl> {
    ROWS.iter().filter(move |row| row.provider == provider)
}

/// Whether bodies of `provider` may contain any.
#[must_use]
pub fn are_in_bodies(provider: Provider) -> bool {
    rows(provider).any(|row| row.place != Place::Header)
}

/// Whether any string in bodies of `provider` may be one.
#[must_use]
pub fn are_anywhere(provider: Provider) -> bool {
    rows(provider).any(|row| row.place == Place::Anywhere)
}

/// Whether the kinds of `provider` depend on whether a request only reads.
#[must_use]
pub fn depends_on_reading(provider: Provider) -> bool {
    rows(provider).any(|row| row.request_pattern == RequestPattern::Writes)
}

/// Whether `url` is pre-authenticated by `provider`, at the vendor's own host.
#[must_use]
pub fn is_preauthenticated(provider: Provider, url: &str) -> bool {
    rows(provider).any(|row| row.matches(url))
}

/// Every host of the table for `provider`, as patterns.
pub(super) fn hosts(provider: Provider) -> impl Iterator<Item = &'static str> {
    rows(provider).flat_map(|row| row.origins.iter().map(|origin| split_origin(origin).0))
}

/// Splits an origin into host and path prefix (with its leading slash).
fn split_origin(origin: &'static str) -> (&'static str, &'static str) {
    origin.find('/').map_or((origin, ""), |at| origin.split_at(at))
}

/// Whether `segment` is `name`, with or without a namespace.
fn is_called(segment: &str, name: &str) -> bool {
    let at = segment.len().checked_sub(name.len());
    let last = at.and_then(|at| segment.split_at_checked(at));
    last.is_some_and(|(before, last)| {
        last.eq_ignore_ascii_case(name) && (before.is_empty() || before.ends_with('.'))
    })
}

/// Whether a path may leave its folder: on some server, or already in the client, which
/// resolves dot segments (RFC 3986, section 5.2.4) and may drop tabs and line ends before
/// it does (WHATWG URL, section 4.4).
pub(super) fn may_leave_folder(path: &str) -> bool {
    let path = percent_decode_str(path).decode_utf8_lossy();
    path.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."))
        || path.contains(|c: char| c.is_ascii_control())
}

/// The host of an `https` URL on its own port, and what follows it.
pub(super) fn split_https_url(url: &str) -> Option<(&str, &str)> {
    let (start, rest) = url.split_at_checked("https://".len())?;
    if !start.eq_ignore_ascii_case("https://") {
        return None;
    }
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (!host.is_empty() && host.bytes().all(is_plain)).then_some((host, target))
}

/// Whether `host` is named by `pattern`: itself, `*.` and what it ends in, or
/// with a `*` for one label in the middle.
pub(super) fn host_matches(pattern: &str, host: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return host == pattern };
    let inner = host.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    inner.is_some_and(|inner| !inner.is_empty() && (start.is_empty() || !inner.contains('.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Provider::{Github, Google, Hubspot, Jira, Linear, Microsoft, Notion, Slack};

    #[test]
    fn only_what_is_the_providers_own_and_signed_is_pre_authenticated() {
        for (provider, url, own) in [
            (Slack, "https://files.slack.com/upload/v1/x", true),
            (Slack, "https://files.slack.com/files-pri/T-F/x", false),
            (Slack, "https://files.slack.com/upload/../files-pri/x", false),
            (Slack, "https://files.slack.com/upload/%2e%2e/files-pri/x", false),
            (Slack, "https://files.slack.com.evil.example/upload/x", false),
            (Slack, "https://files.slack.com@evil.example/upload/x", false),
            (Slack, "https://files.slack.com:8443/upload/x", false),
            (Slack, "http://files.slack.com/upload/x", false),
            (Slack, "https://acme.sharepoint.com/upload/x", false),
            (Microsoft, "https://acme-my.sharepoint.com/x", true),
            (Microsoft, "https://sn3302.up.1drv.com:443/x", true),
            (Microsoft, "https://evilsharepoint.com/x", false),
            (Microsoft, "https://acme.sharepoint.com{.evil.example/x", false),
            (Microsoft, "https://.sharepoint.com/x", false),
            (Microsoft, "https://acme.blob.core.windows.net/x?sig=1", false),
            (Github, "https://codeload.github.com/x", true),
            (Github, "https://productionresultssa19.blob.core.windows.net/x?sig=1", true),
            (Github, "https://productionresultssa20.blob.core.windows.net/x?sig=1", false),
            (Github, "https://evil.blob.core.windows.net/x?sig=1", false),
            (Jira, "https://api.media.atlassian.com/file/x/binary?token=1", true),
            (Jira, "https://acme.atlassian.net/x", false),
            (Linear, "https://uploads.linear.app/a?signature=1", true),
            (
                Linear,
                "https://storage.googleapis.com/uploads.linear.app/a?X-Goog-Signature=1",
                true,
            ),
            (Linear, "https://storage.googleapis.com/evil/a?X-Goog-Signature=1", false),
            (Linear, "https://storage.googleapis.com/uploads.linear.app.evil/a?signature=1", false),
            (
                Linear,
                "https://storage.googleapis.com/uploads.linear.app/../evil/a?signature=1",
                false,
            ),
            (
                Linear,
                "https://storage.googleapis.com/uploads.linear.app/%2E./evil?signature=1",
                false,
            ),
            (
                Linear,
                "https://storage.googleapis.com/uploads.linear.app/..%2fevil?signature=1",
                false,
            ),
            (
                Notion,
                "https://prod-files-secure.s3.us-west-2.amazonaws.com/a?X-Amz-Signature=1",
                true,
            ),
            (
                Notion,
                "https://s3.us-west-2.amazonaws.com/secure.notion-static.com/a?X-Amz-Signature=1",
                true,
            ),
            (Notion, "https://prod-files-secure.s3.us-west-2.amazonaws.com/a", false),
            (
                Notion,
                "https://prod-files-secure.s3.us-west-2.amazonaws.com/a#?X-Amz-Signature=1",
                false,
            ),
            (
                Notion,
                "https://prod-files-secure.s3.evil.s3.amazonaws.com/a?X-Amz-Signature=1",
                false,
            ),
            (Notion, "https://prod-files-secure.s3..amazonaws.com/a?X-Amz-Signature=1", false),
            (Notion, "https://evil.s3.us-west-2.amazonaws.com/a?X-Amz-Signature=1", false),
            (Notion, "https://s3.us-west-2.amazonaws.com/evil/a?X-Amz-Signature=1", false),
            (Notion, "https://api.notion.com/v1/file_uploads/1/send", false),
            (
                Hubspot,
                "https://1.cdnp1.hubspotusercontent-na1.net/hubfs/1/a?Expires=1&Signature=2",
                true,
            ),
            (Hubspot, "https://1.fs1.hubspotusercontent-na1.net/hubfs/1/a", false),
            (Google, "https://lh3.googleusercontent.com/drive-storage/x=s220", true),
            (Google, "https://1.2.3.4.bc.googleusercontent.com/x", false),
        ] {
            assert_eq!(is_preauthenticated(provider, url), own, "{url}");
        }
    }

    #[test]
    fn upload_urls_occur_in_answers_to_requests_for_them() {
        let may_occur = |provider, method: &str, path: &str, is_read| {
            in_answer(provider, (path, &[]), is_read)
                .iter()
                .any(|row| row.methods.contains(&method))
        };
        for (provider, method, path, is_read, stands) in [
            (Slack, "POST", "/api/files.getUploadURLExternal", false, true),
            (Slack, "POST", "/api/chat.postMessage", false, false),
            (Slack, "POST", "/api/conversations.history", true, false),
            (Microsoft, "PUT", "/v1.0/me/drive/root:/a:/createUploadSession", false, true),
            (
                Microsoft,
                "PUT",
                "/v1.0/me/drive/items/1/microsoft.graph.CreateUploadSession()",
                false,
                true,
            ),
            (Microsoft, "PUT", "/v1.0/$batch", false, true),
            (Microsoft, "PUT", "/v1.0/me/events", false, false),
            (Microsoft, "PUT", "/v1.0/me/drive/root:/recreateUploadSession", false, false),
            (Linear, "PUT", "/graphql", false, true),
            (Linear, "PUT", "/graphql", true, false),
            (Linear, "GET", "/graphql", true, true),
        ] {
            assert_eq!(may_occur(provider, method, path, is_read), stands, "{path} {is_read}");
        }
        let expands = [("$expand".to_owned(), "children,thumbnails($select=large)".to_owned())];
        for (path, query, stands) in [
            ("/v1.0/me/drive/items/1/thumbnails", &[][..], true),
            ("/v1.0/me/drive/root/children", &expands, true),
            ("/v1.0/me/drive/root/children", &[], false),
            ("/v1.0/me/drive/root:/thumbnails.png", &[], false),
        ] {
            let rows = in_answer(Microsoft, (path, query), true);
            assert_eq!(rows.iter().any(|row| row.place == Place::Member("url")), stands, "{path}");
        }
        let writes = |row: &&PreauthenticatedUrl| {
            row.methods.iter().any(|method| !DOWNLOAD.contains(method))
        };
        for row in ROWS.iter().filter(writes) {
            assert_ne!(row.request_pattern, RequestPattern::Any, "{row:?}");
        }
    }
}
