//! AWS signatures, version 4: the one that comes in is verified with the secret
//! that the gate issued to the agent, and a new one is made with the real
//! credential.
//!
//! Source: AWS General Reference, "Signature Version 4 signing process". The
//! request is verified as the client saw it, the gate's own prefix included.

pub mod announced;
mod body;
mod canonical;
pub mod chunks;
mod presigned;
mod profile;
pub mod signer;
mod signing;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use self::announced::Announced;
use self::body::ResignedBody;
use self::chunks::{Chain, Chunks};
use self::signer::{ALGORITHM, Signer, hash};
use crate::net::Body;
use crate::rest::aws::ClientRequest;
use crate::store::agents::AgentRecord;

pub use self::profile::credentials;
pub use self::signing::{SigningError, sign_anew};

/// Allowed clock skew. The same as AWS's, since SDKs adjust their clock to AWS's responses.
pub const SKEW: Duration = Duration::from_secs(15 * 60);

/// Header with the body's hash or its placeholder.
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// Placeholder: the signature does not cover the body.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Error for signed chunks to other services than S3.
const CHUNKS_NOT_TO_S3: &str =
    "only uploads to S3 with a signature in `Authorization` come in signed chunks";

/// A signature, not verified yet, and the agent it claims to be from.
#[derive(Clone)]
pub struct PresentedSignature {
    agent: Arc<AgentRecord>,
    key_id: Arc<str>,
    secret: Zeroizing<String>,
    date: String,
    region: String,
    service: String,
    signed: Vec<String>,
    signature: String,
    presigned: Option<Presigned>,
}

impl fmt::Debug for PresentedSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Presented");
        shown.field("agent", &self.agent.name).field("scope", &self.scope()).finish_non_exhaustive()
    }
}

/// Further parameters of a presigned URL.
#[derive(Debug, Clone)]
struct Presigned {
    stamp: String,
    expires: Duration,
    payload: Option<String>,
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Malformed, or of an unknown key.
    #[error("the signature is not one that this gate can verify")]
    Unusable,
    /// The clocks differ by more than [`SKEW`].
    #[error("the signature's time is more than {} s off", SKEW.as_secs())]
    Skewed,
    /// Not the signature of this request.
    #[error("the signature does not match the request")]
    Wrong,
    /// Authentic, but does not cover a required header.
    #[error("the header `{0}` is not signed: name it in `SignedHeaders`")]
    Uncovered(String),
    /// Authentic, but expired.
    #[error("the presigned URL has expired")]
    Expired,
    /// Authentic, but the kind of body is not supported.
    #[error("{0}")]
    Payload(&'static str),
}

impl SignatureError {
    /// Whether the signature is authentic nonetheless.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        matches!(self, Self::Uncovered(_) | Self::Expired | Self::Payload(_))
    }
}

/// Finds the agent and the secret for an access-key id.
pub type Lookup<'d> = &'d dyn Fn(&str) -> Option<(Arc<AgentRecord>, Zeroizing<String>)>;

/// A body of signed chunks, as declared by the request's headers.
#[derive(Debug)]
pub struct SignedChunks {
    incoming: Chain,
    announced: Announced,
}

impl SignedChunks {
    /// Verifies and re-signs the chunks of `body`, of at most `max` bytes each. Fails with
    /// [`Unfit`](crate::net::body::Unfit).
    pub fn signed_anew(self, body: Body, outgoing: Chain, max: usize) -> Body {
        Body::new(ResignedBody::new(
            body,
            Chunks::new(self.incoming, outgoing, self.announced, max),
        ))
    }
}

/// Whether the query contains a signature or a part of one.
#[must_use]
pub fn is_presigned(parts: &Parts) -> bool {
    presigned::is_in(parts.uri.query().unwrap_or_default())
}

impl PresentedSignature {
    /// Parses the signature in `Authorization` or in the query; `None` if there is no AWS
    /// signature.
    ///
    /// # Errors
    /// [`SignatureError::Unusable`], also for an unknown access-key id.
    pub fn read(parts: &Parts, lookup: Lookup<'_>) -> Option<Result<Self, SignatureError>> {
        let header = parts.headers.get(AUTHORIZATION);
        if is_presigned(parts) {
            let read = || header.is_none().then(|| Self::in_query(parts, lookup)).flatten();
            return Some(read().ok_or(SignatureError::Unusable));
        }
        let fields = header?.to_str().ok()?.strip_prefix(ALGORITHM)?;
        Some(Self::in_header(fields, lookup).ok_or(SignatureError::Unusable))
    }

    fn in_header(fields: &str, lookup: Lookup<'_>) -> Option<Self> {
        let pairs = || fields.split(',').filter_map(|field| field.trim().split_once('='));
        let fields: BTreeMap<&str, &str> = pairs().collect();
        let get = |name| fields.get(name).copied();
        if fields.len() != pairs().count() {
            return None;
        }
        Self::of(get("Credential")?, get("SignedHeaders")?, get("Signature")?, lookup)
    }

    fn in_query(parts: &Parts, lookup: Lookup<'_>) -> Option<Self> {
        let found = presigned::read(parts.uri.query()?, &parts.headers)?;
        let presented = Self::of(&found.credential, &found.signed, &found.signature, lookup)?;
        let (stamp, expires, payload) = (found.date, found.expires, found.payload);
        Some(Self { presigned: Some(Presigned { stamp, expires, payload }), ..presented })
    }

    fn of(credential: &str, signed: &str, signature: &str, lookup: Lookup<'_>) -> Option<Self> {
        let mut scope = credential.split('/');
        let (id, date, region, service) =
            (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        if scope.next() != Some("aws4_request") || scope.next().is_some() {
            return None;
        }
        let (agent, secret) = lookup(id)?;
        Some(Self {
            agent,
            key_id: id.into(),
            secret,
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed: signed.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
            presigned: None,
        })
    }

    /// The agent that the access-key id was issued to. Proven only by [`Self::verify`].
    #[must_use]
    pub fn agent(&self) -> &Arc<AgentRecord> {
        &self.agent
    }

    /// The access-key id.
    #[must_use]
    pub fn key_id(&self) -> &Arc<str> {
        &self.key_id
    }

    /// The service and region of the signature.
    #[must_use]
    pub fn scope(&self) -> (&str, &str) {
        (&self.service, &self.region)
    }

    /// Whether verification needs the whole body, because the request does not declare its
    /// hash.
    #[must_use]
    pub fn needs_body(&self, request: &ClientRequest) -> bool {
        self.declared(request).is_none()
    }

    /// Whether the signature covers the body `held`.
    #[must_use]
    pub fn covers(&self, request: &ClientRequest, held: &[u8]) -> bool {
        self.payload(request, Some(held)).is_ok()
    }

    /// Verifies the signature of a request with the body `held` (`None`: not read). Returns
    /// what is needed to verify the chunks, if the body is signed in chunks.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(
        &self,
        request: &ClientRequest,
        held: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Option<SignedChunks>, SignatureError> {
        let stamp = match &self.presigned {
            Some(presigned) => Some(&*presigned.stamp),
            None => request.header("x-amz-date"),
        };
        let time = stamp.and_then(signer::time).ok_or(SignatureError::Unusable)?;
        let age = now.duration_since(time);
        let (early, late) = match age.is_negative() {
            true => (age.unsigned_abs(), Duration::ZERO),
            false => (Duration::ZERO, age.unsigned_abs()),
        };
        if early > SKEW || (self.presigned.is_none() && late > SKEW) {
            return Err(SignatureError::Skewed);
        }
        let payload = self.payload(request, held)?;
        let canonical = request.canonical(&self.service, &self.signed, &payload);
        let canonical = canonical.ok_or(SignatureError::Unusable)?;
        let signer = Signer::new(&self.secret, time, self.scope());
        let signature = signer.sign(ALGORITHM, &hash(canonical.as_bytes()));
        let is_right = signature.as_bytes().ct_eq(self.signature.as_bytes());
        if !bool::from(is_right) || stamp.and_then(|stamp| stamp.get(..8)) != Some(&self.date) {
            return Err(SignatureError::Wrong);
        }
        // The client is authenticated from here on, so errors may be specific.
        if self.presigned.as_ref().is_some_and(|url| late > url.expires) {
            return Err(SignatureError::Expired);
        }
        self.check_covered(request)?;
        let announced =
            Announced::read(&payload, &request.headers).map_err(SignatureError::Payload)?;
        let Some(announced) = announced else { return Ok(None) };
        if self.presigned.is_some() || self.service != "s3" {
            return Err(SignatureError::Payload(CHUNKS_NOT_TO_S3));
        }
        Ok(Some(SignedChunks { incoming: Chain::new(signer, signature), announced }))
    }

    /// Checks that `Host` and every `x-amz-` header are signed, as AWS requires.
    fn check_covered(&self, request: &ClientRequest) -> Result<(), SignatureError> {
        let covers = |name: &str| self.signed.iter().any(|signed| signed == name);
        let decide = request.headers.keys().map(http::HeaderName::as_str);
        let decide = decide.filter(|name| name.starts_with("x-amz-"));
        match [HOST.as_str()].into_iter().chain(decide).find(|name| !covers(name)) {
            Some(name) => Err(SignatureError::Uncovered(name.to_owned())),
            None => Ok(()),
        }
    }

    /// The body's declared hash or its placeholder.
    fn declared<'s>(&'s self, request: &'s ClientRequest) -> Option<&'s str> {
        let in_query = self.presigned.as_ref().and_then(|url| url.payload.as_deref());
        let unsaid = self.presigned.as_ref().filter(|_| self.service == "s3").map(|_| UNSIGNED);
        request.header(CONTENT_SHA256).or(in_query).or(unsaid)
    }

    /// The body's signed hash, which `held` must match.
    fn payload<'s>(
        &'s self,
        request: &'s ClientRequest,
        held: Option<&[u8]>,
    ) -> Result<Cow<'s, str>, SignatureError> {
        match (self.declared(request), held) {
            (Some(declared), _) if declared == UNSIGNED || declared.starts_with("STREAMING-") => {
                Ok(declared.into())
            }
            (declared, Some(held)) => {
                let hash = hash(held);
                match declared.is_none_or(|declared| declared == hash) {
                    true => Ok(hash.into()),
                    false => Err(SignatureError::Wrong),
                }
            }
            // Upstream verifies it: it is part of the new signature.
            (Some(declared), None) => Ok(declared.into()),
            (None, None) => Err(SignatureError::Unusable),
        }
    }

    /// Removes the signature from the query: see `presigned.rs`.
    ///
    /// # Errors
    /// [`SignatureError::Unusable`] if a parameter is not a valid header.
    pub fn strip(&self, parts: &mut Parts) -> Result<(), SignatureError> {
        match &self.presigned {
            Some(_) => presigned::strip(parts).ok_or(SignatureError::Unusable),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
