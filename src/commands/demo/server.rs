//! The demo's MCP server: a notebook with four tools, over stdio. It knows
//! nothing of the gate, like any server that is put behind one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::ErrorData;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer, serve_server};
use serde_json::{Value, json};

use crate::commands::Done;

/// Notes the book holds at most; a new one beyond it is refused.
const MAX_NOTES: usize = 1_000;

/// Serves until the client hangs up.
pub(in crate::commands) fn run() -> anyhow::Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (input, output) = rmcp::transport::io::stdio_pipes();
        serve_server(Notebook::default(), (input, output)).await?.waiting().await?;
        anyhow::Ok(())
    })?;
    // A read of standard input that nobody will answer must not keep us.
    runtime.shutdown_background();
    Ok(Done::Success)
}

struct Notebook {
    notes: Mutex<BTreeMap<u64, String>>,
}

impl Default for Notebook {
    fn default() -> Self {
        let notes = ["Buy tea", "Call Mia about the roof", "Ideas for the talk"];
        Self { notes: Mutex::new((1..).zip(notes.map(str::to_owned)).collect()) }
    }
}

impl ServerHandler for Notebook {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("notes", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let args = request.arguments.unwrap_or_default();
        let result = match self.answer(&request.name, &args) {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        };
        Ok(result.into())
    }
}

impl Notebook {
    fn answer(&self, tool: &str, args: &JsonObject) -> Result<String, String> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let id = || args.get("id").and_then(Value::as_u64).ok_or("`id` must be a number");
        match tool {
            "list_notes" => {
                let line = |(id, note): (&u64, &String)| format!("{id}. {note}");
                Ok(notes.iter().map(line).collect::<Vec<_>>().join("\n"))
            }
            "read_note" => notes.get(&id()?).cloned().ok_or_else(|| "no such note".to_owned()),
            "create_note" if notes.len() >= MAX_NOTES => Err("the notebook is full".to_owned()),
            "create_note" => {
                let text = args.get("text").and_then(Value::as_str).ok_or("`text` is missing")?;
                let id = notes.last_key_value().map_or(1, |(last, _)| last + 1);
                notes.insert(id, text.to_owned());
                Ok(format!("note {id} written"))
            }
            "delete_note" => match notes.remove(&id()?) {
                Some(note) => Ok(format!("deleted for good: {note}")),
                None => Err("no such note".to_owned()),
            },
            other => Err(format!("there is no tool `{other}`")),
        }
    }
}

fn tools() -> Vec<Tool> {
    let read = || ToolAnnotations::new().read_only(true);
    let write = |destroys| ToolAnnotations::new().read_only(false).destructive(destroys);
    let id = || json!({ "id": { "type": "integer", "minimum": 1 } });
    vec![
        tool("list_notes", "List all notes", json!({}), read()),
        tool("read_note", "Read one note", id(), read()),
        tool("create_note", "Write a note", json!({ "text": { "type": "string" } }), write(false)),
        tool("delete_note", "Delete a note for good", id(), write(true)),
    ]
}

fn tool(
    name: &'static str,
    description: &'static str,
    properties: Value,
    hints: ToolAnnotations,
) -> Tool {
    let required: Vec<Value> =
        properties.as_object().into_iter().flatten().map(|(key, _)| json!(key)).collect();
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), Value::Array(required));
    Tool::new(name, description, Arc::new(schema)).with_annotations(hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(book: &Notebook, tool: &str, args: Value) -> Result<String, String> {
        book.answer(tool, args.as_object().unwrap())
    }

    #[test]
    fn the_notebook_keeps_notes() {
        let book = Notebook::default();
        assert_eq!(ask(&book, "create_note", json!({ "text": "x" })), Ok("note 4 written".into()));
        assert_eq!(ask(&book, "read_note", json!({ "id": 4 })), Ok("x".into()));
        assert!(ask(&book, "delete_note", json!({ "id": 4 })).is_ok());
        assert!(ask(&book, "read_note", json!({ "id": 4 })).is_err());
        assert!(ask(&book, "read_note", json!({ "id": "4" })).is_err());
        assert!(ask(&book, "burn_note", json!({})).is_err());
    }
}
