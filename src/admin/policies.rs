//! `/policies`: what decides, by name.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Admin, blocking};

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/policies", get(list).post(create))
        .route("/policies/{name}", get(read).put(replace).delete(remove))
}

/// A policy as it is sent: its text, in YAML.
#[derive(Debug, Deserialize)]
struct Sent {
    name: String,
    yaml: String,
}

/// The body of `PUT`; the name is in the path.
#[derive(Debug, Deserialize)]
struct Text {
    yaml: String,
}

async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Value>, Problem> {
    blocking(move || {
        let entries = admin.book.list().into_iter().map(|entry| {
            let text = admin.book.text(&entry.name).unwrap_or_default();
            json!({
                "name": entry.name,
                "rules": rules(&text),
                "file": entry.file.map(|file| file.display().to_string()),
            })
        });
        Ok(Json(entries.collect()))
    })
    .await
}

/// The rules as the text has them; the policy itself was compiled when it was
/// put in force.
fn rules(text: &str) -> Value {
    let document: Option<Value> = serde_yaml::from_str(text).ok();
    document.and_then(|document| document.get("rules").cloned()).unwrap_or_else(|| json!([]))
}

async fn read(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    blocking(move || {
        let text = admin.book.text(&name);
        let text = text.ok_or_else(|| Problem::not_found(format!("no policy `{name}`")))?;
        Ok(Json(json!({ "name": name, "rules": rules(&text), "yaml": text })))
    })
    .await
}

async fn create(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<Sent>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Sent { name, yaml }) = body?;
    put(admin, name, yaml).await
}

async fn replace(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    body: Result<Json<Text>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Text { yaml }) = body?;
    put(admin, name, yaml).await
}

async fn put(admin: Arc<Admin>, name: String, yaml: String) -> Result<Json<Value>, Problem> {
    blocking(move || {
        let saved = admin.book.put(&name, &yaml)?;
        Ok(Json(json!({
            "status": "loaded", "policy_name": name, "saved_to": saved.display().to_string(),
        })))
    })
    .await
}

async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    blocking(move || {
        admin.book.delete(&name)?;
        Ok(Json(json!({ "status": "deleted", "policy_name": name })))
    })
    .await
}
