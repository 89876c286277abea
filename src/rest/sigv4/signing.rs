//! Signs a request with the real credential, in place of the client's signature.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use jiff::Timestamp;

use super::chunks::Chain;
use super::signer::Signer;
use super::{CONTENT_SHA256, UNSIGNED};

/// Why a request cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// No credential is configured.
    #[error(
        "the gate has no AWS credential: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    )]
    NoCredential,
    /// Error of the signing library.
    #[error("the request cannot be signed for AWS: {0}")]
    Failed(String),
}

/// Signs `headers` for `uri` with the real credential; returns the signature chain for the
/// chunks of the body.
///
/// # Errors
/// [`SigningError`].
pub fn sign_anew(
    credentials: &Credentials,
    scope: (&str, &str),
    (method, uri): (&str, &Uri),
    headers: &mut HeaderMap,
    held: Option<&[u8]>,
) -> Result<Chain, SigningError> {
    let (service, region) = scope;
    let failed = |error: &dyn std::fmt::Display| SigningError::Failed(error.to_string());
    let declared = headers.get(CONTENT_SHA256).and_then(|value| value.to_str().ok());
    let declared = declared.map(str::to_owned);
    for name in ["authorization", "x-amz-date", "x-amz-security-token", CONTENT_SHA256] {
        headers.remove(name);
    }
    let body = match (declared, held) {
        (_, Some(held)) => SignableBody::Bytes(held),
        (Some(declared), None) if declared != UNSIGNED => SignableBody::Precomputed(declared),
        (_, None) => SignableBody::UnsignedPayload,
    };
    let time = SystemTime::now();
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(time)
        .settings(settings(service))
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
    let (instructions, seed) = output.map_err(|error| failed(&error))?.into_parts();
    for (name, value) in instructions.headers() {
        let name: HeaderName = name.parse().map_err(|error| failed(&error))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| failed(&error))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let time = Timestamp::try_from(time).map_err(|error| failed(&error))?;
    Ok(Chain::new(Signer::new(credentials.secret_access_key(), time, scope), seed))
}

/// S3 takes the path unchanged, and the body's hash as a header.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}
