use super::*;
use aws_credential_types::Credentials;
use http::{HeaderMap, HeaderValue, Request, Uri};

/// The pair of AWS's documentation.
const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn lookup(id: &str) -> Option<(Arc<AgentRecord>, Zeroizing<String>)> {
    (id == ID).then(|| (Arc::new(AgentRecord::named("a")), Zeroizing::new(SECRET.to_owned())))
}

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn client_request(parts: &Parts) -> ClientRequest {
    ClientRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
    }
}

fn verified(
    parts: &Parts,
    held: Option<&[u8]>,
    now: Timestamp,
) -> Result<Option<SignedChunks>, SignatureError> {
    PresentedSignature::read(parts, &lookup).unwrap()?.verify(&client_request(parts), held, now)
}

/// When AWS's examples were signed.
fn then() -> Timestamp {
    signer::time("20130524T000000Z").unwrap()
}

/// Signs as a client does, with the library that is tested against AWS.
fn signed(id: &str, secret: &str, service: &str, target: &str, body: &[u8]) -> Parts {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-target", HeaderValue::from_static("T.GetItem"));
    let uri: Uri = format!("http://gate:8100{target}").parse().unwrap();
    let credentials = Credentials::from_keys(id, secret, None);
    sign_anew(&credentials, (service, "eu-west-1"), ("POST", &uri), &mut headers, Some(body))
        .unwrap();
    headers.insert("host", HeaderValue::from_static("gate:8100"));
    let mut parts = parts("POST", target, &[]);
    parts.headers = headers;
    parts
}

#[test]
fn a_signature_is_good_for_its_request_and_no_other() {
    let now = Timestamp::now();
    for (service, target) in [
        ("dynamodb", "/proxy/aws/dynamodb/"),
        ("s3", "/proxy/aws/s3/bucket/a%20b/c%2Bd?list-type=2&prefix=x%2Fy&acl"),
        ("lambda", "/proxy/aws/lambda/2015-03-31/functions/arn%3Aaws%3Ax/invocations?b=2&a=1"),
    ] {
        let request = signed(ID, SECRET, service, target, b"{}");
        let check = |request: &Parts, body: &[u8], now| {
            verified(request, Some(body), now).map(|chunks| assert!(chunks.is_none()))
        };
        assert_eq!(check(&request, b"{}", now), Ok(()), "{target}");
        assert_eq!(check(&request, b"{ }", now), Err(SignatureError::Wrong));
        let moved = |seconds| now + jiff::SignedDuration::from_secs(seconds);
        for seconds in [890, -890] {
            assert_eq!(check(&request, b"{}", moved(seconds)), Ok(()), "as AWS takes it");
            let beyond = moved(seconds + 20 * seconds.signum());
            assert_eq!(check(&request, b"{}", beyond), Err(SignatureError::Skewed));
        }
        let mut other = request.clone();
        other.uri = target.replace("/aws/", "/AWS/").parse().unwrap();
        assert_eq!(check(&other, b"{}", now), Err(SignatureError::Wrong));
        let mut other = request.clone();
        other.headers.insert("x-amz-target", HeaderValue::from_static("T.DeleteItem"));
        assert_eq!(check(&other, b"{}", now), Err(SignatureError::Wrong));
        for name in ["x-amz-acl", "x-amz-meta-a", "x-amz-security-token"] {
            let mut other = request.clone();
            other.headers.insert(name, HeaderValue::from_static("x"));
            let uncovered = SignatureError::Uncovered(name.to_owned());
            assert_eq!(check(&other, b"{}", now), Err(uncovered));
        }
    }
    let forged = signed(ID, "another secret", "dynamodb", "/proxy/aws/dynamodb/", b"{}");
    assert_eq!(verified(&forged, Some(b"{}"), now).unwrap_err(), SignatureError::Wrong);
    let nobodys = signed("AKIANOBODYS", SECRET, "s3", "/", b"");
    assert_eq!(verified(&nobodys, None, now).unwrap_err(), SignatureError::Unusable);
}

/// Amazon S3 API Reference, "Using query parameters".
const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
    &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
const BUCKET: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");

#[test]
fn the_presigned_example_of_the_documentation_is_good_for_a_day() {
    let request = parts("GET", PRESIGNED, &[BUCKET]);
    let at = |seconds| {
        let now = then() + jiff::SignedDuration::from_secs(seconds);
        verified(&request, None, now).map(drop)
    };
    assert_eq!((at(0), at(86_400), at(-900)), (Ok(()), Ok(()), Ok(())));
    assert_eq!((at(86_401), at(-901)), (Err(SignatureError::Expired), Err(SignatureError::Skewed)));
}

#[test]
fn a_presigned_url_is_good_as_it_is_and_no_other_way() {
    let check = |method: &str, target: &str, more: &[(&str, &str)]| {
        let headers = [&[BUCKET][..], more].concat();
        verified(&parts(method, target, &headers), None, then()).map(drop).unwrap_err()
    };
    let changed = |from: &str, to: &str| {
        assert!(PRESIGNED.contains(from));
        check("GET", &PRESIGNED.replace(from, to), &[])
    };
    use SignatureError::{Uncovered, Unusable, Wrong};
    assert_eq!(check("PUT", PRESIGNED, &[]), Wrong);
    assert_eq!(changed("/test", "/best"), Wrong);
    assert_eq!(changed("=86400", "=86401"), Wrong);
    assert_eq!(changed("us-east-1", "us-east-2"), Wrong);
    assert_eq!(changed("=host", "=host%3Brange"), Unusable);
    for beyond in ["0", "604801", "-1", "+1", "", "1e3", "18446744073709551616"] {
        assert_eq!(changed("86400", beyond), Unusable, "{beyond}");
    }
    assert_eq!(changed("404", "40"), Wrong);
    assert_eq!(changed("&X-Amz-Expires=86400", ""), Unusable);
    assert_eq!(changed("X-Amz-Date", "x-amz-date"), Unusable);
    assert_eq!(changed("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), Unusable);
    for twice in ["X-Amz-Expires=86400", "x-amz-expires=1", "X%2DAmz-Date=20130524T000000Z"] {
        assert_eq!(changed("&X-Amz-Date", &format!("&{twice}&X-Amz-Date")), Unusable, "{twice}");
    }
    assert_eq!(check("GET", &format!("{PRESIGNED}&acl"), &[]), Wrong);
    assert_eq!(check("GET", PRESIGNED, &[("x-amz-acl", "a")]), Uncovered("x-amz-acl".into()));
    assert_eq!(check("GET", PRESIGNED, &[("x-amz-date", "20130524T000000Z")]), Unusable);
    for own in ["Bearer x", "AWS4-HMAC-SHA256 Credential=x"] {
        assert_eq!(check("GET", PRESIGNED, &[("authorization", own)]), Unusable);
    }
}

#[test]
fn a_plus_in_a_query_is_the_space_that_upstream_takes_it_for() {
    let query = |query: &str| {
        let canonical =
            client_request(&parts("GET", &format!("/?{query}"), &[])).canonical("s3", &[], "");
        canonical.unwrap().lines().nth(2).unwrap().to_owned()
    };
    assert_eq!(query("b=x+y&a=%2b"), "a=%2B&b=x%20y");
    assert_eq!(query("b=x%20y&a=%2B"), "a=%2B&b=x%20y");
}

#[test]
fn debug_output_contains_no_secret() {
    let presented =
        PresentedSignature::of(&format!("{ID}/d/r/s3/aws4_request"), "", "sIgN", &lookup);
    let shown = format!("{:?} {:?}", presented.unwrap(), Signer::new(SECRET, then(), ("", "")));
    assert!(!shown.contains(SECRET) && !shown.contains("sIgN"), "{shown}");
}

#[test]
fn signature_is_removed_and_signed_query_headers_become_headers() {
    let query = "list-type=2&X-Amz-Signature=s&a=%2f&&x-amz-acl=public%2Dread&X-Amz-Date=d&z";
    let mut request = parts("GET", &format!("/a%20b?{query}"), &[BUCKET]);
    presigned::strip(&mut request).unwrap();
    assert_eq!(request.uri, "/a%20b?list-type=2&a=%2f&&z");
    assert_eq!(request.headers.get("x-amz-acl").unwrap(), "public-read");
    assert_eq!(request.headers.len(), 2);
    let mut request = parts("GET", "/a?X-Amz-Signature=s", &[BUCKET]);
    presigned::strip(&mut request).unwrap();
    assert_eq!(request.uri, "/a");
    for bad in ["x-amz-acl=a%0d%0aevil:1", "x-amz-a%20b=1", "x-amz-%C3%A9=1"] {
        let mut request = parts("GET", &format!("/a?{bad}"), &[BUCKET]);
        assert!(presigned::strip(&mut request).is_none(), "{bad}");
    }
}

/// Amazon S3 API Reference, the examples for uploads in chunks.
fn upload(payload: &str, signed: &str, signature: &str, more: &[(&str, &str)]) -> Parts {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ID}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={signature}"
    );
    let headers = [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", &authorization),
        ("x-amz-content-sha256", payload),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    parts("PUT", "/examplebucket/chunkObject.txt", &[&headers[..], more].concat())
}

#[test]
fn the_chunked_examples_of_the_documentation_announce_their_chunks() {
    let plain = upload(
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
         x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        &[("content-length", "66824")],
    );
    let chunks = verified(&plain, None, then()).unwrap().unwrap();
    assert_eq!(chunks.announced, Announced { length: 66_560, trailer: Vec::new() });
    let with_trailer = upload(
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "content-encoding;host;x-amz-content-sha256;x-amz-date;\
         x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        &[("x-amz-trailer", "x-amz-checksum-crc32c")],
    );
    let chunks = verified(&with_trailer, None, then()).unwrap().unwrap();
    let trailer = vec!["x-amz-checksum-crc32c".to_owned()];
    assert_eq!(chunks.announced, Announced { length: 66_560, trailer });
    let mut cut = with_trailer.clone();
    cut.headers.remove("x-amz-trailer");
    assert_eq!(verified(&cut, None, then()).unwrap_err(), SignatureError::Unusable);
}
