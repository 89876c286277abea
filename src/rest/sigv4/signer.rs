//! The signing key for one day, region and service, with the time of the signature. Source: AWS
//! General Reference, "Calculate the signature".

use std::fmt;

use aws_sigv4::sign::v4;
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Algorithm name in signatures of whole requests.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Timestamp format, as in `20130524T000000Z`.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// A signing key, and the scope of its signatures.
pub struct Signer {
    key: Zeroizing<Vec<u8>>,
    stamp: String,
    scope: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs with `secret` at `time` for a service and region.
    #[must_use]
    pub fn new(secret: &str, time: Timestamp, (service, region): (&str, &str)) -> Self {
        let stamp = stamp(time);
        let key = v4::generate_signing_key(secret, time.into(), region, service);
        let key = Zeroizing::new(key.as_ref().to_vec());
        let date = stamp.get(..8).unwrap_or_default();
        let scope = format!("{date}/{region}/{service}/aws4_request");
        Self { key, stamp, scope }
    }

    /// Signs `rest` by `algorithm`; returns 64 hexadecimal digits.
    pub(super) fn sign(&self, algorithm: &str, rest: &str) -> String {
        let Self { key, stamp, scope } = self;
        let to_sign = format!("{algorithm}\n{stamp}\n{scope}\n{rest}");
        v4::calculate_signature(key, to_sign.as_bytes())
    }
}

/// Formats a timestamp.
pub(super) fn stamp(time: Timestamp) -> String {
    // INVARIANT (infallible): the format has nothing that a timestamp lacks.
    strtime::format(STAMP, time).unwrap_or_default()
}

/// Parses a timestamp; `None` if it is in another format.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let time = strtime::parse(STAMP, text).and_then(|parsed| parsed.to_datetime());
    let time = time.and_then(|time| time.to_zoned(TimeZone::UTC)).ok()?.timestamp();
    (stamp(time) == text).then_some(time)
}

/// SHA-256 of `bytes` in hexadecimal digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
