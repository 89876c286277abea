//! AWS on either side of the gate, with AWS's own library: a client that signs,
//! and an upstream that verifies what arrived with the real credential.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::{self, SigningParams, calculate_signature, generate_signing_key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::CREDENTIAL;

const REGION: &str = "eu-west-1";

/// The body is signed in chunks; with a trailer behind them.
pub(crate) const CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
pub(crate) const CHUNKS_AND_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// Somebody's pair, and the time that is signed with it.
pub(crate) struct Signer<'p> {
    pub(crate) id: &'p str,
    pub(crate) secret: &'p str,
    pub(crate) at: SystemTime,
}

impl<'p> Signer<'p> {
    pub(crate) fn new([id, secret]: &'p [String; 2]) -> Self {
        Self { id, secret, at: SystemTime::now() }
    }

    /// The header lines that sign a request to S3, and the signature.
    pub(crate) fn head(
        &self,
        (method, url): (&str, &str),
        headers: &[(&str, &str)],
        payload: &str,
    ) -> (String, String) {
        let payload = SignableBody::Precomputed(payload.to_owned());
        let request =
            SignableRequest::new(method, url.to_owned(), headers.iter().copied(), payload);
        let sign = |p: SigningParams<'_, _>| sign(request.unwrap(), &p.into()).unwrap();
        let (signed, signature) = self.with(settings(), sign).into_parts();
        let own = signed.headers().map(|(name, value)| format!("{name}: {value}\r\n"));
        let others = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        (own.chain(others).collect(), signature)
    }

    /// The target of a presigned URL that is good for `expires`.
    pub(crate) fn presigned(
        &self,
        (method, url): (&str, &str),
        headers: &[(&str, &str)],
        expires: Duration,
    ) -> String {
        let payload = SignableBody::UnsignedPayload;
        let request =
            SignableRequest::new(method, url.to_owned(), headers.iter().copied(), payload);
        let mut settings = settings();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.expires_in = Some(expires);
        let sign = |p: SigningParams<'_, _>| sign(request.unwrap(), &p.into()).unwrap();
        let (signed, _) = self.with(settings, sign).into_parts();
        let encode =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pairs = signed.params().iter();
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let target = &url[url.find("/proxy").unwrap()..];
        let between = if target.contains('?') { '&' } else { '?' };
        format!("{target}{between}{}", pairs.join("&"))
    }

    /// A body in chunks whose signatures begin at `seed`.
    pub(crate) fn chunked(&self, seed: &str, chunks: &[&[u8]], trailer: Option<&str>) -> Vec<u8> {
        let mut running = seed.to_owned();
        let mut body = Vec::new();
        for chunk in chunks.iter().chain([&&b""[..]]) {
            running = self.chunk(&running, chunk);
            body.extend(format!("{:x};chunk-signature={running}\r\n", chunk.len()).into_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(if chunk.is_empty() { b"" } else { b"\r\n" });
        }
        if let Some(line) = trailer {
            let signature = self.trailer(&running, line);
            body.extend(format!("{line}\r\nx-amz-trailer-signature:{signature}\r\n").into_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body
    }

    fn chunk(&self, running: &str, chunk: &[u8]) -> String {
        let chunk = Bytes::copy_from_slice(chunk);
        self.with((), |p| v4::sign_chunk(&chunk, running, &p).unwrap().signature().to_owned())
    }

    fn trailer(&self, running: &str, line: &str) -> String {
        let digest = Sha256::digest(format!("{line}\n"));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let (stamp, date) = (self.stamp("%Y%m%dT%H%M%SZ"), self.stamp("%Y%m%d"));
        let scope = format!("{date}/{REGION}/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{stamp}\n{scope}\n{running}\n{digest}");
        let key = generate_signing_key(self.secret, self.at, REGION, "s3");
        calculate_signature(key, text.as_bytes())
    }

    fn stamp(&self, format: &str) -> String {
        jiff::Timestamp::try_from(self.at).unwrap().strftime(format).to_string()
    }

    fn with<S: Default, T>(&self, settings: S, work: impl FnOnce(SigningParams<'_, S>) -> T) -> T {
        let identity = Credentials::from_keys(self.id, self.secret, None).into();
        let parameters = SigningParams::builder().identity(&identity).region(REGION).name("s3");
        work(parameters.time(self.at).settings(settings).build().unwrap())
    }
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

/// The value of a header of a recorded request.
pub(crate) fn header<'r>(request: &'r Value, name: &str) -> Option<&'r str> {
    let headers = request["headers"].as_array().unwrap();
    headers.iter().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap())
}

/// Verifies a recorded request as S3 does, the signatures of its chunks included,
/// and gives what it uploads.
#[track_caller]
pub(crate) fn accepted(request: &Value) -> Vec<u8> {
    let get = |name: &str| header(request, name).unwrap_or_else(|| panic!("no {name}: {request}"));
    let at = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", get("x-amz-date")).unwrap();
    let at = at.to_datetime().unwrap().to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let signer = Signer { id: "AKIAREALREALREALREAL", secret: CREDENTIAL, at: at.into() };
    let authorization = get("authorization");
    let signed = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let of_the_library = ["host", "x-amz-date", "x-amz-content-sha256"];
    let signed: Vec<&str> = signed.split(';').collect();
    // As S3 demands it.
    for pair in request["headers"].as_array().unwrap() {
        let name = pair[0].as_str().unwrap();
        assert!(!name.starts_with("x-amz-") || signed.contains(&name), "{name} is not signed");
    }
    let others = signed.iter().filter(|name| !of_the_library.contains(name));
    let others: Vec<_> = others.map(|name| (*name, get(name))).collect();
    let url = format!("http://{}{}", get("host"), request["target"].as_str().unwrap());
    let payload = get("x-amz-content-sha256");
    let method = request["method"].as_str().unwrap();
    let (head, seed) = signer.head((method, &url), &others, payload);
    assert!(head.contains(&format!("authorization: {authorization}\r\n")), "{head}{request}");
    let body = STANDARD.decode(request["body"].as_str().unwrap()).unwrap();
    match payload.starts_with("STREAMING-AWS4") {
        false => body,
        true => {
            let trailer = header(request, "x-amz-trailer");
            let data = signer.unchunked(&seed, &body, trailer);
            assert_eq!(data.len().to_string(), get("x-amz-decoded-content-length"));
            data
        }
    }
}

impl Signer<'_> {
    /// The data of a body in chunks, each of which has to be signed.
    fn unchunked(&self, seed: &str, body: &[u8], trailer: Option<&str>) -> Vec<u8> {
        let (mut running, mut data, mut rest) = (seed.to_owned(), Vec::new(), body);
        loop {
            let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let head = std::str::from_utf8(&rest[..line]).unwrap();
            let (size, signature) = head.trim_end().split_once(";chunk-signature=").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let chunk = &rest[line + 1..][..size];
            running = self.chunk(&running, chunk);
            assert_eq!(signature, running);
            if size == 0 {
                rest = &rest[line + 1..];
                break;
            }
            data.extend_from_slice(chunk);
            rest = rest[line + 1 + size..].strip_prefix(b"\r\n").unwrap();
        }
        let rest = std::str::from_utf8(rest).unwrap();
        match trailer {
            None => assert_eq!(rest, "\r\n"),
            Some(name) => {
                let (line, rest) = rest.split_once("\r\n").unwrap();
                assert!(line.starts_with(&format!("{name}:")), "{line}");
                let signature = self.trailer(&running, line.trim_end());
                assert_eq!(rest, format!("x-amz-trailer-signature:{signature}\r\n\r\n"));
            }
        }
        data
    }
}
