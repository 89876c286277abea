//! Requests to signed paths, which stand for pre-authenticated URLs and need no key. The
//! ticket identifies the agent; the request is decided, recorded and forwarded like any
//! other.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, Uri};
use serde_json::json;

use super::{PreparedRequest, ProviderConfig, Proxy};
use crate::action::{self, HttpRequest, Provider, Target};
use crate::head::HeadError;
use crate::net::Body;
use crate::rest::head;
use crate::rest::identify::{self, IdentifyError};
use crate::rest::inbound::{self, InboundError};
use crate::rest::media::ExpectedBody;
use crate::rest::preauthenticated_urls::PreauthenticatedUrl;
use crate::rest::reply::{self, Dialect};
use crate::rest::rewrite::Rewriter;
use crate::rest::ticket::{Signer, Ticket, TicketSealer};
use crate::rest::upstream::Outgoing;
use crate::rest::{hosts, preauthenticated_urls};
use crate::store::agents::AgentRecord;
use crate::store::directory::KeyHolder;

impl Proxy {
    /// Handles a request to a signed path with `token`. `base` is the provider's base URL as
    /// the client sees it.
    pub(super) async fn answer_signed(
        &self,
        provider: Provider,
        token: &str,
        base: Option<String>,
        (parts, body): (&mut Parts, Body),
        peer: SocketAddr,
    ) -> Response<Body> {
        let dialect = Dialect::Of(provider);
        let Some((ticket, holder)) = self.ticket(provider, token, &parts.headers) else {
            let row = self.record_unauthenticated(provider, peer.ip()).await;
            let detail = "this path was not signed by this gate, or is no longer good";
            let body = json!({ "error": "invalid_signed_path", "detail": detail });
            return reply::answer(dialect, StatusCode::FORBIDDEN, body, row.as_deref());
        };
        let agent = Arc::clone(&holder.agent);
        let gate = self.gate_for(&agent);
        let is_safe = parts.method.is_safe();
        let rewriter = base.map(|base| {
            // A file store responds here: it issues no URLs to write to but those of the
            // original request.
            let rows = preauthenticated_urls::in_answer(provider, (&ticket.path, &[]), true);
            let budget = self.answer_memory.for_sender(&agent.id);
            let signer = self.signer(holder, provider, &base, (&ticket.path, rows));
            // A download is a file; the response to an upload is the API's.
            let answer = if is_safe { ExpectedBody::File } else { ExpectedBody::Api };
            Rewriter::new(provider, self.mappings(provider), &base, signer, answer).counted(budget)
        });
        let read = match self.read_signed(provider, &ticket, &agent, parts, body) {
            Ok(read) => read,
            Err(fault) => {
                return self
                    .refuse_malformed(&gate, &agent, (provider, dialect), parts, fault)
                    .await;
            }
        };
        self.decide_and_forward(gate, read, (rewriter, dialect)).await
    }

    /// Opens the ticket in `token`: returns it with its agent and key. `None` unless that key
    /// is still valid and the request carries no key of another agent.
    fn ticket(
        &self,
        provider: Provider,
        token: &str,
        headers: &HeaderMap,
    ) -> Option<(Ticket, KeyHolder)> {
        let ticket = TicketSealer::new(&self.directory.path_key())?.open(token)?;
        let holder = self.directory.holder_of(&ticket.key_id)?;
        let is_as_made =
            ticket.provider == provider.as_str() && ticket.agent_id == *holder.agent.id;
        // A client that follows a redirect sends its key along.
        let is_nobody_elses = match identify::by_key(
            identify::credential_headers(provider),
            headers,
            &self.directory,
        ) {
            Ok(who) => who.agent.id == holder.agent.id,
            Err(error) => error == IdentifyError::NoKey,
        };
        (is_as_made && is_nobody_elses).then_some((ticket, holder))
    }

    fn read_signed(
        &self,
        provider: Provider,
        ticket: &Ticket,
        agent: &AgentRecord,
        parts: &mut Parts,
        body: Body,
    ) -> Result<PreparedRequest, InboundError> {
        head::check(provider, parts)?;
        if parts.uri.query().is_some() {
            return Err(InboundError::Signed("a signed path takes no query"));
        }
        if jiff::Timestamp::now().as_second() >= ticket.until {
            return Err(InboundError::Expired);
        }
        let method = parts.method.as_str();
        if !ticket.methods.iter().any(|made_for| made_for == method) {
            return Err(HeadError::Method(method.to_owned()).into());
        }
        let foreign = || InboundError::Signed("the signed path leads to no host of the provider's");
        let uri = match self.upstream_client {
            None => Uri::default(),
            Some(_) => {
                let configs = self.configs.load();
                destination(provider, configs.get(&provider), &ticket.url).ok_or_else(foreign)?
            }
        };
        let mut headers = head::forwarded(std::mem::take(&mut parts.headers));
        let is_empty = http_body::Body::is_end_stream(&body);
        let body = inbound::streamed(body, &headers, &self.limits.load());
        let judged = HttpRequest {
            provider,
            method: method.to_owned(),
            path: ticket.path.clone(),
            host: host_of(&ticket.url),
            is_file: true,
            // The query holds the signature.
            query: Vec::new(),
            headers: head::judged(&headers),
            // A file, of any size and type.
            body: if is_empty { action::Body::Empty } else { action::Body::Opaque },
        };
        // No credential goes there, neither the client's nor the gate's.
        for name in identify::credential_headers(provider).iter().chain([&COOKIE]) {
            headers.remove(name);
        }
        let outgoing = Outgoing::new(parts.method.clone(), uri, headers, body);
        Ok(PreparedRequest { action: self.action(agent, Target::Http(judged)), outgoing })
    }

    /// Makes signed paths in the response to a request of `holder` for `path`, which may
    /// contain URLs of the kinds `rows`.
    pub(super) fn signer(
        &self,
        holder: KeyHolder,
        provider: Provider,
        base: &str,
        (path, rows): (&str, Vec<&'static PreauthenticatedUrl>),
    ) -> Option<Signer> {
        (!rows.is_empty()).then(|| Signer {
            key: self.directory.path_key(),
            holder,
            provider,
            base: base.to_owned(),
            path: path.to_owned(),
            rows,
        })
    }
}

fn host_of(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

/// The destination of a pre-authenticated URL by the current configuration; `None` if it
/// is not one of the provider's.
fn destination(provider: Provider, config: Option<&ProviderConfig>, url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let rows = || preauthenticated_urls::rows(provider);
    let mut overrides = config.into_iter().flat_map(|config| config.hosts.overrides());
    let is_configured = overrides.any(|(name, upstream)| {
        upstream.target(&uri).is_some_and(|target| rows().any(|row| row.matches_at(name, target)))
    });
    let upstream = config.and_then(|config| config.upstream.as_ref());
    let upstream = upstream.filter(|_| hosts::are_all_in_one(provider));
    let target = upstream.and_then(|upstream| upstream.target(&uri));
    if is_configured || target.is_some_and(|at| rows().any(|row| row.matches_anywhere(at))) {
        return Some(uri);
    }
    if !preauthenticated_urls::is_preauthenticated(provider, url) {
        return None;
    }
    let elsewhere = config.and_then(|config| config.hosts.upstream_for(uri.host()?)).or(upstream);
    match elsewhere {
        Some(upstream) => upstream.uri(uri.path(), uri.query()),
        None => Some(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::hosts::HostOverrides;
    use crate::rest::route::Upstream;

    fn leads(config: Option<&ProviderConfig>, url: &str) -> Option<String> {
        destination(Provider::Slack, config, url).map(|uri| uri.to_string())
    }

    #[test]
    fn a_url_leads_to_the_providers_own_hosts_and_nowhere_else() {
        let url = "https://files.slack.com/upload/v1/x?a=%2F";
        assert_eq!(leads(None, url).as_deref(), Some(url));
        for foreign in [
            "https://files.slack.com.evil.example/x",
            "http://files.slack.com/x",
            "https://files.slack.com:8443/x",
            "https://slack.com/api/chat.delete",
            "https://files.slack.com/files-pri/T-F/x",
            "https://files.slack.com/upload/../files-pri/T-F/x",
            "http://127.0.0.1:9001/x",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert_eq!(leads(None, foreign), None, "{foreign}");
        }
        let named = [("files.slack.com".to_owned(), "http://127.0.0.1:9001".to_owned())];
        let hosts = HostOverrides::parse(Provider::Slack, &named.into()).unwrap();
        let upstream = Upstream::parse("http://127.0.0.1:9000/base").ok();
        let config = ProviderConfig::new(Provider::Slack, hosts, upstream);
        let there = "http://127.0.0.1:9001/upload/v1/x?a=%2F";
        assert_eq!(leads(Some(&config), url).as_deref(), Some(there));
        assert_eq!(leads(Some(&config), there).as_deref(), Some(there));
        for (url, own) in [
            ("http://127.0.0.1:9000/base/upload/x", true),
            ("http://127.0.0.1:9000/base/x", false),
            ("http://127.0.0.1:9000/basement/upload/x", false),
            ("http://127.0.0.1:9001/files-pri/x", false),
            ("http://127.0.0.1:9000/other", false),
            ("https://127.0.0.1:9001/upload/x", false),
            ("http://127.0.0.1:90011/upload/x", false),
        ] {
            assert_eq!(leads(Some(&config), url).is_some(), own, "{url}");
        }
        // A site of its own is no stand-in for what all customers budget.
        let config = ProviderConfig::new(
            Provider::Jira,
            HostOverrides::default(),
            Upstream::parse("https://acme.example").ok(),
        );
        let media = "https://api.media.atlassian.com/file/1/binary?token=x";
        let there = destination(Provider::Jira, Some(&config), media).map(|uri| uri.to_string());
        assert_eq!(there.as_deref(), Some(media));
    }
}
