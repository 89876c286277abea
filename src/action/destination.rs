//! The host and path that a request to a provider is for, derived from its path. Pure.

use std::borrow::Cow;

use super::{Provider, aws};

/// Destination of a path: host, and path on that host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination<'p> {
    /// The vendor's host; `None` if it depends on the configuration.
    pub host: Option<Cow<'static, str>>,
    /// The path on that host.
    pub path: Cow<'p, str>,
}

/// Finds the vendor's host for a path in normal form.
#[must_use]
pub fn destination<'p>(provider: Provider, path: &'p str, region: Option<&str>) -> Destination<'p> {
    if let Some((host, below)) = provider.file_at(path) {
        let below = if below.is_empty() { "/" } else { below };
        return Destination { host: Some(host.into()), path: below.into() };
    }
    let host = match provider {
        Provider::Google => return google(path),
        Provider::Aws => return of_aws(path, region.unwrap_or(aws::HOME)),
        Provider::Github if is_upload(path) => Some("uploads.github.com"),
        _ => provider.main_host(),
    };
    Destination { host: host.map(Cow::Borrowed), path: provider.full_form(path) }
}

/// Whether it uploads a release asset, for which GitHub has another host.
fn is_upload(path: &str) -> bool {
    if !path.ends_with("/assets") {
        return false;
    }
    let mut parts = path.split('/').skip(1);
    let fixed = [parts.next(), parts.nth(2), parts.nth(1)];
    fixed == [Some("repos"), Some("releases"), Some("assets")] && parts.next().is_none()
}

/// Most Google services have a host of their own: named by the first segment
/// (`/gmail.googleapis.com/gmail/v1/…`), or known from the path. The others share one.
fn google(path: &str) -> Destination<'_> {
    let (first, below) = parted(path);
    if first.strip_suffix(".googleapis.com").is_some_and(is_label) {
        return Destination { host: Some(first.to_owned().into()), path: below.into() };
    }
    const HOSTS_BY_PATH: [(&str, &str); 9] = [
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
    let by_path = HOSTS_BY_PATH.iter().find(|(start, _)| path.starts_with(start));
    let host = by_path.map(|(_, host)| *host).or(Provider::Google.main_host());
    Destination { host: host.map(Cow::Borrowed), path: Provider::Google.full_form(path) }
}

/// `/s3/bucket/key`: the service comes first, as in endpoints configured in SDKs.
fn of_aws<'p>(path: &'p str, region: &str) -> Destination<'p> {
    let (service, below) = parted(path);
    Destination { host: aws::host(service, region), path: below.into() }
}

/// Splits off the first segment.
fn parted(path: &str) -> (&str, &str) {
    let rest = path.strip_prefix('/').unwrap_or(path);
    rest.find('/').map_or((rest, "/"), |end| rest.split_at(end))
}

/// Whether `text` is a valid label of a vendor's host.
#[must_use]
pub fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
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
            (Aws, "/organizations/", "organizations.us-east-1.amazonaws.com/"),
            (Aws, "/api.ecr/", "api.ecr.eu-west-1.amazonaws.com/"),
            (Aws, "/evil.com/x", "?/x"),
        ] {
            assert_eq!(lead(provider, path), leads_to);
        }
    }
}
