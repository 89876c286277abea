//! `/policies`: lists, stores and removes policies at run time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Admin;
use super::error::{Answer, ApiError, Finding};
use super::extract::{Named, Text, parse};
use super::openapi::Refusals;
use crate::policy::catalog::{CatalogError, Entry};
use crate::policy::diagnostic::Diagnostics;
use crate::policy::{Seen, load_str};

/// A policy as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyView {
    /// Name, by which agents refer to it.
    name: String,
    description: Option<String>,
    /// The default effect: `allow`, `deny`, ….
    default_effect: Option<String>,
    /// Its rules, as written.
    rules: Vec<Value>,
    /// Whether it is built in, so that it cannot be removed.
    built_in: bool,
    /// Path of its file.
    file: Option<String>,
}

/// A policy and its text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyText {
    #[serde(flatten)]
    policy: PolicyView,
    /// The text.
    yaml: String,
}

/// A policy to load, unless it is sent as plain YAML.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyInput {
    /// Name; that in the text if absent.
    #[serde(default)]
    name: Option<String>,
    /// The text.
    yaml: String,
}

/// Confirmation that a policy is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyLoaded {
    /// `loaded`
    status: &'static str,
    policy_name: String,
    /// Path of its file.
    saved_to: String,
    /// Probable mistakes.
    warnings: Vec<Finding>,
}

/// Confirmation that a policy was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyDeleted {
    /// `deleted`
    status: &'static str,
    policy_name: String,
    /// Agents that refer to it. They are refused, unless a built-in policy has the same name.
    agents: Vec<String>,
}

/// Every policy that agents can refer to
#[utoipa::path(get, path = "/policies", tag = "policies",
    responses((status = 200, body = [PolicyView]), Refusals), security(("master_key" = [])))]
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer<Json<Vec<PolicyView>>> {
    let list = admin.blocking(|admin| {
        let entries = admin.catalog.list().into_iter();
        let views = entries.map(|entry| {
            let text = admin.catalog.text(&entry.name).unwrap_or_default();
            view(entry, &text)
        });
        Ok(views.collect())
    });
    list.await.map(Json)
}

/// One policy with its text
#[utoipa::path(get, path = "/policies/{name}", tag = "policies",
    params(("name" = String, Path, description = "the policy's name")),
    responses((status = 200, body = PolicyText), Refusals), security(("master_key" = [])))]
pub(super) async fn get(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
) -> Answer<Json<PolicyText>> {
    let get = admin.blocking(move |admin| {
        let entry = admin.catalog.list().into_iter().find(|entry| entry.name == name);
        let text = admin.catalog.text(&name);
        let (Some(entry), Some(yaml)) = (entry, text) else { return Err(unknown(&name)) };
        Ok(PolicyText { policy: view(entry, &yaml), yaml })
    });
    get.await.map(Json)
}

/// Validates a policy, stores it and puts it in force, under the name in its text
#[utoipa::path(post, path = "/policies", tag = "policies",
    request_body(content((PolicyInput = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = PolicyLoaded), Refusals), security(("master_key" = [])))]
pub(super) async fn load(
    State(admin): State<Arc<Admin>>,
    text: Text,
) -> Answer<Json<PolicyLoaded>> {
    let input = input(&text)?;
    admin.blocking(move |admin| admin.put(None, &input)).await.map(Json)
}

/// Validates a policy, stores it and puts it in force, under the name in the path
#[utoipa::path(put, path = "/policies/{name}", tag = "policies",
    params(("name" = String, Path, description = "the policy's name")),
    request_body(content((PolicyInput = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = PolicyLoaded), Refusals), security(("master_key" = [])))]
pub(super) async fn put(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    text: Text,
) -> Answer<Json<PolicyLoaded>> {
    let input = input(&text)?;
    admin.blocking(move |admin| admin.put(Some(name), &input)).await.map(Json)
}

/// Removes a policy from the policy folder
#[utoipa::path(delete, path = "/policies/{name}", tag = "policies",
    params(("name" = String, Path, description = "the policy's name")),
    responses((status = 200, body = PolicyDeleted), Refusals), security(("master_key" = [])))]
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
) -> Answer<Json<PolicyDeleted>> {
    let delete = admin.blocking(move |admin| {
        admin.catalog.delete(&name).map_err(refused)?;
        tracing::info!(policy = name, "a policy was removed");
        let agents = admin.directory.registry().list()?.into_iter();
        let having = agents.filter(|agent| agent.policy.as_deref() == Some(&name));
        let agents = having.map(|agent| agent.name.to_string()).collect();
        Ok(PolicyDeleted { status: "deleted", policy_name: name, agents })
    });
    delete.await.map(Json)
}

impl Admin {
    fn put(&self, named: Option<String>, input: &PolicyInput) -> Answer<PolicyLoaded> {
        let origin = named.as_deref().or(input.name.as_deref()).unwrap_or("policy");
        let file =
            load_str(origin, &input.yaml).map_err(|found| ApiError::invalid_policy(&found))?;
        let name = match (named, &input.name) {
            (Some(path), Some(body)) if path != *body => {
                let detail = format_args!("the path says `{path}`, the body says `{body}`");
                return Err(ApiError::invalid(detail));
            }
            (Some(name), _) => name,
            (None, Some(name)) => name.clone(),
            (None, None) => file.name().to_string(),
        };
        let saved_to = self.catalog.put(&name, &input.yaml).map_err(refused)?;
        tracing::info!(policy = name, "a policy was put in force");
        Ok(PolicyLoaded {
            status: "loaded",
            policy_name: name,
            saved_to: saved_to.display().to_string(),
            warnings: Finding::all(&file.lint(&Seen::default())),
        })
    }
}

/// The input in JSON, if it is declared as such and contains `yaml`; else the text itself is
/// the policy, which may be JSON, too.
fn input(text: &Text) -> Answer<PolicyInput> {
    let is_json = text.content_type.starts_with("application/json");
    let object = serde_json::from_slice::<Value>(&text.bytes);
    if is_json || object.is_ok_and(|value| value.get("yaml").is_some()) {
        return parse(&text.bytes);
    }
    match std::str::from_utf8(&text.bytes) {
        Ok(yaml) => Ok(PolicyInput { name: None, yaml: yaml.to_owned() }),
        Err(_) => Err(ApiError::bad_request("invalid_policy", "the policy is not UTF-8")),
    }
}

/// Describes a policy, as far as its text can be parsed.
fn view(entry: Entry, text: &str) -> PolicyView {
    let document: Value = serde_yaml::from_str(text).unwrap_or_default();
    let get = |key: &str| document.get(key).filter(|value| !value.is_null()).cloned();
    let text_of = |key: &str| get(key).and_then(|value| value.as_str().map(str::to_owned));
    PolicyView {
        description: text_of("description"),
        default_effect: text_of("default_effect"),
        rules: get("rules").and_then(|rules| rules.as_array().cloned()).unwrap_or_default(),
        built_in: entry.file.is_none(),
        file: entry.file.map(|file| file.display().to_string()),
        name: entry.name,
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format_args!("there is no policy `{name}`"))
}

fn refused(error: CatalogError) -> ApiError {
    match error {
        CatalogError::Name(_) => ApiError::invalid(error),
        CatalogError::Invalid(found) => invalid(&found),
        CatalogError::Unknown(_) => ApiError::not_found(error),
        CatalogError::Io(_) => ApiError::internal(error),
    }
}

fn invalid(found: &Diagnostics) -> ApiError {
    ApiError::invalid_policy(found)
}
