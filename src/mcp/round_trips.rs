//! Multi round-trip requests (2026-07-28): a server answers a request by asking for
//! something (`inputRequests`), and the client sends the request again with what was asked
//! for (`inputResponses`). Nothing but this ties an answer to its question: the request is
//! the same, the server's `requestState` comes back with it, and both have one name. Within
//! a task the answers come by `tasks/update`. Pure.

use std::collections::VecDeque;

use super::envelope::{self, Content, Fault, Message};
use super::era::META;
use super::open_requests::{Fingerprint, MAX_OPEN, fingerprint};
use super::server_requests::Asked;
use crate::json::{self, Json, Object};

/// What the client answers, by the names of the questions.
const ANSWERS: &str = "inputResponses";

/// What the server wants to have back with the answers.
const STATE: &str = "requestState";

/// Members by which a request that is sent again differs from the first.
const OF_A_ROUND: [&str; 3] = [META, ANSWERS, STATE];

/// Members of parameters that no reader may find where they are not.
const KEYS: [&str; 2] = [ANSWERS, STATE];

/// The method that answers what a task asks, and the member that names the task.
const UPDATE: &str = "tasks/update";
const TASK_ID: &str = "taskId";

/// A request of the client's, as one of several that are the same but for the answers.
#[derive(Debug)]
pub struct RoundTrip {
    /// What is the same in all of them.
    request: Fingerprint,
    /// The questions that it answers.
    pub answers: Vec<Fingerprint>,
}

impl RoundTrip {
    /// What a message of the client's is; `None` for the answer to a request.
    ///
    /// # Errors
    /// [`Fault`] where it cannot be told which questions it answers.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, Fault> {
        let (request, mut members) = match &message.content {
            Content::Call(call) => {
                let mut others = call.others.clone();
                let members = KEYS.map(|key| others.take(key));
                let name = Json::String(call.name.clone()).to_string();
                let parts = ["tools/call", &name, &call.arguments.canonical(), &others.canonical()];
                (fingerprint(parts.join("\n").as_bytes()), members)
            }
            Content::Other(other) => {
                let mut params = other.params()?;
                for (key, _) in params.iter() {
                    envelope::exact(&KEYS, key, "`params`")?;
                }
                let [_, answers, state] = OF_A_ROUND.map(|key| params.take(key));
                match named_task(&params).filter(|_| other.method == UPDATE) {
                    // A task has one state, which the server keeps.
                    Some(task) => (of_task(task), [answers, None]),
                    None => {
                        let parts = [other.method.as_str(), &params.canonical()];
                        (fingerprint(parts.join("\n").as_bytes()), [answers, state])
                    }
                }
            }
            Content::Response { .. } => return Ok(None),
        };
        let [answers, state] = members.each_mut().map(Option::take);
        let answers = envelope::object_or_none(answers, ANSWERS)?;
        let answers =
            answers.iter().map(|(name, _)| question(&request, state.as_ref(), name)).collect();
        Ok(Some(Self { request, answers }))
    }
}

/// What a message of the server's asks for, one fingerprint a question; `request` is the one that
/// it answers, where it answers one.
#[must_use]
pub fn questions(message: &[u8], asked: &[Asked], request: Option<&RoundTrip>) -> Vec<Fingerprint> {
    if asked.iter().all(|asked| asked.name.is_none()) {
        return Vec::new();
    }
    let Ok(Json::Object(mut message)) = json::parse(message) else { return Vec::new() };
    let body = message.take("result").or_else(|| message.take("params"));
    let Some(Json::Object(body)) = body else { return Vec::new() };
    let is_round = body.get("resultType").and_then(Json::as_str) == Some("input_required");
    let (subject, state) = match (task_of(&body).filter(|_| !is_round), request) {
        (Some(task), _) => (of_task(task), None),
        (None, Some(request)) => (request.request, body.get(STATE)),
        (None, None) => return Vec::new(),
    };
    let names = asked.iter().filter_map(|asked| asked.name.as_deref());
    names.map(|name| question(&subject, state, name)).collect()
}

/// The task that parameters name.
fn named_task(members: &Object) -> Option<&str> {
    members.get(TASK_ID).and_then(Json::as_str)
}

/// The task that a result or a notification is of.
fn task_of(members: &Object) -> Option<&str> {
    named_task(members).or_else(|| named_task(members.get("task")?.as_object()?))
}

fn of_task(id: &str) -> Fingerprint {
    fingerprint(format!("{UPDATE}\n{}", Json::String(id.to_owned())).as_bytes())
}

fn question(request: &Fingerprint, state: Option<&Json>, name: &str) -> Fingerprint {
    let state = state.unwrap_or(&Json::Null).canonical();
    let name = Json::String(name.to_owned()).to_string();
    fingerprint(&[state.as_bytes(), b"\n", request, name.as_bytes()].concat())
}

/// Questions that the client was given and has not answered. One that is asked by several
/// requests at once has as many answers; beyond [`MAX_OPEN`] the oldest is forgotten.
#[derive(Debug, Default)]
pub struct Questions(VecDeque<Fingerprint>);

impl Questions {
    /// The client is given these, or has not answered them after all.
    pub fn open(&mut self, questions: impl IntoIterator<Item = Fingerprint>) {
        self.0.extend(questions);
        let excess = self.0.len().saturating_sub(MAX_OPEN);
        self.0.drain(..excess);
    }

    /// Takes all of these, or none where one is not open.
    pub fn answer(&mut self, answers: &[Fingerprint]) -> bool {
        for (count, answer) in answers.iter().enumerate() {
            let Some(at) = self.0.iter().position(|open| open == answer) else {
                self.open(answers.iter().take(count).copied());
                return false;
            };
            self.0.remove(at);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::envelope::{Frame, Framing, read};
    use crate::mcp::server_requests;

    fn round_trip(message: &str) -> Result<Option<RoundTrip>, Fault> {
        match read(message.as_bytes(), false, Framing::Lines).unwrap() {
            Frame::Single(message) => RoundTrip::of(&message),
            other => panic!("{other:?}"),
        }
    }

    /// What `answer`, an answer of the server's, asks after `request`.
    fn asked(request: &str, answer: &str) -> Vec<Fingerprint> {
        let said = server_requests::read(answer.as_bytes(), Framing::Lines).unwrap().unwrap();
        questions(answer.as_bytes(), &said.asked, round_trip(request).unwrap().as_ref())
    }

    const CALL: &str =
        r#"{"id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1,"b":[]}}}"#;
    const ASKS: &str = r#"{"id":1,"result":{"resultType":"input_required","requestState":"s",
        "inputRequests":{"q":{"method":"roots/list"}}}}"#;

    #[test]
    fn an_answer_belongs_to_the_same_request_state_and_name() {
        let asked = asked(CALL, ASKS);
        assert_eq!(asked.len(), 1);
        for (params, fits) in [
            (
                r#""name":"x","arguments":{"a":1,"b":[]},"requestState":"s","inputResponses":{"q":1}"#,
                true,
            ),
            (
                r#""inputResponses":{"\u0071":1},"_meta":{"p":2},"requestState":"\u0073","arguments":{ "b":[],"a":1},"name":"x""#,
                true,
            ),
            (
                r#""name":"y","arguments":{"a":1,"b":[]},"requestState":"s","inputResponses":{"q":1}"#,
                false,
            ),
            (
                r#""name":"x","arguments":{"a":2,"b":[]},"requestState":"s","inputResponses":{"q":1}"#,
                false,
            ),
            (
                r#""name":"x","arguments":{"a":1,"b":[]},"other":1,"requestState":"s","inputResponses":{"q":1}"#,
                false,
            ),
            (
                r#""name":"x","arguments":{"a":1,"b":[]},"requestState":"t","inputResponses":{"q":1}"#,
                false,
            ),
            (r#""name":"x","arguments":{"a":1,"b":[]},"inputResponses":{"q":1}"#, false),
            (
                r#""name":"x","arguments":{"a":1,"b":[]},"requestState":"s","inputResponses":{"Q":1}"#,
                false,
            ),
        ] {
            let again = format!(r#"{{"id":2,"method":"tools/call","params":{{{params}}}}}"#);
            let answers = round_trip(&again).unwrap().unwrap().answers;
            assert_eq!(answers == asked, fits, "{params}");
        }
        let prompt = r#"{"id":2,"method":"prompts/get","params":{"name":"x","arguments":{"a":1,"b":[]},"requestState":"s","inputResponses":{"q":1}}}"#;
        assert_ne!(round_trip(prompt).unwrap().unwrap().answers, asked);
    }

    #[test]
    fn what_a_task_asks_is_answered_by_its_id() {
        let update = |params: &str| {
            let update = format!(r#"{{"id":2,"method":"tasks/update","params":{{{params}}}}}"#);
            round_trip(&update).unwrap().unwrap().answers
        };
        let get = r#"{"id":1,"method":"tasks/get","params":{"taskId":"t"}}"#;
        let of_task = asked(
            get,
            r#"{"id":1,"result":{"taskId":"t","status":"input_required","inputRequests":{"q":{"method":"x"}}}}"#,
        );
        for same in [
            r#"{"method":"notifications/tasks","params":{"taskId":"t","inputRequests":{"q":{"method":"x"}}}}"#,
            r#"{"id":1,"result":{"task":{"taskId":"t","inputRequests":{"q":{"method":"x"}}}}}"#,
        ] {
            assert_eq!(asked(get, same), of_task, "{same}");
        }
        assert_eq!(update(r#""taskId":"t","inputResponses":{"q":{}}"#), of_task);
        assert_ne!(update(r#""taskId":"u","inputResponses":{"q":{}}"#), of_task);
        // The server reads the first of these.
        let two = r#""taskId":"u","task":{"taskId":"t"},"inputResponses":{"q":{}}"#;
        assert_ne!(update(two), of_task);
        // A call is no update, whatever task it names.
        let call = r#"{"id":2,"method":"tools/call","params":{"name":"x","taskId":"t","inputResponses":{"q":{}}}}"#;
        assert_ne!(round_trip(call).unwrap().unwrap().answers, of_task);
    }

    #[test]
    fn who_answers_nothing_has_no_answers_and_what_is_in_doubt_is_a_fault() {
        let prompt = |params: &str| {
            round_trip(&format!(r#"{{"id":2,"method":"prompts/get","params":{params}}}"#))
        };
        for params in ["null", "{}", r#"{"inputResponses":null}"#, r#"{"inputResponses":{}}"#] {
            assert!(prompt(params).unwrap().unwrap().answers.is_empty(), "{params}");
        }
        for params in [
            r#"{"inputResponses":[]}"#,
            r#"{"inputResponses":"q"}"#,
            r#"{"InputResponses":{"q":1}}"#,
            r#"{"inputResponses\u0000":{"q":1}}"#,
            r#"{"inputResponses":{"q":1},"RequestState":"s"}"#,
        ] {
            assert!(prompt(params).is_err(), "{params}");
        }
        assert!(round_trip(r#"{"id":1,"result":{}}"#).unwrap().is_none());
    }

    #[test]
    fn each_question_has_one_answer_and_all_are_taken_or_none() {
        let [one, two, other] = ["1", "2", "3"].map(|text| fingerprint(text.as_bytes()));
        let mut open = Questions::default();
        assert!(open.answer(&[]) && !open.answer(&[one]));
        open.open([one, two, one]);
        assert!(!open.answer(&[one, two, other]));
        assert!(open.answer(&[one, two]) && open.answer(&[one]) && !open.answer(&[one]));
        open.open([two]);
        open.open((0..MAX_OPEN).map(|_| one));
        assert!(!open.answer(&[two]) && open.answer(&[one]), "the oldest is forgotten");
    }
}
