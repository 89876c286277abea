//! Whether a request goes to its server as it is or through a bridge: what the server
//! and its clients have shown of the eras they speak, and what follows from it. Pure;
//! the time is handed in.
//!
//! ```text
//! request ──► begins ──┬─ NativeFirst ──► the server answers ──► answered ──┬─ accepted: done
//!                      │                                                    └─ refused: bridge
//!                      └─ BridgeFirst ──► bridge; where there is none to be had, native
//! ```
//!
//! One of these stands before each server, whether behind a URL or a command;
//! [`crate::mcp::http`] has what sends requests as it says.

use std::time::{Duration, Instant};

use super::client_eras::ClientEras;
use super::{Bridging, down};

/// How long a server's era is taken as known.
pub const KNOWN: Duration = Duration::from_secs(600);

/// What the first message of a client says of its era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// `initialize`, outside a session.
    Handshake,
    /// A request that stands for itself: `server/discover`.
    Discovery,
    /// Any other such request.
    Stateless,
}

/// Where it is chosen which way a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Behind the gate: what it has let through can be sent to the server once more.
    BehindGate,
    /// Before it: each way has a gate of its own, and a request that is sent again
    /// would be decided, recorded and counted again.
    BeforeGate,
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender<'n> {
    /// A client's, by its name ([`super::client_eras::name_of`]).
    Client(&'n str),
    /// The gate's own, which says nothing of what a client can fall back to.
    Gate,
}

/// In which order the ways to the server are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// As it is; through a bridge where the server refuses its era.
    NativeFirst,
    /// Through a bridge; as it is where there is none to be had, and then as above.
    BridgeFirst,
    /// As it is: the client has another era to fall back to.
    NativeOnly,
}

/// The eras of one server and of its clients.
#[derive(Debug)]
pub struct Eras {
    bridging: Bridging,
    choice: Choice,
    clients: ClientEras,
    /// Somebody was refused in the stateless era. Until then nobody is looked up.
    refused: bool,
    /// Since when the server is known to make no handshakes.
    stateless_only: Option<Instant>,
    /// That there is a bridge was said.
    announced: bool,
}

impl Eras {
    /// Nothing is known yet.
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

    /// Whether [`Eras::begins`] depends on who the client is.
    #[must_use]
    pub fn asks_who(&self, opening: Opening) -> bool {
        opening == Opening::Handshake || self.refused
    }

    /// A request begins its way. `client` is empty where nobody [asked](Self::asks_who).
    pub fn begins(&mut self, opening: Opening, client: &str, now: Instant) -> Plan {
        match opening {
            Opening::Handshake => self.begins_handshake(client, now),
            Opening::Discovery | Opening::Stateless => self.begins_stateless(client, now),
        }
    }

    /// A client that is known to speak the stateless era is left to find out that it
    /// should.
    fn begins_handshake(&mut self, client: &str, now: Instant) -> Plan {
        self.clients.initialized(client, now);
        let falls_back = self.clients.speaks_stateless(client, now);
        let is_known = |since: Instant| now.saturating_duration_since(since) < KNOWN;
        match self.stateless_only.is_some_and(is_known) {
            _ if falls_back && self.bridging != Bridging::Always => Plan::NativeOnly,
            true => Plan::BridgeFirst,
            false => Plan::NativeFirst,
        }
    }

    fn begins_stateless(&mut self, client: &str, now: Instant) -> Plan {
        let always = self.bridging == Bridging::Always;
        let bridged = match self.refused {
            true => always || self.clients.has_no_other(client, now),
            false => always && self.choice == Choice::BeforeGate,
        };
        if bridged { Plan::BridgeFirst } else { Plan::NativeFirst }
    }

    /// The server itself answered, or refused, a request that `begins` had planned;
    /// whether a bridge is to try it now.
    pub fn answered(
        &mut self,
        (opening, plan): (Opening, Plan),
        sender: Sender<'_>,
        refusal: Option<&[u8]>,
        now: Instant,
    ) -> bool {
        let Some(refusal) = refusal else {
            if let (Opening::Discovery, Sender::Client(client)) = (opening, sender) {
                self.clients.understood(client, now);
            }
            return false;
        };
        if opening == Opening::Handshake {
            return plan != Plan::NativeOnly;
        }
        // The version, a header or a capability is wrong, not the era.
        if down::is_modern_error(refusal) {
            return false;
        }
        self.refused = true;
        if let Sender::Client(client) = sender {
            self.clients.refused(client, now);
        }
        self.bridging == Bridging::Always && self.choice == Choice::BehindGate
    }

    /// The server made a handshake with the gate. Whether there is a bridge for the
    /// first time.
    pub fn wants_handshake(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }

    /// The server refused a handshake and answered `server/discover`. Whether there is
    /// a bridge for the first time.
    pub fn wants_no_handshake(&mut self, now: Instant) -> bool {
        self.stateless_only = Some(now);
        !std::mem::replace(&mut self.announced, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::bridge::client_eras::PATIENCE;
    use Choice::{BeforeGate, BehindGate};
    use Opening::{Discovery, Handshake, Stateless};
    use Plan::{BridgeFirst, NativeFirst, NativeOnly};

    const OF_THE_ERA: &[u8] = br#"{"error":{"code":-32601}}"#;
    const WRONG_HEADER: &[u8] = br#"{"error":{"code":-32020}}"#;

    /// The server's own answer to a request that was sent as it is.
    fn answered(eras: &mut Eras, opening: Opening, refusal: Option<&[u8]>, now: Instant) -> bool {
        eras.answered((opening, NativeFirst), Sender::Client("c"), refusal, now)
    }

    #[test]
    fn a_client_that_may_fall_back_is_given_the_time_to() {
        let (mut eras, now) = (Eras::new(Bridging::Auto, BehindGate), Instant::now());
        assert!(!eras.asks_who(Stateless), "nobody was refused");
        assert_eq!(eras.begins(Discovery, "c", now), NativeFirst);
        assert!(!answered(&mut eras, Discovery, Some(OF_THE_ERA), now), "it may fall back");
        assert!(eras.asks_who(Stateless));
        assert_eq!(eras.begins(Stateless, "c", now), NativeFirst);
        assert_eq!(eras.begins(Stateless, "c", now + PATIENCE), BridgeFirst);
        assert_eq!(eras.begins(Stateless, "another", now + PATIENCE), NativeFirst);
        assert_eq!(eras.begins(Handshake, "c", now + PATIENCE), NativeFirst);
        assert_eq!(eras.begins(Stateless, "c", now + 2 * PATIENCE), NativeFirst, "it fell back");
    }

    #[test]
    fn always_waits_for_no_client_and_is_settled_before_a_gate_decides() {
        let (mut behind, now) = (Eras::new(Bridging::Always, BehindGate), Instant::now());
        assert_eq!(behind.begins(Stateless, "c", now), NativeFirst, "it costs no more round trip");
        assert!(answered(&mut behind, Stateless, Some(OF_THE_ERA), now), "and is sent once more");
        assert_eq!(behind.begins(Stateless, "c", now), BridgeFirst);
        let mut before = Eras::new(Bridging::Always, BeforeGate);
        assert_eq!(before.begins(Stateless, "c", now), BridgeFirst);
        assert!(!answered(&mut before, Stateless, Some(OF_THE_ERA), now), "it was decided");
    }

    #[test]
    fn only_a_refusal_of_the_era_leads_to_a_bridge() {
        let (mut eras, now) = (Eras::new(Bridging::Always, BehindGate), Instant::now());
        for opening in [Handshake, Discovery, Stateless] {
            assert!(!answered(&mut eras, opening, None, now));
        }
        assert!(!answered(&mut eras, Stateless, Some(WRONG_HEADER), now));
        assert!(!eras.asks_who(Stateless), "that says nothing of the era");
    }

    #[test]
    fn what_the_gate_asks_says_nothing_of_a_client() {
        let (mut eras, now) = (Eras::new(Bridging::Auto, BehindGate), Instant::now());
        let asked = (Stateless, NativeFirst);
        assert!(!eras.answered(asked, Sender::Gate, Some(OF_THE_ERA), now));
        assert!(eras.asks_who(Stateless), "it says something of the server");
        assert_eq!(eras.begins(Stateless, "c", now + PATIENCE), NativeFirst);
    }

    #[test]
    fn a_refused_handshake_leads_to_a_bridge_and_is_remembered_for_a_while() {
        let (mut eras, now) = (Eras::new(Bridging::Auto, BehindGate), Instant::now());
        assert_eq!(eras.begins(Handshake, "c", now), NativeFirst);
        assert!(answered(&mut eras, Handshake, Some(OF_THE_ERA), now));
        assert!(eras.wants_no_handshake(now), "people are told");
        assert!(!eras.wants_no_handshake(now), "once");
        assert_eq!(eras.begins(Handshake, "c", now), BridgeFirst);
        assert_eq!(eras.begins(Handshake, "c", now + KNOWN), NativeFirst);
    }

    #[test]
    fn a_client_of_both_eras_is_left_to_find_the_servers() {
        let now = Instant::now();
        for (bridging, plan) in [(Bridging::Auto, NativeOnly), (Bridging::Always, NativeFirst)] {
            let mut eras = Eras::new(bridging, BehindGate);
            assert!(!answered(&mut eras, Discovery, None, now));
            assert_eq!(eras.begins(Handshake, "c", now), plan);
            let begun = (Handshake, plan);
            let bridged = eras.answered(begun, Sender::Client("c"), Some(OF_THE_ERA), now);
            assert_eq!(bridged, bridging == Bridging::Always);
        }
    }
}
