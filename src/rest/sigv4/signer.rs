//! What signs: a key for one day, region and service, and the time that is
//! signed with it. Source: AWS General Reference, "Calculate the signature".

use std::fmt;

use aws_sigv4::sign::v4;
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The algorithm of whole requests.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How times are written: `20130524T000000Z`.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// A signing key and what every signature with it begins with.
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
    /// Signs with `secret`, as at `time`, for a service and a region.
    #[must_use]
    pub fn new(secret: &str, time: Timestamp, (service, region): (&str, &str)) -> Self {
        let stamp = stamp(time);
        let key = v4::generate_signing_key(secret, time.into(), region, service);
        let key = Zeroizing::new(key.as_ref().to_vec());
        let date = stamp.get(..8).unwrap_or_default();
        let scope = format!("{date}/{region}/{service}/aws4_request");
        Self { key, stamp, scope }
    }

    /// The signature of `rest` by `algorithm`: 64 hexadecimal digits.
    pub(super) fn sign(&self, algorithm: &str, rest: &str) -> String {
        let Self { key, stamp, scope } = self;
        let to_sign = format!("{algorithm}\n{stamp}\n{scope}\n{rest}");
        v4::calculate_signature(key, to_sign.as_bytes())
    }
}

/// A time as signatures have it.
pub(super) fn stamp(time: Timestamp) -> String {
    // INVARIANT (infallible): the format has nothing that a timestamp lacks.
    strtime::format(STAMP, time).unwrap_or_default()
}

/// The time that `text` stands for; `None` if it is written otherwise.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let time = strtime::parse(STAMP, text).and_then(|parsed| parsed.to_datetime());
    let time = time.and_then(|time| time.to_zoned(TimeZone::UTC)).ok()?.timestamp();
    (stamp(time) == text).then_some(time)
}

/// The hash of `bytes`, as signatures have it.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
