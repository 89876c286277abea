//! Judges requests with several readings, see [`crate::intent::readings`].
//!
//! Each reading is judged as a request of its own; the strictest verdict counts.

use std::sync::Arc;

use super::Policy;
use super::compile::DEFAULT_RULE;
use crate::action::{Action, HttpRequest, Target};
use crate::intent::readings::{self, Others};
use crate::intent::{self, Intent};
use crate::verdict::{Decision, Reason, Stage, Verdict};

impl Policy {
    /// The verdict of rules, default and hours on `action`, in its strictest reading. Pure: the
    /// clock is `action.at`. Does not apply rate limits.
    #[must_use]
    pub fn judge(&self, action: &Action, intent: Intent) -> Verdict {
        match others(action) {
            Others::None => self.judge_reading(action, intent),
            others => self.strictest(action, intent, others).1,
        }
    }

    /// The reading whose verdict counts, unless it is `action` itself.
    pub(super) fn strictest_reading(&self, action: &Action, intent: Intent) -> Option<Action> {
        match others(action) {
            Others::None => None,
            others => self.strictest(action, intent, others).0,
        }
    }

    fn strictest(
        &self,
        action: &Action,
        intent: Intent,
        others: Others,
    ) -> (Option<Action>, Verdict) {
        let whole = self.judge_reading(action, intent);
        let (requests, is_batch) = match others {
            Others::None => return (None, whole),
            Others::Unclear(what) => {
                let reason = Reason::Malformed(what.to_string());
                let refusal = Verdict::refusal(Stage::Validation, "gate", reason);
                return (None, Verdict { intent, ..refusal });
            }
            Others::Separated(other) => (vec![*other], false),
            Others::Batch(members) => (members, true),
        };
        let count = requests.len();
        let judged = requests.into_iter().enumerate().map(|(index, request)| {
            let reading = as_action(action, request);
            let verdict = self.judge(&reading, intent::of(&reading));
            let verdict = if is_batch { with_position(verdict, index, count) } else { verdict };
            (Some(reading), verdict)
        });
        // A batch is not judged as a whole, unless a rule is about it.
        let speaks_of_whole = !is_batch || &*whole.rule != DEFAULT_RULE;
        let whole = speaks_of_whole.then_some((None, whole));
        let strictest = whole.into_iter().chain(judged).reduce(|strictest, next| {
            if strictness(&next.1) > strictness(&strictest.1) { next } else { strictest }
        });
        strictest.unwrap_or_else(|| {
            let reason = Reason::Malformed("an empty batch".to_owned());
            (None, Verdict::refusal(Stage::Validation, "gate", reason))
        })
    }
}

/// `request` as an action of its own. Does not copy the rest of `action`, which may be a thousand
/// times as large.
fn as_action(action: &Action, request: HttpRequest) -> Action {
    let Action { at, ref agent, ref session, transport, target: _ } = *action;
    let (agent, session) = (agent.clone(), Arc::clone(session));
    Action { at, agent, session, transport, target: Target::Http(request) }
}

fn others(action: &Action) -> Others {
    match &action.target {
        Target::Http(request) => readings::others(request),
        _ => Others::None,
    }
}

fn strictness(verdict: &Verdict) -> (bool, Decision) {
    (!verdict.lets_through(), verdict.decision)
}

/// The verdict, with the number of the request in its reason.
fn with_position(verdict: Verdict, index: usize, count: usize) -> Verdict {
    if verdict.decision == Decision::Allow {
        return verdict;
    }
    let words = format!("request {} of {count} in the batch: {}", index + 1, verdict.reason);
    Verdict { reason: Reason::Written(Arc::from(words)), ..verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load_str;
    use crate::request::{UnknownKeys, parse_text};

    fn judge(policy: &str, request: &str) -> Verdict {
        let policy = Policy::from_file(load_str("t", policy).unwrap());
        let action = parse_text(request.as_bytes(), UnknownKeys::Refuse).unwrap();
        policy.judge(&action, intent::of(&action))
    }

    const READ: &str = "name: p\nrules:\n  - {intent: [read, query], effect: allow}\n";

    fn graph(members: &str) -> String {
        format!(
            r#"{{"provider":"microsoft","method":"POST","path":"/v1.0/$batch","body":{{"requests":[{members}]}}}}"#
        )
    }

    #[test]
    fn strictest_member_decides_a_batch() {
        let reads = graph(
            r#"{"id":"1","method":"GET","url":"/me"},{"id":"2","method":"GET","url":"/users"}"#,
        );
        assert_eq!(judge(READ, &reads).decision, Decision::Allow);
        let mixed = graph(
            r#"{"id":"1","method":"GET","url":"/me"},{"id":"2","method":"DELETE","url":"/users/x"}"#,
        );
        let verdict = judge(READ, &mixed);
        assert_eq!(verdict.decision, Decision::Deny);
        assert!(verdict.reason.to_string().starts_with("request 2 of 2"), "{}", verdict.reason);
        assert_eq!(judge(READ, &graph("")).stage, Stage::Validation);
    }

    #[test]
    fn rules_apply_to_members_of_a_batch() {
        let policy = "name: p\nrules:\n  - {resource: '/v1.0/me/**', effect: allow}\n";
        let mine = graph(r#"{"id":"1","method":"GET","url":"/me/messages"}"#);
        assert_eq!(judge(policy, &mine).decision, Decision::Allow);
        let others = graph(r#"{"id":"1","method":"GET","url":"/users/x/messages"}"#);
        assert_eq!(judge(policy, &others).decision, Decision::Deny);
        let none = "name: p\nrules:\n  - {resource: '/v1.0/$batch', effect: deny}\ndefault_effect: allow\n";
        assert_eq!(judge(none, &mine).decision, Decision::Deny);
    }

    #[test]
    fn escaped_slash_is_judged_in_both_readings() {
        let policy = "name: p\nrules:\n  - {resource: '/repos/a/b/contents/secret/**', effect: deny}\ndefault_effect: allow\n";
        let request =
            |path: &str| format!(r#"{{"provider":"github","method":"GET","path":"{path}"}}"#);
        let denied = judge(policy, &request("/repos/a/b/contents/secret%2Fkey"));
        assert_eq!(denied.decision, Decision::Deny);
        let allowed = judge(policy, &request("/repos/a/b/contents/public%2Fkey"));
        assert_eq!(allowed.decision, Decision::Allow);
    }

    /// As Microsoft's SDKs send the path of an item.
    #[test]
    fn escapes_in_paths_of_items_make_no_difference() {
        let policy = "name: p\nrules:\n  - {resource: '/v1.0/drives/d/items/root:/private/**', effect: deny}\ndefault_effect: allow\n";
        for (folder, decision) in [("private", Decision::Deny), ("public", Decision::Allow)] {
            for (slash, end) in
                [("%2F", ""), ("%2F", ":"), ("%2F", ":%2Fcontent"), ("/", ":/content")]
            {
                let path = format!("/v1.0/drives/d/items/root:{slash}{folder}{slash}a{end}");
                let item = format!(r#"{{"provider":"microsoft","method":"GET","path":"{path}"}}"#);
                assert_eq!(judge(policy, &item).decision, decision, "{path}");
            }
        }
    }
}
