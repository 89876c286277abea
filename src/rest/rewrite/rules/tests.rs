use super::*;
use crate::rest::ticket::TicketSealer;
use crate::store::agents::AgentRecord;
use crate::store::directory::KeyHolder;

const BASE: &str = "http://gate:8100/proxy/x";

fn after(rules: &Rules, name: &str, url: &str) -> String {
    let member = rules.member(name).or_else(|| rules.unnamed());
    let may_be = rules.may_begin(url.as_bytes());
    match member.filter(|_| may_be).and_then(|member| rules.edit(member, url)) {
        Some(Edit::Prefix { until, to }) => format!("{to}{}", &url[until..]),
        Some(Edit::Whole(to)) => to,
        None => url.to_owned(),
    }
}

/// What a configuration says of a provider.
#[derive(Default)]
struct ProviderConfig {
    hosts: HostOverrides,
    upstream: Option<Upstream>,
}

fn mappings(provider: Provider, config: &ProviderConfig) -> Arc<UrlMappings> {
    Arc::new(UrlMappings::new(provider, &config.hosts, config.upstream.as_ref()))
}

fn of(provider: Provider, config: Option<&ProviderConfig>) -> Rules {
    let none = ProviderConfig::default();
    Rules::new(provider, mappings(provider, config.unwrap_or(&none)), BASE, None, true)
}

#[test]
fn no_url_leads_from_one_provider_to_another() {
    use Provider::*;
    for (provider, name, origin) in [
        (Github, "url", "https://api.github.com"),
        (Google, "selfLink", "https://bigquery.googleapis.com"),
        (Slack, "text", "https://files.slack.com"),
        (Linear, "text", "https://uploads.linear.app"),
    ] {
        let rules = of(provider, None);
        for climbing in [
            "/x/../../slack/api/chat.postMessage?channel=C",
            "/x/%2e%2E/%2e./slack/api/chat.postMessage",
            "/..",
            "/x\\..\\..\\slack",
            "/x/.\t./.\n./slack",
            "/.",
        ] {
            let url = format!("{origin}{climbing}");
            assert_eq!(after(&rules, name, &url), url);
        }
        let url = format!("{origin}/a..b/.c?d=../..");
        assert_ne!(after(&rules, name, &url), url);
    }
}

#[test]
fn urls_of_the_api_lead_back_and_no_others_do() {
    use Provider::*;
    let jira = ProviderConfig {
        upstream: Upstream::parse("https://acme.atlassian.net").ok(),
        ..ProviderConfig::default()
    };
    for (provider, config, name, url, led) in [
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
            Slack,
            None,
            "thumb_64",
            "https://files.slack.com/files-tmb/T-F/a_64.png",
            "/files.slack.com/files-tmb/T-F/a_64.png",
        ),
        (Linear, None, "anything", "https://uploads.linear.app/o/f", "/uploads.linear.app/o/f"),
        (
            Jira,
            Some(&jira),
            "48x48",
            "https://acme.atlassian.net/rest/api/3/universal_avatar/view/type/user",
            "/rest/api/3/universal_avatar/view/type/user",
        ),
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
        assert_eq!(after(&of(provider, config), name, url), format!("{BASE}{led}"));
    }
    for (provider, config, name, url) in [
        (Slack, None, "text", "see https://files.slack.com/files-pri/T-F/a.png"),
        (Slack, None, "permalink", "https://acme.slack.com/files/U/F/a.png"),
        (Slack, None, "x", "https://files.slack.com.evil.example/files-pri/T-F/a.png"),
        (Linear, None, "description", "![a](https://uploads.linear.app/o/f)"),
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
        assert_eq!(after(&of(provider, config), name, url), url);
    }
}

#[test]
fn possible_files_keep_urls_of_the_api() {
    let rules = Rules::new(
        Provider::Github,
        mappings(Provider::Github, &ProviderConfig::default()),
        BASE,
        None,
        false,
    );
    let url = "https://api.github.com/r";
    assert_eq!(after(&rules, "url", url), url);
    let led = Edit::Prefix { until: 22, to: BASE.to_owned() };
    assert_eq!(rules.in_location(url), Some(led), "a header is the API's");
}

#[test]
fn overridden_hosts_count_as_the_providers_own() {
    let named = [("gmail", "http://127.0.0.1:1"), ("www.googleapis.com", "http://127.0.0.1:2/g")];
    let named = named.map(|(name, url)| (name.to_owned(), url.to_owned()));
    let hosts = HostOverrides::parse(Provider::Google, &named.into()).unwrap();
    let config = ProviderConfig { hosts, ..ProviderConfig::default() };
    let rules = of(Provider::Google, Some(&config));
    let led = |url| after(&rules, "nextLink", url);
    assert_eq!(
        led("http://127.0.0.1:1/gmail/v1/x"),
        format!("{BASE}/gmail.googleapis.com/gmail/v1/x")
    );
    assert_eq!(led("http://127.0.0.1:2/g/drive/x"), format!("{BASE}/drive/x"));
    assert_eq!(led("http://127.0.0.1:20/g/x"), "http://127.0.0.1:20/g/x");
    assert_eq!(led("http://127.0.0.1:2/gx"), "http://127.0.0.1:2/gx");
}

/// What becomes of `url` behind `name`, in the answer to a request of the path
/// that only reads or does more: where a seal leads, and what it is good for.
fn sealed(provider: Provider, (path, is_read): (&str, bool), name: &str, url: &str) -> String {
    let holder = KeyHolder { agent: AgentRecord::named("a").into(), key_id: "AGAK".into() };
    let signer = Signer {
        key: [7; 32].into(),
        holder,
        provider,
        base: BASE.to_owned(),
        path: path.to_owned(),
        rows: preauthenticated_urls::in_answer(provider, (path, &[]), is_read),
    };
    let rules = Rules::new(
        provider,
        mappings(provider, &ProviderConfig::default()),
        BASE,
        Some(signer),
        true,
    );
    let led = match name {
        "Location" => match rules.in_location(url) {
            Some(Edit::Prefix { until, to }) => format!("{to}{}", &url[until..]),
            Some(Edit::Whole(to)) => to,
            None => url.to_owned(),
        },
        name => after(&rules, name, url),
    };
    let Some(token) = led.strip_prefix(&format!("{BASE}/~signed/")) else { return led };
    let ticket = TicketSealer::new(&[7; 32]).unwrap().open(token).unwrap();
    assert_eq!((&*ticket.url, &*ticket.path, &*ticket.key_id), (url, path, "AGAK"));
    ticket.methods.join(" ")
}

const SIGNED: &str = "https://uploads.linear.app/o/f?signature=1";
const BUCKET: &str = "https://storage.googleapis.com/uploads.linear.app/f?X-Goog-Signature=1";
const SECURE: &str = "https://prod-files-secure.s3.eu-west-1.amazonaws.com/f?X-Amz-Signature=1";
const RAW: &str = "https://raw.githubusercontent.com/a/b/main/c?token=1";
const UPLOAD: &str = "https://files.slack.com/upload/v1/x";
const SESSION: &str = "https://acme.sharepoint.com/_api/up?guid=1";

#[test]
fn pre_authenticated_urls_are_sealed_for_their_methods() {
    use Provider::*;
    let session = "/v1.0/me/drive/root:/a:/createUploadSession";
    for (provider, request, name, url, methods) in [
        (Slack, ("/api/files.getUploadURLExternal", false), "upload_url", UPLOAD, "POST PUT"),
        (Microsoft, (session, false), "uploadUrl", SESSION, "PUT POST GET DELETE"),
        (Microsoft, ("/v1.0/me", true), "@microsoft.graph.downloadUrl", SESSION, "GET HEAD"),
        (
            Microsoft,
            ("/v1.0/me/drive/items/1/thumbnails", true),
            "url",
            "https://eastus1-mediap.svc.ms/transform/thumbnail?tempauth=1",
            "GET HEAD",
        ),
        (
            Microsoft,
            ("/v1.0/reports/x", true),
            "Location",
            "https://reports.office.com/x",
            "GET HEAD",
        ),
        (Github, ("/repos/a/b/contents", true), "download_url", RAW, "GET HEAD"),
        (Github, ("/graphql", true), "whatever", RAW, "GET HEAD"),
        (
            Github,
            ("/repos/a/b/actions/jobs/1/logs", true),
            "Location",
            "https://productionresultssa7.blob.core.windows.net/x?sig=1",
            "GET HEAD",
        ),
        (
            Jira,
            ("/rest/api/3/attachment/content/1", true),
            "Location",
            "https://api.media.atlassian.com/file/1/binary?token=1",
            "GET HEAD",
        ),
        // Whatever the client calls it.
        (Linear, ("/graphql", false), "uploadUrl", BUCKET, "PUT"),
        (Linear, ("/graphql", false), "u", BUCKET, "PUT GET HEAD"),
        (Linear, ("/graphql", false), "u", SIGNED, "PUT GET HEAD"),
        (Linear, ("/graphql", true), "url", SIGNED, "GET HEAD"),
        (Notion, ("/v1/blocks/1/children", true), "url", SECURE, "GET HEAD"),
        (
            Hubspot,
            ("/files/v3/files/1/signed-url", true),
            "url",
            "https://1.cdnp1.hubspotusercontent-eu1.net/f?Expires=1&Signature=2",
            "GET HEAD",
        ),
        (
            Google,
            ("/drive/v3/files", true),
            "thumbnailLink",
            "https://lh3.googleusercontent.com/drive-storage/x=s220",
            "GET HEAD",
        ),
    ] {
        assert_eq!(sealed(provider, request, name, url), methods, "{name}: {url}");
    }
}

/// What somebody wrote into an answer gets nobody further than the answer.
#[test]
fn urls_in_texts_of_others_are_sealed_for_reading_only() {
    use Provider::*;
    for (provider, request, name, url) in [
        // A place to write to, in what was not asked for one.
        (Microsoft, ("/v1.0/me/events", true), "uploadUrl", SESSION),
        (Microsoft, ("/v1.0/me/events", false), "uploadUrl", SESSION),
        (Microsoft, ("/v1.0/me/calendar/getSchedule", false), "uploadUrl", SESSION),
        (
            Linear,
            ("/graphql", true),
            "uploadUrl",
            "https://storage.googleapis.com/uploads.linear.app/f",
        ),
        // A host that looks like one, or a neighbour on a shared one.
        (
            Microsoft,
            ("/createUploadSession", false),
            "uploadUrl",
            "https://sharepoint.com.evil.example/x",
        ),
        (Microsoft, ("/v1.0/me", true), "url", "https://acme.sharepoint.com/sites/a"),
        (
            Linear,
            ("/graphql", false),
            "uploadUrl",
            "https://storage.googleapis.com/evil/f?X-Goog-Signature=1",
        ),
        (
            Linear,
            ("/graphql", false),
            "u",
            "https://storage.googleapis.com/uploads.linear.app/../evil/f?X-Goog-Signature=1",
        ),
        (
            Notion,
            ("/v1/x", true),
            "url",
            "https://evil.s3.us-west-2.amazonaws.com/f?X-Amz-Signature=1",
        ),
        (
            Notion,
            ("/v1/x", true),
            "url",
            "https://prod-files-secure.s3.us-west-2.amazonaws.com.evil.example/f?X-Amz-Signature=1",
        ),
        (Github, ("/x", true), "download_url", "https://raw.githubusercontent.com/a/b/main/c"),
        (Github, ("/x", true), "Location", "https://evil.blob.core.windows.net/x?sig=1"),
        (Github, ("/x", true), "body", "https://codeload.github.com/x"),
        (Jira, ("/x", true), "content", "https://api.media.atlassian.com/file/1/binary?token=1"),
        (Hubspot, ("/x", true), "url", "https://evil.example/f?Signature=2"),
        (Google, ("/x", true), "thumbnailLink", "https://1.2.3.4.bc.googleusercontent.com/x"),
        (Google, ("/x", true), "text", "https://lh3.googleusercontent.com/x"),
    ] {
        assert_eq!(sealed(provider, request, name, url), url, "{name}");
    }
    // In place of an upload it is a file, which takes no `POST`.
    let led = format!("{BASE}/files.slack.com/upload/v1/x");
    for request in [("/api/conversations.history", true), ("/api/chat.postMessage", false)] {
        assert_eq!(sealed(Slack, request, "upload_url", UPLOAD), led);
    }
    let origin = "https://files-origin.slack.com/T/F?t=1";
    let led = format!("{BASE}/files-origin.slack.com/T/F?t=1");
    assert_eq!(sealed(Slack, ("/files.slack.com/T/F", true), "Location", origin), led);
}
