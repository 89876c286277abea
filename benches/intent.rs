//! The cost of analysing the intent of a request. Budgets: 2 µs if the path is enough, 20 µs for a
//! GraphQL document of 2 KB.

use std::hint::black_box;
use std::sync::Arc;

use agentgate::action::{Action, Agent, Body, HttpRequest, Provider, Target, Transport};
use agentgate::intent;
use agentgate::json;

fn main() {
    divan::main();
}

fn action(provider: Provider, method: &str, host: &str, path: &str, body: Body) -> Action {
    Action {
        at: jiff::Timestamp::UNIX_EPOCH,
        agent: Agent::default(),
        session: Arc::from("s"),
        transport: Transport::Rest,
        target: Target::Http(HttpRequest {
            provider,
            method: method.to_owned(),
            path: path.to_owned(),
            host: Some(host.to_owned()),
            is_file: false,
            query: vec![("fields".to_owned(), "id,name".to_owned())],
            headers: vec![
                ("accept".to_owned(), "application/json".to_owned()),
                ("content-type".to_owned(), "application/json".to_owned()),
                ("user-agent".to_owned(), "bench".to_owned()),
            ],
            body,
        }),
    }
}

/// A request per provider, each the worst case of its analysis.
const BY_PATH: [(Provider, &str, &str, &str); 9] = [
    (Provider::Google, "POST", "run.googleapis.com", "/v2/projects/p/locations/l/jobs/j:run"),
    (Provider::Microsoft, "POST", "graph.microsoft.com", "/v1.0/me/calendar/getSchedule"),
    (Provider::Slack, "POST", "slack.com", "/api/admin.conversations.setConversationPrefs"),
    (Provider::Github, "POST", "api.github.com", "/repos/o/r/issues/1/comments"),
    (Provider::Jira, "POST", "x.atlassian.net", "/rest/api/3/issue/A-1/changelog/list"),
    (Provider::Notion, "POST", "api.notion.com", "/v1/databases/1f/query"),
    (Provider::Hubspot, "POST", "api.hubapi.com", "/crm/v3/objects/contacts/search"),
    (Provider::Salesforce, "PATCH", "x.my.salesforce.com", "/services/data/v60.0/sobjects/A/1"),
    // The service with the most operations.
    (Provider::Aws, "POST", "connect.us-east-1.amazonaws.com", "/search-contacts/none/of/them"),
];

#[divan::bench(args = BY_PATH.map(|(provider, ..)| provider.as_str()))]
fn by_path(bencher: divan::Bencher<'_, '_>, name: &str) {
    let row = BY_PATH.into_iter().find(|(provider, ..)| provider.as_str() == name);
    let Some((provider, method, host, path)) = row else { return };
    let action = action(provider, method, host, path, Body::Empty);
    bencher.bench_local(|| intent::of(black_box(&action)));
}

#[divan::bench]
fn analysed_in_full(bencher: divan::Bencher<'_, '_>) {
    let path = "/repos/o/r/issues/1/comments";
    let action = action(Provider::Github, "POST", "api.github.com", path, Body::Empty);
    bencher.bench_local(|| intent::analyse(black_box(&action)));
}

#[divan::bench]
fn graphql_document_of_2_kb(bencher: divan::Bencher<'_, '_>) {
    let fields = "  id createdAt updatedAt title description url identifier\n".repeat(33);
    let document = format!(
        "query issues($first: Int!, $after: String) {{\n  issues(first: $first, after: $after) \
         {{\n nodes {{\n{fields} }} }}\n}}"
    );
    let body = serde_json::json!({ "query": document, "variables": { "first": 50 } }).to_string();
    let Ok(body) = json::parse(body.as_bytes()) else { return };
    let host = "api.linear.app";
    let action = action(Provider::Linear, "POST", host, "/graphql", Body::Json(body));
    bencher.bench_local(|| intent::of(black_box(&action)));
}

#[divan::bench]
fn batch_of_20(bencher: divan::Bencher<'_, '_>) {
    let member = r#"{"id":"1","method":"GET","url":"/me/messages?$top=5"}"#;
    let body = format!(r#"{{"requests":[{}{member}]}}"#, format!("{member},").repeat(19));
    let Ok(body) = json::parse(body.as_bytes()) else { return };
    let host = "graph.microsoft.com";
    let action = action(Provider::Microsoft, "POST", host, "/v1.0/$batch", Body::Json(body));
    bencher.bench_local(|| intent::of(black_box(&action)));
}
