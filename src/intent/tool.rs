//! MCP tools: what the hints in force say and, where there are none, the name.
//!
//! A name is taken for a read only where every verb in it is a reading one. A
//! word that can be verb or noun (`comment`, `release`) is a verb where a verb
//! is due: first among the words the lexicon knows, behind `and`, or where the
//! name has no other. A word that nobody knows is a noun, except behind `and`.
//! Names say little and bind nobody; that is why hints, where the server is
//! trusted, come first.

use super::lexicon::{Role, is_aspect, is_formed_as_verb, is_plural, role};
use super::words::{Words, singular, words};
use super::{Intent, Judgement, Level};
use crate::action::ToolCall;

/// Maximum number of words examined; a longer name is not interpreted.
const MAX_WORDS: usize = 24;

pub(super) fn judge(call: &ToolCall) -> Judgement {
    match call.annotations {
        Some(hints) if hints.read_only => declared_read(&call.tool),
        Some(_) => declared_write(&call.tool),
        None => by_name(&call.tool),
    }
}

/// The resource a tool acts on: the nouns of its name without those of the server.
pub(super) fn resource(call: &ToolCall) -> String {
    nouns(&call.tool, &call.server)
}

/// The nouns of `name` that are not words of `server`; the whole name if there are none.
pub(super) fn nouns(name: &str, server: &str) -> String {
    let of_server = |word: &str| words(server).any(|own| own.eq_ignore_ascii_case(word));
    let is_verb = |role| matches!(role, Role::Reads(_) | Role::Writes(_) | Role::Process(_));
    // Without an unambiguous verb, the first possible one counts.
    let mut verb_due = !words(name).take(MAX_WORDS).map(role).any(is_verb);
    let mut nouns: Vec<String> = Vec::new();
    for word in words(name).take(MAX_WORDS) {
        match role(word) {
            Role::Reads(_) | Role::Writes(_) | Role::Process(_) | Role::Joins => {}
            Role::Either(_) | Role::Entity(_) if verb_due => verb_due = false,
            // What follows is a qualification, not the object.
            Role::Qualifies if nouns.is_empty() => {}
            Role::Qualifies => break,
            _ if of_server(word) => {}
            _ => nouns.push(word.to_owned()),
        }
    }
    match nouns.pop() {
        Some(last) => {
            nouns.iter_mut().for_each(|noun| noun.make_ascii_lowercase());
            nouns.push(singular(&last));
            nouns.join("_")
        }
        None => name.to_owned(),
    }
}

fn declared_read(name: &str) -> Judgement {
    let named = by_name(name);
    let intent = if named.intent == Intent::Query { Intent::Query } else { Intent::Read };
    // A tool declared read-only whose name suggests writing is less certain.
    let contradicted = !named.intent.is_read() && named.level == Level::L2;
    let confidence = if contradicted { 0.6 } else { 0.95 };
    Judgement { intent, level: Level::L1, confidence, why: "the hint `readOnlyHint`" }
}

fn declared_write(name: &str) -> Judgement {
    let named = by_name(name);
    if named.intent.is_read() || named.intent == Intent::Unknown {
        // It writes, but nothing tells how.
        return Judgement {
            confidence: 0.3,
            ..Judgement::unsure("hints that say it writes, and a name that does not say how")
        };
    }
    Judgement { level: Level::L1, confidence: 0.95, why: "the hints and the name", ..named }
}

/// The intent by a tool's name alone.
pub(super) fn by_name(name: &str) -> Judgement {
    // Letters of other scripts may imitate any word.
    if !name.is_ascii() {
        return Judgement::unsure("letters in the name that could be taken for others");
    }
    match Reading::of(name) {
        Some(reading) => reading.judgement(),
        None => Judgement::unsure("a name of too many words"),
    }
}

/// The words of a name, interpreted in order.
#[derive(Debug, Default)]
struct Reading {
    /// The first reading verb.
    read: Option<Intent>,
    /// The strictest writing verb.
    write: Option<Intent>,
    /// A possible verb that was not needed as one.
    spare: Option<Intent>,
    /// Whether an unknown word is in the position of a verb.
    unknown_verb: bool,
    /// Whether the object is permissions.
    rights: bool,
    /// Whether the last word implies reading.
    shows: bool,
}

impl Reading {
    /// `None` if the name has more than [`MAX_WORDS`] words.
    fn of(name: &str) -> Option<Self> {
        let mut reading = Self::default();
        let mut verb_due = true;
        let mut joined = false;
        let mut previous = "";
        let mut rest = words(name);
        let mut left = MAX_WORDS;
        while let Some(word) = rest.next() {
            left = left.checked_sub(1)?;
            let role = role(word);
            reading.shows = role == Role::Shows;
            if previous.eq_ignore_ascii_case("check") && turns(word) {
                reading.writes(Intent::Update);
            }
            match role {
                Role::Reads(intent) => {
                    reading.read = reading.read.or(Some(intent));
                    verb_due = false;
                }
                // The name of what is asked about.
                Role::Process(_) if !verb_due && reading.only_reads() && asks_of(&rest) => {}
                Role::Writes(intent) | Role::Process(intent) => {
                    reading.writes(intent);
                    verb_due = false;
                }
                Role::Entity(intent) if verb_due && is_read(rest.clone()) => {
                    reading.spare = Some(intent);
                    verb_due = false;
                }
                Role::Either(_) if verb_due && is_requests(word, &mut rest) => {}
                Role::Either(intent) | Role::Entity(intent) if verb_due => {
                    reading.writes(intent);
                    verb_due = false;
                }
                Role::Either(intent) | Role::Entity(intent) => {
                    reading.spare = Some(intent);
                    verb_due = false;
                }
                Role::Rights => reading.rights = true,
                Role::Noun if joined && !is_plural(word) => reading.unknown_verb = true,
                Role::Noun if !verb_due && is_formed_as_verb(word) => reading.unknown_verb = true,
                Role::Joins => verb_due = true,
                Role::Shows | Role::Qualifies | Role::Noun => {}
            }
            joined = role == Role::Joins;
            previous = word;
        }
        Some(reading)
    }

    /// Whether all verbs so far are reading ones, and there is one.
    fn only_reads(&self) -> bool {
        self.read.is_some() && self.write.is_none()
    }

    fn writes(&mut self, intent: Intent) {
        let weighs_more = matches!(intent, Intent::Delete | Intent::Admin);
        if self.write.is_none() || weighs_more {
            self.write = Some(intent);
        }
    }

    fn judgement(&self) -> Judgement {
        const VERB: &str = "a verb in the name";
        const ANY: Judgement = Judgement::unsure("a verb in the name that may stand for anything");
        match (self.write, self.read) {
            (Some(Intent::Unknown), _) => ANY,
            (Some(_), _) if self.rights => {
                Judgement::l2(Intent::Admin, "a verb and who may do what")
            }
            (Some(intent), _) => Judgement::l2(intent, VERB),
            (None, _) if self.unknown_verb => Judgement::unsure("a verb that is not known"),
            (None, Some(intent)) => Judgement::l2(intent, "only verbs that look, in the name"),
            (None, None) => {
                let (intent, why) = match self.spare {
                    Some(Intent::Unknown) => return ANY,
                    Some(intent) => (intent, "a word in the name that may be a verb"),
                    // `git_status`: no verb, and a noun that implies reading.
                    None if self.shows => (Intent::Read, "a noun that asks to be shown"),
                    None => return Judgement::unsure("no verb that is known, in the name"),
                };
                Judgement { confidence: 0.6, ..Judgement::l2(intent, why) }
            }
        }
    }
}

/// Whether the words up to a qualification or another verb end in what one asks about a process:
/// in English the last noun of a phrase says what it is, those before only of what.
fn asks_of(rest: &Words<'_>) -> bool {
    let in_phrase = |word: &&str| {
        !matches!(role(word), Role::Reads(_) | Role::Writes(_) | Role::Qualifies | Role::Joins)
    };
    rest.clone().take_while(in_phrase).last().is_some_and(is_aspect)
}

/// Whether a reading verb follows and ends the name, apart from a qualification
/// (`comment_get_by_id`).
fn is_read(mut rest: Words<'_>) -> bool {
    let reads = |word| matches!(role(word), Role::Reads(_));
    let ends = |word: Option<&str>| word.is_none_or(|word| role(word) == Role::Qualifies);
    rest.next().is_some_and(reads) && ends(rest.next())
}

/// Consumes the second word of `pull request` and `merge request`, which are one noun.
fn is_requests(word: &str, rest: &mut Words<'_>) -> bool {
    let one_of = |word: &str, all: [&str; 2]| all.iter().any(|w| word.eq_ignore_ascii_case(w));
    let second = rest.clone().next().is_some_and(|next| one_of(next, ["request", "requests"]));
    one_of(word, ["pull", "merge"]) && second && rest.next().is_some()
}

/// Whether `word` changes the meaning of the verb before it: `check_out` does not read.
pub(super) fn turns(word: &str) -> bool {
    ["in", "ins", "out", "outs", "off"].iter().any(|particle| word.eq_ignore_ascii_case(particle))
}

/// Whether a verb that changes something is joined to the first one of a name:
/// `getOrCreate`, `listAndDelete`, `readModifyWrite`; but not `getCostAndUsage`.
pub(super) fn joins_change(name: &str) -> bool {
    let mut pairs = words(name).zip(words(name).skip(1));
    pairs.any(|(first, second)| match (role(first), role(second)) {
        (Role::Joins, verb) => verb.writes().is_some() || matches!(verb, Role::Either(_)),
        // One such verb may describe a noun (`getMergeConflicts`), but not two.
        (first, second) => first.writes().is_some() && second.writes().is_some(),
    })
}

/// Whether a name that starts with a reading verb may be trusted to only read: all of it is
/// legible, and no change is joined to it.
pub(super) fn has_one_purpose(name: &str) -> bool {
    name.is_ascii() && !joins_change(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(name: &str) -> Intent {
        by_name(name).intent
    }

    #[test]
    fn a_name_reads_only_where_every_verb_does() {
        for name in [
            "get_issue",
            "listFiles",
            "read-text-file",
            "github.get_pull_request_files",
            "label_list",
            "pull_request_read",
            "comment_get_by_id",
            "list_workflow_runs",
            "get_permission_set",
            "list_users_and_groups",
            "git_status",
            "get_deleted_items",
            "CodeAnalyzerListRules",
            "get_deploy_status",
            "listDeployLogs",
            "hosting_get_deploy_status_by_id",
            "check_sync_state",
            "get_template",
            "list_spotify_tracks",
            "get_batch_size",
            "get_connection_resets",
        ] {
            assert_eq!(intent(name), Intent::Read, "{name}");
        }
        for (name, expected) in [
            ("get_and_delete", Intent::Delete),
            ("list_then_purge_queues", Intent::Delete),
            ("fetch_nuke", Intent::Delete),
            ("peek_dequeue", Intent::Update),
            ("mark_all_notifications_read", Intent::Update),
            ("comment_on_issue", Intent::Create),
            ("cache_search_results", Intent::Update),
            ("check_out_book", Intent::Update),
            ("readOrCreate", Intent::Create),
            ("search_and_replace", Intent::Update),
            ("test_and_set", Intent::Execute),
            ("set_permissions", Intent::Admin),
            ("getthing_DELETE2", Intent::Delete),
            ("run_query", Intent::Execute),
            ("conversations_mark", Intent::Update),
            ("sort_list", Intent::Update),
            ("trigger_fetch", Intent::Execute),
            ("get_deploy", Intent::Execute),
            ("deploy_status", Intent::Execute),
            ("deploy_get_status", Intent::Execute),
            ("get_and_deploy_status", Intent::Execute),
            ("get_deploy_status_and_rollback", Intent::Update),
            ("get_restore_contents", Intent::Update),
            ("list_purge_logs", Intent::Delete),
            ("get_reset_state", Intent::Update),
            ("get_unapprove", Intent::Update),
            ("list_reprocess_jobs", Intent::Execute),
            ("get_harddelete", Intent::Delete),
        ] {
            assert_eq!(intent(name), expected, "{name}");
        }
    }

    #[test]
    fn unknown_operations_are_no_read() {
        for name in [
            "frobnicate",
            "",
            "42",
            "get_and_frob",
            "gеt_file",
            "notes",
            "download_file",
            "peek_pop",
            "read_consume",
            "getEject",
            "list_annihilate_items",
            "get_vaporize",
        ] {
            assert_eq!(by_name(name).intent, Intent::Unknown, "{name}");
        }
        assert_eq!(intent(&"get_".repeat(MAX_WORDS + 1)), Intent::Unknown);
    }

    #[test]
    fn the_resource_is_what_is_acted_on() {
        for (server, tool, expected) in [
            ("github", "list_pull_requests", "pull_request"),
            ("github", "pull_request_read", "pull_request"),
            ("jira", "jira_get_issue_watchers", "issue_watcher"),
            ("x", "add_issues_to_sprint", "issue"),
            ("x", "comment_on_issue", "issue"),
            ("fs", "write_file", "file"),
            ("x", "search", "search"),
        ] {
            let call = ToolCall {
                server: server.into(),
                tool: tool.to_owned(),
                args: crate::json::Object::default(),
                annotations: None,
                listing: crate::action::Listing::Unknown,
            };
            assert_eq!(resource(&call), expected, "{tool}");
        }
    }

    #[test]
    fn searching_is_a_query() {
        assert_eq!(intent("search_emails"), Intent::Query);
        assert_eq!(intent("notion-query-data-source"), Intent::Query);
    }

    proptest::proptest! {
        #[test]
        fn a_writing_verb_anywhere_is_never_a_read(
            before in "[a-z]{0,8}_?",
            verb in "delete|remove|create|update|write|send|execute|revoke|replace",
            after in "(_[a-z]{1,8}){0,2}",
        ) {
            let name = format!("{before}_{verb}{after}");
            proptest::prop_assert!(!intent(&name).is_read(), "{}", name);
        }
    }
}
