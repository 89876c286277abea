//! The way of a REST request.

mod authenticate;
mod outcome;
mod signed;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT_ENCODING, COOKIE, HOST, IF_RANGE, RANGE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use self::authenticate::AuthenticationError;
use self::outcome::OutcomeRecorder;
use super::aws::{self, SignedChunks};
use super::credentials::{self, Credential};
use super::head;
use super::hosts::Hosts;
use super::identify::{self, Identified};
use super::inbound::{Fault, Inbound, Limits};
use super::media::Answer;
use super::mock;
use super::reply::{self, Dialect};
use super::rewrite::{Rewriter, Ways};
use super::route::Upstream;
use super::upstream::{Exit, Origin, Outgoing, UpstreamError};
use super::{media, preauthenticated_urls, ticket};
use crate::action::{Action, Agent, Malformed, Provider, Target, Transport};
use crate::gate::refusals::Refusals;
use crate::gate::{Gate, Permit, Receipt};
use crate::head::HeadFault;
use crate::intent;
use crate::net::Body;
use crate::net::body::HoldError;
use crate::net::memory::MemoryBudget;
use crate::policy::catalog::PolicyCatalog;
use crate::store::agents::AgentRecord;
use crate::store::audit::Outcome;
use crate::store::directory::{Directory, Holder};

/// What is particular to one provider, by configuration.
#[derive(Debug)]
pub struct Site {
    ways: Arc<Ways>,
    /// In place of the vendor's hosts.
    pub upstream: Option<Upstream>,
    /// In place of single hosts of the vendor's; these come first.
    pub hosts: Hosts,
    /// Where clients see the provider's own listener.
    pub public_url: Option<Upstream>,
    /// The credential that the gate puts in.
    pub credential: Option<Credential>,
}

impl Site {
    /// A provider whose hosts are where `hosts` and `upstream` say, and else the
    /// vendor's.
    #[must_use]
    pub fn new(provider: Provider, hosts: Hosts, upstream: Option<Upstream>) -> Self {
        let ways = Arc::new(Ways::new(provider, &hosts, upstream.as_ref()));
        Self { ways, upstream, hosts, public_url: None, credential: None }
    }

    /// A provider in test mode, which is where its mocks say that they are.
    #[must_use]
    pub fn mocked(provider: Provider) -> Self {
        Self::new(provider, Hosts::default(), mock::site(provider))
    }
}

/// The REST proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Decides, by the gate's own policy where the agent has none.
    pub gate: Gate,
    /// The policies of agents.
    pub catalog: Arc<PolicyCatalog>,
    /// Who may ask.
    pub directory: Arc<Directory>,
    /// The way out; `None` in test mode, where nothing is sent to a provider.
    pub exit: Option<Exit>,
    /// Where clients see the gate; `None` where they see it as they name it.
    pub public_url: Option<Upstream>,
    /// By provider.
    pub sites: ArcSwap<HashMap<Provider, Site>>,
    /// Limits of a request's body.
    pub limits: ArcSwap<Limits>,
    /// Where bodies are held.
    pub request_memory: MemoryBudget,
    /// Where answers are.
    pub answer_memory: MemoryBudget,
    /// This run, in the log.
    pub session: Arc<str>,
    /// Requests without a valid key, or that cannot be read.
    pub refusals: Refusals,
}

/// What is rare stands aside: a future is moved with all that it may ever hold.
type Rare<'r> = BoxFuture<'r, Response<Body>>;

/// A request on its way, as far as it was read before it is decided.
struct Read {
    action: Arc<Action>,
    outgoing: Outgoing,
}

impl Proxy {
    /// Answers a request for `provider`, whose path below `base` (where the
    /// provider begins) is `path`, both as the client wrote them.
    pub async fn answer(
        &self,
        provider: Provider,
        (base, path): (&str, &str),
        (parts, body): (&mut Parts, Body),
        peer: SocketAddr,
    ) -> Response<Body> {
        let base = self.base(provider, parts, base);
        if let Some(token) = ticket::token(path) {
            let signed = self.answer_signed(provider, token, base, (parts, body), peer);
            return Box::pin(signed).await;
        }
        let dialect = Dialect::of(provider, path, parts);
        let asked = (provider, dialect);
        // Whose request it is comes first: strangers learn nothing else.
        let who = match identify::agent(provider, parts, &self.directory) {
            Ok(who) => who,
            Err(_) => return self.refuse_unauthenticated(asked, peer.ip()).await,
        };
        let proven = match self.prove(&who, peer.ip(), parts, body).await {
            Ok(proven) => proven,
            Err(AuthenticationError::Unidentified) => {
                return self.refuse_unauthenticated(asked, peer.ip()).await;
            }
            Err(AuthenticationError::Unheld(error)) => {
                return self.refuse_unheld(asked, peer.ip(), error).await;
            }
        };
        let gate = self.gate_for(&who.agent);
        let Some(base) = base else {
            let fault =
                HeadFault::Header("the header `host` does not name a host".to_owned()).into();
            return self.refuse_faulty(&gate, &who.agent, asked, parts, fault).await;
        };
        if provider == Provider::Aws && self.names_bucket(parts) {
            let told = "the bucket stands in the host's name: address it by path (boto3: \
                s3={'addressing_style': 'path'}; AWS SDK for JavaScript: forcePathStyle)";
            let fault = HeadFault::Header(told.to_owned()).into();
            return self.refuse_faulty(&gate, &who.agent, asked, parts, fault).await;
        }
        let answer = asked_for(provider, path, parts);
        let read = match self.read(&who, (provider, path), parts, proven).await {
            Ok(read) => read,
            Err(fault) => {
                return self.refuse_faulty(&gate, &who.agent, asked, parts, fault).await;
            }
        };
        let holder = Holder { agent: who.agent, key_id: who.key_id };
        let rewriter = self.rewriter(holder, &read.action, &base, answer);
        self.decide_and_forward(gate, read, (rewriter, dialect)).await
    }

    /// Decided and recorded, or refused.
    async fn decide_and_forward(
        &self,
        gate: Gate,
        read: Read,
        (rewriter, dialect): (Option<Rewriter>, Dialect),
    ) -> Response<Body> {
        let Read { action, outgoing } = read;
        let method = outgoing.method().clone();
        let permit = match gate.admit(Arc::clone(&action), outgoing).await {
            Ok(permit) => permit,
            Err(denial) => return reply::denied(dialect, &action, &denial),
        };
        let (receipt, answer) = self.forward(action, permit).await;
        let (origin, response) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                gate.release(&receipt, Outcome::Error, error.to_string());
                return reply::failed(dialect, &error, &receipt);
            }
        };
        let mut open = OutcomeRecorder::new(gate, receipt, origin, response.status());
        let rewritten = match rewriter {
            Some(rewriter) => rewriter.answer(&method, (open.origin(), dialect), response).await,
            None => Ok(response),
        };
        match rewritten {
            Ok(response) => open.passed_on(response),
            Err(error) => {
                let (error, receipt) = open.broke_off(&error);
                reply::failed(dialect, &error, receipt)
            }
        }
    }

    /// Who answered, and the answer.
    async fn forward(
        &self,
        action: Arc<Action>,
        permit: Permit<Outgoing>,
    ) -> (Receipt, Result<(Origin, Response<Body>), UpstreamError>) {
        let Some(exit) = &self.exit else {
            let (outgoing, receipt) = permit.redeem();
            outgoing.drain().await;
            let mut response = mock::answer(&action);
            reply::mark_admitted(response.headers_mut(), &receipt);
            // A mock's URLs lead back, as the provider's would.
            return (receipt, Ok((Origin::of_mock(), response)));
        };
        // The tree that was judged may be many times as large as what is sent.
        drop(action);
        let (receipt, origin, answer) = exit.send(permit).await;
        let answer = answer.map(|mut response| {
            let headers = std::mem::take(response.headers_mut());
            *response.headers_mut() = head::answered(headers);
            reply::mark_admitted(response.headers_mut(), &receipt);
            (origin, response)
        });
        (receipt, answer)
    }

    /// Where it goes, and with whose credential.
    fn prepare(
        &self,
        who: &Identified,
        inbound: Inbound,
        chunks: Option<Box<SignedChunks>>,
    ) -> Result<Read, Fault> {
        let Inbound { judged, path, query, mut headers, mut body, held } = inbound;
        let uri = match self.exit {
            None => http::Uri::default(),
            Some(_) => {
                let provider = judged.provider;
                let sites = self.sites.load();
                let site = sites.get(&provider);
                let one = judged.host.as_deref().zip(site);
                let one = one.and_then(|(host, site)| site.hosts.place_of(host));
                let upstream = one.or_else(|| site?.upstream.as_ref());
                let upstream = match (upstream, &judged.host) {
                    (Some(configured), _) => Cow::Borrowed(configured),
                    (None, Some(host)) => {
                        Cow::Owned(Upstream::vendor(host).ok_or(HeadFault::Target)?)
                    }
                    (None, None) => return Err(Fault::NoUpstream(provider.as_str())),
                };
                let uri = upstream.uri(&path, query.as_deref()).ok_or(HeadFault::Target)?;
                if provider == Provider::Aws {
                    headers.remove(COOKIE);
                    let scope = who.claim.as_deref().map(aws::Claim::scope);
                    let scope = aws::scope_at(judged.host.as_deref().unwrap_or_default(), scope);
                    let (method, held) = (judged.method.as_str(), held.as_deref());
                    let unsigned = aws::Unsigned { scope, method, uri: &uri, held };
                    let goes = aws::sign(&unsigned, &mut headers).map_err(Fault::CannotSign)?;
                    if let Some(chunks) = chunks {
                        body = chunks.signed_anew(body, goes, self.limits.load().max_body);
                    }
                } else {
                    let credential = site.and_then(|site| site.credential.as_ref());
                    let in_place = who.in_credentials_place;
                    credentials::apply(provider, credential, in_place, &mut headers)?;
                }
                uri
            }
        };
        // INVARIANT (method): it was one of HTTP's own when it was read.
        let method = judged.method.parse().map_err(|_| HeadFault::Target)?;
        let outgoing = Outgoing::new(method, uri, headers, body);
        let action = self.action(&who.agent, Target::Http(judged));
        Ok(Read { action, outgoing })
    }

    /// Where the provider begins, as the client sees it; `None` where the client
    /// names no host.
    fn base(&self, provider: Provider, parts: &Parts, below: &str) -> Option<String> {
        let sites = self.sites.load();
        let public = match below {
            "" => sites.get(&provider).and_then(|site| site.public_url.as_ref()),
            _ => self.public_url.as_ref(),
        };
        if let Some(public) = public {
            return Some(format!("{}{below}", public.origin()));
        }
        let host = asked_at(parts)?;
        (!host.as_str().contains('@')).then(|| ["http://", host.as_str(), below].concat())
    }

    /// See [`aws::names_bucket`].
    fn names_bucket(&self, parts: &Parts) -> bool {
        let sites = self.sites.load();
        let site = sites.get(&Provider::Aws).and_then(|site| site.public_url.as_ref());
        let own: Vec<&str> = site.into_iter().chain(&self.public_url).map(Upstream::host).collect();
        asked_at(parts).is_some_and(|host| aws::names_bucket(host.host(), &own))
    }

    /// What rewrites the answer, where it has to be.
    fn rewriter(
        &self,
        holder: Holder,
        action: &Action,
        base: &str,
        answer: Answer,
    ) -> Option<Rewriter> {
        let Target::Http(request) = &action.target else { return None };
        let provider = request.provider;
        // What AWS answers leads nowhere else.
        if provider == Provider::Aws {
            return None;
        }
        let is_read =
            preauthenticated_urls::asks_whether_it_reads(provider) && intent::of(action).is_read();
        let rows =
            preauthenticated_urls::in_answer(provider, (&request.path, &request.query), is_read);
        let budget = self.answer_memory.for_sender(&holder.agent.id);
        let signer = self.signer(holder, provider, base, (&request.path, rows));
        let ways = self.ways(provider);
        Some(Rewriter::new(provider, ways, base, signer, answer).counted(budget))
    }

    fn ways(&self, provider: Provider) -> Arc<Ways> {
        let sites = self.sites.load();
        let site = sites.get(&provider);
        let vendors = || Arc::new(Ways::new(provider, &Hosts::default(), None));
        site.map_or_else(vendors, |site| Arc::clone(&site.ways))
    }

    /// The gate under the agent's own policy, where it has one.
    fn gate_for(&self, agent: &AgentRecord) -> Gate {
        match agent.policy.as_deref() {
            Some(name) => self.gate.under(self.catalog.handle(name)),
            None => self.gate.clone(),
        }
    }

    fn action(&self, agent: &AgentRecord, target: Target) -> Arc<Action> {
        Arc::new(Action {
            at: jiff::Timestamp::now(),
            agent: named(agent),
            session: Arc::clone(&self.session),
            transport: Transport::Rest,
            target,
        })
    }

    /// A request that cannot be read is refused by the same pipeline as any other.
    fn refuse_faulty<'r>(
        &'r self,
        gate: &'r Gate,
        agent: &AgentRecord,
        (provider, dialect): (Provider, Dialect),
        parts: &Parts,
        fault: Fault,
    ) -> Rare<'r> {
        let method = parts.method.as_str();
        let flawed = Malformed::ambiguous(provider.as_str(), method, fault.to_string());
        let agent = named(agent);
        Box::pin(async move {
            let row = self.refusals.faulty_under(gate, agent, flawed).await;
            reply::faulty(dialect, &fault, row.as_deref())
        })
    }

    fn refuse_unauthenticated(
        &self,
        (provider, dialect): (Provider, Dialect),
        source: IpAddr,
    ) -> Rare<'_> {
        Box::pin(async move {
            let row = self.stranger_row(provider, source).await;
            // The same words for no key and a wrong one.
            let detail = "Missing or invalid agent key (header X-Agent-Key)";
            let body = json!({ "error": "unauthorized", "detail": detail });
            reply::answer(dialect, StatusCode::UNAUTHORIZED, body, row.as_deref())
        })
    }

    /// Whose body it is remains unknown, so the row is a stranger's; that it is too
    /// large anybody may know.
    fn refuse_unheld(
        &self,
        (provider, dialect): (Provider, Dialect),
        source: IpAddr,
        error: HoldError,
    ) -> Rare<'_> {
        Box::pin(async move {
            let row = self.stranger_row(provider, source).await;
            reply::faulty(dialect, &Fault::Body(error), row.as_deref())
        })
    }

    /// The row of a request that bears neither a valid key nor a seal.
    async fn stranger_row(&self, provider: Provider, source: IpAddr) -> Option<String> {
        self.refusals.unauthenticated(provider.as_str(), source, "no valid agent key").await
    }
}

/// What the answer is asked for as. Unless it is a file, it has to be read, and so
/// must come whole and as it is.
fn asked_for(provider: Provider, path: &str, parts: &mut Parts) -> Answer {
    let Parts { method, uri, headers, .. } = &parts;
    let answer = match provider {
        Provider::Aws => Answer::File,
        _ => media::answer(provider, method, path, uri, headers),
    };
    if answer == Answer::File {
        return answer;
    }
    parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // A part of a text could hold a URL that nobody can recognise.
    if preauthenticated_urls::are_in_bodies(provider) {
        parts.headers.remove(RANGE);
        parts.headers.remove(IF_RANGE);
    }
    answer
}

/// The agent, as actions have it.
fn named(agent: &AgentRecord) -> Agent {
    Agent { name: Arc::clone(&agent.name), bound_to: agent.provider }
}

/// The host that the client names.
fn asked_at(parts: &Parts) -> Option<Authority> {
    match parts.headers.get(HOST) {
        Some(host) => host.to_str().ok()?.parse().ok(),
        None => parts.uri.authority().cloned(),
    }
}
