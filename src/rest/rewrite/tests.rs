use super::*;
use crate::rest::hosts::HostOverrides;

const BASE: &str = "http://gate:8100/proxy/github";
const TEXT: &str = r#"{"url":"https://api.github.com/a", "body":"https://api.github.com/b"}"#;
const REWRITTEN: &str =
    r#"{"url":"http://gate:8100/proxy/github/a", "body":"https://api.github.com/b"}"#;

fn mappings(provider: Provider) -> Arc<UrlMappings> {
    Arc::new(UrlMappings::new(provider, &HostOverrides::default(), None))
}

fn github() -> Rewriter {
    Rewriter::new(Provider::Github, mappings(Provider::Github), BASE, None, ExpectedBody::Api)
}

fn response(headers: &[(&'static str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

async fn after(response: Response<Body>) -> (HeaderMap, String) {
    let origin = Origin::of_mock();
    let (parts, body) = github()
        .answer(&Method::GET, (&origin, Dialect::Plain), response)
        .await
        .unwrap()
        .into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    (parts.headers, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
async fn an_answer_keeps_what_is_still_true_of_it() {
    let length = TEXT.len().to_string();
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", length.as_str()),
        ("etag", "\"x\""),
        ("content-md5", "y"),
    ];
    let (headers, text) = after(response(&headers, TEXT.into())).await;
    assert_eq!(text, REWRITTEN);
    assert_eq!(headers["content-length"], REWRITTEN.len().to_string().as_str());
    assert_eq!(headers["etag"], "\"x\"");
    assert!(!headers.contains_key("content-md5"));
    let same = [("content-type", "application/json"), ("content-length", "2"), ("digest", "y")];
    let (headers, text) = after(response(&same, "{}".into())).await;
    assert_eq!((text.as_str(), &headers["digest"]), ("{}", &HeaderValue::from_static("y")));
}

#[tokio::test]
async fn files_of_slack_are_led_back_as_slack_writes_them() {
    let text = r#"{"url_private":"https:\/\/files.slack.com\/files-pri\/T1-F1\/a.png","text":"<https:\/\/files.slack.com\/x>"}"#;
    let led = text.replacen(
        r"https:\/\/files.slack.com",
        r"http:\/\/gate\/proxy\/slack\/files.slack.com",
        1,
    );
    let base = "http://gate/proxy/slack";
    let rewriter =
        Rewriter::new(Provider::Slack, mappings(Provider::Slack), base, None, ExpectedBody::Api);
    let json = response(&[("content-type", "application/json")], text.into());
    let answer =
        rewriter.answer(&Method::POST, (&Origin::of_mock(), Dialect::Plain), json).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), led);
}

#[tokio::test]
async fn a_large_answer_is_rewritten_as_it_streams_trailers_and_all() {
    let large = format!("[{}{TEXT}]", " ".repeat(2 * MAX_HELD));
    let trailers: HeaderMap =
        [(CONTENT_LOCATION, HeaderValue::from_static("x"))].into_iter().collect();
    let pieces =
        large.as_bytes().chunks(1_000).map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
    let frames: Vec<_> =
        pieces.chain([Frame::trailers(trailers.clone())]).map(Ok::<_, axum::Error>).collect();
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    let json = [("content-type", "application/vnd.github+json"), ("content-length", "2097360")];
    let answer = github()
        .answer(&Method::GET, (&Origin::of_mock(), Dialect::Plain), response(&json, body))
        .await
        .unwrap();
    let (parts, body) = answer.into_parts();
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    let text = collected.to_bytes();
    assert!(text.ends_with(format!("{REWRITTEN}]").as_bytes()));
    assert!(!parts.headers.contains_key(CONTENT_LENGTH));
}

#[tokio::test]
async fn files_parts_and_streams_of_another_kind_are_left_alone() {
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/x-ndjson"),
        ("content-type", "application/vnd.github.raw+json"),
        ("content-disposition", "attachment; filename=a.json"),
    ] {
        let mut headers = vec![("content-type", "application/json")];
        headers.retain(|(other, _)| *other != name);
        headers.push((name, value));
        assert_eq!(after(response(&headers, TEXT.into())).await.1, TEXT, "{value}");
    }
    let json = [("content-type", "application/json"), ("content-length", "69")];
    let mut part = response(&json, TEXT.into());
    *part.status_mut() = StatusCode::PARTIAL_CONTENT;
    assert_eq!(after(part).await.1, TEXT);
}

/// How long a body would be that nobody has looked at, is not known.
#[tokio::test]
async fn head_response_has_the_content_length_of_get() {
    for (kind, length) in [("application/json", None), ("text/plain", Some("69"))] {
        let headers = [("content-type", kind), ("content-length", "69")];
        let head = response(&headers, Body::empty());
        let head = github()
            .answer(&Method::HEAD, (&Origin::of_mock(), Dialect::Plain), head)
            .await
            .unwrap();
        let body = head.headers().get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        assert_eq!(body, length, "{kind}");
    }
}

#[tokio::test]
async fn a_place_without_a_host_is_upstreams() {
    let github_com = Origin::of(&"https://api.github.com/a".parse().unwrap());
    for (place, led) in [
        ("/b?c", "http://gate:8100/proxy/github/b?c"),
        ("//api.github.com/b", "http://gate:8100/proxy/github/b"),
        ("//example.com/b", "//example.com/b"),
        ("/b/../../slack/api/x", "/b/../../slack/api/x"),
        ("b", "b"),
    ] {
        let moved = response(&[("location", place)], Body::empty());
        let answer =
            github().answer(&Method::GET, (&github_com, Dialect::Plain), moved).await.unwrap();
        assert_eq!(answer.headers()[LOCATION], led);
    }
}

#[tokio::test]
async fn an_answer_that_could_hide_a_url_is_not_passed_on_unread() {
    let encoded = &[("content-type", "application/json"), ("content-encoding", "gzip")][..];
    let file = &[("content-type", "image/svg+xml"), ("content-encoding", "gzip")][..];
    let parted = &[("content-type", "multipart/mixed; boundary=\"-\"")][..];
    let events = &[("content-type", "Text/Event-Stream")][..];
    for (provider, headers, reads, status) in [
        (Provider::Slack, encoded, true, 502),
        (Provider::Slack, encoded, false, 200),
        (Provider::Slack, file, true, 200),
        (Provider::Linear, parted, true, 502),
        (Provider::Linear, events, true, 502),
        (Provider::Jira, encoded, true, 200),
        (Provider::Google, parted, true, 200),
    ] {
        let answer = if reads { ExpectedBody::Api } else { ExpectedBody::File };
        let rewriter = Rewriter::new(provider, mappings(provider), BASE, None, answer);
        let answer = rewriter
            .answer(
                &Method::GET,
                (&Origin::of_mock(), Dialect::Plain),
                response(headers, TEXT.into()),
            )
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{provider:?} {headers:?}");
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status == 502 || text == TEXT);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    let pieces = [Ok(Bytes::from("{\"url\":\"https://api")), Err(std::io::Error::other("gone"))];
    for headers in [
        &[("content-type", "application/json")][..],
        &[("content-type", "application/json"), ("content-length", "69")],
    ] {
        let pieces = pieces.iter().map(|piece| match piece {
            Ok(bytes) => Ok(bytes.clone()),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        });
        let body = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
        let answer = github()
            .answer(&Method::GET, (&Origin::of_mock(), Dialect::Plain), response(headers, body))
            .await;
        assert!(match answer {
            Ok(answer) => answer.into_body().collect().await.is_err(),
            Err(_) => true,
        });
    }
}

#[test]
fn links_are_rewritten_one_by_one() {
    let link = "<https://api.github.com/r?page=2>; rel=\"next\", <https://example.com/?u=https://api.github.com/x>; rel=\"last\"";
    let expected = link.replacen("https://api.github.com", BASE, 1);
    assert_eq!(github().link(link), Some(expected));
    assert_eq!(github().link("<https://api.github.com/r"), None);
}
