//! Tests of batches.

use super::*;
use crate::intent::http::tests::request;
use crate::json;

pub(super) fn batch(provider: &str, path: &str, body: &str) -> HttpRequest {
    let body = Body::Json(json::parse(body.as_bytes()).expect("JSON"));
    HttpRequest { body, ..request(provider, "POST", path) }
}

fn of(provider: &str, path: &str, body: &str) -> Result<Vec<String>, BatchError> {
    let members = members(&batch(provider, path, body)).expect("a batch")?;
    Ok(members.iter().map(|member| format!("{} {}", member.method, member.path)).collect())
}

#[test]
fn batch_members_are_checked_like_single_requests() {
    let graph = |url: &str| {
        let body = format!(r#"{{"requests":[{{"id":"1","method":"GET","url":"{url}"}}]}}"#);
        of("microsoft", "/v1.0/$batch", &body)
    };
    for url in [
        "/users/x%2F..%2F..%2Fme",
        "/users/..%2Fme",
        "/users/..;/me",
        "/users/..%3B/me",
        "/users/..%20/me",
        "/users/..%3F/me",
        "/users/%EF%BC%8E%EF%BC%8E/me",
        "/users/x%EF%BC%8F..%EF%BC%8Fme",
        "/users/x%C2%85",
    ] {
        let refused = graph(url);
        assert!(matches!(refused, Err(BatchError::Path(_))), "{url}: {refused:?}");
    }
    assert!(graph("/users/j%C3%B6rg@example.com").is_ok());
    let composite = |member: &str| {
        let body = format!(r#"{{"batchRequests":[{{"method":"GET",{member}}}]}}"#);
        of("salesforce", "/services/data/v60.0/composite/batch", &body)
    };
    let at = "v60.0/sobjects/Account/001";
    for member in [
        format!(r#""url":"{at}?+_HttpMethod=DELETE""#),
        format!(r#""url":"{at}?a=1;_HttpMethod=DELETE""#),
        format!(r#""url":"{at}?_HttpMethod[]=DELETE""#),
        format!(r#""url":"{at}?X-HTTP-Method-Override=DELETE""#),
        format!(r#""url":"{at}","httpHeaders":{{"X_HTTP_Method_Override":"DELETE"}}"#),
        format!(r#""url":"{at}","httpHeaders":{{"X-Original-URL":"/x"}}"#),
        format!(r#""url":"{at}","richInput":{{"_HttpMethod":"DELETE"}}"#),
    ] {
        assert_eq!(composite(&member), Err(BatchError::Overridden), "{member}");
    }
    for member in [
        format!(r#""url":"{at}?a=1\r\nX-A: b""#),
        format!(r#""url":"{at}?fields=Name#&a=1""#),
        format!(r#""url":"{at}?a=%00""#),
        format!(r#""url":"{at}?%u005fmethod=DELETE""#),
    ] {
        assert_eq!(composite(&member), Err(BatchError::Url), "{member}");
    }
    for headers in [
        r#"{"A":"b\r\nX-HTTP-Method: DELETE"}"#,
        r#"{"A: b\r\nC":"d"}"#,
        r#"{"Content-Type":"text/plain","content-type":"application/json"}"#,
        r#"{"Content_Type":"text/plain"}"#,
    ] {
        let member = format!(r#""url":"{at}","httpHeaders":{headers}"#);
        assert_eq!(composite(&member), Err(BatchError::Malformed), "{member}");
    }
    let lookalike = format!(r#""url":"{at}","http\u0048eader\u017f":{{}}"#);
    assert_eq!(composite(&lookalike), Err(BatchError::Malformed));
    assert!(composite(&format!(r#""url":"{at}?q=a b","httpHeaders":{{"A":"b"}}"#)).is_ok());
    // Which of two bodies counts is not for the gate to guess.
    let two = format!(r#""url":"{at}","body":{{}},"richInput":{{"Name":"a"}}"#);
    assert_eq!(composite(&two), Err(BatchError::Malformed));
    assert!(composite(&format!(r#""url":"{at}?fields=Name""#)).is_ok());
    for path in ["composite/batch.json", "composite.XML", "composite/graph.json"] {
        let found = members(&batch("salesforce", &format!("/services/data/v60.0/{path}"), "{}"));
        assert!(found.is_some(), "{path}");
    }
}

#[test]
fn each_batch_format_is_split() {
    let graph = r#"{"requests":[{"id":"1","method":"get","url":"/me?$select=id"},
        {"id":"2","method":"POST","url":"me/sendMail","body":{}}]}"#;
    assert_eq!(
        of("microsoft", "/v1.0/$batch", graph).expect("two"),
        ["GET /v1.0/me", "POST /v1.0/me/sendMail"]
    );
    let composite = r#"{"compositeRequest":[{"method":"GET","url":"/services/data/v60.0/limits",
        "referenceId":"r"}]}"#;
    let at = "/services/data/v60.0/composite";
    assert_eq!(of("salesforce", at, composite).expect("one"), ["GET /services/data/v60.0/limits"]);
    let at = "/services/data/v60.0/composite/batch";
    let batch = r#"{"batchRequests":[{"method":"PATCH","url":"v60.0/sobjects/Account/1"}]}"#;
    assert_eq!(
        of("salesforce", at, batch).expect("one"),
        ["PATCH /services/data/v60.0/sobjects/Account/1"]
    );
    let at = "/services/data/v60.0/composite/graph";
    let graph =
        format!(r#"{{"graphs":[{{"graphId":"1",{}}}]}}"#, &composite[1..composite.len() - 1]);
    assert_eq!(of("salesforce", at, &graph).expect("one").len(), 1);
}

#[test]
fn batch_members_are_judged_by_their_paths() {
    let one = |url: &str| {
        let body = format!(r#"{{"requests":[{{"method":"GET","url":"{url}"}}]}}"#);
        of("microsoft", "/v1.0/$batch", &body)
    };
    let read = |path: &str| Ok(vec![format!("GET /v1.0{path}")]);
    assert_eq!(one("/users/ceo%40acme.example/messages"), read("/users/ceo@acme.example/messages"));
    assert_eq!(one("/caf%C3%A9/a%3fb"), read("/caf\u{e9}/a?b"));
    assert_eq!(one("/a%2fb"), read("/a%2Fb"));
    assert_eq!(one("/a%2f..%2fb"), Err(BatchError::Path(PathError::Dots)));
    assert_eq!(one("/caf%E9"), Err(BatchError::Path(PathError::NotUtf8)));
}

#[test]
fn malformed_members_are_refused() {
    let one =
        |member: &str| of("microsoft", "/v1.0/$BATCH", &format!(r#"{{"requests":[{member}]}}"#));
    assert_eq!(one(""), Err(BatchError::Empty));
    assert_eq!(one("1"), Err(BatchError::Malformed));
    assert_eq!(one(r#"{"method":"GET"}"#), Err(BatchError::Malformed));
    assert_eq!(one(r#"{"method":"GET","url":"/me","URL":"/x"}"#), Err(BatchError::Malformed));
    assert_eq!(one(r#"{"method":"POST","url":"/$batch"}"#), Err(BatchError::Nested));
    assert_eq!(one(r#"{"method":"POST","url":"/%24batch"}"#), Err(BatchError::Nested));
    let twice = r#"{"requests":[{"method":"GET","url":"/me"}],"Requests":[]}"#;
    assert_eq!(of("microsoft", "/v1.0/$batch", twice), Err(BatchError::Malformed));
    for url in
        ["/../me", "/me//x", "/%6de", "/me%2e", "/a\\\\b", "/me%", "https://x/me", "/ä", "/%2525"]
    {
        let member = format!(r#"{{"method":"GET","url":"{url}"}}"#);
        let refused = one(&member);
        let faulty = matches!(refused, Err(BatchError::Url | BatchError::Path(_)));
        assert!(faulty, "{url}: {refused:?}");
    }
    let many = format!(r#"{{"requests":[{}1]}}"#, "1,".repeat(MAX_MEMBERS));
    assert_eq!(of("microsoft", "/v1.0/$batch", &many), Err(BatchError::TooMany));
    assert_eq!(
        members(&request("microsoft", "PUT", "/v1.0/$batch")).and_then(Result::err),
        Some(BatchError::Malformed)
    );
}

#[test]
fn references_stand_for_records_and_nothing_else() {
    let one = |url: &str| {
        let member = format!(r#"{{"method":"GET","url":"/services/data/v60.0/{url}"}}"#);
        let body = format!(r#"{{"compositeRequest":[{member}]}}"#);
        of("salesforce", "/services/data/v60.0/composite", &body)
    };
    assert!(one("sobjects/Account/@{new.id}").is_ok());
    assert!(one("sobjects/Account/@{found.records[0].Id}/Contacts").is_ok());
    assert!(one("query?q=SELECT+Id+FROM+Contact+WHERE+AccountId='@{new.id}'").is_ok());
    let at = "/services/data/v60.0/composite";
    let whole = r#"{"compositeRequest":[{"method":"GET","url":"https://x/services/data/v60.0"}]}"#;
    assert_eq!(of("salesforce", at, whole), Err(BatchError::Whole));
    for url in ["@{a.b}", "tooling/@{a.b}", "sobjects/@{a.b}/1", "sobjects/A/1/@{a.b}"] {
        assert_eq!(one(url), Err(BatchError::Url), "{url}");
    }
}

#[test]
fn other_requests_are_no_batch() {
    for (provider, path) in [
        ("microsoft", "/v1.0/me/drive/root:/$batch:/content"),
        ("google", "/drive/v3/batch/x"),
        ("salesforce", "/services/data/v60.0/composite/sobjects"),
        ("github", "/batch"),
    ] {
        assert!(members(&request(provider, "POST", path)).is_none(), "{path}");
    }
}

proptest::proptest! {
    #[test]
    fn no_body_is_taken_for_more_than_it_says(url in "\\PC{0,20}") {
        let json = Json::String(url);
        let body = format!(r#"{{"requests":[{{"method":"GET","url":{}}}]}}"#, json.canonical());
        if let Ok(members) = of("microsoft", "/v1.0/$batch", &body) {
            proptest::prop_assert_eq!(members.len(), 1);
            let odd = [" ", "\\", "//", "/../"];
            proptest::prop_assert!(!odd.iter().any(|odd| members[0][4..].contains(odd)));
        }
    }
}
