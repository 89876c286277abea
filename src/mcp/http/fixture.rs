//! Fixture for tests of conversations.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::action::{Agent, Transport};
use crate::gate::{AuditFailure, Gate};
use crate::mcp::relay::{Relay, Settings};
use crate::mcp::tools::FirstSeen;
use crate::policy::Policy;
use crate::store::{Options, Store};

/// What makes relays that decide by the built-in `policy` and record in `folder`.
pub(super) fn relays(folder: &Path, policy: &str) -> impl Fn() -> Arc<Relay> + use<> {
    let store = Store::open(&folder.join("a.db"), &Options::default()).unwrap();
    let policy = Arc::new(ArcSwap::from_pointee(Policy::built_in(policy).unwrap()));
    let gate = Gate::new(policy, store, AuditFailure::Refuse);
    let settings = Settings {
        server: "s".into(),
        agent: Agent::default(),
        transport: Transport::Http,
        session: "x".into(),
        trusted: true,
        first_seen: FirstSeen::default(),
        hide_denied: false,
        max_message: 4 << 20,
        answer_memory: None,
    };
    move || Arc::new(Relay::new(gate.clone(), settings.clone()))
}
