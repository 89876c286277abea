use super::*;

fn parsed(text: &str) -> Action {
    parse_text(text.as_bytes(), UnknownKeys::Refuse).expect("a request")
}

fn error(text: &str) -> String {
    parse_text(text.as_bytes(), UnknownKeys::Refuse).expect_err("no request").to_string()
}

#[test]
fn a_tool_call() {
    let action = parsed(
        r#"{"server":"git","tool":"push","args":{"branch":"main"},"agent":"ci",
                "annotations":{"readOnlyHint":true},"time":"2026-11-22T09:00:00+09:00"}"#,
    );
    assert_eq!(&*action.agent.name, "ci");
    assert_eq!(action.at.to_string(), "2026-11-22T00:00:00Z");
    let Target::Tool(call) = action.target else { panic!("{:?}", action.target) };
    assert_eq!(call.args.get("branch").and_then(Json::as_str), Some("main"));
    assert!(call.hints().read_only && !call.hints().destructive);
}

#[test]
fn a_rest_request_with_its_query_in_the_path() {
    let action = parsed(
        r#"{"provider":"github","method":"get","path":"/search?q=a%20b&q=c","query":{"n":1},
                "headers":{"X-Trace":"7"},"body":"{\"a\":1}"}"#,
    );
    let Target::Http(request) = action.target else { panic!("{:?}", action.target) };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/search"));
    let query: Vec<_> = request.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(query, ["q=a b", "q=c", "n=1"]);
    assert_eq!(request.headers, [("x-trace".to_owned(), "7".to_owned())]);
    assert!(matches!(request.body, Body::Json(_)));
}

#[test]
fn errors_name_the_problem() {
    assert!(error(r#"{"server":"x","tol":"y"}"#).contains("did you mean `tool`"));
    assert!(error(r#"{"provider":"gitlab","method":"GET","path":"/"}"#).contains("gitlab"));
    assert!(error(r#"{"tool":"x","provider":"github"}"#).contains("either"));
    assert!(error(r#"{"tool":"x","args":[1]}"#).contains("`args` must be an object"));
    assert!(error(r#"{"tool":"x","tool":"y"}"#).contains("duplicate key"));
    assert!(error(r#"{"tool":"x","time":"noon"}"#).contains("RFC 3339"));
    let whole = r#"{"provider":"github","method":"GET","path":"https://api.github.com/user"}"#;
    assert!(error(whole).contains("what follows the host"));
    assert!(parse_text(whole.as_bytes(), UnknownKeys::Ignore).is_ok());
    assert!(error("[]").contains("object"));
    assert!(error("{}").contains("tool"));
}

#[test]
fn hosts_are_found_as_the_proxy_finds_them() {
    for (provider, path, host, at) in [
        (
            "google",
            "/www.googleapis.com/drive/v3/files/x",
            None,
            "www.googleapis.com/drive/v3/files/x",
        ),
        ("google", "/v4/spreadsheets/x", None, "sheets.googleapis.com/v4/spreadsheets/x"),
        ("google", "/v1/x", Some("PubSub.googleapis.com:443"), "pubsub.googleapis.com/v1/x"),
        ("slack", "/chat.postMessage", None, "slack.com/api/chat.postMessage"),
        ("aws", "/bucket/key", Some("S3.amazonaws.com"), "s3.amazonaws.com/bucket/key"),
        ("aws", "/bucket/key", None, "/bucket/key"),
    ] {
        let host = host.map(|host| format!(r#","host":"{host}""#)).unwrap_or_default();
        let text = format!(r#"{{"provider":"{provider}","method":"GET","path":"{path}"{host}}}"#);
        let Target::Http(http) = parsed(&text).target else { panic!("{path}") };
        let found = format!("{}{}", http.host.as_deref().unwrap_or_default(), http.path);
        assert_eq!(found, at);
    }
}

#[test]
fn paths_are_read_as_the_proxy_reads_them() {
    for path in ["/a/../b", "/%2e", "/a//b", "//a", "/a%00", "/%zz", "/a;b", "/a{b}", "/a b"] {
        let text = format!(r#"{{"provider":"aws","method":"GET","path":"{path}"}}"#);
        let Target::Malformed(found) = parsed(&text).target else { panic!("{path}") };
        let fault = Path::parse(Provider::Aws, path).unwrap_err();
        assert_eq!(found.what, fault.to_string(), "{path}");
    }
    for (path, normal) in [("/a%2Fb%20c", "/a%2Fb c"), ("/a/", "/a/"), ("", "/"), ("a", "/a")] {
        let text = format!(r#"{{"provider":"aws","method":"GET","path":"{path}"}}"#);
        let Target::Http(request) = parsed(&text).target else { panic!("{path}") };
        assert_eq!(request.path, normal);
    }
}

#[test]
fn queries_and_headers_are_read_as_the_proxy_reads_them() {
    let fault_of = |request: &str| {
        let text = format!(r#"{{"provider":"notion","method":"POST",{request}}}"#);
        match parsed(&text).target {
            Target::Malformed(found) => Some(found.what),
            _ => None,
        }
    };
    let overridden = HeadError::Override("_method".to_owned()).to_string();
    for request in [
        r#""path":"/a?_method=DELETE""#,
        r#""path":"/a","query":"b;_method=DELETE""#,
        r#""path":"/a?b=1","query":{"_method":"DELETE"}"#,
    ] {
        assert_eq!(fault_of(request).as_ref(), Some(&overridden), "{request}");
    }
    for (request, fault) in [
        (r#""path":"/a","query":{"b":"\u0000"}"#, HeadError::Query("it holds a NUL")),
        (r#""path":"/a?b=%ff""#, HeadError::Query("it is not UTF-8")),
        (r#""path":"/a?b#c""#, HeadError::Target),
        (r#""path":"/a#c""#, HeadError::Target),
        (
            r#""path":"/a","headers":{"X-HTTP-Method":"PUT"}"#,
            HeadError::Override("x-http-method".to_owned()),
        ),
    ] {
        assert_eq!(fault_of(request), Some(fault.to_string()), "{request}");
    }
    let twice = r#""path":"/a","headers":{"Content-Type":["a/b","c/d"]}"#;
    assert!(fault_of(twice).is_some_and(|fault| fault.contains("twice")));
    for request in [
        r#""path":"/a?b=100%&c=_method","query":{"d":";#&_method=x"}"#,
        r#""path":"/a","headers":{"Accept":["a/b","c/d"],"X-Trace":"caf\u00e9"}"#,
    ] {
        assert_eq!(fault_of(request), None, "{request}");
    }
}

#[test]
fn documented_requests_may_have_placeholders() {
    let text = br#"{"provider":"github","method":"GET","path":"/orgs/{org}\n","label":"read"}"#;
    let Target::Http(request) = parse_documented(text).unwrap().target else { panic!() };
    assert_eq!(request.path, "/orgs/{org}");
}

#[test]
fn recordings_may_have_unknown_keys() {
    let text = br#"{"tool":"x","label":"read"}"#;
    assert!(parse_text(text, UnknownKeys::Ignore).is_ok());
    assert!(parse_text(text, UnknownKeys::Refuse).is_err());
}
