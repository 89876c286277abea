//! Google's batches: `multipart/mixed` (RFC 2046) of `application/http` parts.
//!
//! Readers of MIME forgive much, each in its own way. This one forgives
//! nothing: one kind of line end throughout, one boundary announced once, no
//! encodings, no folded headers, nothing before, between or behind the parts.

use super::{BatchError, MAX_MEMBERS, bare, checked};
use crate::action::{Body, HttpRequest};
use crate::intent::providers::google::DOMAIN;
use crate::json::{self, Json};
use crate::overrides;

pub(super) fn members(request: &HttpRequest) -> Result<Vec<HttpRequest>, BatchError> {
    let Body::Text(body) = &request.body else { return Err(BatchError::Malformed) };
    let delimiter = format!("--{}", boundary(request).ok_or(BatchError::Malformed)?);
    let end = format!("{delimiter}--");
    let mut lines = body.split(line_end(body).ok_or(BatchError::Malformed)?).peekable();
    while lines.next_if(|line| line.is_empty()).is_some() {}
    let mut members = Vec::new();
    let mut line = lines.next();
    while line == Some(&delimiter) {
        if members.len() == MAX_MEMBERS {
            return Err(BatchError::TooMany);
        }
        let mut part = Vec::new();
        line = lines.next();
        while let Some(inner) = line.filter(|inner| !inner.contains(&delimiter)) {
            part.push(inner);
            line = lines.next();
        }
        members.push(member(request, &part)?);
    }
    let nothing_behind = lines.all(str::is_empty);
    (line == Some(&end) && nothing_behind).then_some(members).ok_or(BatchError::Malformed)
}

/// The boundary, if exactly one is declared for exactly this media type.
fn boundary(request: &HttpRequest) -> Option<&str> {
    let mut types = request.content_types();
    let announced = types.next()?;
    let (kind, parameters) = announced.split_once(';')?;
    let mut boundaries = parameters.split(';').map(str::trim).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value)
    });
    let boundary = boundaries.next()?;
    let boundary = match boundary.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => boundary,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    let only = types.next().is_none() && boundaries.next().is_none();
    let fits = (1..=70).contains(&boundary.len()) && boundary.bytes().all(plain);
    (kind.trim().eq_ignore_ascii_case("multipart/mixed") && only && fits).then_some(boundary)
}

/// The line end used consistently in the body.
fn line_end(body: &str) -> Option<&'static str> {
    let count = |what: &str| body.matches(what).count();
    match (count("\r"), count("\n"), count("\r\n")) {
        (0, _, _) => Some("\n"),
        (returns, feeds, both) if returns == both && feeds == both => Some("\r\n"),
        _ => None,
    }
}

/// Parses a part: its headers, an empty line, and an HTTP/1.1 request.
fn member(outer: &HttpRequest, part: &[&str]) -> Result<HttpRequest, BatchError> {
    let mut lines = part.iter().copied();
    let about = headers(&mut lines)?;
    let values = |wanted: &'static str| {
        about.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    let is_http = |value: &str| {
        let kind = value.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/http")
    };
    let kinds: Vec<bool> = values("content-type").map(is_http).collect();
    let as_is =
        |value: &str| ["binary", "8bit", "7bit"].iter().any(|e| value.eq_ignore_ascii_case(e));
    if kinds != [true] || !values("content-transfer-encoding").all(as_is) {
        return Err(BatchError::Malformed);
    }
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let version = words.next().is_none_or(|version| version.starts_with("HTTP/1."));
    if !method.bytes().all(|b| b.is_ascii_uppercase()) || !version || words.next().is_some() {
        return Err(BatchError::Malformed);
    }
    let (host, path) = on_own_host(url)?;
    let mut member = bare(outer, method, path)?;
    member.host = host.map(str::to_owned).or(member.host);
    member.headers = checked(headers(&mut lines)?)?;
    member.body = body(&lines.collect::<Vec<_>>().join("\n"));
    match &member.body {
        Body::Json(body) if overrides::member_in(body).is_some() => Err(BatchError::Overridden),
        _ => Ok(member),
    }
}

/// Splits an absolute URL on a host of the provider into host and path. Relative URLs have no
/// host.
fn on_own_host(url: &str) -> Result<(Option<&str>, &str), BatchError> {
    let Some(rest) = url.strip_prefix("https://") else { return Ok((None, url)) };
    let (host, _) = rest.split_once('/').ok_or(BatchError::Url)?;
    let is_own = host.ends_with(DOMAIN) && !host.contains(['@', ':', '?', '#']);
    let path = rest.get(host.len()..).filter(|_| is_own).ok_or(BatchError::Url)?;
    Ok((Some(host), path))
}

/// Parses headers up to the empty line, with names in lower case.
fn headers<'l>(
    lines: &mut impl Iterator<Item = &'l str>,
) -> Result<Vec<(String, String)>, BatchError> {
    let mut headers = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(BatchError::Malformed)?;
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(BatchError::Malformed);
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(headers)
}

fn body(text: &str) -> Body {
    match json::parse(text.as_bytes()) {
        _ if text.trim().is_empty() => Body::Empty,
        Ok(value @ (Json::Object(_) | Json::Array(_))) => Body::Json(value),
        _ => Body::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;

    const PART: &str =
        "Content-Type: application/http\n\nGET /drive/v3/files?q=a HTTP/1.1\nAccept: */*\n\n";

    fn batch(kind: &str, body: &str) -> Result<Vec<HttpRequest>, BatchError> {
        let mut batch = request("google", "POST", "/batch/drive/v3");
        batch.headers.push(("content-type".to_owned(), kind.to_owned()));
        batch.body = Body::Text(body.to_owned());
        members(&batch)
    }

    fn parts(parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--b\n{part}\n")).collect();
        format!("{parts}--b--\n")
    }

    const KIND: &str = "multipart/mixed; boundary=\"b\"";

    #[test]
    fn parts_are_requests() {
        let post = "MIME-Version: 1.0\nContent-Type: application/http\n\nPOST https://www.googleapis.com/a/b\nContent-Type: application/json\n\n{\"x\": 1}";
        let body = parts(&[PART, post]);
        for body in [body.clone(), body.replace('\n', "\r\n")] {
            let members = batch(KIND, &body).expect("a batch");
            let read: Vec<_> = members.iter().map(|m| format!("{} {}", m.method, m.path)).collect();
            assert_eq!(read, ["GET /drive/v3/files", "POST /a/b"]);
            assert!(matches!(members[1].body, Body::Json(_)));
            let named = body.replace("/files?q=a", "/files%3Asearch");
            assert_eq!(batch(KIND, &named).expect("a batch")[0].path, "/drive/v3/files%3Asearch");
            assert_eq!(members[1].host.as_deref(), Some("www.googleapis.com"));
        }
    }

    #[test]
    fn ambiguous_multipart_is_refused() {
        let one = |part: &str| batch(KIND, &parts(&[part]));
        assert!(one(PART).is_ok());
        for part in [
            PART.replace("http\n", "http\nContent-Type: application/http\n"),
            PART.replace("http\n", "http\nContent-Transfer-Encoding: base64\n"),
            PART.replace("http\n", "http\n folded\n"),
            PART.replace("http", "json"),
            PART.replace("GET", "get"),
            PART.replace("GET ", "GET  "),
            PART.replace("Accept", "Acc ept"),
            PART.replace("*/*", "\r"),
            PART.replace("*/*", " --b"),
            PART.replace("/drive", "//drive"),
            PART.replace("/drive", "https://evil.example/drive"),
            PART.replace("Accept:", "X_HTTP_Method_Override:"),
            PART.replace("Accept: */*", "Content-Type: a/b\nContent-Type: c/d"),
            PART.replace("q=a", "$req=e30"),
            format!("{PART}{{\"_method\": \"DELETE\"}}"),
            String::new(),
        ] {
            assert!(one(&part).is_err(), "{part:?}");
        }
        let body = parts(&[PART]);
        for kind in [
            "multipart/mixed",
            "multipart/form-data; boundary=b",
            "multipart/mixed; boundary=b; boundary=c",
            "multipart/mixed; boundary=",
            "application/json",
        ] {
            assert!(batch(kind, &body).is_err(), "{kind}");
        }
        assert!(batch(KIND, &format!("preamble\n{body}")).is_err());
        assert!(batch(KIND, &format!("{body}{body}")).is_err());
        assert!(batch(KIND, body.trim_end_matches("--b--\n")).is_err());
        assert!(batch(KIND, &body.replacen('\n', "\r\n", 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(--b|--|\r|\n|Content-Type: application/http|GET /a|.){0,30}") {
            let _ = batch(KIND, &text);
        }
    }
}
