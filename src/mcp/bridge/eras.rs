//! Decides whether a request goes to its server unchanged or through a bridge, by what the
//! server and its clients have shown of the eras they speak. Pure; the time is a parameter.
//!
//! ```text
//! request ──► plan ──┬─ NativeFirst ──► response of the server ──► answered ──┬─ success: done
//!                    │                                                        └─ refusal: bridge
//!                    └─ BridgeFirst ──► bridge; if there is none, native
//! ```
//!
//! There is one [`Eras`] per server, behind a URL or a command; [`crate::mcp::http`] sends the
//! requests.

use std::time::{Duration, Instant};

use super::client_eras::ClientEras;
use super::{Bridging, down};

/// How long a server's era is remembered.
pub const KNOWN: Duration = Duration::from_secs(600);

/// What a client's first message shows of its era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// `initialize` without a session.
    Handshake,
    /// `server/discover`.
    Discovery,
    /// Any other stateless request.
    Stateless,
}

/// Where requests are routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Behind the gate: an admitted request can be sent again through a bridge.
    BehindGate,
    /// In front of the gate: either route has a gate of its own, so sending a request again
    /// would decide, record and count it twice.
    BeforeGate,
}

/// Sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender<'n> {
    /// A client, by [`super::client_eras::name_of`].
    Client(&'n str),
    /// The gate itself, which does not show what clients can fall back to.
    Gate,
}

/// Order in which routes to the server are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Unchanged; through a bridge if the server refuses its era.
    NativeFirst,
    /// Through a bridge; if there is none, as `NativeFirst`.
    BridgeFirst,
    /// Unchanged only: the client can fall back to another era.
    NativeOnly,
}

/// Eras of one server and its clients.
#[derive(Debug)]
pub struct Eras {
    bridging: Bridging,
    choice: Choice,
    clients: ClientEras,
    /// Whether any stateless request was refused. Until then no client is looked up.
    refused: bool,
    /// Time when the server turned out not to support handshakes.
    stateless_only: Option<Instant>,
    /// Whether the bridge has been logged.
    announced: bool,
}

impl Eras {
    /// A record without any knowledge.
    #[must_use]
    pub fn new(bridging: Bridging, choice: Choice) -> Self {
        Self {
            bridging,
            choice,
            clients: ClientEras::default(),
            refused: false,
            stateless_only: None,
            announced: false,
        }
    }

    /// Whether [`Eras::plan`] needs the client's name.
    #[must_use]
    pub fn needs_client(&self, opening: Opening) -> bool {
        opening == Opening::Handshake || self.refused
    }

    /// The plan for a request. `client` may be empty unless [`Eras::needs_client`].
    pub fn plan(&mut self, opening: Opening, client: &str, now: Instant) -> Plan {
        match opening {
            Opening::Handshake => self.plan_handshake(client, now),
            Opening::Discovery | Opening::Stateless => self.plan_stateless(client, now),
        }
    }

    /// A client known to speak the stateless era gets the server's refusal, which makes it
    /// switch.
    fn plan_handshake(&mut self, client: &str, now: Instant) -> Plan {
        self.clients.initialized(client, now);
        let falls_back = self.clients.speaks_stateless(client, now);
        let is_known = |since: Instant| now.saturating_duration_since(since) < KNOWN;
        match self.stateless_only.is_some_and(is_known) {
            _ if falls_back && self.bridging != Bridging::Always => Plan::NativeOnly,
            true => Plan::BridgeFirst,
            false => Plan::NativeFirst,
        }
    }

    fn plan_stateless(&mut self, client: &str, now: Instant) -> Plan {
        let always = self.bridging == Bridging::Always;
        let bridged = match self.refused {
            true => always || self.clients.cannot_fall_back(client, now),
            false => always && self.choice == Choice::BeforeGate,
        };
        if bridged { Plan::BridgeFirst } else { Plan::NativeFirst }
    }

    /// Records the server's response to an unchanged request. Returns whether to try a bridge
    /// now.
    pub fn answered(
        &mut self,
        (opening, plan): (Opening, Plan),
        sender: Sender<'_>,
        refusal: Option<&[u8]>,
        now: Instant,
    ) -> bool {
        let Some(refusal) = refusal else {
            if let (Opening::Discovery, Sender::Client(client)) = (opening, sender) {
                self.clients.succeeded(client, now);
            }
            return false;
        };
        if opening == Opening::Handshake {
            return plan != Plan::NativeOnly;
        }
        // The version, a header or a capability is rejected, not the era.
        if down::is_modern_error(refusal) {
            return false;
        }
        self.refused = true;
        if let Sender::Client(client) = sender {
            self.clients.refused(client, now);
        }
        self.bridging == Bridging::Always && self.choice == Choice::BehindGate
    }

    /// Records that the server supports handshakes. Returns `true` the first time, when the
    /// bridge should be logged.
    pub fn wants_handshake(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }

    /// Records that the server refused a handshake but answered `server/discover`. Returns
    /// `true` the first time, when the bridge should be logged.
    pub fn wants_no_handshake(&mut self, now: Instant) -> bool {
        self.stateless_only = Some(now);
        !std::mem::replace(&mut self.announced, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::bridge::client_eras::FALLBACK_TIMEOUT;
    use Choice::{BeforeGate, BehindGate};
    use Opening::{Discovery, Handshake, Stateless};
    use Plan::{BridgeFirst, NativeFirst, NativeOnly};

    const OF_THE_ERA: &[u8] = br#"{"error":{"code":-32601}}"#;
    const WRONG_HEADER: &[u8] = br#"{"error":{"code":-32020}}"#;

    /// Records a response to a request that was sent unchanged.
    fn answered(eras: &mut Eras, opening: Opening, refusal: Option<&[u8]>, now: Instant) -> bool {
        eras.answered((opening, NativeFirst), Sender::Client("c"), refusal, now)
    }

    #[test]
    fn a_client_that_may_fall_back_is_given_the_time_to() {
        let (mut eras, now) = (Eras::new(Bridging::Auto, BehindGate), Instant::now());
        assert!(!eras.needs_client(Stateless), "nobody was refused");
        assert_eq!(eras.plan(Discovery, "c", now), NativeFirst);
        assert!(!answered(&mut eras, Discovery, Some(OF_THE_ERA), now), "it may fall back");
        assert!(eras.needs_client(Stateless));
        assert_eq!(eras.plan(Stateless, "c", now), NativeFirst);
        assert_eq!(eras.plan(Stateless, "c", now + FALLBACK_TIMEOUT), BridgeFirst);
        assert_eq!(eras.plan(Stateless, "another", now + FALLBACK_TIMEOUT), NativeFirst);
        assert_eq!(eras.plan(Handshake, "c", now + FALLBACK_TIMEOUT), NativeFirst);
        assert_eq!(
            eras.plan(Stateless, "c", now + 2 * FALLBACK_TIMEOUT),
            NativeFirst,
            "it fell back"
        );
    }

    #[test]
    fn always_waits_for_no_client_and_is_settled_before_a_gate_decides() {
        let (mut behind, now) = (Eras::new(Bridging::Always, BehindGate), Instant::now());
        assert_eq!(behind.plan(Stateless, "c", now), NativeFirst, "it costs no more round trip");
        assert!(answered(&mut behind, Stateless, Some(OF_THE_ERA), now), "and is sent once more");
        assert_eq!(behind.plan(Stateless, "c", now), BridgeFirst);
        let mut before = Eras::new(Bridging::Always, BeforeGate);
        assert_eq!(before.plan(Stateless, "c", now), BridgeFirst);
        assert!(!answered(&mut before, Stateless, Some(OF_THE_ERA), now), "it was decided");
    }

    #[test]
    fn only_a_refusal_of_the_era_leads_to_a_bridge() {
        let (mut eras, now) = (Eras::new(Bridging::Always, BehindGate), Instant::now());
        for opening in [Handshake, Discovery, Stateless] {
            assert!(!answered(&mut eras, opening, None, now));
        }
        assert!(!answered(&mut eras, Stateless, Some(WRONG_HEADER), now));
        assert!(!eras.needs_client(Stateless), "that says nothing of the era");
    }

    #[test]
    fn requests_of_the_gate_do_not_affect_the_era_of_a_client() {
        let (mut eras, now) = (Eras::new(Bridging::Auto, BehindGate), Instant::now());
        let asked = (Stateless, NativeFirst);
        assert!(!eras.answered(asked, Sender::Gate, Some(OF_THE_ERA), now));
        assert!(eras.needs_client(Stateless), "it says something of the server");
        assert_eq!(eras.plan(Stateless, "c", now + FALLBACK_TIMEOUT), NativeFirst);
    }

    #[test]
    fn a_refused_handshake_leads_to_a_bridge_and_is_remembered_for_a_while() {
        let (mut eras, now) = (Eras::new(Bridging::Auto, BehindGate), Instant::now());
        assert_eq!(eras.plan(Handshake, "c", now), NativeFirst);
        assert!(answered(&mut eras, Handshake, Some(OF_THE_ERA), now));
        assert!(eras.wants_no_handshake(now), "people are told");
        assert!(!eras.wants_no_handshake(now), "once");
        assert_eq!(eras.plan(Handshake, "c", now), BridgeFirst);
        assert_eq!(eras.plan(Handshake, "c", now + KNOWN), NativeFirst);
    }

    #[test]
    fn a_client_of_both_eras_is_left_to_find_the_servers() {
        let now = Instant::now();
        for (bridging, plan) in [(Bridging::Auto, NativeOnly), (Bridging::Always, NativeFirst)] {
            let mut eras = Eras::new(bridging, BehindGate);
            assert!(!answered(&mut eras, Discovery, None, now));
            assert_eq!(eras.plan(Handshake, "c", now), plan);
            let begun = (Handshake, plan);
            let bridged = eras.answered(begun, Sender::Client("c"), Some(OF_THE_ERA), now);
            assert_eq!(bridged, bridging == Bridging::Always);
        }
    }
}
