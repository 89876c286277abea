//! Properties of pre-authenticated URLs in responses. Each becomes a signed path, wherever it
//! occurs and however the response is cut; nothing else does. A signed path opens to the very URL,
//! for the agent, provider, methods and path that it was made for, and no altered one opens. Its
//! host is the provider's, whichever parser reads it.

#![no_main]

use std::sync::Arc;

use agentgate::action::Provider;
use agentgate::json::{self, Json};
use agentgate::net::Body;
use agentgate::rest::hosts::HostOverrides;
use agentgate::rest::media::ExpectedBody;
use agentgate::rest::preauthenticated_urls::{self, Place, PreauthenticatedUrl};
use agentgate::rest::reply::Dialect;
use agentgate::rest::rewrite::{Rewriter, UrlMappings};
use agentgate::rest::ticket::{SIGNED, Signer, Ticket, TicketSealer};
use agentgate::rest::upstream::Origin;
use agentgate::store::directory::KeyHolder;
use agentgate_fuzz::aws;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use url::Url;
use zeroize::Zeroizing;

const BASE: &str = "http://gate/proxy/x";

const KEY: [u8; 32] = [7; 32];

/// Requests, whether they only read, and domains of the hosts whose URLs are signed in the
/// response.
const REQUESTS: [(Provider, &str, bool, &[&str]); 12] = [
    (Provider::Slack, "/api/files.getUploadURLExternal", false, &["files.slack.com"]),
    (Provider::Slack, "/api/files.info", true, &[]),
    (Provider::Microsoft, "/v1.0/me/drive/items/1/createUploadSession", false, MICROSOFT),
    (Provider::Microsoft, "/v1.0/me/drive/items/1/thumbnails", true, MICROSOFT),
    (Provider::Microsoft, "/v1.0/$batch", false, MICROSOFT),
    (Provider::Github, "/repos/a/b/contents/c", true, GITHUB),
    (Provider::Jira, "/rest/api/3/attachment/content/1", true, &["atlassian.com"]),
    (Provider::Linear, "/graphql", false, &["linear.app", "storage.googleapis.com"]),
    (Provider::Linear, "/graphql", true, &["linear.app", "storage.googleapis.com"]),
    (Provider::Notion, "/v1/blocks/1", true, &["amazonaws.com", "notion.so", "notion.com"]),
    (Provider::Hubspot, "/files/v3/files/1/signed-url", true, HUBSPOT),
    (Provider::Google, "/drive/v3/files", true, &["googleusercontent.com"]),
];

const MICROSOFT: &[&str] = &[
    "sharepoint.com",
    "sharepoint.us",
    "sharepoint.cn",
    "1drv.com",
    "svc.ms",
    "api.onedrive.com",
    "my.microsoftpersonalcontent.com",
    "office.com",
    "office365.com",
    "print.print.microsoft.com",
];

const GITHUB: &[&str] =
    &["github.com", "githubusercontent.com", "amazonaws.com", "blob.core.windows.net"];

const HUBSPOT: &[&str] = &[
    "hubspotusercontent-na1.net",
    "hubspotusercontent-na2.net",
    "hubspotusercontent-na3.net",
    "hubspotusercontent-eu1.net",
    "hubspotusercontent-ap1.net",
];

/// Names of members, and a pre-authenticated URL for each; other members may have them, too.
const MEMBERS: [(&str, &str); 10] = [
    ("upload_url", "https://files.slack.com/upload/v1/x"),
    ("uploadUrl", "https://acme.sharepoint.com/_api/v2.0/x?tempauth=1"),
    ("@microsoft.graph.downloadUrl", "https://public.dm.files.1drv.com/y4m"),
    ("@content.downloadUrl", "https://my.microsoftpersonalcontent.com/personal/x"),
    ("url", "https://northeurope1-mediap.svc.ms/transform/thumbnail?access_token=1"),
    ("uploadUrl", "https://storage.googleapis.com/uploads.linear.app/o?X-Goog-Signature=1"),
    ("download_url", "https://raw.githubusercontent.com/a/b/main/c?token=1"),
    ("file", "https://prod-files-secure.s3.us-west-2.amazonaws.com/a/b?X-Amz-Signature=1"),
    ("data", "https://1.hubspotusercontent-na1.net/hubfs/a?Signature=1"),
    ("thumbnailLink", "https://lh3.googleusercontent.com/a=s220"),
];

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

// Input: a byte each for the request, the length of frames, the place and the change of an alteration
// of signed paths, a member (0: none) and a place in its URL; the header `Location` and a line feed;
// then the body, or what is inserted into the URL.
fuzz_target!(|input: &[u8]| {
    let [request, cut, at, change, member, place, rest @ ..] = input else { return };
    let request @ (provider, path, is_read, _) = REQUESTS[usize::from(*request) % REQUESTS.len()];
    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let header = HeaderValue::from_bytes(lines.next().unwrap_or_default());
    let header = header.unwrap_or(HeaderValue::from_static(""));
    let text = lines.next().unwrap_or_default();
    let text = &*match usize::from(*member).checked_sub(1) {
        Some(member) => body(MEMBERS[member % MEMBERS.len()], usize::from(*place), text),
        None => text.to_vec(),
    };
    let rows = preauthenticated_urls::in_answer(provider, (path, &[]), is_read);
    let response = rewritten(request, (&header, text), usize::from(*cut));
    let location = response.headers()[LOCATION].to_str();
    if let (Ok(before), Ok(after)) = (header.to_str(), location) {
        assert_signed(request, before, after, (*at, *change));
        let is_secret = |row: &&PreauthenticatedUrl| row.place == Place::Header;
        assert!(!rows.iter().copied().filter(is_secret).any(|row| row.matches(after)), "{after}");
    }
    let body = RUNTIME.with(|runtime| runtime.block_on(response.into_body().collect()));
    let body = body.expect("in memory").to_bytes();
    // Parsers differ on the rest.
    let (Ok(before), Ok(after)) = (json::parse(text), json::parse(&body)) else { return };
    let mut pairs = Vec::new();
    strings(("", &before), ("", &after), &mut pairs);
    for (name, before, after) in pairs {
        assert_signed(request, before, after, (*at, *change));
        let is_here = |row: &&PreauthenticatedUrl| match row.place {
            Place::Header => false,
            Place::Member(member) => name == member,
            Place::Anywhere => true,
        };
        assert!(!rows.iter().copied().filter(is_here).any(|row| row.matches(after)), "{after}");
    }
});

/// A body with a member whose URL has `inserted` at `place`.
fn body((name, url): (&str, &str), place: usize, inserted: &[u8]) -> Vec<u8> {
    let (before, after) = url.split_at(place % (url.len() + 1));
    [b"{\"", name.as_bytes(), b"\":\"", before.as_bytes(), inserted, after.as_bytes(), b"\"}"]
        .concat()
}

fn rewritten(
    (provider, path, is_read, _): (Provider, &str, bool, &[&str]),
    (location, text): (&HeaderValue, &[u8]),
    cut: usize,
) -> Response<Body> {
    let rows = preauthenticated_urls::in_answer(provider, (path, &[]), is_read);
    let holder = KeyHolder { agent: aws::agent("agent"), key_id: "key".into() };
    let (key, base, path) = (Zeroizing::new(KEY), BASE.to_owned(), path.to_owned());
    let signer = Signer { key, holder, provider, base, path, rows };
    let mappings = Arc::new(UrlMappings::new(provider, &HostOverrides::default(), None));
    let rewriter = Rewriter::new(provider, mappings, BASE, Some(signer), ExpectedBody::Api);
    let pieces = text.chunks(cut.max(1)).map(Bytes::copy_from_slice);
    let frames: Vec<_> = pieces.map(|piece| Ok::<_, axum::Error>(Frame::data(piece))).collect();
    let mut response = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(LOCATION, location.clone());
    RUNTIME.with(|runtime| {
        let from = (&Origin::of_mock(), Dialect::Plain);
        runtime.block_on(rewriter.answer(&Method::GET, from, response)).expect("in memory")
    })
}

/// Collects the strings in both values, each with the name of its member.
fn strings<'v>(
    (name, before): (&'v str, &'v Json),
    (_, after): (&'v str, &'v Json),
    pairs: &mut Vec<(&'v str, &'v str, &'v str)>,
) {
    match (before, after) {
        (Json::Array(a), Json::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| strings((name, a), (name, b), pairs));
        }
        (Json::Object(a), Json::Object(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b.iter()).for_each(|(a, b)| strings(a, b, pairs));
        }
        (Json::String(a), Json::String(b)) => pairs.push((name, a, b)),
        _ => assert_eq!(before, after),
    }
}

/// Asserts that `after`, if it is a signed path, stands for `before` and cannot be altered.
fn assert_signed(
    (provider, path, _, domains): (Provider, &str, bool, &[&str]),
    before: &str,
    after: &str,
    (at, change): (u8, u8),
) {
    if before == after || before.contains("~signed") {
        return;
    }
    let Some(token) = after.strip_prefix(BASE).and_then(|rest| rest.strip_prefix(SIGNED)) else {
        return assert!(after.starts_with(BASE), "{before} became {after}");
    };
    let sealer = TicketSealer::new(&KEY).expect("a key");
    let ticket = sealer.open(token).expect("as it was sealed");
    assert_eq!(ticket.url, before);
    let Ticket { agent_id, key_id, provider: of, path: from, .. } = &ticket;
    assert_eq!((&**agent_id, &**key_id, &**of, &**from), ("1", "key", provider.as_str(), path));
    assert_leads(&ticket.url, domains);
    assert!(TicketSealer::new(&[8; 32]).expect("a key").open(token).is_none());
    let mut altered = token.as_bytes().to_vec();
    let at = usize::from(at) % altered.len();
    altered[at] = altered[at].wrapping_add(change);
    if let Ok(altered) = std::str::from_utf8(&altered) {
        assert!(altered == token || sealer.open(altered).is_none(), "{altered}");
    }
    assert!(sealer.open(&token[..at]).is_none());
}

/// Asserts that a URL leads to one of `domains`, to browsers as to this gate's client.
fn assert_leads(url: &str, domains: &[&str]) {
    let is_own = |host: &str| {
        domains.iter().any(|domain| {
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    };
    if let Ok(uri) = url.parse::<Uri>() {
        assert!(uri.host().is_some_and(is_own), "{url}");
        assert!(matches!(uri.port_u16(), None | Some(443)), "{url}");
    }
    let Ok(browsers) = Url::parse(url) else { return };
    assert_eq!(browsers.scheme(), "https");
    assert!(browsers.host_str().is_some_and(is_own), "{url}");
    assert_eq!((browsers.username(), browsers.password(), browsers.port()), ("", None, None));
}
