//! Requests on signed paths: what a client sends to a pre-authenticated URL,
//! without a key. The seal says whose request it is; everything else is as for
//! any other request: decided, recorded, forwarded.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, Uri};
use serde_json::json;

use super::{Proxy, Read, Site};
use crate::action::{self, HttpRequest, Provider, Target};
use crate::head::HeadFault;
use crate::net::Body;
use crate::rest::head;
use crate::rest::identify::{self, IdentifyError};
use crate::rest::inbound::{self, Fault};
use crate::rest::media::Answer;
use crate::rest::preauthenticated_urls::PreauthenticatedUrl;
use crate::rest::reply::{self, Dialect};
use crate::rest::rewrite::Rewriter;
use crate::rest::ticket::{Seals, Signer, Ticket};
use crate::rest::upstream::Outgoing;
use crate::rest::{hosts, preauthenticated_urls};
use crate::store::agents::AgentRecord;
use crate::store::directory::Holder;

impl Proxy {
    /// Answers a request on a signed path, which ends in `token`. `base` is where
    /// the provider begins, as the client sees it.
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
            let row = self.stranger_row(provider, peer.ip()).await;
            let detail = "this path was not signed by this gate, or is no longer good";
            let body = json!({ "error": "invalid_signed_path", "detail": detail });
            return reply::answer(dialect, StatusCode::FORBIDDEN, body, row.as_deref());
        };
        let agent = Arc::clone(&holder.agent);
        let gate = self.gate_for(&agent);
        let is_safe = parts.method.is_safe();
        let rewriter = base.map(|base| {
            // What answers here is a store of files, which hands out nothing more
            // to write to but for what was asked for in the first place.
            let rows = preauthenticated_urls::in_answer(provider, (&ticket.path, &[]), true);
            let budget = self.answer_memory.for_sender(&agent.id);
            let signer = self.signer(holder, provider, &base, (&ticket.path, rows));
            // What comes down is a file; what answers an upload is the API's.
            let answer = if is_safe { Answer::File } else { Answer::Said };
            Rewriter::new(provider, self.ways(provider), &base, signer, answer).counted(budget)
        });
        let read = match self.read_signed(provider, &ticket, &agent, parts, body) {
            Ok(read) => read,
            Err(fault) => {
                return self.refuse_faulty(&gate, &agent, (provider, dialect), parts, fault).await;
            }
        };
        self.decide_and_forward(gate, read, (rewriter, dialect)).await
    }

    /// The ticket in `token`, and the agent that it was made for, with the key that
    /// it was made under: it is still in force, and no key of another's
    /// contradicts it.
    fn ticket(
        &self,
        provider: Provider,
        token: &str,
        headers: &HeaderMap,
    ) -> Option<(Ticket, Holder)> {
        let ticket = Seals::new(&self.directory.path_key())?.open(token)?;
        let holder = self.directory.holder_of(&ticket.key_id)?;
        let is_as_made =
            ticket.provider == provider.as_str() && ticket.agent_id == *holder.agent.id;
        // A client that follows a redirect takes its key along.
        let is_nobody_elses =
            match identify::by_key(identify::places(provider), headers, &self.directory) {
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
    ) -> Result<Read, Fault> {
        head::check(provider, parts)?;
        if parts.uri.query().is_some() {
            return Err(Fault::Signed("a signed path takes no query"));
        }
        if jiff::Timestamp::now().as_second() >= ticket.until {
            return Err(Fault::Expired);
        }
        let method = parts.method.as_str();
        if !ticket.methods.iter().any(|made_for| made_for == method) {
            return Err(HeadFault::Method(method.to_owned()).into());
        }
        let foreign = || Fault::Signed("the signed path leads to no host of the provider's");
        let uri = match self.exit {
            None => Uri::default(),
            Some(_) => {
                let sites = self.sites.load();
                place(provider, sites.get(&provider), &ticket.url).ok_or_else(foreign)?
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
            // They hold what authenticates it.
            query: Vec::new(),
            headers: head::judged(&headers),
            // A file, of any size and type.
            body: if is_empty { action::Body::Empty } else { action::Body::Opaque },
        };
        // No credential goes there, neither the client's nor the gate's.
        for name in identify::places(provider).iter().chain([&COOKIE]) {
            headers.remove(name);
        }
        let outgoing = Outgoing::new(parts.method.clone(), uri, headers, body);
        Ok(Read { action: self.action(agent, Target::Http(judged)), outgoing })
    }

    /// What makes signed paths in the answers to a request of `holder` for `path`,
    /// where `rows` may stand.
    pub(super) fn signer(
        &self,
        holder: Holder,
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

/// Where a pre-authenticated URL leads by the configuration that is in force;
/// `None` where it is none of the provider's.
fn place(provider: Provider, site: Option<&Site>, url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let rows = || preauthenticated_urls::rows(provider);
    let mut places = site.into_iter().flat_map(|site| site.hosts.places());
    let is_configured = places.any(|(name, place)| {
        place.target(&uri).is_some_and(|target| rows().any(|row| row.leads_at(name, target)))
    });
    let upstream = site.and_then(|site| site.upstream.as_ref());
    let upstream = upstream.filter(|_| hosts::are_all_in_one(provider));
    let target = upstream.and_then(|place| place.target(&uri));
    if is_configured || target.is_some_and(|at| rows().any(|row| row.leads_at_all(at))) {
        return Some(uri);
    }
    if !preauthenticated_urls::leads(provider, url) {
        return None;
    }
    let elsewhere = site.and_then(|site| site.hosts.place_of(uri.host()?)).or(upstream);
    match elsewhere {
        Some(place) => place.uri(uri.path(), uri.query()),
        None => Some(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::hosts::Hosts;
    use crate::rest::route::Upstream;

    fn leads(site: Option<&Site>, url: &str) -> Option<String> {
        place(Provider::Slack, site, url).map(|uri| uri.to_string())
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
        let hosts = Hosts::parse(Provider::Slack, &named.into()).unwrap();
        let upstream = Upstream::parse("http://127.0.0.1:9000/base").ok();
        let site = Site::new(Provider::Slack, hosts, upstream);
        let there = "http://127.0.0.1:9001/upload/v1/x?a=%2F";
        assert_eq!(leads(Some(&site), url).as_deref(), Some(there));
        assert_eq!(leads(Some(&site), there).as_deref(), Some(there));
        for (url, own) in [
            ("http://127.0.0.1:9000/base/upload/x", true),
            ("http://127.0.0.1:9000/base/x", false),
            ("http://127.0.0.1:9000/basement/upload/x", false),
            ("http://127.0.0.1:9001/files-pri/x", false),
            ("http://127.0.0.1:9000/other", false),
            ("https://127.0.0.1:9001/upload/x", false),
            ("http://127.0.0.1:90011/upload/x", false),
        ] {
            assert_eq!(leads(Some(&site), url).is_some(), own, "{url}");
        }
        // A site of its own is no stand-in for what all customers budget.
        let site = Site::new(
            Provider::Jira,
            Hosts::default(),
            Upstream::parse("https://acme.example").ok(),
        );
        let media = "https://api.media.atlassian.com/file/1/binary?token=x";
        let there = place(Provider::Jira, Some(&site), media).map(|uri| uri.to_string());
        assert_eq!(there.as_deref(), Some(media));
    }
}
