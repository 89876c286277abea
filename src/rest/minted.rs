//! Pre-authenticated URLs: a provider hands them out in its answers, on hosts of
//! its own, and whoever has one needs no credential there. One row each.

use crate::action::Provider;

/// A place in a provider's answers where such URLs stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Minted {
    /// Whose answers.
    pub provider: Provider,
    /// The member of a JSON body; `None` for the header `Location`.
    member: Option<&'static str>,
    /// Hosts of the provider's own: names, or `*.` and what names end in.
    hosts: &'static [&'static str],
    /// What the URL is made for.
    pub methods: &'static [&'static str],
}

/// Where OneDrive, SharePoint, Outlook and Universal Print keep contents
/// (Microsoft Graph, "uploadSession resource type" and "Download driveItem
/// content").
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

/// Where GitHub keeps archives, assets and logs ("Download a repository
/// archive", "Get a release asset").
const ARCHIVES: &[&str] = &["codeload.github.com", "*.githubusercontent.com"];

const DOWNLOAD: &[&str] = &["GET", "HEAD"];

const fn row(
    provider: Provider,
    member: Option<&'static str>,
    hosts: &'static [&'static str],
    methods: &'static [&'static str],
) -> Minted {
    Minted { provider, member, hosts, methods }
}

static ROWS: [Minted; 7] = [
    // `files.getUploadURLExternal`
    row(Provider::Slack, Some("upload_url"), &["files.slack.com"], &["POST", "PUT"]),
    // `createUploadSession`: ranges by PUT, GET asks how far it got, DELETE gives up.
    row(Provider::Microsoft, Some("uploadUrl"), CONTENTS, &["PUT", "POST", "GET", "DELETE"]),
    row(Provider::Microsoft, Some("@microsoft.graph.downloadUrl"), CONTENTS, DOWNLOAD),
    row(Provider::Microsoft, Some("@content.downloadUrl"), CONTENTS, DOWNLOAD),
    // `302` to a content, `202` to where a copy's progress is told.
    row(Provider::Microsoft, None, CONTENTS, DOWNLOAD),
    row(Provider::Github, None, ARCHIVES, DOWNLOAD),
    // `fileUpload`
    row(Provider::Linear, Some("uploadUrl"), &["uploads.linear.app"], &["PUT"]),
];

impl Minted {
    /// The row for a member of a body of `provider`.
    #[must_use]
    pub fn in_member(provider: Provider, name: &str) -> Option<&'static Self> {
        rows(provider).find(|row| row.member == Some(name))
    }

    /// The row for the header `Location` of `provider`.
    #[must_use]
    pub fn in_location(provider: Provider) -> Option<&'static Self> {
        rows(provider).find(|row| row.member.is_none())
    }

    /// Whether `host` is one of the provider's own for this.
    #[must_use]
    pub fn is_on(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| fits(pattern, host))
    }
}

/// Whether there are any in answers of `provider`.
#[must_use]
pub fn mints(provider: Provider) -> bool {
    rows(provider).next().is_some()
}

/// Whether there are any in bodies of `provider`.
#[must_use]
pub fn mints_in_bodies(provider: Provider) -> bool {
    rows(provider).any(|row| row.member.is_some())
}

/// Whether `host` is one that pre-authenticated URLs of `provider` lead to.
#[must_use]
pub fn is_host(provider: Provider, host: &str) -> bool {
    rows(provider).any(|row| row.is_on(host))
}

/// Every host of the table for `provider`, as patterns.
pub(super) fn hosts(provider: Provider) -> impl Iterator<Item = &'static str> {
    rows(provider).flat_map(|row| row.hosts.iter().copied())
}

fn rows(provider: Provider) -> impl Iterator<Item = &'static Minted> {
    ROWS.iter().filter(move |row| row.provider == provider)
}

/// Whether `host` is named by `pattern`: itself, or `*.` and what it ends in.
pub(super) fn fits(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => host.len() > end.len() && host.ends_with(end),
        None => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_providers_own_are_meant() {
        for (provider, host, own) in [
            (Provider::Slack, "files.slack.com", true),
            (Provider::Slack, "files.slack.com.evil.example", false),
            (Provider::Slack, "acme.sharepoint.com", false),
            (Provider::Microsoft, "acme-my.sharepoint.com", true),
            (Provider::Microsoft, "sn3302.up.1drv.com", true),
            (Provider::Microsoft, "evilsharepoint.com", false),
            (Provider::Microsoft, ".sharepoint.com", false),
            (Provider::Microsoft, "acme.blob.core.windows.net", false),
            (Provider::Github, "codeload.github.com", true),
            (Provider::Notion, "api.notion.com", false),
        ] {
            assert_eq!(is_host(provider, host), own, "{host}");
        }
        assert!(Minted::in_member(Provider::Slack, "url_private").is_none());
        assert!(Minted::in_member(Provider::Github, "upload_url").is_none());
    }
}
