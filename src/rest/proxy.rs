//! The way of a REST request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::{Request, Response, StatusCode};
use serde_json::json;

use super::credentials::{self, Credential};
use super::identify::{self, Identified};
use super::inbound::{self, Fault, Inbound, Limits};
use super::mock;
use super::reply;
use super::route::Upstream;
use super::strangers::{Note, Strangers};
use super::upstream::{Exit, Outgoing};
use crate::action::{Action, Agent, Flaw, Malformed, Provider, Target, Transport};
use crate::gate::{Gate, Permit};
use crate::net::Body;
use crate::policy::book::Book;
use crate::store::agents::AgentRecord;
use crate::store::audit::Outcome;
use crate::store::directory::Directory;
use crate::verdict::{Denial, Reason, Stage, Verdict};

/// What is particular to one provider, by configuration.
#[derive(Debug, Default)]
pub struct Site {
    /// In place of the vendor's hosts.
    pub upstream: Option<Upstream>,
    /// The credential that the gate puts in.
    pub credential: Option<Credential>,
}

/// The REST proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Decides, by the gate's own policy where the agent has none.
    pub gate: Gate,
    /// The policies of agents.
    pub book: Arc<Book>,
    /// Who may ask.
    pub directory: Arc<Directory>,
    /// The way out; `None` in test mode, where nothing is sent anywhere.
    pub exit: Option<Exit>,
    /// By provider.
    pub sites: ArcSwap<HashMap<Provider, Site>>,
    /// What is put up with.
    pub limits: Limits,
    /// This run, in the log.
    pub session: Arc<str>,
    /// Requests without a valid key.
    pub strangers: Strangers,
}

/// A request on its way, as far as it was read before it is decided.
struct Read {
    action: Action,
    outgoing: Outgoing,
}

impl Proxy {
    /// Answers a request for `provider`, whose path below the provider's name is
    /// `path`, as the client wrote it.
    pub async fn answer(
        &self,
        provider: Provider,
        path: &str,
        request: Request<Body>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        // Whose request it is comes first: strangers learn nothing else.
        let who = match identify::agent(&parts.headers, &self.directory) {
            Ok(who) => who,
            Err(_) => return self.refuse_stranger(provider, peer.ip()).await,
        };
        let gate = match self.gate_for(&who.agent) {
            Ok(gate) => gate,
            Err(denial) => return reply::refused(&denial),
        };
        // What is asked, for certain, or not at all; and where it goes.
        let method = parts.method.to_string();
        let inbound = inbound::read(provider, path, parts, body, &self.limits).await;
        let read = match inbound.and_then(|inbound| self.prepare(&who, inbound)) {
            Ok(read) => read,
            Err(fault) => {
                return self.refuse_faulty(&gate, &who.agent, provider, &method, fault).await;
            }
        };
        // Decided and recorded, or refused.
        let action = read.action.clone();
        let permit = match gate.admit(read.action, read.outgoing).await {
            Ok(permit) => permit,
            Err(denial) => return reply::denied(&action, &denial),
        };
        self.forward(&gate, &action, permit).await
    }

    async fn forward(
        &self,
        gate: &Gate,
        action: &Action,
        permit: Permit<Outgoing>,
    ) -> Response<Body> {
        let Some(exit) = &self.exit else {
            let (_, receipt) = permit.redeem();
            let mut response = mock::answer(action);
            gate.release(&receipt, Outcome::Forwarded, response.status().as_u16().to_string());
            reply::mark(response.headers_mut(), receipt.request_id());
            return response;
        };
        let (receipt, answer) = exit.send(permit).await;
        let id = receipt.request_id();
        match answer {
            Ok(mut response) => {
                let status = response.status().as_u16().to_string();
                gate.release(&receipt, Outcome::Forwarded, status);
                let headers = std::mem::take(response.headers_mut());
                *response.headers_mut() = inbound::end_to_end(headers);
                reply::mark(response.headers_mut(), id);
                response
            }
            Err(error) => {
                gate.release(&receipt, Outcome::Error, error.to_string());
                let body = json!({ "error": "proxy_error", "detail": error.to_string() });
                reply::answer(error.status(), body, id)
            }
        }
    }

    /// Where it goes, and with whose credential.
    fn prepare(&self, who: &Identified, inbound: Inbound) -> Result<Read, Fault> {
        let Inbound { judged, path, query, mut headers, body } = inbound;
        let uri = match self.exit {
            None => http::Uri::default(),
            Some(_) => {
                let provider = judged.provider;
                let sites = self.sites.load();
                let site = sites.get(&provider);
                let upstream = site.and_then(|site| site.upstream.as_ref());
                let upstream = match (upstream, &judged.host) {
                    (Some(configured), _) => Cow::Borrowed(configured),
                    (None, Some(host)) => Cow::Owned(Upstream::vendor(host).ok_or(Fault::Target)?),
                    (None, None) => return Err(Fault::NoUpstream(provider.as_str())),
                };
                let credential = site.and_then(|site| site.credential.as_ref());
                credentials::apply(provider, credential, who.in_credentials_place, &mut headers)?;
                upstream.uri(&path, query.as_deref()).ok_or(Fault::Target)?
            }
        };
        // INVARIANT (method): it was one of HTTP's own when it was read.
        let method = judged.method.parse().map_err(|_| Fault::Target)?;
        let outgoing = Outgoing { method, uri, headers, body };
        let action = self.action(&who.agent, Target::Http(judged));
        Ok(Read { action, outgoing })
    }

    fn gate_for(&self, agent: &AgentRecord) -> Result<Gate, Box<Denial>> {
        let Some(name) = agent.policy.as_deref() else { return Ok(self.gate.clone()) };
        let handle = self.book.handle(Some(name));
        handle.map(|handle| self.gate.under(handle)).ok_or_else(|| {
            let reason = Reason::Written(format!("Policy '{name}' not found").into());
            let verdict = Verdict::refusal(Stage::Policy, name, reason);
            Box::new(Denial { verdict, request_id: None })
        })
    }

    fn action(&self, agent: &AgentRecord, target: Target) -> Action {
        Action {
            at: jiff::Timestamp::now(),
            agent: Agent { name: Arc::clone(&agent.name), bound_to: agent.provider },
            session: Arc::clone(&self.session),
            transport: Transport::Rest,
            target,
        }
    }

    /// A request that cannot be read is refused by the same hall as any other.
    async fn refuse_faulty(
        &self,
        gate: &Gate,
        agent: &AgentRecord,
        provider: Provider,
        method: &str,
        fault: Fault,
    ) -> Response<Body> {
        let action = self.action(agent, malformed(provider, method, fault.to_string()));
        let row = self.refused(gate, action).await;
        reply::faulty(&fault, row.as_deref())
    }

    async fn refuse_stranger(&self, provider: Provider, source: IpAddr) -> Response<Body> {
        let row = match self.strangers.note(source, Instant::now()) {
            Note::Counted(row) => row,
            Note::Row { more } => {
                let mut what = format!("no valid agent key, from {source}");
                if more > 0 {
                    what.push_str(&format!("; {more} more in the minute before"));
                }
                let (flaw, server) = (Flaw::Unidentified, provider.as_str().into());
                let method = "HTTP".to_owned();
                let target = Target::Malformed(Malformed { flaw, server, method, what });
                let action = Action {
                    at: jiff::Timestamp::now(),
                    agent: Agent::named("unidentified"),
                    session: Arc::clone(&self.session),
                    transport: Transport::Rest,
                    target,
                };
                let row = self.refused(&self.gate, action).await;
                self.strangers.wrote(source, row.clone());
                row
            }
        };
        // The same words for no key and a wrong one.
        let detail = "Missing or invalid agent key (header X-Agent-Key)";
        let body = json!({ "error": "unauthorized", "detail": detail });
        reply::answer(StatusCode::UNAUTHORIZED, body, row.as_deref())
    }

    /// Records an action that the pipeline refuses, and gives its row.
    async fn refused(&self, gate: &Gate, action: Action) -> Option<String> {
        match gate.admit(action, ()).await {
            Ok(permit) => permit.redeem().1.request_id().map(str::to_owned),
            Err(denial) => denial.request_id,
        }
    }
}

fn malformed(provider: Provider, method: &str, what: String) -> Target {
    let (server, method) = (provider.as_str().into(), method.to_owned());
    Target::Malformed(Malformed { flaw: Flaw::Ambiguous, server, method, what })
}
