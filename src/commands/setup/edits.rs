//! The gate in the text of a client's configuration: put in, and taken out again. Only the
//! command and the beginning of its arguments change; comments and layout stay.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::commands::client_files::{Client, as_json};
use crate::commands::doctor::is_gate;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'p> {
    /// Put this program in front of the servers.
    Gate {
        /// The command for agentgate.
        program: &'p str,
    },
    /// Take it out again.
    Undo {
        /// Also where somebody has given the gate options since, or has written it.
        whoever_wrote_it: bool,
    },
}

/// What became of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is changed.
    Changed,
    /// It is as asked for already.
    AlreadySo,
    /// The client connects to a URL itself.
    Remote,
    /// Its entry is not as clients want it, or as `setup` writes it.
    Unclear,
}

/// The members of a server's entry that are looked at.
#[derive(Deserialize)]
struct Entry<'t> {
    #[serde(borrow)]
    command: Option<&'t RawValue>,
    #[serde(borrow)]
    args: Option<&'t RawValue>,
    #[serde(borrow)]
    url: Option<&'t RawValue>,
}

/// A text to put in the place of another.
struct Edit {
    place: Range<usize>,
    text: String,
}

type Members<'t> = BTreeMap<String, &'t RawValue>;

/// Makes `change` to every server that `is_meant`. Returns the new text, and each such server
/// with what became of it, in the file's order.
///
/// # Errors
/// If `text` is not JSON (with comments and trailing commas) of the expected form.
pub(super) fn edit(
    text: &str,
    client: Client,
    change: Change<'_>,
    is_meant: impl Fn(&str) -> bool,
) -> Result<(String, Vec<(String, Outcome)>), serde_json::Error> {
    let json = as_json(text);
    let mut servers = Vec::new();
    for scope in scopes(&json)? {
        let Some(found) = scope.get(client.key()) else { continue };
        let found: Option<Members<'_>> = serde_json::from_str(found.get())?;
        servers.extend(found.into_iter().flatten().filter(|(name, _)| is_meant(name)));
    }
    servers.sort_by_key(|(_, entry)| place(&json, entry).start);
    let mut edits = Vec::new();
    let outcomes = servers.into_iter().map(|(name, entry)| {
        let found = match serde_json::from_str::<Entry<'_>>(entry.get()) {
            Ok(entry) => entry.edit(&json, &name, client, change),
            Err(_) => Err(Outcome::Unclear),
        };
        let outcome = match found {
            Ok(of_entry) => {
                edits.extend(of_entry);
                Outcome::Changed
            }
            Err(outcome) => outcome,
        };
        (name, outcome)
    });
    let outcomes = outcomes.collect();
    Ok((applied(text, edits), outcomes))
}

/// The document, and each project that Claude Code remembers in it.
fn scopes(json: &str) -> Result<Vec<Members<'_>>, serde_json::Error> {
    let whole: Members<'_> = serde_json::from_str(json)?;
    let projects = whole.get("projects").map(|it| serde_json::from_str::<Members<'_>>(it.get()));
    let projects = projects.transpose()?.unwrap_or_default();
    let projects = projects.into_values().map(|it| serde_json::from_str(it.get()));
    std::iter::once(Ok(whole)).chain(projects).collect()
}

/// Where a part of `json` is.
fn place(json: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr().addr() - json.as_ptr().addr();
    start..start + part.get().len()
}

fn applied(text: &str, mut edits: Vec<Edit>) -> String {
    let mut text = text.to_owned();
    edits.sort_by_key(|edit| edit.place.start);
    for Edit { place, text: new } in edits.into_iter().rev() {
        text.replace_range(place, &new);
    }
    text
}

/// The arguments of the gate, up to the server's command.
fn gate_words(name: &str, client: Client) -> Vec<String> {
    let name = match name {
        _ if name.trim().is_empty() => vec![],
        _ if name.starts_with('-') => vec![format!("--name={name}")],
        _ => vec!["--name".to_owned(), name.to_owned()],
    };
    let rest = ["--agent", client.agent(), "--"].map(str::to_owned);
    std::iter::once("wrap".to_owned()).chain(name).chain(rest).collect()
}

/// Several words of a JSON array.
fn listed(words: &[String]) -> String {
    words.iter().map(|word| Value::from(word.as_str()).to_string()).collect::<Vec<_>>().join(", ")
}

// === impl Entry ===

impl Entry<'_> {
    fn edit(
        &self,
        json: &str,
        name: &str,
        client: Client,
        change: Change<'_>,
    ) -> Result<Vec<Edit>, Outcome> {
        let Some(command) = self.command else {
            return Err(if self.url.is_some() { Outcome::Remote } else { Outcome::Unclear });
        };
        let program =
            serde_json::from_str::<String>(command.get()).map_err(|_| Outcome::Unclear)?;
        let args = self.args.map(|args| serde_json::from_str::<Vec<&RawValue>>(args.get()));
        let args = args.transpose().map_err(|_| Outcome::Unclear)?.unwrap_or_default();
        let words = args.iter().map(|word| serde_json::from_str::<String>(word.get()));
        let words = words.collect::<Result<Vec<_>, _>>().map_err(|_| Outcome::Unclear)?;
        let all: Vec<&str> = std::iter::once(&program).chain(&words).map(String::as_str).collect();
        let is_gated = all.windows(2).any(|pair| matches!(pair, [it, "wrap"] if is_gate(it)));
        match change {
            Change::Gate { .. } if is_gated => Err(Outcome::AlreadySo),
            Change::Gate { .. } if is_gate(&program) => Err(Outcome::Unclear),
            Change::Gate { program: gate } => {
                let mut gate_words = gate_words(name, client);
                gate_words.push(program);
                let text = Value::from(gate).to_string();
                let front = Edit { place: place(json, command), text };
                Ok(vec![front, self.begin_args(json, command, &args, &listed(&gate_words))])
            }
            Change::Undo { .. } if !is_gated => Err(Outcome::AlreadySo),
            // One that is started in another way, or for a URL, has no server's command here.
            Change::Undo { .. } if !is_gate(&program) => Err(Outcome::Unclear),
            Change::Undo { whoever_wrote_it } => {
                let dashes = words.iter().position(|word| word == "--").ok_or(Outcome::Unclear)?;
                if !whoever_wrote_it && !words.starts_with(&gate_words(name, client)) {
                    return Err(Outcome::Unclear);
                }
                let (Some(first), Some(server)) = (args.first(), args.get(dashes + 1)) else {
                    return Err(Outcome::Unclear);
                };
                let end = match args.get(dashes + 2) {
                    Some(next) => place(json, next).start,
                    None => place(json, server).end,
                };
                let front = Edit { place: place(json, command), text: server.get().to_owned() };
                let rest = Edit { place: place(json, first).start..end, text: String::new() };
                Ok(vec![front, rest])
            }
        }
    }

    /// Puts `words` at the beginning of the arguments.
    fn begin_args(&self, json: &str, command: &RawValue, args: &[&RawValue], words: &str) -> Edit {
        let at = |place: usize, text: String| Edit { place: place..place, text };
        match (self.args, args.first()) {
            (Some(_), Some(first)) => at(place(json, first).start, format!("{words}, ")),
            (Some(args), None) => at(place(json, args).start + 1, words.to_owned()),
            (None, _) => at(place(json, command).end, format!(", \"args\": [{words}]")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GATE: Change<'_> = Change::Gate { program: "/opt/agentgate" };
    const UNDO: Change<'_> = Change::Undo { whoever_wrote_it: false };
    const UNDO_ANY: Change<'_> = Change::Undo { whoever_wrote_it: true };

    fn changed(text: &str, change: Change<'_>) -> (String, Vec<(String, Outcome)>) {
        edit(text, Client::Cursor, change, |_| true).unwrap()
    }

    #[test]
    fn only_command_and_arguments_change_and_undoing_it_gives_the_same_text() {
        let text = r#"// mine
{ "other": [1, 2,],
  "mcpServers": {
    "b": { "args": [ /* two */ "-y", "C:\\My Docs" ], "command": "npx", "env": {"T": "x"}, },
    "a": { "command": "C:\\a.cmd", "args": [] },
  }
}
"#;
        let (gated, outcomes) = changed(text, GATE);
        let expected = r#"// mine
{ "other": [1, 2,],
  "mcpServers": {
    "b": { "args": [ /* two */ "wrap", "--name", "b", "--agent", "cursor", "--", "npx", "-y", "C:\\My Docs" ], "command": "/opt/agentgate", "env": {"T": "x"}, },
    "a": { "command": "/opt/agentgate", "args": ["wrap", "--name", "a", "--agent", "cursor", "--", "C:\\a.cmd"] },
  }
}
"#;
        assert_eq!(gated, expected);
        let outcome = |name: &str, outcome| (name.to_owned(), outcome);
        let both = |it| vec![outcome("b", it), outcome("a", it)];
        assert_eq!(outcomes, both(Outcome::Changed));
        assert_eq!(changed(&gated, GATE), (gated.clone(), both(Outcome::AlreadySo)));
        assert_eq!(changed(&gated, UNDO), (text.to_owned(), both(Outcome::Changed)));
        assert_eq!(changed(text, UNDO), (text.to_owned(), both(Outcome::AlreadySo)));
    }

    #[test]
    fn arguments_are_added_where_there_are_none() {
        let (gated, _) = changed(r#"{"mcpServers": {"-a": {"command": "x"}}}"#, GATE);
        let words = r#"["wrap", "--name=-a", "--agent", "cursor", "--", "x"]"#;
        let expected = format!(
            r#"{{"mcpServers": {{"-a": {{"command": "/opt/agentgate", "args": {words}}}}}}}"#
        );
        assert_eq!(gated, expected);
        let (undone, _) = changed(&gated, UNDO);
        assert_eq!(undone, r#"{"mcpServers": {"-a": {"command": "x", "args": []}}}"#);
    }

    /// Its policy would be gone, which nobody asked for.
    #[test]
    fn a_gate_with_options_of_its_own_stays_unless_it_is_meant() {
        let text = r#"{"mcpServers": {"a": {"command": "agentgate",
            "args": ["wrap", "--name", "a", "--policy", "git", "--", "x", "y"]}}}"#;
        assert_eq!(
            changed(text, UNDO),
            (text.to_owned(), vec![("a".to_owned(), Outcome::Unclear)])
        );
        let (undone, _) = changed(text, UNDO_ANY);
        assert!(undone.contains(r#""command": "x""#) && undone.contains(r#"["y"]"#), "{undone}");
    }

    #[test]
    fn projects_of_claude_code_count() {
        let text = r#"{"mcpServers": {}, "projects": {"/p": {"mcpServers": {"a": {"command": "x"}}}, "/q": {}}}"#;
        let (gated, outcomes) = edit(text, Client::ClaudeCode, GATE, |_| true).unwrap();
        assert_eq!(outcomes, [("a".to_owned(), Outcome::Changed)]);
        assert!(gated.contains(r#""--agent", "claude-code", "--", "x"]"#), "{gated}");
    }

    proptest::proptest! {
        #[test]
        fn undoing_it_gives_the_same_text(
            servers in prop::collection::btree_map(
                "\\PC{0,8}", ("\\PC{0,8}", prop::collection::vec("\\PC{0,8}", 0..3)), 0..4,
            ),
            is_pretty: bool,
        ) {
            // What is a gate already stays one.
            prop_assume!(servers.values().all(|(command, _)| !is_gate(command)));
            let entry = |(command, args): (String, Vec<String>)| {
                serde_json::json!({ "command": command, "args": args })
            };
            let servers: serde_json::Map<String, Value> =
                servers.into_iter().map(|(name, it)| (name, entry(it))).collect();
            let document = serde_json::json!({ "mcpServers": servers });
            let text = match is_pretty {
                true => serde_json::to_string_pretty(&document).unwrap(),
                false => document.to_string(),
            };
            let (gated, _) = changed(&text, GATE);
            let read: Value = serde_json::from_str(&gated).unwrap();
            for (name, entry) in read["mcpServers"].as_object().unwrap() {
                prop_assert_eq!(&entry["command"], "/opt/agentgate", "{}", name);
            }
            prop_assert_eq!(changed(&gated, UNDO).0, text);
        }
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let text = r#"{"mcpServers": {
            "remote": {"url": "https://example.com/mcp"},
            "number": {"command": "x", "args": [1]},
            "twice": {"command": "x", "command": "y"},
            "list": [], "none": {},
            "other": {"command": "agentgate", "args": ["serve"]}
        }}"#;
        let (same, outcomes) = changed(text, GATE);
        assert_eq!(same, text);
        let of: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        assert_eq!(of[0], Outcome::Remote);
        assert!(of[1..].iter().all(|outcome| *outcome == Outcome::Unclear), "{of:?}");
        let by_hand = r#"{"mcpServers": {
            "url": {"command": "agentgate", "args": ["wrap", "https://example.com/mcp"]},
            "shell": {"command": "cmd", "args": ["/c", "agentgate", "wrap", "--", "npx"]},
            "short": {"command": "agentgate", "args": ["wrap", "--"]}
        }}"#;
        for undo in [UNDO, UNDO_ANY] {
            let (same, outcomes) = changed(by_hand, undo);
            assert_eq!(same, by_hand);
            assert!(outcomes.iter().all(|(_, it)| *it == Outcome::Unclear), "{outcomes:?}");
        }
        assert!(changed(r#"{"mcpServers": null}"#, GATE).1.is_empty());
        for nonsense in ["", "{", "[]", r#"{"mcpServers": 7}"#] {
            assert!(edit(nonsense, Client::Cursor, GATE, |_| true).is_err(), "{nonsense}");
        }
    }
}
