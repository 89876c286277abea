//! Whether a client needs a bridge in front of a server: what both have shown of
//! the eras they speak.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};

use super::headers::is_json;
use crate::mcp::bridge::acquaintance::{Acquaintances, name_of};
use crate::mcp::bridge::{Bridging, down, raw};
use crate::mcp::codes::{self, METHOD_NOT_FOUND};
use crate::net::Body;
use crate::net::body::{HoldError, hold_whole};
use crate::net::room::Share;

/// How long a server's era is taken as known.
pub(super) const KNOWN: Duration = Duration::from_secs(600);

/// How long an answer that may be a refusal may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The eras of one server and of its clients.
#[derive(Debug)]
pub(super) struct Eras {
    bridging: Bridging,
    clients: Mutex<Acquaintances>,
    /// A client was refused in the stateless era. Until then nobody has to be
    /// looked up.
    wary: AtomicBool,
    /// Since when the server is known to want no handshakes.
    stateless_only: Mutex<Option<Instant>>,
    /// It was said that there is a bridge.
    told: AtomicBool,
}

/// What no bridge carries, for people.
const NOT_CARRIED: &str = "sampling, elicitation, roots, subscriptions, tasks";

impl Eras {
    pub(super) fn new(bridging: Bridging) -> Self {
        Self {
            bridging,
            clients: Mutex::default(),
            wary: AtomicBool::new(false),
            stateless_only: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Whether nothing is ever bridged.
    pub(super) fn are_apart(&self) -> bool {
        self.bridging == Bridging::Never
    }

    /// Whether every client that may need a bridge has one, before the server has
    /// refused it.
    pub(super) fn are_joined(&self) -> bool {
        self.bridging == Bridging::Always
    }

    /// Learns from a refusal of what the gate itself asked, which says nothing of
    /// what a client falls back to; whether that needs a bridge at once.
    pub(super) fn refused_own(&self, refusal: &[u8]) -> bool {
        let of_the_era = !down::is_modern_error(refusal);
        self.wary.fetch_or(of_the_era, Ordering::Relaxed);
        of_the_era && self.bridging == Bridging::Always
    }

    /// Whether a message of the stateless era needs a bridge, before the server has
    /// seen it.
    pub(super) fn needs_down(&self, principal: &str, message: &[u8]) -> bool {
        self.wary.load(Ordering::Relaxed)
            && (self.bridging == Bridging::Always
                || self.clients(|known| {
                    known.has_no_other(&name_of(principal, message), Instant::now())
                }))
    }

    /// Learns from the server's own answer to a message of the stateless era;
    /// whether it needs a bridge at once.
    pub(super) fn answered(
        &self,
        principal: &str,
        message: &[u8],
        discovers: bool,
        refusal: Option<&Bytes>,
    ) -> bool {
        let name = || name_of(principal, message);
        match refusal {
            None if discovers => {
                self.clients(|known| known.understood(&name(), Instant::now()));
                false
            }
            Some(refusal) if !down::is_modern_error(refusal) => {
                self.wary.store(true, Ordering::Relaxed);
                self.clients(|known| known.refused(&name(), Instant::now()));
                self.bridging == Bridging::Always
            }
            _ => false,
        }
    }

    /// A client begins a handshake; whether it may be bridged. One that is known to
    /// speak the stateless era is left to find that out.
    pub(super) fn shakes_hands(&self, principal: &str, message: &[u8]) -> bool {
        let (name, now) = (name_of(principal, message), Instant::now());
        let newer = self.clients(|known| {
            known.shook_hands(&name, now);
            known.speaks_stateless(&name, now)
        });
        self.bridging == Bridging::Always || !newer
    }

    /// Whether the server is known to want no handshakes.
    pub(super) fn is_stateless_only(&self) -> bool {
        let since = *self.stateless_only.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < KNOWN)
    }

    /// The server refused `server/discover` and made a handshake.
    pub(super) fn wants_handshake(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the server wants a handshake, and clients of 2026-07-28 are bridged to it; \
                 not carried: {NOT_CARRIED} (docs/remote.md)"
            );
        }
    }

    /// The server refused a handshake and answered `server/discover`.
    pub(super) fn wants_no_handshake(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the server speaks only 2026-07-28, and clients with a handshake are bridged \
                 to it; not carried: {NOT_CARRIED} (docs/remote.md)"
            );
        }
        let mut since = self.stateless_only.lock().unwrap_or_else(PoisonError::into_inner);
        *since = Some(Instant::now());
    }

    fn clients<T>(&self, with: impl FnOnce(&mut Acquaintances) -> T) -> T {
        with(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The response, and its body where it may be a refusal of the era: that is read
/// then, and is there again. An answer with status 200 is looked at only with
/// `answers`; a method that is not there is no refusal then.
pub(super) async fn looked_at(
    response: Response<Body>,
    answers: bool,
    (max, share): (usize, Option<&Share>),
) -> Result<(Response<Body>, Option<Bytes>), HoldError> {
    let status = response.status();
    let is_answer = answers && status == StatusCode::OK && is_json(response.headers());
    if !is_answer && !refuses(status) {
        return Ok((response, None));
    }
    let (parts, body) = response.into_parts();
    let held = hold_whole((body, share.map(Share::place)), max, PATIENCE).await?;
    let body = held.bytes;
    let refused = refuses(status) || raw(&body, &["error"]).is_some();
    let unknown_method = codes::of(&body) == Some(METHOD_NOT_FOUND) && !answers;
    let refusal = (refused && !unknown_method).then(|| body.clone());
    Ok((Response::from_parts(parts, Body::from(body)), refusal))
}

/// Statuses by which a server refuses a message for what it is, not for who
/// sends it or for want of time.
pub(super) fn refuses(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 405 | 406 | 415)
}
