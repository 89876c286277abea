//! Authentication of a request to AWS by its signature, which is verified here and not
//! forwarded.

use std::net::IpAddr;

use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;

use super::{PreparedRequest, Proxy};
use crate::action::Provider;
use crate::net::Body;
use crate::net::body::{HoldError, hold_whole};
use crate::rest::aws::{ClientRequest, SignedChunks};
use crate::rest::identify::Identified;
use crate::rest::inbound::{self, InboundError};

/// The body of an authenticated request.
pub(super) struct Authenticated {
    body: Body,
    /// The request as signed, where it has a signature.
    client_request: Option<Box<ClientRequest>>,
    /// Verifies its chunks, where they are signed.
    chunks: Option<Box<SignedChunks>>,
}

/// Why a request is not authenticated.
pub(super) enum AuthenticationError {
    /// The signature is not valid.
    Unidentified,
    /// Verification needs the whole body, which could not be held.
    Unheld(HoldError),
}

impl Proxy {
    /// Verifies the AWS signature before anything is done or recorded in the agent's name.
    /// Where no header states the body's hash, the body has to be read first. Contains an
    /// error where the signature is authentic but not sufficient.
    pub(super) async fn authenticate(
        &self,
        who: &Identified,
        source: IpAddr,
        parts: &Parts,
        mut body: Body,
    ) -> Result<Result<Authenticated, InboundError>, AuthenticationError> {
        let Some(claim) = &who.claim else {
            return Ok(Ok(Authenticated { body, client_request: None, chunks: None }));
        };
        let client_request = client_request(parts);
        let mut held = None;
        if claim.needs_body(&client_request) {
            let limits = self.limits.load_full();
            // The sender is not authenticated yet, so the memory counts for its address.
            let reservation = self.request_memory.reservation(&source.to_string().into());
            let whole =
                hold_whole((body, Some(reservation)), limits.max_body, limits.body_timeout).await;
            let bytes = whole.map_err(AuthenticationError::Unheld)?.bytes;
            body = Body::from(bytes.clone());
            held = Some(bytes);
        }
        match claim.verify(&client_request, held.as_deref(), jiff::Timestamp::now()) {
            Ok(chunks) => {
                let (client_request, chunks) =
                    (Some(Box::new(client_request)), chunks.map(Box::new));
                Ok(Ok(Authenticated { body, client_request, chunks }))
            }
            Err(error) if error.is_authentic() => {
                Ok(Err(InboundError::AwsSignature(error.to_string())))
            }
            Err(error) => {
                tracing::debug!(%error, agent = &*who.agent.name, "an AWS signature was refused");
                Err(AuthenticationError::Unidentified)
            }
        }
    }

    /// Parses the request, and determines its destination.
    pub(super) async fn read(
        &self,
        who: &Identified,
        (provider, path): (Provider, &str),
        parts: &mut Parts,
        proven: Result<Authenticated, InboundError>,
    ) -> Result<PreparedRequest, InboundError> {
        let Authenticated { body, client_request, chunks } = proven?;
        let unfit = |why: &str| Err(InboundError::AwsSignature(why.to_owned()));
        if let Some(claim) = &who.claim {
            claim.strip(parts).map_err(|error| InboundError::AwsSignature(error.to_string()))?;
        } else if provider == Provider::Aws && has_signed_chunks(parts) {
            return unfit(
                "chunks are signed with the AWS pair that the gate issued, or not at all",
            );
        }
        let limits = self.limits.load_full();
        let reservation = self.request_memory.reservation(&who.agent.id);
        let region = who.claim.as_ref().map(|claim| claim.scope().1);
        let inbound =
            inbound::read(provider, path, region, parts, (body, reservation), &limits).await?;
        if let (Some(claim), Some(client_request), Some(held)) =
            (&who.claim, &client_request, &inbound.held)
            && !claim.covers(client_request, held)
        {
            return unfit("the body is not the one that was signed");
        }
        if chunks.is_some() && inbound.held.is_some() {
            return unfit("a body in signed chunks goes to S3, and has at least the last of them");
        }
        self.prepare(who, inbound, chunks)
    }
}

/// Whether the body consists of signed chunks.
fn has_signed_chunks(parts: &Parts) -> bool {
    let declared = parts.headers.get_all("x-amz-content-sha256").iter();
    declared.map(HeaderValue::as_bytes).any(|value| value.starts_with(b"STREAMING-AWS4"))
}

/// The request as the client signed it; HTTP/2 has its host elsewhere.
fn client_request(parts: &Parts) -> ClientRequest {
    let mut headers = parts.headers.clone();
    let authority = parts.uri.authority().map(|authority| authority.as_str().parse());
    if let (None, Some(Ok(authority))) = (headers.get(HOST), authority) {
        headers.insert(HOST, authority);
    }
    ClientRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
    }
}
