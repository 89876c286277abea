//! Writes a policy file from the hints of a server's tools, to be edited: a commented rule per
//! tool.

use std::fmt::Write as _;

use super::annotations;
use super::glob::Glob;
use crate::action::{DeclaredHints, Hints};
use crate::json::Json;

/// A tool with its hints.
#[derive(Debug, Clone)]
pub struct ToolHints {
    /// The tool's name, exactly as listed.
    pub tool: String,
    /// The hints as the server declared them.
    pub declared: DeclaredHints,
    /// The hints to decide by; `None` if there are none.
    pub in_force: Option<Hints>,
}

/// Writes the policy that hints lead to, a rule per tool. The result loads. Names, which come from
/// the server, are quoted, so that they cannot inject anything.
#[must_use]
pub fn write_policy(server: &str, tools: &[ToolHints]) -> String {
    let mut out = String::new();
    // INVARIANT (infallible): writing to a String cannot fail.
    let _ = write_all(&mut out, server, tools);
    out
}

fn write_all(out: &mut String, server: &str, tools: &[ToolHints]) -> std::fmt::Result {
    let quoted_server = quoted(server);
    writeln!(out, "# What {quoted_server} may be used for, written from the hints of its tools.")?;
    writeln!(out, "# The first rule that matches decides: allow, ask (a person) or deny.")?;
    writeln!(out, "name: {}", quoted(&policy_name(server)))?;
    writeln!(out, "description: {}", quoted(&format!("The tools of {server}, one rule each")))?;
    writeln!(out, "rules:")?;
    if tools.is_empty() {
        writeln!(out, "  [] # the server lists no tools")?;
    }
    let mut written = 0_usize;
    for tool in tools {
        writeln!(out, "  # {}", declared(&tool.declared))?;
        let plain = is_plain(&tool.tool) && (is_plain(server) || server.is_empty());
        if plain {
            written += 1;
        } else {
            writeln!(out, "  # the name would be a pattern, so this rule is left to you:")?;
        }
        let margin = if plain { "  " } else { "  # " };
        writeln!(out, "{margin}- tool: {}", quoted(&tool.tool))?;
        if !server.is_empty() {
            writeln!(out, "{margin}  server: {quoted_server}")?;
        }
        let effect = annotations::decision_for(tool.in_force);
        writeln!(out, "{margin}  effect: {}", effect.as_str())?;
    }
    if written == 0 && !tools.is_empty() {
        writeln!(out, "  []")?;
    }
    writeln!(out, "# Tools that the server did not list when this was written.")?;
    writeln!(out, "default_effect: ask")
}

/// The declared hints, for a comment.
fn declared(hints: &DeclaredHints) -> String {
    let member = [
        ("readOnlyHint", hints.read_only),
        ("destructiveHint", hints.destructive),
        ("idempotentHint", hints.idempotent),
        ("openWorldHint", hints.open_world),
    ];
    let member: Vec<String> =
        member.iter().filter_map(|(name, hint)| Some(format!("{name}: {}", (*hint)?))).collect();
    if member.is_empty() {
        "no hints, so the worst is assumed".to_owned()
    } else {
        member.join(", ")
    }
}

/// Whether `name` as a glob matches only itself.
fn is_plain(name: &str) -> bool {
    !name.contains(['*', '?', '{', '}', '[']) && Glob::new(name).is_ok()
}

/// A JSON string, which is valid YAML; characters that could end the line are escaped.
fn quoted(text: &str) -> String {
    let odd = |character: char| {
        character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{feff}')
    };
    let mut out = String::new();
    for character in Json::String(text.to_owned()).to_string().chars() {
        if odd(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// The server's name with the characters allowed in names of policies.
fn policy_name(server: &str) -> String {
    let fit = |character: char| match character.to_ascii_lowercase() {
        fit @ ('a'..='z' | '0'..='9' | '_' | '-') => fit,
        _ => '_',
    };
    let name: String = server.chars().map(fit).collect();
    if name.is_empty() { "server".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Policy, load_str};
    use super::*;
    use crate::intent::Intent;
    use crate::request::{self, UnknownKeys};

    fn tool(name: &str, read_only: Option<bool>) -> ToolHints {
        let declared = DeclaredHints { read_only, ..DeclaredHints::default() };
        let in_force = (!declared.is_empty()).then(|| declared.filled_in());
        ToolHints { tool: name.to_owned(), declared, in_force }
    }

    fn decision(policy: &Policy, server: &str, tool: &str) -> String {
        let request = serde_json::json!({ "server": server, "tool": tool }).to_string();
        let action = request::parse_text(request.as_bytes(), UnknownKeys::Refuse).unwrap();
        let verdict = policy.judge(&action, Intent::Unknown);
        format!("{} {}", verdict.decision.as_str(), verdict.rule)
    }

    #[test]
    fn written_policy_decides_as_the_hints_do() {
        let tools = [tool("read", Some(true)), tool("drop", None), tool("write", Some(false))];
        let text = write_policy("My Server", &tools);
        assert!(text.contains("  # readOnlyHint: true\n  - tool: \"read\"\n"), "{text}");
        let policy = Policy::from_file(load_str("w", &text).unwrap());
        assert_eq!(decision(&policy, "My Server", "read"), "allow my_server#1");
        assert_eq!(decision(&policy, "My Server", "drop"), "ask my_server#2");
        assert_eq!(decision(&policy, "My Server", "write"), "ask my_server#3");
        assert_eq!(decision(&policy, "My Server", "other"), "ask default");
        assert_eq!(decision(&policy, "Another", "read"), "ask default");
    }

    #[test]
    fn names_with_wildcards_allow_nothing_else() {
        for name in ["*", "{a,b}", "r?ad", "[x]", ""] {
            let text = write_policy("s", &[tool(name, Some(true))]);
            let policy = Policy::from_file(load_str("w", &text).unwrap());
            assert_eq!(decision(&policy, "s", "read"), "ask default", "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_policy_loads_and_allows_only_its_tools(
            server in ".{0,12}", names in prop::collection::vec(".{0,12}", 0..5),
        ) {
            let tools: Vec<ToolHints> = names.iter().map(|name| tool(name, Some(true))).collect();
            let text = write_policy(&server, &tools);
            let file = load_str("w", &text);
            prop_assert!(file.is_ok(), "{}\n{}", text, file.unwrap_err());
            let policy = Policy::from_file(file.unwrap());
            if !names.iter().any(|name| name == "other") {
                prop_assert_eq!(decision(&policy, &server, "other"), "ask default");
            }
        }
    }
}
