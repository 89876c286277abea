//! A gate's admin API on a port of its own, and a client that shows what came.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentgate::action::Transport;
use agentgate::admin::master::MasterKey;
use agentgate::admin::{Admin, AdminSettings, not_found, router};
use agentgate::intent::Intent;
use agentgate::net::server::{Limits, serve};
use agentgate::net::workers::Workers;
use agentgate::policy::catalog::PolicyCatalog;
use agentgate::policy::live::Policies;
use agentgate::policy::lookup::Lookup;
use agentgate::store::agents::Registry;
use agentgate::store::audit::{Completion, Draft, Outcome, RowId};
use agentgate::store::directory::Directory;
use agentgate::store::{Options, Store};
use agentgate::verdict::{Decision, Stage};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::chunks::unchunked;
use crate::raw::exchange;

pub(crate) use crate::raw::Answer;
pub(crate) use crate::wait::eventually;

pub(crate) const KEY: &str = "a-master-key-for-tests-only";

/// A running admin API.
pub(crate) struct Gate {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Gate {
    pub(crate) fn start() -> Self {
        Self::start_for(&[])
    }

    pub(crate) fn start_for(origins: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (database, options) = (folder.path().join("agentgate.db"), Options::default());
        let lookup = Lookup { named: Some(folder.path().join("policies")), own: None };
        let own = Policies::load(&["default".to_owned()], &lookup, None).unwrap();
        let store = Store::open(&database, &options).unwrap();
        let directory = Directory::open(Registry::new(&database, &options)).unwrap();
        let admin = Admin::new(AdminSettings {
            master: MasterKey::new(KEY).unwrap(),
            database,
            options,
            store: store.clone(),
            directory: Arc::clone(&directory),
            catalog: PolicyCatalog::new(lookup, None, Arc::new(own)),
            metrics: Arc::default(),
            cors_origins: origins.iter().map(ToString::to_string).collect(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let app = router(admin).fallback(not_found);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let here = Workers::this_runtime();
            serve(listener, app, Limits::default(), &here, std::future::pending()).await
        });
        Self { folder, address, directory, store, runtime }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("agentgate.db")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send_with(method, path, &format!("X-Master-Key: {KEY}\r\n"), body)
    }

    /// `headers` are whole lines.
    pub(crate) fn send_with(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        send(self.address, method, path, headers, body)
    }

    /// Records a decision about a request of `agent`'s to GitHub.
    pub(crate) fn record(
        &self,
        agent: &str,
        path: &str,
        decision: Decision,
        stage: Stage,
    ) -> String {
        let id = self.decided(agent, path, decision, stage);
        if decision == Decision::Allow {
            self.ended(&id, Outcome::Forwarded, "200");
        }
        id.as_str().to_owned()
    }

    /// Records an allowed request that failed on the way.
    pub(crate) fn record_failed(&self, agent: &str, path: &str) {
        let id = self.decided(agent, path, Decision::Allow, Stage::Policy);
        self.ended(&id, Outcome::Error, "the connection was refused");
    }

    fn decided(&self, agent: &str, path: &str, decision: Decision, stage: Stage) -> RowId {
        let draft = row(agent, path, decision, stage);
        let agent = agentgate::action::Agent::named(agent);
        let recorded = self.store.record(&agent, &[], |_| (draft, ()));
        self.runtime.block_on(recorded).unwrap().0.id
    }

    fn ended(&self, id: &RowId, outcome: Outcome, status: &str) {
        let (upstream, status) = (Duration::from_millis(3), status.to_owned());
        self.store.complete(id, Completion { outcome, upstream, status });
    }
}

/// A decision about a request of `agent`'s to GitHub.
pub(crate) fn row(agent: &str, path: &str, decision: Decision, stage: Stage) -> Draft {
    let allowed = decision == Decision::Allow;
    Draft {
        at: jiff::Timestamp::now(),
        session: "s1".into(),
        agent: agent.into(),
        transport: Transport::Rest,
        server: "github".into(),
        method: "GET".to_owned(),
        tool: path.to_owned(),
        intent: Intent::Read,
        decision,
        outcome: if allowed { Outcome::Forwarded } else { Outcome::Refused },
        policy: "p".into(),
        rule: "p#1".into(),
        reason: "because, \"so\"".to_owned(),
        stage,
        args: String::new(),
        canonical_args: String::new(),
        decision_took: Duration::from_micros(7),
        observing: false,
        takes_slot_of: Vec::new(),
    }
}

/// Sends a request on a connection of its own; `headers` are whole lines.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    unchunked(exchange(address, request.as_bytes()))
}
