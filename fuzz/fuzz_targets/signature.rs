//! Property of AWS signatures: a request signed by AWS's own library is accepted, and none that
//! differs from it in path, parameters, signed headers or body.

#![no_main]

use agentgate::rest::aws::ClientRequest;
use agentgate::rest::sigv4::{PresentedSignature, sign_anew};
use agentgate_fuzz::aws;
use aws_credential_types::Credentials;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Uri};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const SERVICES: [&str; 3] = ["s3", "dynamodb", "lambda"];

// Input: a byte for the service, then four lines: the signed target, and the target, header and
// body that are sent; empty ones are sent as signed.
fuzz_target!(|input: &[u8]| {
    let Some((service, text)) = input.split_first() else { return };
    let service = SERVICES[usize::from(*service) % SERVICES.len()];
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut lines = text.splitn(4, '\n');
    let (signed, came) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (header, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Some(uri) = aws::uri(signed) else { return };
    let (Ok(written), Ok(header)) = (HeaderValue::from_str("T.Get"), HeaderValue::from_str(header))
    else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-target", written.clone());
    let credentials = Credentials::from_keys("id", "secret", None);
    let scope = (service, "eu-west-1");
    let made = sign_anew(&credentials, scope, ("POST", &uri), &mut headers, Some(b"{}"));
    if made.is_err() {
        return;
    }
    headers.insert(HOST, HeaderValue::from_static("gate"));
    assert!(verifies(&uri, &headers, b"{}"), "as it was signed: {uri}");
    let mut other = headers.clone();
    if !header.is_empty() {
        other.insert("x-amz-target", header.clone());
    }
    let came = if came.is_empty() { Some(uri.clone()) } else { aws::uri(came) };
    let body = if body.is_empty() { "{}" } else { body };
    let Some(came) = came else { return };
    if verifies(&came, &other, body.as_bytes()) {
        assert_eq!(aws::meant(&came), aws::meant(&uri));
        assert_eq!(body, "{}");
        let words = |value: &HeaderValue| value.to_str().unwrap_or("?").trim().to_owned();
        assert_eq!(words(&other["x-amz-target"]), words(&written));
    }
});

fn verifies(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> bool {
    let mut request = Request::new(());
    *request.uri_mut() =
        uri.path_and_query().map(|it| it.as_str().parse()).expect("one").expect("one");
    *request.headers_mut() = headers.clone();
    let (parts, ()) = request.into_parts();
    let seen = ClientRequest {
        method: "POST".to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
    };
    let read = PresentedSignature::read(&parts, &|id| Some((aws::agent(id), aws::secret())));
    matches!(read, Some(Ok(read)) if read.verify(&seen, Some(body), Timestamp::now()).is_ok())
}
