//! Multi round-trip requests (2026-07-28): a server responds with `inputRequests`, and the
//! client sends its request again, with `inputResponses`. An input response has no id. What
//! ties it to its input request: the client's request is otherwise the same, it returns the
//! server's `requestState`, and the key in both objects is the same. A task's input requests
//! are answered by `tasks/update`. Pure.

use std::collections::VecDeque;

use super::envelope::{self, Content, Fault, Message};
use super::era::META;
use super::open_requests::{Fingerprint, MAX_OPEN, fingerprint};
use super::server_requests::ServerRequest;
use crate::json::{self, Json, Object};

/// Member with the client's input responses, by key.
const INPUT_RESPONSES: &str = "inputResponses";

/// Member with the server's state, which the client returns with its input responses.
const REQUEST_STATE: &str = "requestState";

/// Members in which a request that is sent again may differ from the first.
const ROUND_MEMBERS: [&str; 3] = [META, INPUT_RESPONSES, REQUEST_STATE];

/// Members that lenient readers must not find under another spelling.
const EXACT_KEYS: [&str; 2] = [INPUT_RESPONSES, REQUEST_STATE];

/// Method that responds to a task's input requests, and its member with the task's id.
const TASKS_UPDATE: &str = "tasks/update";
const TASK_ID: &str = "taskId";

/// A client's request, seen as one round of a multi round-trip request.
#[derive(Debug)]
pub struct RoundTrip {
    /// What is the same in every round.
    request: Fingerprint,
    /// The input requests that its `inputResponses` are for.
    pub responses: Vec<Fingerprint>,
}

impl RoundTrip {
    /// The round that a client's message is; `None` for a response.
    ///
    /// # Errors
    /// [`Fault`] if it is ambiguous which input requests it responds to.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, Fault> {
        let (request, mut members) = match &message.content {
            Content::Call(call) => {
                let mut others = call.others.clone();
                let members = EXACT_KEYS.map(|key| others.take(key));
                let name = Json::String(call.name.clone()).to_string();
                let parts = ["tools/call", &name, &call.arguments.canonical(), &others.canonical()];
                (fingerprint(parts.join("\n").as_bytes()), members)
            }
            Content::Other(other) => {
                let mut params = other.params()?;
                for (key, _) in params.iter() {
                    envelope::exact(&EXACT_KEYS, key, "`params`")?;
                }
                let [_, responses, state] = ROUND_MEMBERS.map(|key| params.take(key));
                match named_task(&params).filter(|_| other.method == TASKS_UPDATE) {
                    // A task has one state, which the server keeps.
                    Some(task) => (of_task(task), [responses, None]),
                    None => {
                        let parts = [other.method.as_str(), &params.canonical()];
                        (fingerprint(parts.join("\n").as_bytes()), [responses, state])
                    }
                }
            }
            Content::Response { .. } => return Ok(None),
        };
        let [responses, state] = members.each_mut().map(Option::take);
        let responses = envelope::object_or_none(responses, INPUT_RESPONSES)?;
        let key = |(key, _): (&str, &Json)| input_request(&request, state.as_ref(), key);
        let responses = responses.iter().map(key).collect();
        Ok(Some(Self { request, responses }))
    }
}

/// The fingerprints of the input requests in a server's message. `round`: the request that it
/// responds to, if it is a response.
#[must_use]
pub fn input_requests(
    message: &[u8],
    requests: &[ServerRequest],
    round: Option<&RoundTrip>,
) -> Vec<Fingerprint> {
    if requests.iter().all(|request| request.name.is_none()) {
        return Vec::new();
    }
    let Ok(Json::Object(mut message)) = json::parse(message) else { return Vec::new() };
    let body = message.take("result").or_else(|| message.take("params"));
    let Some(Json::Object(body)) = body else { return Vec::new() };
    let is_round = body.get("resultType").and_then(Json::as_str) == Some("input_required");
    let (subject, state) = match (task_of(&body).filter(|_| !is_round), round) {
        (Some(task), _) => (of_task(task), None),
        (None, Some(round)) => (round.request, body.get(REQUEST_STATE)),
        (None, None) => return Vec::new(),
    };
    let names = requests.iter().filter_map(|request| request.name.as_deref());
    names.map(|name| input_request(&subject, state, name)).collect()
}

/// The id of the task that parameters are about.
fn named_task(members: &Object) -> Option<&str> {
    members.get(TASK_ID).and_then(Json::as_str)
}

/// The id of the task that a result or notification is about.
fn task_of(members: &Object) -> Option<&str> {
    named_task(members).or_else(|| named_task(members.get("task")?.as_object()?))
}

/// Identifies the state of a task, as [`RoundTrip::request`] identifies a request.
fn of_task(id: &str) -> Fingerprint {
    fingerprint(format!("{TASKS_UPDATE}\n{}", Json::String(id.to_owned())).as_bytes())
}

/// The fingerprint of one input request.
fn input_request(request: &Fingerprint, state: Option<&Json>, name: &str) -> Fingerprint {
    let state = state.unwrap_or(&Json::Null).canonical();
    let name = Json::String(name.to_owned()).to_string();
    fingerprint(&[state.as_bytes(), b"\n", request, name.as_bytes()].concat())
}

/// Input requests that the client was sent and has not responded to. If several responses
/// contain the same one, each may be responded to once. Beyond [`MAX_OPEN`] the oldest is
/// forgotten, so that its response is refused.
#[derive(Debug, Default)]
pub struct OpenInputRequests(VecDeque<Fingerprint>);

impl OpenInputRequests {
    /// Adds input requests: the client is sent them, or its responses were not passed on.
    pub fn open(&mut self, requests: impl IntoIterator<Item = Fingerprint>) {
        self.0.extend(requests);
        let excess = self.0.len().saturating_sub(MAX_OPEN);
        self.0.drain(..excess);
    }

    /// Removes all of these and returns `true`; removes none if any is not open.
    pub fn take(&mut self, responses: &[Fingerprint]) -> bool {
        for (count, response) in responses.iter().enumerate() {
            let Some(at) = self.0.iter().position(|open| open == response) else {
                self.open(responses.iter().take(count).copied());
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
    use crate::mcp::era::Batches;
    use crate::mcp::server_requests;

    fn round_trip(message: &str) -> Result<Option<RoundTrip>, Fault> {
        match read(message.as_bytes(), Batches::Refused, Framing::Lines).unwrap() {
            Frame::Single(message) => RoundTrip::of(&message),
            other => panic!("{other:?}"),
        }
    }

    /// What `answer`, an answer of the server's, asks after `request`.
    fn fingerprints(request: &str, answer: &str) -> Vec<Fingerprint> {
        let message = server_requests::read(answer.as_bytes(), Framing::Lines).unwrap().unwrap();
        input_requests(answer.as_bytes(), &message.requests, round_trip(request).unwrap().as_ref())
    }

    const CALL: &str =
        r#"{"id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1,"b":[]}}}"#;
    const ASKS: &str = r#"{"id":1,"result":{"resultType":"input_required","requestState":"s",
        "inputRequests":{"q":{"method":"roots/list"}}}}"#;

    #[test]
    fn input_responses_must_match_request_state_and_name() {
        let fingerprints = fingerprints(CALL, ASKS);
        assert_eq!(fingerprints.len(), 1);
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
            let answers = round_trip(&again).unwrap().unwrap().responses;
            assert_eq!(answers == fingerprints, fits, "{params}");
        }
        let prompt = r#"{"id":2,"method":"prompts/get","params":{"name":"x","arguments":{"a":1,"b":[]},"requestState":"s","inputResponses":{"q":1}}}"#;
        assert_ne!(round_trip(prompt).unwrap().unwrap().responses, fingerprints);
    }

    #[test]
    fn input_requests_of_tasks_are_answered_by_task_id() {
        let update = |params: &str| {
            let update = format!(r#"{{"id":2,"method":"tasks/update","params":{{{params}}}}}"#);
            round_trip(&update).unwrap().unwrap().responses
        };
        let get = r#"{"id":1,"method":"tasks/get","params":{"taskId":"t"}}"#;
        let of_task = fingerprints(
            get,
            r#"{"id":1,"result":{"taskId":"t","status":"input_required","inputRequests":{"q":{"method":"x"}}}}"#,
        );
        for same in [
            r#"{"method":"notifications/tasks","params":{"taskId":"t","inputRequests":{"q":{"method":"x"}}}}"#,
            r#"{"id":1,"result":{"task":{"taskId":"t","inputRequests":{"q":{"method":"x"}}}}}"#,
        ] {
            assert_eq!(fingerprints(get, same), of_task, "{same}");
        }
        assert_eq!(update(r#""taskId":"t","inputResponses":{"q":{}}"#), of_task);
        assert_ne!(update(r#""taskId":"u","inputResponses":{"q":{}}"#), of_task);
        // The server reads the first of these.
        let two = r#""taskId":"u","task":{"taskId":"t"},"inputResponses":{"q":{}}"#;
        assert_ne!(update(two), of_task);
        // A call is no update, whatever task it names.
        let call = r#"{"id":2,"method":"tools/call","params":{"name":"x","taskId":"t","inputResponses":{"q":{}}}}"#;
        assert_ne!(round_trip(call).unwrap().unwrap().responses, of_task);
    }

    #[test]
    fn ambiguous_input_responses_are_faults() {
        let prompt = |params: &str| {
            round_trip(&format!(r#"{{"id":2,"method":"prompts/get","params":{params}}}"#))
        };
        for params in ["null", "{}", r#"{"inputResponses":null}"#, r#"{"inputResponses":{}}"#] {
            assert!(prompt(params).unwrap().unwrap().responses.is_empty(), "{params}");
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
    fn each_input_request_gets_one_response_and_all_are_accepted_or_none() {
        let [one, two, other] = ["1", "2", "3"].map(|text| fingerprint(text.as_bytes()));
        let mut open = OpenInputRequests::default();
        assert!(open.take(&[]) && !open.take(&[one]));
        open.open([one, two, one]);
        assert!(!open.take(&[one, two, other]));
        assert!(open.take(&[one, two]) && open.take(&[one]) && !open.take(&[one]));
        open.open([two]);
        open.open((0..MAX_OPEN).map(|_| one));
        assert!(!open.take(&[two]) && open.take(&[one]), "the oldest is forgotten");
    }
}
