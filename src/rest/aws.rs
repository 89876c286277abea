//! AWS signatures: verification of a request's (the claim), and a new one for upstream.
//! Neither exists without the feature `aws`.

#[cfg(feature = "aws")]
pub use super::sigv4::{PresentedSignature as Claim, SignedChunks, chunks::Chain, is_presigned};

use http::request::Parts;
use http::{HeaderMap, Uri};

use crate::action::aws_place;
use crate::store::directory::Directory;

/// The request as sent by the client.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// The method.
    pub method: String,
    /// The path including the gate's prefix, as sent.
    pub path: String,
    /// The query as sent.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
}

/// A request to sign.
#[derive(Debug)]
pub struct Unsigned<'r> {
    /// The service and the region that it is signed for.
    pub scope: (&'r str, &'r str),
    /// The method.
    pub method: &'r str,
    /// Where it goes.
    pub uri: &'r Uri,
    /// The body, where it is held.
    pub held: Option<&'r [u8]>,
}

/// Whether `host` is a subdomain of one of the gate's `own` names or of `localhost`
/// (RFC 6761, section 6.3): SDKs put the bucket there (virtual-hosted-style addressing), and
/// the path alone would mean another operation.
#[must_use]
pub fn names_bucket(host: &str, own: &[&str]) -> bool {
    let host = host.to_ascii_lowercase();
    let is_below = |own: &str| {
        let own = own.to_ascii_lowercase();
        host.strip_suffix(&own).is_some_and(|front| front.ends_with('.'))
    };
    let is_own = own.iter().any(|own| own.eq_ignore_ascii_case(&host));
    !is_own && own.iter().chain(&["localhost"]).any(|own| is_below(own))
}

/// The service and the region to sign for at `host`: those the client signed for, if it
/// did. Global services take one region only, whichever the client is configured with.
#[must_use]
pub fn scope_at<'a>(host: &'a str, signed: Option<(&'a str, &'a str)>) -> (&'a str, &'a str) {
    let Some(place) = aws_place(host) else { return signed.unwrap_or_default() };
    let (service, region) = signed.unwrap_or((place.service, place.region));
    (service, if place.is_fixed { place.region } else { region })
}

/// The claim in a request, where there is one.
///
/// # Errors
/// If its key is unknown, or it cannot be parsed.
#[cfg(feature = "aws")]
pub fn claim(parts: &Parts, directory: &Directory) -> Option<Result<Claim, ()>> {
    let claim = Claim::read(parts, &|id| directory.aws_secret(id));
    claim.map(|claim| claim.map_err(drop))
}

/// Signs with the real credential; returns the signature chain for the chunks of the body.
///
/// # Errors
/// Why it cannot be signed.
#[cfg(feature = "aws")]
pub fn sign(request: &Unsigned<'_>, headers: &mut HeaderMap) -> Result<Chain, String> {
    use super::sigv4::{credentials, sign_anew};
    let Unsigned { scope, method, uri, held } = *request;
    let signed = credentials()
        .and_then(|credentials| sign_anew(&credentials, scope, (method, uri), headers, held));
    signed.map_err(|error| error.to_string())
}

#[cfg(not(feature = "aws"))]
mod without {
    use super::{ClientRequest, Directory, HeaderMap, Parts, Unsigned};
    use crate::net::Body;
    use crate::store::agents::AgentRecord;
    use std::sync::Arc;

    /// Uninhabited: this build has no AWS support.
    #[derive(Debug, Clone)]
    pub enum Claim {}

    /// Uninhabited.
    #[derive(Debug)]
    pub enum SignedChunks {}

    /// Uninhabited.
    #[derive(Debug)]
    pub enum Chain {}

    /// Uninhabited.
    #[derive(Debug, thiserror::Error)]
    pub enum SignatureError {}

    impl SignatureError {
        /// Unreachable: there are no signatures.
        #[must_use]
        pub fn is_authentic(&self) -> bool {
            match *self {}
        }
    }

    impl SignedChunks {
        /// Unreachable: there are no signed chunks.
        pub fn signed_anew(self, _body: Body, _outgoing: Chain, _max: usize) -> Body {
            match self {}
        }
    }

    impl Claim {
        /// Unreachable: there are no claims.
        #[must_use]
        pub fn agent(&self) -> &Arc<AgentRecord> {
            match *self {}
        }

        /// Unreachable: there are no claims.
        #[must_use]
        pub fn key_id(&self) -> &Arc<str> {
            match *self {}
        }

        /// Unreachable: there are no claims.
        #[must_use]
        pub fn scope(&self) -> (&str, &str) {
            match *self {}
        }

        /// Unreachable: there are no claims.
        #[must_use]
        pub fn needs_body(&self, _request: &ClientRequest) -> bool {
            match *self {}
        }

        /// Unreachable: there are no claims.
        #[must_use]
        pub fn covers(&self, _request: &ClientRequest, _held: &[u8]) -> bool {
            match *self {}
        }

        /// Unreachable: there are no claims.
        ///
        /// # Errors
        /// Never.
        pub fn verify(
            &self,
            _request: &ClientRequest,
            _held: Option<&[u8]>,
            _now: jiff::Timestamp,
        ) -> Result<Option<SignedChunks>, SignatureError> {
            match *self {}
        }

        /// Unreachable: there are no claims.
        ///
        /// # Errors
        /// Never.
        pub fn strip(&self, _parts: &mut Parts) -> Result<(), SignatureError> {
            match *self {}
        }
    }

    /// Always `None`.
    #[must_use]
    pub fn claim(_parts: &Parts, _directory: &Directory) -> Option<Result<Claim, ()>> {
        None
    }

    /// Always `false`.
    #[must_use]
    pub fn is_presigned(_parts: &Parts) -> bool {
        false
    }

    /// Not supported in this build.
    ///
    /// # Errors
    /// Always.
    pub fn sign(_request: &Unsigned<'_>, _headers: &mut HeaderMap) -> Result<Chain, String> {
        Err("this build of agentgate cannot sign for AWS (feature `aws`)".to_owned())
    }
}
#[cfg(not(feature = "aws"))]
pub use without::{Chain, Claim, SignedChunks, claim, is_presigned, sign};

#[cfg(test)]
mod tests {
    use super::{names_bucket, scope_at};

    #[test]
    fn virtual_hosted_buckets_are_detected() {
        for (host, own, is_bucket) in [
            ("bucket.localhost", &[][..], true),
            ("localhost", &[], false),
            ("127.0.0.1", &[], false),
            ("gate.example.com", &[], false),
            ("gate.localhost", &["gate.localhost"], false),
            ("b.gate.localhost", &["gate.localhost"], true),
            ("A.b.Gate.example.com", &["gate.example.com"], true),
            ("otherGate.example.com", &["gate.example.com"], false),
            // A name of AWS's own, beside or below that of the gate.
            ("b.gate.example.com", &["aws.example.com", "gate.example.com"], true),
            ("aws.gate.example.com", &["aws.gate.example.com", "gate.example.com"], false),
            ("b.aws.gate.example.com", &["aws.gate.example.com", "gate.example.com"], true),
        ] {
            assert_eq!(names_bucket(host, own), is_bucket, "{host} {own:?}");
        }
    }

    #[test]
    fn global_services_are_signed_for_their_own_region() {
        let iam = scope_at("iam.amazonaws.com", Some(("iam", "eu-west-1")));
        assert_eq!(iam, ("iam", "us-east-1"));
        assert_eq!(scope_at("route53.amazonaws.com", None), ("route53", "us-east-1"));
        let registry = "api.ecr.eu-west-1.amazonaws.com";
        assert_eq!(scope_at(registry, None), ("ecr", "eu-west-1"));
        let host = "sqs.eu-west-1.amazonaws.com";
        assert_eq!(scope_at(host, None), ("sqs", "eu-west-1"));
        assert_eq!(scope_at(host, Some(("sqs", "eu-west-1"))), ("sqs", "eu-west-1"));
    }
}
