use super::*;

fn settings(token: Option<&str>) -> ListenerSettings {
    ListenerSettings {
        address: ([127, 0, 0, 1], 8099).into(),
        token: token.map(|token| Arc::new(Zeroizing::new(token.to_owned()))),
        request_memory: MemoryBudget::default(),
        answer_memory: MemoryBudget::default(),
        max_message: 1_000,
    }
}

fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn only_this_machine_is_a_host() {
    let admits = |uri: &str, headers: &[(&str, &str)]| {
        settings(None).check_access(&parts(uri, headers)).map_err(|refusal| refusal.status.as_u16())
    };
    for host in [
        "127.0.0.1:8099",
        "127.0.0.1",
        "localhost",
        "LOCALHOST:1",
        "[::1]:8099",
        "[::1]",
        "127.0.0.2",
    ] {
        assert_eq!(admits("/mcp", &[("host", host)]), Ok(()), "{host}");
        let whole = format!("http://{host}/mcp");
        assert_eq!(admits(&whole, &[]), Ok(()), "{whole}");
    }
    for host in [
        "evil.example",
        "evil.example:8099",
        "localhost.",
        "localhost.evil.example",
        "127.0.0.1.",
        "127.0.0.1.nip.io",
        "evil@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1:80@evil.example",
        "0.0.0.0",
        "::1",
        "[::1",
        "[[::1]]",
        "[127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "",
    ] {
        assert_eq!(admits("/mcp", &[("host", host)]), Err(403), "{host}");
    }
    assert_eq!(admits("/mcp", &[]), Err(403));
    let both = [("host", "127.0.0.1:8099")];
    assert_eq!(admits("http://evil.example/mcp", &both), Err(400));
    assert_eq!(admits("http://127.0.0.1:8099/mcp", &both), Ok(()));
    let twice = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(admits("/mcp", &twice), Err(400));
}

#[test]
fn only_pages_of_this_machine_are_served() {
    let admits = |origins: &[&str], token| {
        let mut headers = vec![("host", "localhost:8099"), ("authorization", "Bearer t")];
        headers.extend(origins.iter().map(|origin| ("origin", *origin)));
        settings(token).check_access(&parts("/mcp", &headers)).is_ok()
    };
    for token in [None, Some("t")] {
        assert!(admits(&[], token));
        assert!(admits(&["http://localhost:6274"], token));
        assert!(admits(&["https://127.0.0.1"], token));
        assert!(admits(&["http://[::1]:3000"], token));
        for origin in [
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "localhost",
            "",
            "http://localhost/path",
            "http://localhost@evil.example",
            "file://localhost",
            "http://127.0.0.1, http://evil.example",
        ] {
            assert!(!admits(&[origin], token), "{origin}");
            assert!(!admits(&["http://localhost", origin], token), "{origin}");
        }
    }
}

#[test]
fn queries_are_refused_instead_of_dropped() {
    for query in ["", "&", "sessionId=1", "session_id=1&sessionId=2", "session%49d=1"] {
        assert!(check_query(query).is_ok(), "{query}");
    }
    for query in ["x", "x=1", "read_only=true", "sessionId=1&x=1", "SessionId=1", "=1"] {
        assert!(check_query(query).is_err(), "{query}");
    }
}

#[test]
fn messages_are_json_in_utf_8() {
    let check = |kinds: &[&str], encodings: &[&str]| {
        let kinds = kinds.iter().map(|kind| ("content-type", *kind));
        let encodings = encodings.iter().map(|encoding| ("content-encoding", *encoding));
        let all: Vec<_> = kinds.chain(encodings).collect();
        check_post(&parts("/mcp", &all).headers).is_ok()
    };
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json ;",
    ] {
        assert!(check(&[kind], &[]), "{kind}");
    }
    for kind in [
        "",
        "text/plain",
        "application/json5",
        "application/json; charset=utf-7",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; charset",
        "application/json, text/plain",
        "application/json; charset=us-ascii",
        "application/json; boundary=x",
    ] {
        assert!(!check(&[kind], &[]), "{kind}");
    }
    assert!(!check(&[], &[]) && !check(&["application/json", "application/json"], &[]));
    assert!(check(&["application/json"], &["Identity"]));
    for encodings in [&["gzip"][..], &["identity", "gzip"], &["gzip", "identity"], &[""]] {
        assert!(!check(&["application/json"], encodings), "{encodings:?}");
    }
}

#[test]
fn singleton_headers_must_not_repeat() {
    for name in [SESSION, REVISION, LAST_EVENT_ID, AUTHORIZATION] {
        let once = (name.as_str(), "a");
        assert!(check_headers(&parts("/mcp", &[once])).is_ok(), "{name}");
        assert!(check_headers(&parts("/mcp", &[once, once])).is_err(), "{name}");
    }
    let long = "x".repeat(MAX_SESSION_ID + 1);
    for id in ["", "a b", "a\tb", &long] {
        assert!(check_headers(&parts("/mcp", &[(SESSION.as_str(), id)])).is_err(), "{id}");
    }
}
