//! The demo's MCP server: a notebook with four tools, over stdio. It knows
//! nothing of the gate, like any server that is put behind one.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Write as _};

use serde_json::{Value, json};

use crate::commands::Done;
use crate::mcp::{codes, era};

/// Maximum number of notes; further ones are refused.
const MAX_NOTES: usize = 1_000;

/// `agentgate demo-server`: serves until standard input ends.
pub(in crate::commands) fn run() -> anyhow::Result<Done> {
    let mut book = Notebook::default();
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        if let Some(answer) = book.answer(&serde_json::from_str(&line?)?) {
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
    }
    Ok(Done::Success)
}

struct Notebook {
    notes: BTreeMap<u64, String>,
}

impl Default for Notebook {
    fn default() -> Self {
        let notes = ["Buy tea", "Call Mia about the roof", "Ideas for the talk"];
        Self { notes: (1..).zip(notes.map(str::to_owned)).collect() }
    }
}

impl Notebook {
    /// The response to a request; `None` for a notification.
    fn answer(&mut self, message: &Value) -> Option<Value> {
        let (id, params) = (message.get("id")?, &message["params"]);
        let result = match message["method"].as_str() {
            Some("initialize") => json!({
                "protocolVersion": era::HANDSHAKE.last(),
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "notes", "version": env!("CARGO_PKG_VERSION") },
            }),
            Some("tools/list") => json!({ "tools": tools() }),
            Some("tools/call") => {
                let tool = params["name"].as_str().unwrap_or_default();
                let (text, failed) = match self.call(tool, &params["arguments"]) {
                    Ok(text) => (text, false),
                    Err(text) => (text, true),
                };
                json!({ "content": [{ "type": "text", "text": text }], "isError": failed })
            }
            Some("ping") => json!({}),
            _ => {
                let error = json!({ "code": codes::METHOD_NOT_FOUND, "message": "no such method" });
                return Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
            }
        };
        Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    fn call(&mut self, tool: &str, args: &Value) -> Result<String, String> {
        let Self { notes } = self;
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

fn tools() -> Value {
    let id = || json!({ "id": { "type": "integer", "minimum": 1 } });
    let read = || json!({ "readOnlyHint": true });
    let write = |destroys| json!({ "readOnlyHint": false, "destructiveHint": destroys });
    json!([
        tool("list_notes", "List all notes", json!({}), read()),
        tool("read_note", "Read one note", id(), read()),
        tool("create_note", "Write a note", json!({ "text": { "type": "string" } }), write(false)),
        tool("delete_note", "Delete a note for good", id(), write(true)),
    ])
}

fn tool(name: &str, description: &str, properties: Value, hints: Value) -> Value {
    let required: Vec<_> =
        properties.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({
        "name": name, "description": description, "inputSchema": schema, "annotations": hints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(book: &mut Notebook, tool: &str, args: Value) -> Result<String, String> {
        book.call(tool, &args)
    }

    #[test]
    fn the_notebook_keeps_notes() {
        let book = &mut Notebook::default();
        assert_eq!(ask(book, "create_note", json!({ "text": "x" })), Ok("note 4 written".into()));
        assert_eq!(ask(book, "read_note", json!({ "id": 4 })), Ok("x".into()));
        assert!(ask(book, "delete_note", json!({ "id": 4 })).is_ok());
        assert!(ask(book, "read_note", json!({ "id": 4 })).is_err());
        assert!(ask(book, "read_note", json!({ "id": "4" })).is_err());
        assert!(ask(book, "burn_note", json!({})).is_err());
    }
}
