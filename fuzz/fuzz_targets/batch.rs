//! Properties of batches: a batch is only a read if all its requests are, and it has as many
//! requests as a naive parser finds: in JSON, the elements of the list; in `multipart/mixed`, the
//! parts between the boundaries.

#![no_main]

use agentgate::action::{Body, HttpRequest, Provider, Target, Transport};
use agentgate::intent::{self, batch};
use agentgate::json::{self, Json};
use agentgate_fuzz::action;
use libfuzzer_sys::fuzz_target;

const KINDS: [(Provider, &str, &str); 4] = [
    (Provider::Microsoft, "/v1.0/$batch", "requests"),
    (Provider::Salesforce, "/services/data/v60.0/composite", "compositeRequest"),
    (Provider::Salesforce, "/services/data/v60.0/composite/batch", "batchRequests"),
    (Provider::Google, "/batch/drive/v3", ""),
];

// Input: a byte for the kind of batch, then its body.
fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else { return };
    let (provider, path, list) = KINDS[usize::from(*kind) % KINDS.len()];
    let Ok(text) = std::str::from_utf8(body) else { return };
    let (body, count) = match list {
        "" => (Body::Text(text.to_owned()), parts(text)),
        list => {
            let Ok(json) = json::parse(body) else { return };
            let count = json.as_object().and_then(|object| match object.get(list) {
                Some(Json::Array(list)) => Some(list.len()),
                _ => None,
            });
            (Body::Json(json), count.unwrap_or_default())
        }
    };
    let headers = vec![("content-type".to_owned(), "multipart/mixed; boundary=b".to_owned())];
    let request = HttpRequest {
        provider,
        method: "POST".to_owned(),
        path: path.to_owned(),
        host: None,
        is_file: false,
        query: Vec::new(),
        headers,
        body,
    };
    let members = batch::members(&request).expect("it is a batch");
    let whole = is_read(request);
    let Ok(members) = members else { return assert!(!whole, "unclear, and a read") };
    assert_eq!(members.len(), count);
    for member in members {
        assert!(member.path.starts_with('/') && !member.path.contains("/../"));
        assert!(!whole || is_read(member.clone()), "a read that holds {member:?}");
    }
});

/// The number of parts that a naive parser finds.
fn parts(text: &str) -> usize {
    let is_begin = |line: &&str| line.trim_end() == "--b";
    text.split('\n').filter(is_begin).count()
}

fn is_read(request: HttpRequest) -> bool {
    let action = action(Transport::Rest, Target::Http(request));
    intent::of(&action).is_read()
}
