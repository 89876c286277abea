//! Test mode: answers that look like the providers', with nothing sent
//! anywhere. Policies can be tried without credentials; everything before the
//! answer runs for real.

use axum::Json;
use axum::response::IntoResponse as _;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::action::{Action, Body, HttpRequest, Provider, Target};
use crate::intent::{Analysis, Intent, analyse};
use crate::json::Json as Strict;
use crate::net;

/// Says that an answer is a mock.
pub const TEST_MODE: HeaderName = HeaderName::from_static("x-agentgate-testmode");

/// When everything in the mock world happened.
const THEN: &str = "2026-01-15T09:00:00Z";

/// The mock answer to an admitted request.
#[must_use]
pub fn answer(action: &Action) -> Response<net::Body> {
    let mut response = match &action.target {
        Target::Http(request) => of(request, &analyse(action)),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    response.headers_mut().insert(TEST_MODE, HeaderValue::from_static("true"));
    response
}

fn of(request: &HttpRequest, analysis: &Analysis) -> Response<net::Body> {
    let intent = analysis.intent;
    let sent = sent(&request.body);
    match request.provider {
        Provider::Aws => aws(request, analysis.operation.as_deref()),
        Provider::Linear => Json(graphql(&analysis.resource)).into_response(),
        Provider::Github if request.path.ends_with("/graphql") => {
            Json(graphql(&analysis.resource)).into_response()
        }
        Provider::Slack => Json(slack(request, sent)).into_response(),
        _ if intent == Intent::Delete && request.method == "DELETE" => {
            StatusCode::NO_CONTENT.into_response()
        }
        provider => {
            let body = google(request)
                .unwrap_or_else(|| resource(provider, request, &analysis.resource, sent));
            let created = request.method == "POST" && intent == Intent::Create;
            let status = if created && provider != Provider::Google {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            (status, Json(body)).into_response()
        }
    }
}

/// What the request says of the thing it makes or changes.
fn sent(body: &Body) -> Map<String, Value> {
    let text = match body {
        Body::Json(json @ Strict::Object(_)) => json.to_string(),
        Body::Text(form) => {
            let pairs = form_urlencoded::parse(form.as_bytes());
            return pairs.map(|(name, value)| (name.into_owned(), value.into())).collect();
        }
        _ => return Map::new(),
    };
    serde_json::from_str(&text).unwrap_or_default()
}

/// The four calendar answers of the original product.
fn google(request: &HttpRequest) -> Option<Value> {
    if request.provider != Provider::Google {
        return None;
    }
    let path = Provider::Google.short_form(&request.path)?;
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let event = |id: &str, summary: &str| {
        json!({
            "kind": "calendar#event", "id": id, "status": "confirmed", "summary": summary,
            "start": { "dateTime": THEN }, "end": { "dateTime": "2026-01-15T10:00:00Z" },
        })
    };
    Some(match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["calendars", calendar, "events"]) => json!({
            "kind": "calendar#events", "summary": calendar, "timeZone": "UTC",
            "items": [event("mock-event-1", "Team meeting"), event("mock-event-2", "Review")],
        }),
        ("GET", ["calendars", _, "events", id]) => event(id, "Team meeting"),
        ("POST", ["freeBusy"]) => json!({
            "kind": "calendar#freeBusy", "timeMin": THEN, "timeMax": "2026-01-16T09:00:00Z",
            "calendars": { "primary": { "busy": [{ "start": THEN, "end": "2026-01-15T10:00:00Z" }] } },
        }),
        ("GET", ["users", "me", "calendarList"]) => json!({
            "kind": "calendar#calendarList",
            "items": [{ "kind": "calendar#calendarListEntry", "id": "primary", "summary": "Primary", "primary": true }],
        }),
        _ => return None,
    })
}

/// A thing, or a list of things, in the shape that the provider gives lists.
fn resource(
    provider: Provider,
    request: &HttpRequest,
    kind: &str,
    sent: Map<String, Value>,
) -> Value {
    let last = request.path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("item");
    let is_list = request.method == "GET" && last.ends_with('s')
        || matches!(last, "search" | "query" | "calendarList" | "repos");
    let one = |id: Value| thing(provider, kind, id, Map::new());
    if !is_list {
        let id = if request.method == "POST" { json!("mock-1") } else { json!(last) };
        return thing(provider, kind, numbered(provider, id), sent);
    }
    let items =
        json!([one(numbered(provider, json!("mock-1"))), one(numbered(provider, json!("mock-2")))]);
    match provider {
        Provider::Github => items,
        Provider::Google => {
            json!({ "kind": format!("mock#{kind}List"), "items": items, (plural(kind)): items })
        }
        Provider::Microsoft => json!({
            "@odata.context": format!("https://graph.microsoft.com/v1.0/$metadata#{}", plural(kind)),
            "value": items,
        }),
        Provider::Jira => json!({
            "startAt": 0, "maxResults": 50, "total": 2, "isLast": true, "values": items, (plural(kind)): items,
        }),
        Provider::Notion => json!({
            "object": "list", "results": items, "next_cursor": null, "has_more": false,
        }),
        Provider::Hubspot => json!({ "total": 2, "results": items }),
        Provider::Salesforce => json!({ "totalSize": 2, "done": true, "records": items }),
        Provider::Slack | Provider::Linear | Provider::Aws => items,
    }
}

/// GitHub counts its things.
fn numbered(provider: Provider, id: Value) -> Value {
    match provider {
        Provider::Github => json!(id.as_str().and_then(|id| id.parse::<u64>().ok()).unwrap_or(1)),
        _ => id,
    }
}

fn plural(kind: &str) -> String {
    if kind.ends_with('s') { kind.to_owned() } else { format!("{kind}s") }
}

fn thing(provider: Provider, kind: &str, id: Value, sent: Map<String, Value>) -> Value {
    let own = match provider {
        Provider::Github => json!({
            "id": id, "number": 1, "node_id": "MOCK_1", "name": "mock", "full_name": "acme/mock",
            "title": format!("Mock {kind}"), "state": "open", "login": "mock-user",
            "created_at": THEN, "updated_at": THEN, "html_url": "https://github.com/acme/mock",
            "owner": { "login": "acme", "id": 1, "type": "Organization" }, "private": false,
        }),
        Provider::Google => json!({
            "kind": format!("mock#{kind}"), "id": id, "name": format!("Mock {kind}"),
            "createdTime": THEN, "modifiedTime": THEN,
        }),
        Provider::Microsoft => json!({
            "id": id, "displayName": format!("Mock {kind}"), "createdDateTime": THEN,
            "lastModifiedDateTime": THEN,
        }),
        Provider::Jira => json!({
            "id": "10001", "key": "MOCK-1", "name": format!("Mock {kind}"),
            "fields": { "summary": format!("Mock {kind}"), "status": { "name": "To Do" }, "created": THEN },
        }),
        Provider::Notion => json!({
            "object": kind, "id": "00000000-0000-4000-8000-000000000001", "created_time": THEN,
            "last_edited_time": THEN, "archived": false, "properties": {},
        }),
        Provider::Hubspot => json!({
            "id": id, "properties": { "name": format!("Mock {kind}"), "createdate": THEN },
            "createdAt": THEN, "updatedAt": THEN, "archived": false,
        }),
        Provider::Salesforce => json!({
            "attributes": { "type": kind }, "id": "001000000000001AAA", "Id": "001000000000001AAA",
            "Name": format!("Mock {kind}"), "success": true, "errors": [], "CreatedDate": THEN,
        }),
        Provider::Slack | Provider::Linear | Provider::Aws => json!({ "id": id }),
    };
    let mut own = own;
    if let Some(object) = own.as_object_mut() {
        object.extend(sent);
        object.insert("mock".to_owned(), true.into());
    }
    own
}

/// Every method answers `ok`, with what its family is about.
fn slack(request: &HttpRequest, sent: Map<String, Value>) -> Value {
    let method = request.path.rsplit('/').next().unwrap_or_default();
    let channel =
        json!({ "id": "C0MOCK", "name": "general", "is_channel": true, "is_member": true });
    let user = json!({ "id": "U0MOCK", "name": "mock", "real_name": "Mock User", "is_bot": false });
    let message =
        json!({ "type": "message", "user": "U0MOCK", "text": "Hello", "ts": "1768467600.000100" });
    let mut answer = match method {
        "auth.test" => {
            json!({ "url": "https://mock.slack.com/", "team": "Mock", "user": "mock", "team_id": "T0MOCK", "user_id": "U0MOCK" })
        }
        "conversations.list" | "users.conversations" => json!({ "channels": [channel] }),
        "conversations.info" | "conversations.create" => json!({ "channel": channel }),
        "conversations.history" | "conversations.replies" => {
            json!({ "messages": [message], "has_more": false })
        }
        "users.list" => json!({ "members": [user] }),
        "users.info" => json!({ "user": user }),
        "search.messages" => {
            json!({ "query": "", "messages": { "total": 1, "matches": [message] } })
        }
        "chat.postMessage" | "chat.update" => json!({
            "channel": sent.get("channel").cloned().unwrap_or(json!("C0MOCK")), "ts": "1768467600.000200",
            "message": { "type": "message", "user": "U0MOCK", "text": sent.get("text").cloned().unwrap_or_default(), "ts": "1768467600.000200" },
        }),
        _ => json!({}),
    };
    if let Some(object) = answer.as_object_mut() {
        object.insert("ok".to_owned(), true.into());
        object.insert("mock".to_owned(), true.into());
        object.insert("response_metadata".to_owned(), json!({ "next_cursor": "" }));
    }
    answer
}

/// One mock object for each root field, by the operation's name.
fn graphql(resource: &str) -> Value {
    let node = json!({ "id": "mock-1", "title": "Mock", "name": "Mock", "createdAt": THEN });
    json!({
        "data": {
            (resource): node, (plural(resource)): {
                "nodes": [node], "pageInfo": { "hasNextPage": false, "endCursor": null },
            },
            "viewer": { "id": "mock-user", "login": "mock-user", "name": "Mock User", "email": "mock@example.com" },
        },
        "extensions": { "mock": true },
    })
}

/// S3 and the query services speak XML, the others JSON.
fn aws(request: &HttpRequest, operation: Option<&str>) -> Response<net::Body> {
    let host = request.host.as_deref().unwrap_or_default();
    let service = host.split('.').next().unwrap_or_default();
    let xml = |text: String| {
        let kind = HeaderValue::from_static("application/xml");
        ([(CONTENT_TYPE, kind)], text).into_response()
    };
    match (service, request.method.as_str(), operation) {
        ("s3", "DELETE", _) => StatusCode::NO_CONTENT.into_response(),
        ("s3", "PUT" | "HEAD", _) => {
            ([("etag", "\"d41d8cd98f00b204e9800998ecf8427e\"")], "").into_response()
        }
        ("s3", "GET", _) if request.path == "/" => xml(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>mock</ID></Owner><Buckets><Bucket><Name>mock-bucket</Name><CreationDate>{THEN}</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>"
        )),
        ("s3", "GET", _) if request.path.trim_end_matches('/').matches('/').count() == 1 => {
            xml(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>mock-bucket</Name><Prefix></Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>mock.txt</Key><LastModified>{THEN}</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>4</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"
            ))
        }
        ("s3", "GET", _) => "mock".into_response(),
        (_, _, Some(operation))
            if !request.headers.iter().any(|(name, _)| name == "x-amz-target") =>
        {
            xml(format!(
                "<{operation}Response><{operation}Result/><ResponseMetadata><RequestId>mock</RequestId></ResponseMetadata></{operation}Response>"
            ))
        }
        _ => Json(json!({ "mock": true, "path": request.path, "method": request.method }))
            .into_response(),
    }
}
