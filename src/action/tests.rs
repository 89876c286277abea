use super::*;

#[test]
fn short_paths_get_their_prefix_and_lose_it_again() {
    for (provider, short, full) in [
        (Provider::Google, "/calendars/primary/events", "/calendar/v3/calendars/primary/events"),
        (Provider::Microsoft, "/me/messages", "/v1.0/me/messages"),
        (Provider::Slack, "/chat.postMessage", "/api/chat.postMessage"),
        (Provider::Jira, "/issue/X-1", "/rest/api/3/issue/X-1"),
        (Provider::Notion, "/search", "/v1/search"),
        (Provider::Salesforce, "/sobjects", "/services/data/v59.0/sobjects"),
    ] {
        assert_eq!(provider.full_form(short), full);
        assert_eq!(provider.full_form(full), full);
        assert_eq!(provider.short_form(full), Some(short));
    }
    for (provider, path) in [
        (Provider::Google, "/drive/v3/files"),
        (Provider::Github, "/repos/a/b"),
        (Provider::Aws, "/"),
        (Provider::Microsoft, "/beta/me"),
        (Provider::Jira, "/rest/agile/1.0/board"),
    ] {
        assert_eq!(provider.full_form(path), path);
    }
    for path in ["/files.slack.com", "/files.slack.com/files-pri/T1-F1/a.png"] {
        assert_eq!(Provider::Slack.full_form(path), path);
        assert_eq!(Provider::Slack.short_form(path), None);
    }
    assert_eq!(Provider::Slack.full_form("/files.slack.com.x"), "/api/files.slack.com.x");
    assert_eq!(Provider::Microsoft.full_form("/v1.0x/me"), "/v1.0/v1.0x/me");
    assert_eq!(Provider::Github.short_form("/repos/a"), None);
}
