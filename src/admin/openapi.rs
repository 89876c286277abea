//! `/openapi.json`, generated from the handlers.

use axum::Json;
use serde::Serialize;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{RefOr, Server};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use super::audit::LogRow;
use super::error::ErrorBody;
use super::{agents, audit, escalations, export, health, policies, retention};
use crate::hosted::api as servers;

/// Error responses of every call that needs the master key.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it is only described")]
pub(super) enum Refusals {
    /// Malformed request
    #[response(status = 400)]
    Malformed(ErrorBody),
    /// Missing or wrong master key
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// Unknown name
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// Conflict with an existing object
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// The body is too large
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// Well-formed, but invalid
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// The gate itself failed
    #[response(status = 500)]
    Internal(ErrorBody),
    /// The database is unavailable
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// An export as JSON.
#[derive(Serialize, ToSchema)]
pub(super) struct Export {
    /// Oldest first.
    logs: Vec<LogRow>,
    /// Number of rows.
    count: u64,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "AgentGate",
        description = "The admin API of `agentgate serve`. Agents' requests go to `/proxy/{provider}/…` and `/mcp/{name}`, which pass on other APIs and are not described here."
    ),
    paths(
        health::service,
        health::health,
        health::providers,
        health::metrics,
        document,
        agents::list,
        agents::create,
        agents::get,
        agents::delete,
        agents::rotate,
        agents::stats,
        policies::list,
        policies::load,
        policies::get,
        policies::put,
        policies::delete,
        audit::logs,
        audit::stats,
        export::export,
        retention::purge,
        escalations::list,
        escalations::resolve,
        servers::list,
        servers::register,
        servers::remove,
    ),
    components(schemas(ErrorBody)),
    modifiers(&Completed)
)]
struct Document;

/// Adds what the specification requires and the macros omit.
struct Completed;

impl Modify for Completed {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let key = ApiKey::Header(ApiKeyValue::new("X-Master-Key"));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("master_key", SecurityScheme::ApiKey(key));
        openapi.servers = Some(vec![Server::new("/")]);
        for (path, item) in &mut openapi.paths.paths {
            let operations =
                [("get", &mut item.get), ("post", &mut item.post), ("put", &mut item.put)];
            let operations = operations.into_iter().chain([("delete", &mut item.delete)]);
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    complete(method, path, operation);
                }
            }
        }
    }
}

/// Gives an operation a unique id, each response a description, and says of operations that need
/// no key that they need none.
fn complete(method: &str, path: &str, operation: &mut Operation) {
    let words = path.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = std::iter::once(method).chain(words).collect();
    operation.operation_id = Some(words.join("_"));
    operation.security.get_or_insert_default();
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = "The answer".to_owned();
        }
    }
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "discovery",
    responses((status = 200, body = serde_json::Value)))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The router and the document say the same: each is made from a list of its
    /// own, and neither may have what the other has not.
    #[test]
    fn every_route_is_described_and_every_description_is_a_route() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let described: BTreeSet<(String, String, bool)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().iter().map(move |(method, operation)| {
                    let guarded = !operation["security"].as_array().unwrap().is_empty();
                    (path.clone(), method.to_uppercase(), guarded)
                })
            })
            .collect();
        // These have a router of their own: `tests/real/openapi.py` calls them.
        let servers = [("", "GET"), ("", "POST"), ("/{name}", "DELETE")];
        let servers = servers.map(|(below, method)| (format!("/mcp/servers{below}"), method));
        let routed: BTreeSet<_> = super::super::routes()
            .iter()
            .map(|route| (route.path.to_owned(), route.method.to_string(), route.guarded))
            .chain(servers.map(|(path, method)| (path, method.to_owned(), true)))
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_operation_has_an_id_of_its_own_and_every_reference_leads_somewhere() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let items = document["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<_> = operations.map(|it| it["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
