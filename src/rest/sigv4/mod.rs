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
use self::body::Resigned;
use self::chunks::{Chain, Chunks};
use self::signer::{ALGORITHM, Signer, hash};
use crate::net::Body;
use crate::store::agents::AgentRecord;

pub use self::canonical::Seen;
pub use self::profile::credentials;
pub use self::signing::{CannotSign, sign_anew};

/// How far a client's clock may be off: as far as at AWS, since SDKs correct theirs by
/// what AWS answers.
pub const SKEW: Duration = Duration::from_secs(15 * 60);

/// The header that says what is signed of the body.
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// The body is not part of the signature.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Why signed chunks are refused that S3 would not take.
const ELSEWHERE: &str =
    "only uploads to S3 with a signature in `Authorization` come in signed chunks";

/// A signature as it came, and who it claims to be from.
#[derive(Clone)]
pub struct Presented {
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

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Presented");
        shown.field("agent", &self.agent.name).field("scope", &self.scope()).finish_non_exhaustive()
    }
}

/// What a signature in the query says beside.
#[derive(Debug, Clone)]
struct Presigned {
    stamp: String,
    expires: Duration,
    payload: Option<String>,
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// Not of the form, or of nobody's key.
    #[error("the signature is not one that this gate can verify")]
    Unusable,
    /// The clocks differ by more than [`SKEW`].
    #[error("the signature's time is more than {} s off", SKEW.as_secs())]
    Skewed,
    /// It is not the signature of this request.
    #[error("the signature does not match the request")]
    Wrong,
    /// It is the agent's, and leaves out a header that decides.
    #[error("the header `{0}` is not signed: name it in `SignedHeaders`")]
    Uncovered(String),
    /// It was the agent's.
    #[error("the presigned URL has expired")]
    Expired,
    /// It is the agent's, over a body of a kind that is not taken.
    #[error("{0}")]
    Payload(&'static str),
}

impl BadSignature {
    /// Whether it proves nonetheless who sent the request.
    #[must_use]
    pub fn proves(&self) -> bool {
        matches!(self, Self::Uncovered(_) | Self::Expired | Self::Payload(_))
    }
}

/// Finds the agent that an access-key id was issued to, and the secret.
pub type Lookup<'d> = &'d dyn Fn(&str) -> Option<(Arc<AgentRecord>, Zeroizing<String>)>;

/// A body that is signed in chunks, as far as the head of its request tells.
#[derive(Debug)]
pub struct SignedChunks {
    came: Chain,
    announced: Announced,
}

impl SignedChunks {
    /// `body` with its chunks, of at most `max` bytes, verified and signed anew as
    /// they pass. It breaks off with [`Unfit`](crate::net::body::Unfit).
    pub fn signed_anew(self, body: Body, goes: Chain, max: usize) -> Body {
        Body::new(Resigned::new(body, Chunks::new(self.came, goes, self.announced, max)))
    }
}

/// Whether a request has a signature in its query, or a part of one.
#[must_use]
pub fn is_presigned(parts: &Parts) -> bool {
    presigned::is_in(parts.uri.query().unwrap_or_default())
}

impl Presented {
    /// Reads the signature in `Authorization` or in the query; `None` where there
    /// is none of AWS's.
    ///
    /// # Errors
    /// [`BadSignature::Unusable`], also for an access-key id of nobody's.
    pub fn read(parts: &Parts, lookup: Lookup<'_>) -> Option<Result<Self, BadSignature>> {
        let header = parts.headers.get(AUTHORIZATION);
        if is_presigned(parts) {
            let read = || header.is_none().then(|| Self::in_query(parts, lookup)).flatten();
            return Some(read().ok_or(BadSignature::Unusable));
        }
        let fields = header?.to_str().ok()?.strip_prefix(ALGORITHM)?;
        Some(Self::in_header(fields, lookup).ok_or(BadSignature::Unusable))
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

    /// Whether the signature cannot be verified without the whole body, because
    /// nothing else of the request says what it is.
    #[must_use]
    pub fn needs_body(&self, seen: &Seen) -> bool {
        self.declared(seen).is_none()
    }

    /// Whether `held` is the body that the signature, once verified, is over.
    #[must_use]
    pub fn is_over(&self, seen: &Seen, held: &[u8]) -> bool {
        self.payload(seen, Some(held)).is_ok()
    }

    /// Verifies the signature of a request whose body is `held`; `None` where
    /// nothing has read it. Gives what the chunks of the body have to be verified
    /// with, where it is signed in chunks.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(
        &self,
        seen: &Seen,
        held: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Option<SignedChunks>, BadSignature> {
        let stamp = match &self.presigned {
            Some(presigned) => Some(&*presigned.stamp),
            None => seen.header("x-amz-date"),
        };
        let time = stamp.and_then(signer::time).ok_or(BadSignature::Unusable)?;
        let age = now.duration_since(time);
        let (early, late) = match age.is_negative() {
            true => (age.unsigned_abs(), Duration::ZERO),
            false => (Duration::ZERO, age.unsigned_abs()),
        };
        if early > SKEW || (self.presigned.is_none() && late > SKEW) {
            return Err(BadSignature::Skewed);
        }
        let payload = self.payload(seen, held)?;
        let canonical = seen.canonical(&self.service, &self.signed, &payload);
        let canonical = canonical.ok_or(BadSignature::Unusable)?;
        let signer = Signer::new(&self.secret, time, self.scope());
        let signature = signer.sign(ALGORITHM, &hash(canonical.as_bytes()));
        let is_right = signature.as_bytes().ct_eq(self.signature.as_bytes());
        if !bool::from(is_right) || stamp.and_then(|stamp| stamp.get(..8)) != Some(&self.date) {
            return Err(BadSignature::Wrong);
        }
        // From here on it is known who asks, and so it may be told what is wrong.
        if self.presigned.as_ref().is_some_and(|url| late > url.expires) {
            return Err(BadSignature::Expired);
        }
        self.check_covered(seen)?;
        let announced = Announced::read(&payload, &seen.headers).map_err(BadSignature::Payload)?;
        let Some(announced) = announced else { return Ok(None) };
        if self.presigned.is_some() || self.service != "s3" {
            return Err(BadSignature::Payload(ELSEWHERE));
        }
        Ok(Some(SignedChunks { came: Chain::new(signer, signature), announced }))
    }

    /// As AWS demands it: what another header could change is said by none that
    /// is not signed.
    fn check_covered(&self, seen: &Seen) -> Result<(), BadSignature> {
        let covers = |name: &str| self.signed.iter().any(|signed| signed == name);
        let decide = seen.headers.keys().map(http::HeaderName::as_str);
        let decide = decide.filter(|name| name.starts_with("x-amz-"));
        match [HOST.as_str()].into_iter().chain(decide).find(|name| !covers(name)) {
            Some(name) => Err(BadSignature::Uncovered(name.to_owned())),
            None => Ok(()),
        }
    }

    /// What the request says of its body.
    fn declared<'s>(&'s self, seen: &'s Seen) -> Option<&'s str> {
        let in_query = self.presigned.as_ref().and_then(|url| url.payload.as_deref());
        let unsaid = self.presigned.as_ref().filter(|_| self.service == "s3").map(|_| UNSIGNED);
        seen.header(CONTENT_SHA256).or(in_query).or(unsaid)
    }

    /// What is signed of the body, which `held` has to fit.
    fn payload<'s>(
        &'s self,
        seen: &'s Seen,
        held: Option<&[u8]>,
    ) -> Result<Cow<'s, str>, BadSignature> {
        match (self.declared(seen), held) {
            (Some(declared), _) if declared == UNSIGNED || declared.starts_with("STREAMING-") => {
                Ok(declared.into())
            }
            (declared, Some(held)) => {
                let hash = hash(held);
                match declared.is_none_or(|declared| declared == hash) {
                    true => Ok(hash.into()),
                    false => Err(BadSignature::Wrong),
                }
            }
            // Upstream compares it with what arrives: it is part of the new signature.
            (Some(declared), None) => Ok(declared.into()),
            (None, None) => Err(BadSignature::Unusable),
        }
    }

    /// Takes a signature in the query out of it: see `presigned.rs`.
    ///
    /// # Errors
    /// [`BadSignature::Unusable`] where what stands there as a header cannot be one.
    pub fn strip(&self, parts: &mut Parts) -> Result<(), BadSignature> {
        match &self.presigned {
            Some(_) => presigned::strip(parts).ok_or(BadSignature::Unusable),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
