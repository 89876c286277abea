//! Rows that `audit export` writes, as requests to decide again. The log holds no hints of
//! tools, so each is decided as where the server gives none, and of arguments what was
//! not left out as secret or as too long.

use std::io::{self, BufRead, Read};

use super::jsonl;
use crate::action::{Action, Agent, Malformed, Target, Transport};
use crate::json::{Json, Object};
use crate::request::{self, RequestError, UnknownKeys};
use crate::terminal;

/// First columns of a CSV export.
const CSV: &[u8] = b"id,time,session,";

/// Whether a line of a trace is a row of the audit log.
pub(super) fn is_row(line: &Object) -> bool {
    line.get("request").is_none() && line.get("transport").is_some() && line.get("stage").is_some()
}

/// Reconstructs the action from a row.
///
/// # Errors
/// If the row does not describe a request.
pub(super) fn action(row: &Object) -> Result<Action, RequestError> {
    let text = |key: &str| row.get(key).and_then(Json::as_str).unwrap_or_default();
    let either = |one: &str, other: &str| match text(one) {
        "" => text(other).to_owned(),
        given => given.to_owned(),
    };
    let (server, subject) = (either("provider", "server"), either("resource", "tool"));
    let common = ["time", "agent", "session"].map(|key| (key, json(text(key))));
    if subject.is_empty() && matches!(text("stage"), "validation" | "authentication") {
        // It was refused as ambiguous, and is again.
        let what = text("reason");
        let what = what.strip_prefix("malformed: ").unwrap_or(what);
        let flawed = match text("stage") {
            "authentication" => Malformed::unidentified(&server, what),
            _ => Malformed::ambiguous(&server, text("method"), what),
        };
        return Ok(Action {
            at: text("time").parse().map_err(|_| RequestError::Missing("time"))?,
            agent: Agent::named(text("agent")),
            session: text("session").into(),
            transport: Transport::Stdio,
            target: Target::Malformed(flawed),
        });
    }
    let args = match row.get("args") {
        Some(Json::String(args)) => crate::json::parse(args.as_bytes()).unwrap_or(Json::Null),
        args => args.cloned().unwrap_or(Json::Null),
    };
    let own = match (text("transport"), text("method")) {
        ("rest", method) => {
            let mut own = vec![
                ("provider", json(&server)),
                ("method", json(method)),
                ("path", json(&subject)),
            ];
            own.extend(parts(args));
            own
        }
        (_, "tools/call") => {
            vec![("server", json(&server)), ("tool", json(&subject)), ("args", args)]
        }
        (_, method) => {
            vec![("server", json(&server)), ("method", json(method)), ("args", args)]
        }
    };
    let members = common.into_iter().chain(own).map(|(key, value)| (key.to_owned(), value));
    let request = Object::from_members(members.collect()).ok_or(RequestError::NotAnObject)?;
    request::parse(&Json::Object(request), UnknownKeys::Ignore)
}

fn json(text: &str) -> Json {
    Json::String(text.to_owned())
}

/// The parts of a REST request, or a body on its own.
fn parts(args: Json) -> Vec<(&'static str, Json)> {
    const NAMES: [&str; 6] = ["host", "headers", "query", "form", "body", "raw"];
    let Json::Object(args) = args else { return Vec::new() };
    let known = |name: &str| NAMES.into_iter().find(|known| *known == name);
    if args.is_empty() || args.iter().any(|(name, _)| known(name).is_none()) {
        return vec![("body", Json::Object(args))];
    }
    let part = |(name, value): (&str, &Json)| match (known(name)?, value) {
        ("raw", value) => Some(("body", value.clone())),
        ("form", Json::Object(form)) => {
            let mut text = form_urlencoded::Serializer::new(String::new());
            for (name, value) in form.iter() {
                let values = match value {
                    Json::Array(values) => values.as_slice(),
                    one => std::slice::from_ref(one),
                };
                for value in values {
                    text.append_pair(name, value.as_str().unwrap_or_default());
                }
            }
            Some(("body", json(&text.finish())))
        }
        (name, value) => Some((name, value.clone())),
    };
    args.iter().filter_map(part).collect()
}

/// Converts a trace to JSON lines: the log's exports may be CSV or a JSON array.
///
/// # Errors
/// If it cannot be read.
pub(super) fn as_lines<'i>(mut trace: Box<dyn BufRead + 'i>) -> io::Result<Box<dyn BufRead + 'i>> {
    let start = trace.fill_buf()?;
    let (is_csv, is_array) = (start.starts_with(CSV), start.trim_ascii_start().starts_with(b"["));
    if is_csv {
        let columns = record(&mut trace)?.unwrap_or_default();
        return Ok(lines(move || {
            let Some(values) = record(&mut trace)? else { return Ok(None) };
            let row: serde_json::Map<String, serde_json::Value> =
                columns.iter().cloned().zip(values.into_iter().map(Into::into)).collect();
            let mut line = Vec::new();
            terminal::json_line(&mut line, &row)?;
            Ok(Some(line))
        }));
    }
    if is_array {
        return Ok(lines(move || {
            loop {
                let mut line = Vec::new();
                let most = jsonl::MAX_LINE as u64 + 1;
                if (&mut trace).take(most).read_until(b'\n', &mut line)? == 0 {
                    return Ok(None);
                }
                let row = line.trim_ascii();
                let row = row.strip_suffix(b",").unwrap_or(row);
                if !matches!(row, b"[" | b"]" | b"") {
                    return Ok(Some([row, b"\n"].concat()));
                }
            }
        }));
    }
    Ok(trace)
}

fn lines<'i, F>(next: F) -> Box<dyn BufRead + 'i>
where
    F: FnMut() -> io::Result<Option<Vec<u8>>> + 'i,
{
    Box::new(io::BufReader::new(Lines { next, left: io::Cursor::default() }))
}

/// Lines that are generated on demand.
struct Lines<F> {
    next: F,
    left: io::Cursor<Vec<u8>>,
}

impl<F: FnMut() -> io::Result<Option<Vec<u8>>>> Read for Lines<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.left.read(into)? {
            0 if !into.is_empty() => match (self.next)()? {
                Some(line) => {
                    self.left = io::Cursor::new(line);
                    self.left.read(into)
                }
                None => Ok(0),
            },
            read => Ok(read),
        }
    }
}

/// The fields of the next CSV record; `None` at the end.
fn record(trace: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let mut text = Vec::new();
    // A record continues on the next line if a quoted field does.
    loop {
        let most = jsonl::MAX_LINE.saturating_sub(text.len()) as u64;
        if trace.take(most).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        if text.iter().filter(|byte| **byte == b'"').count() % 2 == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text);
    Ok((!text.is_empty()).then(|| fields(text.trim_end_matches(['\r', '\n']))))
}

/// The fields of a record written by `audit export`, without the prefix that protects from
/// formula injection.
fn fields(record: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = record.chars().peekable();
    while let Some(here) = rest.next() {
        match here {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                push(&mut fields, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => push(&mut fields, other),
        }
    }
    let is_formula =
        |rest: &str| rest.starts_with(|first: char| "=+-@".contains(first) || first.is_control());
    let plain = |field: String| match field.strip_prefix('\'').filter(|rest| is_formula(rest)) {
        Some(rest) => rest.to_owned(),
        None => field,
    };
    fields.into_iter().map(plain).collect()
}

fn push(fields: &mut [String], character: char) {
    if let Some(field) = fields.last_mut() {
        field.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(row: &str) -> String {
        let row = crate::json::parse(row.as_bytes()).unwrap();
        let action = action(row.as_object().unwrap()).unwrap();
        let payload = action.payload().map(|payload| payload.canonical()).unwrap_or_default();
        let target = &action.target;
        format!("{} {} {payload}", target.server_or_provider(), target.method())
    }

    #[test]
    fn recorded_row_replays_the_same_request() {
        let row = |own: &str| {
            format!(
                r#"{{"time":"2026-11-22T09:00:00Z","session":"s","agent":"a","stage":"policy",{own}}}"#
            )
        };
        for (own, expected) in [
            (
                r#""transport":"stdio","server":"git","method":"tools/call","tool":"push","args":{"b":1}"#,
                r#"git tools/call {"b":1}"#,
            ),
            (
                r#""transport":"http","server":"x","method":"resources/read","tool":"f","args":"{\"uri\":\"f\"}""#,
                r#"x resources/read {"uri":"f"}"#,
            ),
            (
                r#""transport":"rest","provider":"github","method":"POST","resource":"/a","args":{"title":"x"}"#,
                r#"github POST {"title":"x"}"#,
            ),
            (
                r#""transport":"rest","server":"slack","method":"POST","tool":"/api/x","args":{"form":{"a":["1","2"]},"query":{"q":"&"}}"#,
                r#"slack POST {"form":{"a":["1","2"]},"query":{"q":"&"}}"#,
            ),
        ] {
            assert_eq!(canonical(&row(own)), expected, "{own}");
        }
    }

    #[test]
    fn an_array_is_read_row_by_row() {
        for (array, rows) in [
            ("[\n{\"a\":1},\n{\"a\":2}\n]\n", "{\"a\":1}\n{\"a\":2}\n"),
            ("[\n]\n", ""),
            ("{\"a\":1}\n", "{\"a\":1}\n"),
        ] {
            let mut lines = String::new();
            as_lines(Box::new(array.as_bytes())).unwrap().read_to_string(&mut lines).unwrap();
            assert_eq!(lines, rows);
        }
    }

    #[test]
    fn csv_is_read_as_it_is_written() {
        let row = "id,time,session,args\r\n1,'-x,\"a\nb\",\"{\"\"a\"\":1}\"\r\n2,,'x,\r\n";
        let mut lines = String::new();
        as_lines(Box::new(row.as_bytes())).unwrap().read_to_string(&mut lines).unwrap();
        let expected = "{\"args\":\"{\\\"a\\\":1}\",\"id\":\"1\",\"session\":\"a\\nb\",\"time\":\"-x\"}\n\
                        {\"args\":\"\",\"id\":\"2\",\"session\":\"'x\",\"time\":\"\"}\n";
        let values = |text: &str| -> Vec<serde_json::Value> {
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        assert_eq!(values(&lines), values(expected));
    }
}
