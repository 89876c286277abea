//! Requests on signed paths: what a client sends to a pre-authenticated URL,
//! without a key. The seal says whose request it is; everything else is as for
//! any other request: decided, recorded, forwarded.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, Uri};
use serde_json::json;

use super::{Proxy, Read, Site};
use crate::action::{self, HttpRequest, Provider, Target};
use crate::net::Body;
use crate::rest::head;
use crate::rest::identify::{self, Stranger};
use crate::rest::inbound::{self, Fault};
use crate::rest::rewrite::Rewriter;
use crate::rest::ticket::{Seals, Signer, Ticket};
use crate::rest::upstream::Outgoing;
use crate::rest::{minted, reply};
use crate::store::agents::AgentRecord;

impl Proxy {
    /// Answers a request on a signed path, which ends in `token`. `base` is where
    /// the provider begins, as the client sees it.
    pub(super) async fn answer_signed(
        &self,
        provider: Provider,
        token: &str,
        base: Option<String>,
        (parts, body): (Parts, Body),
        peer: SocketAddr,
    ) -> Response<Body> {
        let Some((ticket, agent)) = self.ticket(provider, token, &parts.headers) else {
            let row = self.stranger_row(provider, peer.ip()).await;
            let detail = "this path was not signed by this gate, or is no longer good";
            let body = json!({ "error": "invalid_signed_path", "detail": detail });
            return reply::answer(StatusCode::FORBIDDEN, body, row.as_deref());
        };
        let Some(gate) = self.gate_for(&agent) else {
            return self.refuse_without_policy(&agent, provider, &parts).await;
        };
        let method = parts.method.clone();
        let rewriter = base.map(|base| {
            let signer = self.signer(&agent, provider, &base, &ticket.path);
            // What comes down is a file; what answers an upload is the API's.
            let reads_body = !method.is_safe();
            Rewriter::new(provider, self.sites.load().get(&provider), &base, signer, reads_body)
        });
        let read = match self.read_signed(provider, &ticket, &agent, parts, body) {
            Ok(read) => read,
            Err(fault) => {
                return self.refuse_faulty(&gate, &agent, provider, method.as_str(), fault).await;
            }
        };
        self.decide_and_forward(&gate, read, rewriter).await
    }

    /// The ticket in `token`, and the agent that it was made for, which is still
    /// registered and is not contradicted by a key of another's.
    fn ticket(
        &self,
        provider: Provider,
        token: &str,
        headers: &HeaderMap,
    ) -> Option<(Ticket, Arc<AgentRecord>)> {
        let ticket = Seals::new(&self.directory.path_key())?.open(token)?;
        let agent = self.directory.named(&ticket.agent)?;
        let is_as_made = ticket.provider == provider.as_str() && ticket.agent_id == *agent.id;
        // A client that follows a redirect takes its key along.
        let is_nobody_elses = match identify::by_key(headers, &self.directory) {
            Ok(who) => who.agent.id == agent.id,
            Err(stranger) => stranger == Stranger::NoKey,
        };
        (is_as_made && is_nobody_elses).then_some((ticket, agent))
    }

    fn read_signed(
        &self,
        provider: Provider,
        ticket: &Ticket,
        agent: &AgentRecord,
        parts: Parts,
        body: Body,
    ) -> Result<Read, Fault> {
        head::check(&parts)?;
        if parts.uri.query().is_some() {
            return Err(Fault::Signed("a signed path takes no query"));
        }
        if jiff::Timestamp::now().as_second() >= ticket.until {
            return Err(Fault::Expired);
        }
        let method = parts.method.as_str();
        if !ticket.methods.iter().any(|made_for| made_for == method) {
            return Err(Fault::Method(method.to_owned()));
        }
        let foreign = || Fault::Signed("the signed path leads to no host of the provider's");
        let url: Uri = ticket.url.parse().map_err(|_| foreign())?;
        let uri = match self.exit {
            None => Uri::default(),
            Some(_) => {
                let sites = self.sites.load();
                place(provider, sites.get(&provider), &url).ok_or_else(foreign)?
            }
        };
        let mut headers = head::forwarded(parts.headers);
        let is_empty = http_body::Body::is_end_stream(&body);
        let body = inbound::streamed(body, &headers, &self.limits.load());
        let judged = HttpRequest {
            provider,
            method: method.to_owned(),
            path: ticket.path.clone(),
            host: url.host().map(str::to_owned),
            // They hold what authenticates it.
            query: Vec::new(),
            headers: head::judged(&headers),
            // A file, of any size and type.
            body: if is_empty { action::Body::Empty } else { action::Body::Opaque },
        };
        // No credential goes there, neither the client's nor the gate's.
        headers.remove(AUTHORIZATION);
        headers.remove(COOKIE);
        let outgoing = Outgoing { method: parts.method, uri, headers, body };
        Ok(Read { action: self.action(agent, Target::Http(judged)), outgoing })
    }

    /// What makes signed paths in the answers to a request of `agent` for `path`.
    pub(super) fn signer(
        &self,
        agent: &Arc<AgentRecord>,
        provider: Provider,
        base: &str,
        path: &str,
    ) -> Option<Signer> {
        minted::mints(provider).then(|| Signer {
            key: self.directory.path_key(),
            agent: Arc::clone(agent),
            provider,
            base: base.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// Where a pre-authenticated URL leads by the configuration that is in force;
/// `None` where it is not the provider's own.
fn place(provider: Provider, site: Option<&Site>, url: &Uri) -> Option<Uri> {
    let host = url.host()?;
    let upstream = site.and_then(|site| site.upstream.as_ref());
    let configured = site.into_iter().flat_map(|site| site.hosts.places()).map(|(_, place)| place);
    if configured.chain(upstream).any(|place| place.holds(url)) {
        return Some(url.clone());
    }
    let is_vendors = url.scheme_str() == Some("https")
        && url.port_u16().is_none_or(|port| port == 443)
        && minted::is_host(provider, host);
    if !is_vendors {
        return None;
    }
    let elsewhere = site.and_then(|site| site.hosts.place_of(host)).or(upstream);
    match elsewhere {
        Some(place) => place.uri(url.path(), url.query()),
        None => Some(url.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::hosts::Hosts;
    use crate::rest::route::Upstream;

    fn leads(site: Option<&Site>, url: &str) -> Option<String> {
        place(Provider::Slack, site, &url.parse().unwrap()).map(|uri| uri.to_string())
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
            "http://127.0.0.1:9001/x",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert_eq!(leads(None, foreign), None, "{foreign}");
        }
        let named = [("files.slack.com".to_owned(), "http://127.0.0.1:9001".to_owned())];
        let hosts = Hosts::parse(Provider::Slack, &named.into()).unwrap();
        let upstream = Upstream::parse("http://127.0.0.1:9000/base").ok();
        let site = Site { upstream, hosts, ..Site::default() };
        let there = "http://127.0.0.1:9001/upload/v1/x?a=%2F";
        assert_eq!(leads(Some(&site), url).as_deref(), Some(there));
        assert_eq!(leads(Some(&site), there).as_deref(), Some(there));
        for (url, own) in [
            ("http://127.0.0.1:9000/base/x", true),
            ("http://127.0.0.1:9000/basement", false),
            ("http://127.0.0.1:9000/other", false),
            ("https://127.0.0.1:9001/x", false),
            ("http://127.0.0.1:90011/x", false),
        ] {
            assert_eq!(leads(Some(&site), url).is_some(), own, "{url}");
        }
    }
}
