//! Properties of rewriting URLs in responses: the result does not depend on how the response is
//! cut; JSON keeps its structure, and only URLs of the provider's hosts change; no member called
//! `url` bypasses the gate.

#![no_main]

use std::sync::Arc;

use agentgate::action::Provider;
use agentgate::net::Body;
use agentgate::rest::hosts::HostOverrides;
use agentgate::rest::media::ExpectedBody;
use agentgate::rest::reply::Dialect;
use agentgate::rest::rewrite::{Rewriter, UrlMappings};
use agentgate::rest::upstream::Origin;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

const BASE: &str = "http://gate/proxy/x";

const HOST: &str = "https://api.github.com";

const PROVIDERS: [Provider; 4] =
    [Provider::Github, Provider::Google, Provider::Microsoft, Provider::Slack];

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

// Input: a byte each for the provider and the length of frames, then the body.
fuzz_target!(|input: &[u8]| {
    let [provider, cut, text @ ..] = input else { return };
    let provider = PROVIDERS[usize::from(*provider) % PROVIDERS.len()];
    let held = rewritten(provider, text, None);
    let streamed = rewritten(provider, text, Some(usize::from(*cut).max(1)));
    assert_eq!(held, streamed);
    let values = (serde_json::from_slice::<Value>(text), serde_json::from_slice::<Value>(&held));
    let (Ok(before), Ok(after)) = values else {
        // Invalid JSON stays invalid, and valid JSON valid.
        return assert_eq!(values.0.is_ok(), values.1.is_ok());
    };
    assert_rewritten(&before, &after);
    if provider == Provider::Github && !is_ambiguous(text) {
        assert_no_bypass(&after);
    }
});

fn rewritten(provider: Provider, text: &[u8], cut: Option<usize>) -> Vec<u8> {
    let mappings = Arc::new(UrlMappings::new(provider, &HostOverrides::default(), None));
    let rewriter = Rewriter::new(provider, mappings, BASE, None, ExpectedBody::Api);
    let body = match cut {
        None => Body::from(text.to_vec()),
        Some(cut) => {
            let pieces: Vec<_> = text.chunks(cut).map(Bytes::copy_from_slice).collect();
            let frames = pieces.into_iter().map(|piece| Ok::<_, axum::Error>(Frame::data(piece)));
            Body::new(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())))
        }
    };
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    if cut.is_none() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let from = (&Origin::of_mock(), Dialect::Plain);
            let answer = rewriter.answer(&Method::GET, from, response).await.expect("in memory");
            let length = answer.headers().get(CONTENT_LENGTH).cloned();
            let bytes = answer.into_body().collect().await.expect("in memory").to_bytes();
            assert!(length.is_none_or(|length| length == *bytes.len().to_string()));
            bytes.to_vec()
        })
    })
}

/// Asserts that only URLs changed, and lead to the gate.
fn assert_rewritten(before: &Value, after: &Value) {
    match (before, after) {
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| assert_rewritten(a, b));
        }
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()));
            a.values().zip(b.values()).for_each(|(a, b)| assert_rewritten(a, b));
        }
        (Value::String(a), Value::String(b)) if a != b => {
            assert!(a.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")), "{a}");
            let rest = b.strip_prefix(BASE).expect("led through the gate");
            let tail = rest.trim_start_matches(|c| c != '?' && c != '#');
            assert!(a.ends_with(tail), "{a} became {b}");
        }
        _ => assert_eq!(before, after),
    }
}

/// Asserts that no `url` leads to GitHub's API, in any case of letters.
fn assert_no_bypass(value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(assert_no_bypass),
        Value::Object(members) => {
            for (name, value) in members {
                if let (true, Value::String(url)) = (name == "url", value) {
                    let start = url.get(..HOST.len()).unwrap_or_default();
                    let path = url.get(HOST.len()..).unwrap_or_default();
                    let leads = start.eq_ignore_ascii_case(HOST) && path.starts_with('/');
                    // URLs that clients may resolve to outside of the provider are left unchanged.
                    let is_odd = path.contains(|c: char| c.is_control() || "%\\".contains(c))
                        || path.contains("/.");
                    assert!(!leads || is_odd, "{url}");
                }
                assert_no_bypass(value);
            }
        }
        _ => {}
    }
}

/// Whether other parsers may find other members than `serde_json`.
fn is_ambiguous(text: &[u8]) -> bool {
    agentgate::json::parse(text).is_err()
}
