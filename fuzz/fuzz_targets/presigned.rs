//! Property of presigned URLs of AWS: a URL signed by AWS's own library is accepted, and none that
//! differs from it in method, path, parameters or signed headers. Once accepted, its signature does
//! not reach upstream, and the rest of the query does, unchanged.

#![no_main]

use std::time::{Duration, SystemTime};

use agentgate::rest::aws::ClientRequest;
use agentgate::rest::sigv4::PresentedSignature;
use agentgate_fuzz::aws;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const SERVICES: [&str; 3] = ["s3", "dynamodb", "lambda"];

/// Names of the signature's parameters.
const PREFIX: &str = "x-amz-";

// Input: a byte for the service, one for the method that is sent (0: as signed), and three for an
// alteration (position, kind, byte); then the target that is signed, a line feed, and parameters
// that are added in front or at the end.
fuzz_target!(|input: &[u8]| {
    let [service, method, at, kind, byte, text @ ..] = input else { return };
    let service = SERVICES[usize::from(*service) % SERVICES.len()];
    let methods = [Method::GET, Method::PUT, Method::DELETE];
    let method = methods[usize::from(*method) % methods.len()].clone();
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (target, added) = text.split_once('\n').unwrap_or((text, ""));
    let Some(uri) = aws::uri(target) else { return };
    let Some(signed) = presigned(service, &uri) else { return };
    let parts = parts(Method::GET, &signed).expect("a URL");
    assert!(verifies(&parts), "as it was signed: {signed}");
    assert_stripped(parts, &uri);
    let mut came = signed.clone().into_bytes();
    alter(&mut came, (usize::from(*at), *kind, *byte));
    let Ok(came) = String::from_utf8(came) else { return };
    let came = match came.split_once('?') {
        Some((path, query)) if !added.is_empty() && kind & 16 == 0 => {
            format!("{path}?{added}&{query}")
        }
        _ if !added.is_empty() => format!("{came}&{added}"),
        _ => came,
    };
    let Some(parts) = self::parts(method, &came) else { return };
    if verifies(&parts) {
        assert_eq!(parts.method, Method::GET);
        let before: Uri = signed.parse().expect("a URL");
        assert_eq!(aws::meant(&parts.uri), aws::meant(&before));
        assert_stripped(parts, &uri);
    }
});

/// The target with its signature.
fn presigned(service: &str, uri: &Uri) -> Option<String> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(3_600));
    let mut body = SignableBody::Bytes(b"");
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        body = SignableBody::UnsignedPayload;
    }
    let identity = Credentials::from_keys("id", "secret", None).into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name(service)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .expect("all of them")
        .into();
    let headers = [("host", "gate")].into_iter();
    let request = SignableRequest::new("GET", uri.to_string(), headers, body).ok()?;
    let (instructions, _) = sign(request, &parameters).ok()?.into_parts();
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = instructions.params().iter();
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let joint = if uri.query().is_some() { '&' } else { '?' };
    Some(format!("{}{joint}{}", uri.path_and_query()?, pairs.join("&")))
}

fn parts(method: Method, target: &str) -> Option<Parts> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().ok().filter(|uri: &Uri| uri.authority().is_none())?;
    *request.headers_mut() = HeaderMap::from_iter([(HOST, HeaderValue::from_static("gate"))]);
    Some(request.into_parts().0)
}

fn read(parts: &Parts) -> Option<PresentedSignature> {
    PresentedSignature::read(parts, &|id| Some((aws::agent(id), aws::secret())))?.ok()
}

fn verifies(parts: &Parts) -> bool {
    let seen = ClientRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
    };
    read(parts).is_some_and(|read| read.verify(&seen, Some(b""), Timestamp::now()).is_ok())
}

/// Asserts that nothing of the signature remains, and all of the signed target.
fn assert_stripped(mut parts: Parts, uri: &Uri) {
    read(&parts).expect("read before").strip(&mut parts).expect("nothing odd is signed");
    let left = parts.uri.query().unwrap_or_default();
    assert!(!aws::decoded(left).to_ascii_lowercase().contains(PREFIX), "{left}");
    assert_eq!(aws::meant(&parts.uri), aws::meant(uri));
    assert_eq!(parts.headers.len(), 1, "{:?}", parts.headers);
}

/// Changes, removes, inserts or escapes a byte.
fn alter(target: &mut Vec<u8>, (at, kind, byte): (usize, u8, u8)) {
    let last = target.len() - 1;
    // The signature is at the end.
    let at = if kind & 8 == 0 { at.min(last) } else { last.saturating_sub(at) };
    match kind % 8 {
        0 => {}
        1 => target[at] = byte,
        2 => drop(target.remove(at)),
        3 => target.insert(at, byte),
        _ => drop(target.splice(at..=at, format!("%{:02x}", target[at]).into_bytes())),
    }
}
