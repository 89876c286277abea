//! Requests of a server to its client, parsed as strictly as what a client sends.
//!
//! There are three kinds: requests of their own, `inputRequests` in a result or a task
//! (2026-07-28), and `elicitations` in an error (2025-11-25, error -32042). They are parsed only if
//! a rule refers to such a method. What some client could read as another message than was judged
//! is a fault, as in [`super::envelope`]. Pure.

use super::envelope::{self, Content, Fault, Frame, Framing, Message, exact};
use super::era::Batches;
use crate::fold::fold;
use crate::json::{Json, JsonError, Object, PROTOTYPE, Reader};

/// Maximum number of requests within one message.
pub const MAX_REQUESTS: usize = 100;

/// Member of a result with requests to the client (2026-07-28, "Multi Round-Trip Requests").
const INPUT: &str = "inputRequests";

/// Member with a task, which may need input, too.
const TASK: &str = "task";

/// Member of an error's data with requests to the client (2025-11-25,
/// `URLElicitationRequiredError`).
const ELICITATIONS: &str = "elicitations";

/// The method equivalent to [`ELICITATIONS`].
const ELICIT: &str = "elicitation/create";

/// Members of a result that determine what it asks for.
const ASKING_KEYS: [&str; 3] = [INPUT, TASK, PROTOTYPE];

/// The same members in a task, and in an error's data.
const TASK_KEYS: [&str; 2] = [INPUT, PROTOTYPE];
const ERROR_KEYS: [&str; 2] = ["data", PROTOTYPE];
const DATA_KEYS: [&str; 2] = [ELICITATIONS, PROTOTYPE];

/// Members of a request within a response.
const REQUEST_KEYS: [&str; 3] = ["method", "params", PROTOTYPE];

/// Members without which nobody reads an object as a message.
const MESSAGE_KEYS: [&str; 4] = ["method", "result", "error", PROTOTYPE];

/// A message from a server.
#[derive(Debug)]
pub struct ServerMessage<'m> {
    /// The parsed message.
    pub message: Message<'m>,
    /// Requests within it: `inputRequests` or `elicitations`.
    pub requests: Vec<ServerRequest>,
}

/// A request of a server to its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRequest {
    /// The method, as written.
    pub method: String,
    /// The parameters; empty if there are none.
    pub params: Object,
    /// Its key in `inputRequests`, which the response has in `inputResponses`; `None` if it is not
    /// one of these.
    pub name: Option<String>,
}

/// Parses one message (not a batch). `None` for what no client reads as a message: a log line,
/// a page of HTML, an object without the members of a message.
///
/// # Errors
/// [`Fault`] for everything that two clients might read differently.
pub fn read(message: &[u8], framing: Framing) -> Result<Option<ServerMessage<'_>>, Fault> {
    let is_whole = !framing.breaks(message.trim_ascii_end());
    if memchr::memchr(b'{', message).is_none() || is_whole && is_no_message(message) {
        return Ok(None);
    }
    let read = match envelope::read(message, Batches::Refused, framing) {
        Ok(Frame::Single(read)) => read,
        Ok(Frame::Blank | Frame::Batch(_)) => return Ok(None),
        Err(unreadable) => return Err(unreadable.fault),
    };
    let requests = requests_in(message, &read.content)?;
    Ok(Some(ServerMessage { message: read, requests }))
}

/// Whether it is an object without any member that makes it a message.
fn is_no_message(message: &[u8]) -> bool {
    let mut has_key = false;
    let read = Reader::new(message).and_then(|mut reader| {
        reader.object(|reader, key| {
            let folded = fold(key);
            has_key |= MESSAGE_KEYS.iter().any(|known| fold(known) == folded);
            reader.raw().map(drop)
        })?;
        reader.finish()
    });
    read.is_ok() && !has_key
}

fn requests_in(message: &[u8], content: &Content<'_>) -> Result<Vec<ServerRequest>, Fault> {
    let mut requests = Vec::new();
    let mut reader = Reader::new(message)?;
    // There are no duplicate or lookalike members here: the envelope was parsed.
    reader.object(|reader, key| match (key, content) {
        ("result", Content::Response { .. }) | ("params", Content::Other(_)) => {
            of_result(reader, &mut requests)
        }
        ("error", Content::Response { .. }) => of_error(reader, &mut requests),
        _ => skip(reader),
    })?;
    match requests.len() > MAX_REQUESTS {
        true => Err(Fault::request(format!("it asks for more than {MAX_REQUESTS} things at once"))),
        false => Ok(requests),
    }
}

fn of_result(reader: &mut Reader<'_>, requests: &mut Vec<ServerRequest>) -> Result<(), Fault> {
    members(reader, &ASKING_KEYS, "the result", |reader, key| match key {
        INPUT => of_input(reader, requests),
        _ => members(reader, &TASK_KEYS, "the task", |reader, _| of_input(reader, requests)),
    })
}

fn of_error(reader: &mut Reader<'_>, requests: &mut Vec<ServerRequest>) -> Result<(), Fault> {
    members(reader, &ERROR_KEYS, "the error", |reader, _| {
        members(reader, &DATA_KEYS, "the error's data", |reader, _| match reader.value()? {
            Json::Array(elicitations) => {
                for elicitation in elicitations {
                    let params = object(elicitation, "an element of `elicitations`")?;
                    requests.push(ServerRequest { method: ELICIT.to_owned(), params, name: None });
                }
                Ok(())
            }
            Json::Null => Ok(()),
            _ => Err(Fault::request("`elicitations` is not an array")),
        })
    })
}

/// Parses `{"name": {"method": …, "params": …}, …}`.
fn of_input(reader: &mut Reader<'_>, requests: &mut Vec<ServerRequest>) -> Result<(), Fault> {
    let input = match reader.value()? {
        Json::Null => return Ok(()),
        input => object(input, "`inputRequests`")?,
    };
    for (name, request) in input.iter() {
        if name == PROTOTYPE {
            return Err(Fault::request(format!("`{PROTOTYPE}` in `inputRequests`")));
        }
        let mut request = object(request.clone(), "an input request")?;
        for (key, _) in request.iter() {
            exact(&REQUEST_KEYS, key, "an input request")?;
        }
        let method = match request.take("method") {
            Some(Json::String(method)) => envelope::known_method(method)?,
            _ => return Err(Fault::request("an input request without a `method`")),
        };
        let params = envelope::object_or_none(request.take("params"), "params")?;
        requests.push(ServerRequest { method, params, name: Some(name.to_owned()) });
    }
    Ok(())
}

/// Visits the members in `known` of the object that starts here, each at most once. Anything
/// but an object has none.
fn members<'j>(
    reader: &mut Reader<'j>,
    known: &'static [&'static str],
    place: &str,
    mut visit: impl FnMut(&mut Reader<'j>, &'static str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if !reader.at_object()? {
        return skip(reader);
    }
    let mut seen = Vec::new();
    reader.object(|reader, key| match exact(known, key, place)? {
        Some(key) if seen.contains(&key) => Err(envelope::twice(key, place)),
        Some(key) => {
            seen.push(key);
            visit(reader, key)
        }
        None => skip(reader),
    })
}

fn skip(reader: &mut Reader<'_>) -> Result<(), Fault> {
    reader.raw().map(drop).map_err(|error: JsonError| error.into())
}

fn object(value: Json, what: &str) -> Result<Object, Fault> {
    match value {
        Json::Object(object) => Ok(object),
        _ => Err(Fault::request(format!("{what} is not an object"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// What is asked, each as its method and its parameters; `None` for no message.
    fn methods(message: &str) -> Result<Option<Vec<String>>, String> {
        let message = read(message.as_bytes(), Framing::Lines).map_err(|fault| fault.what)?;
        Ok(message.map(|read| {
            let own = match read.message.content {
                Content::Other(other) => Some((other.params().unwrap(), other.method)),
                _ => None,
            };
            let within = read.requests.into_iter().map(|request| (request.params, request.method));
            let all = own.into_iter().chain(within);
            all.map(|(params, method)| format!("{method} {}", Json::Object(params))).collect()
        }))
    }

    #[test]
    fn server_requests_come_in_three_forms() {
        let form = r#"{"method":"elicitation/create","params":{"message":"m"}}"#;
        for (message, expected) in [
            (r#"{"id":1,"method":"roots/list"}"#.to_owned(), vec!["roots/list {}"]),
            (r#"{"id":1,"result":{"content":[],"inputRequests":null}}"#.to_owned(), vec![]),
            (
                format!(r#"{{"id":1,"result":{{"inputRequests":{{"a":{form},"b":{{"method":"roots/list"}}}}}}}}"#),
                vec![r#"elicitation/create {"message":"m"}"#, "roots/list {}"],
            ),
            (
                format!(r#"{{"id":1,"result":{{"task":{{"taskId":"t","inputRequests":{{"a":{form}}}}}}}}}"#),
                vec![r#"elicitation/create {"message":"m"}"#],
            ),
            (
                r#"{"method":"notifications/tasks","params":{"inputRequests":{"a":{"method":"roots/list"}}}}"#.to_owned(),
                vec![
                    r#"notifications/tasks {"inputRequests":{"a":{"method":"roots/list"}}}"#,
                    "roots/list {}",
                ],
            ),
            (
                r#"{"id":1,"error":{"code":-32042,"data":{"elicitations":[{"mode":"url","url":"u"}]}}}"#.to_owned(),
                vec![r#"elicitation/create {"mode":"url","url":"u"}"#],
            ),
            (r#"{"id":1,"error":{"code":-32042,"data":"elicitations"}}"#.to_owned(), vec![]),
            // Whatever a tool's own data are called.
            (r#"{"id":1,"result":{"structuredContent":{"inputRequests":1}}}"#.to_owned(), vec![]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(methods(&message), Ok(Some(expected)), "{message}");
        }
    }

    #[test]
    fn ambiguous_messages_are_faults() {
        for message in [
            r#"{"id":1,"Method":"roots/list"}"#,
            r#"{"id":1,"method":"ping","method":"roots/list"}"#,
            r#"{"id":1,"method":"Roots/List"}"#,
            r#"{"id":1,"method":["roots/list"]}"#,
            r#"{"id":1,"id":2,"method":"roots/list"}"#,
            r#"{"id":1.0,"method":"roots/list"}"#,
            r#"{"id":1,"method":"roots/list","result":{}}"#,
            r#"{"id":1,"method":"roots/list","params":[]}"#,
            r#"{"id":1,"method":"roots/list","params":{"a":1,"A":2}}"#,
            r#"{"__proto__":{"method":"roots/list"},"id":1}"#,
            r#"{"id":1,"result":{},"result":{}}"#,
            r#"{"id":1,"result":{"inputrequests":{}}}"#,
            r#"{"id":1,"result":{"inputRequests":{},"inputRequests":{}}}"#,
            r#"{"id":1,"result":{"inputRequests":[]}}"#,
            r#"{"id":1,"result":{"inputRequests":{"a":[]}}}"#,
            r#"{"id":1,"result":{"inputRequests":{"a":{}}}}"#,
            r#"{"id":1,"result":{"inputRequests":{"a":{"Method":"roots/list"}}}}"#,
            r#"{"id":1,"result":{"inputRequests":{"a":{"method":"Roots/list"}}}}"#,
            r#"{"id":1,"result":{"inputRequests":{"a":{"method":"x","params":1}}}}"#,
            r#"{"id":1,"result":{"inputRequests":{"__proto__":{"method":"x"}}}}"#,
            r#"{"id":1,"result":{"__proto__":{"inputRequests":{}}}}"#,
            r#"{"id":1,"result":{"task":{"InputRequests":{}}}}"#,
            r#"{"id":1,"error":{"data":{"Elicitations":[]}}}"#,
            r#"{"id":1,"error":{"data":{"elicitations":{}}}}"#,
            r#"{"id":1,"error":{"data":{"elicitations":[1]}}}"#,
            r#"[{"id":1,"method":"roots/list"}]"#,
            r#"x {"id":1,"method":"roots/list"}"#,
            "{\"id\":1,\"x\":\r{\"id\":1,\"method\":\"roots/list\"}\r,\"result\":1}",
            r#"{"id":1,"result":"\ud800"}"#,
        ] {
            assert!(methods(message).is_err(), "{message}: {:?}", methods(message));
        }
        let many: serde_json::Map<_, _> =
            (0..=MAX_REQUESTS).map(|n| (n.to_string(), json!({"method": "x"}))).collect();
        let message = json!({"id": 1, "result": {"inputRequests": many}}).to_string();
        assert!(methods(&message).unwrap_err().contains("more than"));
    }

    #[test]
    fn data_that_no_client_parses_is_no_message() {
        for line in [
            "",
            "listening on stdio",
            "[1,",
            r#"{"level":"info","message":"started"}"#,
            r#"{"detail":"Method Not Allowed"}"#,
            "<html><body>502</body></html>",
        ] {
            assert_eq!(methods(line), Ok(None), "{line}");
        }
    }

    proptest! {
        /// Whatever lenient readers might find is found, or the message is a fault.
        #[test]
        fn no_lenient_client_sees_a_request_that_is_not_parsed(
            keys in proptest::collection::vec(
                prop_oneof![
                    Just("id"), Just("method"), Just("Method"), Just("method\\u0000"),
                    Just("\\u006dethod"), Just("params"), Just("result"), Just("jsonrpc"),
                ],
                1..6,
            ),
            values in proptest::collection::vec(
                prop_oneof![
                    Just("1"), Just("\"roots/list\""), Just("\"ROOTS/list\""), Just("null"),
                    Just("{\"inputRequests\":{\"a\":{\"method\":\"roots/list\"}}}"),
                    Just("{\"InputRequests\":{\"a\":{\"method\":\"roots/list\"}}}"),
                ],
                6,
            ),
        ) {
            let plain = |key: &str| key.replace("\\u006d", "m").replace("\\u0000", "").to_lowercase();
            let pairs = || keys.iter().zip(&values).map(|(key, value)| (plain(key), *value));
            let message = keys.iter().zip(&values).map(|(key, value)| format!("\"{key}\":{value}"));
            let message = format!("{{{}}}", message.collect::<Vec<_>>().join(","));
            // The most lenient reader: any spelling of a key, any of several.
            let holds = |name: &str, fits: &dyn Fn(&str) -> bool| {
                pairs().any(|(key, value)| key == name && fits(value))
            };
            let is_asking = |value: &str| value.contains("nputRequests");
            let asks = holds("method", &|value| value.eq_ignore_ascii_case("\"roots/list\""))
                || holds("result", &is_asking)
                || holds("method", &|value| value.starts_with('"')) && holds("params", &is_asking);
            let found = methods(&message);
            if asks && let Ok(found) = &found {
                let found = found.clone().unwrap_or_default();
                prop_assert!(found.iter().any(|one| one.starts_with("roots/list")), "{message}: {found:?}");
            }
        }
    }
}
