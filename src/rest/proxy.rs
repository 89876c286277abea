//! The REST proxy: identifies, decides, forwards and rewrites.

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
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use serde_json::json;

use self::authenticate::AuthenticationError;
use self::outcome::OutcomeRecorder;
use super::aws::{self, SignedChunks};
use super::credentials::{self, Credential};
use super::head;
use super::hosts::HostOverrides;
use super::identify::{self, Identified};
use super::inbound::{Inbound, InboundError, Limits};
use super::media::ExpectedBody;
use super::mock;
use super::reply::{self, Dialect};
use super::rewrite::{Rewriter, UrlMappings};
use super::route::Upstream;
use super::upstream::{Origin, Outgoing, UpstreamClient, UpstreamError};
use super::{media, preauthenticated_urls, ticket};
use crate::action::{Action, Agent, HttpRequest, Malformed, Provider, Target, Transport};
use crate::gate::refusals::Refusals;
use crate::gate::{Gate, Permit, Receipt};
use crate::head::HeadError;
use crate::intent;
use crate::net::Body;
use crate::net::body::HoldError;
use crate::net::memory::MemoryBudget;
use crate::policy::catalog::PolicyCatalog;
use crate::store::agents::AgentRecord;
use crate::store::audit::Outcome;
use crate::store::directory::{Directory, KeyHolder};

/// The configuration of one provider.
#[derive(Debug)]
pub struct ProviderConfig {
    mappings: Arc<UrlMappings>,
    /// Replaces the vendor's hosts.
    pub upstream: Option<Upstream>,
    /// Replace single hosts of the vendor; these take precedence.
    pub hosts: HostOverrides,
    /// The public URL of the provider's own listener.
    pub public_url: Option<Upstream>,
    /// The credential that the gate injects.
    pub credential: Option<Credential>,
}

impl ProviderConfig {
    /// A provider at `hosts` and `upstream`, and otherwise at the vendor's hosts.
    #[must_use]
    pub fn new(provider: Provider, hosts: HostOverrides, upstream: Option<Upstream>) -> Self {
        let mappings = Arc::new(UrlMappings::new(provider, &hosts, upstream.as_ref()));
        Self { mappings, upstream, hosts, public_url: None, credential: None }
    }

    /// A provider in test mode, at the host that its mocks use.
    #[must_use]
    pub fn mocked(provider: Provider) -> Self {
        Self::new(provider, HostOverrides::default(), mock::upstream(provider))
    }
}

/// The REST proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Decides; the gate's own policy applies where the agent has none.
    pub gate: Gate,
    /// The agents' policies.
    pub catalog: Arc<PolicyCatalog>,
    /// The agents' keys.
    pub directory: Arc<Directory>,
    /// Sends to providers; `None` in test mode.
    pub upstream_client: Option<UpstreamClient>,
    /// The gate's public URL; `None` if it is the host that the client names.
    pub public_url: Option<Upstream>,
    /// By provider.
    pub configs: ArcSwap<HashMap<Provider, ProviderConfig>>,
    /// Limits of a request's body.
    pub limits: ArcSwap<Limits>,
    /// The memory budget for request bodies.
    pub request_memory: MemoryBudget,
    /// The memory budget for responses.
    pub answer_memory: MemoryBudget,
    /// The session id of this run, in the log.
    pub session: Arc<str>,
    /// Records requests without a valid key, and malformed ones.
    pub refusals: Refusals,
}

/// Boxed, to keep rare paths out of the size of the common future.
type BoxedResponse<'r> = BoxFuture<'r, Response<Body>>;

/// A parsed request, before the decision.
struct PreparedRequest {
    action: Arc<Action>,
    outgoing: Outgoing,
}

impl Proxy {
    /// Handles a request for `provider` with `path` below `base`, both as the client wrote
    /// them.
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
        let context = (provider, dialect);
        // Identification comes first: unauthenticated clients learn nothing else.
        let who = match identify::agent(provider, parts, &self.directory) {
            Ok(who) => who,
            Err(_) => return self.refuse_unauthenticated(context, peer.ip()).await,
        };
        let authenticated = match self.authenticate(&who, peer.ip(), parts, body).await {
            Ok(authenticated) => authenticated,
            Err(AuthenticationError::Unidentified) => {
                return self.refuse_unauthenticated(context, peer.ip()).await;
            }
            Err(AuthenticationError::Unheld(error)) => {
                return self.refuse_unheld(context, peer.ip(), error).await;
            }
        };
        let gate = self.gate_for(&who.agent);
        let Some(base) = base else {
            let fault =
                HeadError::Header("the header `host` does not name a host".to_owned()).into();
            return self.refuse_malformed(&gate, &who.agent, context, parts, fault).await;
        };
        if provider == Provider::Aws && self.names_bucket(parts) {
            let words = "the bucket stands in the host's name: address it by path (boto3: \
                s3={'addressing_style': 'path'}; AWS SDK for JavaScript: forcePathStyle)";
            let fault = HeadError::Header(words.to_owned()).into();
            return self.refuse_malformed(&gate, &who.agent, context, parts, fault).await;
        }
        let answer = expected_body(provider, path, parts);
        let read = match self.read(&who, (provider, path), parts, authenticated).await {
            Ok(read) => read,
            Err(fault) => {
                return self.refuse_malformed(&gate, &who.agent, context, parts, fault).await;
            }
        };
        let holder = KeyHolder { agent: who.agent, key_id: who.key_id };
        let rewriter = self.rewriter(holder, &read.action, &base, answer);
        self.decide_and_forward(gate, read, (rewriter, dialect)).await
    }

    /// Decides and records the request, and forwards or refuses it.
    async fn decide_and_forward(
        &self,
        gate: Gate,
        read: PreparedRequest,
        (rewriter, dialect): (Option<Rewriter>, Dialect),
    ) -> Response<Body> {
        let PreparedRequest { action, outgoing } = read;
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
            Ok(response) => open.record_at_end(response),
            Err(error) => {
                let (error, receipt) = open.broken(&error);
                reply::failed(dialect, &error, receipt)
            }
        }
    }

    /// Sends the request; returns the receipt, and the origin with its response.
    async fn forward(
        &self,
        action: Arc<Action>,
        permit: Permit<Outgoing>,
    ) -> (Receipt, Result<(Origin, Response<Body>), UpstreamError>) {
        let Some(upstream_client) = &self.upstream_client else {
            let (outgoing, receipt) = permit.redeem();
            outgoing.drain().await;
            let mut response = mock::answer(&action);
            reply::mark_admitted(response.headers_mut(), &receipt);
            // URLs in mock responses are rewritten like the provider's.
            return (receipt, Ok((Origin::of_mock(), response)));
        };
        // The parsed body may be many times as large as the bytes.
        drop(action);
        let (receipt, origin, answer) = upstream_client.send(permit).await;
        let answer = answer.map(|mut response| {
            let headers = std::mem::take(response.headers_mut());
            *response.headers_mut() = head::answered(headers);
            reply::mark_admitted(response.headers_mut(), &receipt);
            (origin, response)
        });
        (receipt, answer)
    }

    /// Determines the destination and the credential.
    fn prepare(
        &self,
        who: &Identified,
        inbound: Inbound,
        chunks: Option<Box<SignedChunks>>,
    ) -> Result<PreparedRequest, InboundError> {
        let Inbound { judged, path, query, mut headers, mut body, held } = inbound;
        let mut uri = Uri::default();
        if self.upstream_client.is_some() {
            let provider = judged.provider;
            let configs = self.configs.load();
            let config = configs.get(&provider);
            uri = upstream_uri(config, &judged, &path, query.as_deref())?;
            if provider == Provider::Aws {
                let outgoing_chain =
                    sign_for_aws(who, &judged, &uri, held.as_deref(), &mut headers)?;
                if let Some(chunks) = chunks {
                    body = chunks.signed_anew(body, outgoing_chain, self.limits.load().max_body);
                }
            } else {
                let credential = config.and_then(|config| config.credential.as_ref());
                let in_place = who.replaces_credential;
                credentials::apply(provider, credential, in_place, &mut headers)?;
            }
        }
        // INVARIANT (method): it was parsed from a valid HTTP method.
        let method = judged.method.parse().map_err(|_| HeadError::Target)?;
        let outgoing = Outgoing::new(method, uri, headers, body);
        let action = self.action(&who.agent, Target::Http(judged));
        Ok(PreparedRequest { action, outgoing })
    }

    /// The provider's base URL as the client sees it; `None` if the client sends no host.
    fn base(&self, provider: Provider, parts: &Parts, below: &str) -> Option<String> {
        let configs = self.configs.load();
        let public = match below {
            "" => configs.get(&provider).and_then(|config| config.public_url.as_ref()),
            _ => self.public_url.as_ref(),
        };
        if let Some(public) = public {
            return Some(format!("{}{below}", public.origin()));
        }
        let host = requested_host(parts)?;
        (!host.as_str().contains('@')).then(|| ["http://", host.as_str(), below].concat())
    }

    /// See [`aws::names_bucket`].
    fn names_bucket(&self, parts: &Parts) -> bool {
        let configs = self.configs.load();
        let config = configs.get(&Provider::Aws).and_then(|config| config.public_url.as_ref());
        let own: Vec<&str> =
            config.into_iter().chain(&self.public_url).map(Upstream::host).collect();
        requested_host(parts).is_some_and(|host| aws::names_bucket(host.host(), &own))
    }

    /// The rewriter for the response, where one is needed.
    fn rewriter(
        &self,
        holder: KeyHolder,
        action: &Action,
        base: &str,
        answer: ExpectedBody,
    ) -> Option<Rewriter> {
        let Target::Http(request) = &action.target else { return None };
        let provider = request.provider;
        // Responses of AWS contain no URLs to rewrite.
        if provider == Provider::Aws {
            return None;
        }
        let is_read =
            preauthenticated_urls::depends_on_reading(provider) && intent::of(action).is_read();
        let rows =
            preauthenticated_urls::in_answer(provider, (&request.path, &request.query), is_read);
        let budget = self.answer_memory.for_sender(&holder.agent.id);
        let signer = self.signer(holder, provider, base, (&request.path, rows));
        let mappings = self.mappings(provider);
        Some(Rewriter::new(provider, mappings, base, signer, answer).counted(budget))
    }

    fn mappings(&self, provider: Provider) -> Arc<UrlMappings> {
        let configs = self.configs.load();
        let config = configs.get(&provider);
        let vendors = || Arc::new(UrlMappings::new(provider, &HostOverrides::default(), None));
        config.map_or_else(vendors, |config| Arc::clone(&config.mappings))
    }

    /// The gate under the agent's own policy, where it has one.
    fn gate_for(&self, agent: &AgentRecord) -> Gate {
        match agent.policy.as_deref() {
            Some(name) => self.gate.with_policy(self.catalog.handle(name)),
            None => self.gate.clone(),
        }
    }

    fn action(&self, agent: &AgentRecord, target: Target) -> Arc<Action> {
        Arc::new(Action {
            at: jiff::Timestamp::now(),
            agent: action_agent(agent),
            session: Arc::clone(&self.session),
            transport: Transport::Rest,
            target,
        })
    }

    /// Refuses a malformed request, through the same pipeline as any other.
    fn refuse_malformed<'r>(
        &'r self,
        gate: &'r Gate,
        agent: &AgentRecord,
        (provider, dialect): (Provider, Dialect),
        parts: &Parts,
        fault: InboundError,
    ) -> BoxedResponse<'r> {
        let method = parts.method.as_str();
        let malformed = Malformed::ambiguous(provider.as_str(), method, fault.to_string());
        let agent = action_agent(agent);
        Box::pin(async move {
            let row = self.refusals.record_malformed_under(gate, agent, malformed).await;
            reply::malformed(dialect, &fault, row.as_deref())
        })
    }

    fn refuse_unauthenticated(
        &self,
        (provider, dialect): (Provider, Dialect),
        source: IpAddr,
    ) -> BoxedResponse<'_> {
        Box::pin(async move {
            let row = self.record_unauthenticated(provider, source).await;
            // The same message for a missing and a wrong key.
            let detail = "Missing or invalid agent key (header X-Agent-Key)";
            let body = json!({ "error": "unauthorized", "detail": detail });
            reply::answer(dialect, StatusCode::UNAUTHORIZED, body, row.as_deref())
        })
    }

    /// Refuses a request whose body could not be held, so that its signature was not verified:
    /// it is recorded as unauthenticated.
    fn refuse_unheld(
        &self,
        (provider, dialect): (Provider, Dialect),
        source: IpAddr,
        error: HoldError,
    ) -> BoxedResponse<'_> {
        Box::pin(async move {
            let row = self.record_unauthenticated(provider, source).await;
            reply::malformed(dialect, &InboundError::Body(error), row.as_deref())
        })
    }

    /// Records a request with neither a valid key nor a valid signed path.
    async fn record_unauthenticated(&self, provider: Provider, source: IpAddr) -> Option<String> {
        self.refusals.record_unauthenticated(provider.as_str(), source, "no valid agent key").await
    }
}

/// The kind of body expected. Unless it is a file, the response has to be read, so it is
/// requested whole and without content encoding.
fn expected_body(provider: Provider, path: &str, parts: &mut Parts) -> ExpectedBody {
    let Parts { method, uri, headers, .. } = &parts;
    let answer = match provider {
        Provider::Aws => ExpectedBody::File,
        _ => media::answer(provider, method, path, uri, headers),
    };
    if answer == ExpectedBody::File {
        return answer;
    }
    parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // A range could contain part of a URL, which cannot be recognized.
    if preauthenticated_urls::are_in_bodies(provider) {
        parts.headers.remove(RANGE);
        parts.headers.remove(IF_RANGE);
    }
    answer
}

/// The URL that a request is sent to: at the configured upstream for its host, else at the
/// vendor's host.
fn upstream_uri(
    config: Option<&ProviderConfig>,
    request: &HttpRequest,
    path: &str,
    query: Option<&str>,
) -> Result<Uri, InboundError> {
    let overridden = request.host.as_deref().zip(config);
    let overridden = overridden.and_then(|(host, config)| config.hosts.upstream_for(host));
    let configured = overridden.or_else(|| config?.upstream.as_ref());
    let upstream = match (configured, &request.host) {
        (Some(configured), _) => Cow::Borrowed(configured),
        (None, Some(host)) => Cow::Owned(Upstream::vendor(host).ok_or(HeadError::Target)?),
        (None, None) => return Err(InboundError::NoUpstream(request.provider.as_str())),
    };
    Ok(upstream.uri(path, query).ok_or(HeadError::Target)?)
}

/// Signs a request to AWS with the gate's credentials; returns what its chunks are signed with.
fn sign_for_aws(
    who: &Identified,
    request: &HttpRequest,
    uri: &Uri,
    held: Option<&[u8]>,
    headers: &mut HeaderMap,
) -> Result<aws::Chain, InboundError> {
    headers.remove(COOKIE);
    let scope = who.claim.as_deref().map(aws::Claim::scope);
    let scope = aws::scope_at(request.host.as_deref().unwrap_or_default(), scope);
    let unsigned = aws::Unsigned { scope, method: &request.method, uri, held };
    aws::sign(&unsigned, headers).map_err(InboundError::SigningError)
}

/// The agent of an action.
fn action_agent(agent: &AgentRecord) -> Agent {
    Agent { name: Arc::clone(&agent.name), bound_to: agent.provider }
}

/// The host that the client names.
fn requested_host(parts: &Parts) -> Option<Authority> {
    match parts.headers.get(HOST) {
        Some(host) => host.to_str().ok()?.parse().ok(),
        None => parts.uri.authority().cloned(),
    }
}
