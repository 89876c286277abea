//! AWS signatures, version 4: the one that comes in is verified with the secret
//! that the gate issued to the agent, and a new one is made with the real
//! credential.
//!
//! Source: AWS General Reference, "Signature Version 4 signing process". The
//! request is verified as the client saw it, the gate's own prefix included.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::store::agents::AgentRecord;
use crate::store::directory::Directory;

/// How far a client's clock may be off.
pub const SKEW: Duration = Duration::from_secs(300);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The body is not part of the signature.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The same, in pieces with a checksum behind them.
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// RFC 3986, section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A signature as it came, and who it claims to be from.
#[derive(Debug, Clone)]
pub struct Presented {
    agent: Arc<AgentRecord>,
    key_id: Arc<str>,
    region: String,
    secret: Zeroizing<String>,
    date: String,
    service: String,
    signed: Vec<String>,
    signature: String,
}

/// The request as the client saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with the gate's own prefix, as it was written.
    pub path: String,
    /// The query as it was written.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// Not of the form, or of nobody's key.
    #[error("the signature is not one that this gate can verify")]
    Unusable,
    /// Something that decides is not covered by it.
    #[error("the signature leaves out a header that decides")]
    Uncovered,
    /// The clocks differ by more than [`SKEW`].
    #[error("the signature's time is more than {} s off", SKEW.as_secs())]
    Skewed,
    /// A body that is signed piece by piece.
    #[error("bodies that are signed piece by piece are not supported; sign the whole or none")]
    Pieces,
    /// It is not the signature of this request.
    #[error("the signature does not fit the request")]
    Wrong,
}

impl Presented {
    /// Reads `Authorization`; `None` where it is no AWS signature.
    ///
    /// # Errors
    /// [`BadSignature::Unusable`], also for an access-key id of nobody's.
    pub fn read(headers: &HeaderMap, directory: &Directory) -> Option<Result<Self, BadSignature>> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let fields = value.strip_prefix(ALGORITHM)?;
        Some(Self::parse(fields, directory).ok_or(BadSignature::Unusable))
    }

    fn parse(fields: &str, directory: &Directory) -> Option<Self> {
        let fields: BTreeMap<&str, &str> =
            fields.split(',').filter_map(|field| field.trim().split_once('=')).collect();
        let mut scope = fields.get("Credential")?.split('/');
        let (id, date, region, service) =
            (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        if scope.next() != Some("aws4_request") || scope.next().is_some() {
            return None;
        }
        let (agent, secret) = directory.aws_secret(id)?;
        Some(Self {
            agent,
            key_id: id.into(),
            secret,
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed: fields.get("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: (*fields.get("Signature")?).to_owned(),
        })
    }

    /// The agent that the access-key id was issued to; the signature proves it.
    #[must_use]
    pub fn agent(&self) -> &Arc<AgentRecord> {
        &self.agent
    }

    /// The access-key id.
    #[must_use]
    pub fn key_id(&self) -> &Arc<str> {
        &self.key_id
    }

    /// The service and the region that were signed for.
    #[must_use]
    pub fn scope(&self) -> (&str, &str) {
        (&self.service, &self.region)
    }

    /// Verifies the signature of a request whose body is `held`; `None` where
    /// nothing reads it.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(
        &self,
        seen: &Seen,
        held: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), BadSignature> {
        let decides = |name: &HeaderName| {
            matches!(name.as_str(), "host" | "x-amz-target" | "x-amz-content-sha256" | "x-amz-date")
        };
        let covered = |name: &HeaderName| self.signed.iter().any(|signed| signed == name.as_str());
        if seen.headers.keys().any(|name| decides(name) && !covered(name)) {
            return Err(BadSignature::Uncovered);
        }
        let stamp = text(&seen.headers, "x-amz-date").ok_or(BadSignature::Unusable)?;
        let time = strtime::parse("%Y%m%dT%H%M%SZ", &*stamp)
            .and_then(|parsed| parsed.to_datetime())
            .and_then(|time| time.to_zoned(TimeZone::UTC))
            .map_err(|_| BadSignature::Unusable)?
            .timestamp();
        if time.duration_since(now).unsigned_abs() > SKEW || !stamp.starts_with(&self.date) {
            return Err(BadSignature::Skewed);
        }
        let canonical = self.canonical(seen, &payload(&seen.headers, held)?)?;
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let key = v4::generate_signing_key(&self.secret, time.into(), &self.region, &self.service);
        let signature = v4::calculate_signature(key, to_sign.as_bytes());
        match bool::from(signature.as_bytes().ct_eq(self.signature.as_bytes())) {
            true => Ok(()),
            false => Err(BadSignature::Wrong),
        }
    }

    /// "Create a canonical request"; S3 takes the path as it is written.
    fn canonical(&self, seen: &Seen, payload: &str) -> Result<String, BadSignature> {
        let path = match self.service.as_str() {
            "s3" => Cow::Borrowed(seen.path.as_str()),
            _ => {
                let segments = seen.path.split('/');
                let encoded =
                    segments.map(|part| utf8_percent_encode(part, UNRESERVED).to_string());
                encoded.collect::<Vec<_>>().join("/").into()
            }
        };
        let mut query: Vec<(String, String)> = seen
            .query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (encoded_once(name), encoded_once(value)))
            .collect();
        query.sort();
        let query: Vec<String> =
            query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut canonical = format!("{}\n{path}\n{}\n", seen.method, query.join("&"));
        for name in &self.signed {
            let values: Vec<String> = seen
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            if values.is_empty() {
                return Err(BadSignature::Unusable);
            }
            // INVARIANT (infallible): writing into a string cannot fail.
            let _ = writeln!(canonical, "{name}:{}", values.join(","));
        }
        let _ = write!(canonical, "\n{}\n{payload}", self.signed.join(";"));
        Ok(canonical)
    }
}

/// What the signature says of the body, which `held` has to fit.
fn payload(headers: &HeaderMap, held: Option<&[u8]>) -> Result<String, BadSignature> {
    let declared = text(headers, "x-amz-content-sha256");
    match (declared, held) {
        (Some(declared), _) if matches!(&*declared, UNSIGNED | UNSIGNED_TRAILER) => {
            Ok(declared.into_owned())
        }
        (Some(declared), _) if declared.starts_with("STREAMING-") => Err(BadSignature::Pieces),
        (declared, Some(held)) => {
            let hash = hex(&Sha256::digest(held));
            match declared.is_none_or(|declared| declared == hash) {
                true => Ok(hash),
                false => Err(BadSignature::Wrong),
            }
        }
        // Upstream compares it with what arrives: it is part of the new signature.
        (Some(declared), None) => Ok(declared.into_owned()),
        (None, None) => Err(BadSignature::Unusable),
    }
}

/// Why a request cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSign {
    /// There is no credential.
    #[error(
        "the gate has no AWS credential: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    )]
    NoCredential,
    /// What the library says.
    #[error("the request cannot be signed for AWS: {0}")]
    Failed(String),
}

/// Signs `headers` for `uri` with the real credential, in place of whatever
/// signature they have.
///
/// # Errors
/// [`CannotSign`].
pub fn sign_anew(
    credentials: &Credentials,
    (service, region): (&str, &str),
    (method, uri): (&str, &Uri),
    headers: &mut HeaderMap,
    held: Option<&[u8]>,
) -> Result<(), CannotSign> {
    let failed = |error: &dyn std::fmt::Display| CannotSign::Failed(error.to_string());
    let declared = text(headers, "x-amz-content-sha256").map(Cow::into_owned);
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"] {
        headers.remove(name);
    }
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let body = match (declared, held) {
        (_, Some(held)) => SignableBody::Bytes(held),
        (Some(declared), None) if declared != UNSIGNED => SignableBody::Precomputed(declared),
        (_, None) => SignableBody::UnsignedPayload,
    };
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(std::time::SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let signed: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| {
            name.as_str().starts_with("x-amz-")
                || matches!(name.as_str(), "content-type" | "content-md5")
        })
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    let pairs = signed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = SignableRequest::new(method, uri.to_string(), pairs, body);
    let output = request.and_then(|request| sign(request, &parameters));
    let (instructions, _) = output.map_err(|error| failed(&error))?.into_parts();
    for (name, value) in instructions.headers() {
        let name: HeaderName = name.parse().map_err(|error| failed(&error))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| failed(&error))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
}

/// The real credential: the usual variables, else the usual file.
///
/// # Errors
/// [`CannotSign::NoCredential`].
pub fn credentials() -> Result<Credentials, CannotSign> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(id), Some(secret)) =
        (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(Credentials::from_keys(id, secret, variable("AWS_SESSION_TOKEN")));
    }
    let file = variable("AWS_SHARED_CREDENTIALS_FILE").map(std::path::PathBuf::from);
    let file = file.or_else(|| Some(etcetera::home_dir().ok()?.join(".aws/credentials")));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).map(Zeroizing::new);
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    text.and_then(|text| in_profile(&text, &profile)).ok_or(CannotSign::NoCredential)
}

/// The credential of `profile` in a file of sections and `name = value` lines.
fn in_profile(text: &str, profile: &str) -> Option<Credentials> {
    let mut inside = false;
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = section.trim() == profile;
        } else if inside && let Some((name, value)) = line.split_once('=') {
            values.insert(name.trim(), value.trim());
        }
    }
    let token = values.get("aws_session_token").map(|token| (*token).to_owned());
    Some(Credentials::from_keys(
        *values.get("aws_access_key_id")?,
        *values.get("aws_secret_access_key")?,
        token,
    ))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<Cow<'h, str>> {
    headers.get(name)?.to_str().ok().map(Cow::Borrowed)
}

fn encoded_once(text: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(text).collect();
    percent_encoding::percent_encode(&decoded, UNRESERVED).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // INVARIANT (infallible): writing into a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;
    use crate::store::agents::{NewAgent, Registry};

    /// Signs as a client does, with the library that is tested against AWS.
    fn signed(id: &str, secret: &str, service: &str, path: &str, body: &[u8]) -> Seen {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", HeaderValue::from_static("T.GetItem"));
        let uri: Uri = format!("http://gate:8100{path}").parse().unwrap();
        let credentials = Credentials::from_keys(id, secret, None);
        sign_anew(&credentials, (service, "eu-west-1"), ("POST", &uri), &mut headers, Some(body))
            .unwrap();
        headers.insert("host", HeaderValue::from_static("gate:8100"));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        Seen { method: "POST".to_owned(), path, query, headers }
    }

    #[test]
    fn a_signature_is_good_for_its_request_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(&folder.path().join("a.db"), &Options::default());
        let new = NewAgent { name: "a".to_owned(), ..NewAgent::default() };
        let issued = registry.create(&new).unwrap();
        let directory = Directory::open(registry).unwrap();
        let (id, secret) = (&issued.aws_access_key_id, &issued.aws_secret_access_key);
        let now = Timestamp::now();
        for (service, path) in [
            ("dynamodb", "/proxy/aws/dynamodb/"),
            ("s3", "/proxy/aws/s3/bucket/a%20b/c%2Bd?list-type=2&prefix=x%2Fy&acl"),
            ("lambda", "/proxy/aws/lambda/2015-03-31/functions/arn%3Aaws%3Ax/invocations?b=2&a=1"),
        ] {
            let seen = signed(id, secret, service, path, b"{}");
            let presented = Presented::read(&seen.headers, &directory).unwrap().unwrap();
            assert_eq!(presented.verify(&seen, Some(b"{}"), now), Ok(()), "{path}");
            assert_eq!(presented.verify(&seen, Some(b"{ }"), now), Err(BadSignature::Wrong));
            let later = now + Duration::from_secs(400);
            assert_eq!(presented.verify(&seen, Some(b"{}"), later), Err(BadSignature::Skewed));
            let mut other = seen.clone();
            other.path.push('x');
            assert_eq!(presented.verify(&other, Some(b"{}"), now), Err(BadSignature::Wrong));
            let mut other = seen.clone();
            other.headers.insert("x-amz-target", HeaderValue::from_static("T.DeleteItem"));
            assert_eq!(presented.verify(&other, Some(b"{}"), now), Err(BadSignature::Wrong));
        }
        let forged = signed(id, "another secret", "dynamodb", "/proxy/aws/dynamodb/", b"{}");
        let presented = Presented::read(&forged.headers, &directory).unwrap().unwrap();
        assert_eq!(presented.verify(&forged, Some(b"{}"), now), Err(BadSignature::Wrong));
        let nobody = signed("AKIAIOSFODNN7EXAMPLE", secret, "s3", "/", b"");
        assert!(Presented::read(&nobody.headers, &directory).unwrap().is_err());
    }

    #[test]
    fn profiles_are_read_as_aws_writes_them() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B\n[other]\naws_access_key_id=C\n";
        assert_eq!(in_profile(text, "default").unwrap().access_key_id(), "A");
        assert!(in_profile(text, "other").is_none() && in_profile(text, "none").is_none());
    }
}
