//! Labelled material that lies beside the checkout (`../shared/truth`, or where
//! `AGENTGATE_TRUTH` says); without it tests say so and pass.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests share it, and stop where the material is not as described"
)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use agentgate::action::{Action, Agent, Body, HttpRequest, Provider, Target, Transport};
use agentgate::json;
use serde_json::Value;

/// The rows of `file`.
pub fn truth(file: &str) -> Option<Vec<Value>> {
    let root = std::env::var_os("AGENTGATE_TRUTH").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/truth"),
        PathBuf::from,
    );
    let path = root.join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not here", path.display());
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The text under `key`, or none.
pub fn text<'r>(row: &'r Value, key: &str) -> &'r str {
    row[key].as_str().unwrap_or_default()
}

/// An action of nobody in particular.
pub fn action(target: Target) -> Action {
    Action {
        at: jiff::Timestamp::UNIX_EPOCH,
        agent: Agent::default(),
        session: Arc::from("s"),
        transport: Transport::Rest,
        target,
    }
}

/// The request that a row describes, with the path at `path`.
pub fn http(row: &Value, path: &str) -> Action {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let headers = row["headers"].as_object().into_iter().flatten();
    let body = match &row["body"] {
        Value::Null => Body::Empty,
        Value::String(text) => Body::Text(text.clone()),
        other => Body::Json(json::parse(other.to_string().as_bytes()).unwrap()),
    };
    action(Target::Http(HttpRequest {
        provider: Provider::from_name(text(row, "provider")).unwrap(),
        method: text(row, "method").to_owned(),
        path: path.to_owned(),
        host: row["host"].as_str().map(str::to_owned),
        is_file: false,
        query: query.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        headers: headers
            .map(|(k, v)| (k.to_ascii_lowercase(), v.as_str().unwrap().to_owned()))
            .collect(),
        body,
    }))
}
