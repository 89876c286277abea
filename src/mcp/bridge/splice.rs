//! Inserts members into JSON objects without changing any other byte. Pure.

use std::ops::Range;

use bytes::Bytes;

use crate::json::{JsonError, Reader};
use crate::mcp::era::META;

/// The members of an object, each with the range of its value in the whole text.
type Members = Vec<(String, Range<usize>)>;

/// The raw value at `path`; `None` if it cannot be parsed unambiguously.
#[must_use]
pub fn raw<'t>(text: &'t [u8], path: &[&str]) -> Option<&'t [u8]> {
    text.get(range(text, path)?)
}

/// The range of the value at `path`; the whole text if `path` is empty.
fn range(text: &[u8], path: &[&str]) -> Option<Range<usize>> {
    path.iter().try_fold(0..text.len(), |here, key| find(&members(text, &here)?, key))
}

/// `None` if the key is missing or duplicate.
fn find(members: &Members, key: &str) -> Option<Range<usize>> {
    let mut found = members.iter().filter(|(name, _)| name == key);
    let (first, more) = (found.next()?, found.next());
    more.is_none().then(|| first.1.clone())
}

fn members(text: &[u8], object: &Range<usize>) -> Option<Members> {
    let text = text.get(object.clone())?;
    let mut members = Vec::new();
    let mut reader = Reader::new(text).ok()?;
    if !reader.at_object().ok()? {
        return None;
    }
    let read = reader.object(|reader, key| {
        let raw = reader.raw()?;
        // Both slices are of one buffer, so their distance is the offset.
        let start = (raw.as_ptr() as usize).saturating_sub(text.as_ptr() as usize) + object.start;
        members.push((key.to_owned(), start..start + raw.len()));
        Ok::<_, JsonError>(())
    });
    read.and_then(|()| reader.finish()).is_ok().then_some(members)
}

/// Inserts members at the start of the request's `params._meta`. `None` if one of `keys` exists
/// already, or the message cannot be parsed unambiguously.
pub(super) fn with_meta(message: &[u8], keys: &[&str], added: &str) -> Option<Bytes> {
    let whole = 0..message.len();
    let Some(params) = find(&members(message, &whole)?, "params") else {
        return put_first(message, &whole, &format!("\"params\":{{\"{META}\":{{{added}}}}}"));
    };
    if message.get(params.clone())? == b"null" {
        return Some(replaced(message, &params, &format!("{{\"{META}\":{{{added}}}}}")));
    }
    let Some(meta) = find(&members(message, &params)?, META) else {
        return put_first(message, &params, &format!("\"{META}\":{{{added}}}"));
    };
    if message.get(meta.clone())? == b"null" {
        return Some(replaced(message, &meta, &format!("{{{added}}}")));
    }
    let there = members(message, &meta)?;
    let contradicts = there.iter().any(|(key, _)| keys.contains(&key.as_str()));
    if contradicts { None } else { put_first(message, &meta, added) }
}

/// Adds members that the response's `result` lacks. `None` if it has no readable result.
pub(super) fn with_result(message: &[u8], added: &[(&str, &str)]) -> Option<Bytes> {
    let result = range(message, &["result"])?;
    let there = members(message, &result)?;
    let lacks = |key: &str| there.iter().all(|(name, _)| name != key);
    let added = added.iter().filter(|(key, _)| lacks(key));
    let added: Vec<_> = added.map(|(key, value)| format!("\"{key}\":{value}")).collect();
    if added.is_empty() {
        return Some(Bytes::copy_from_slice(message));
    }
    put_first(message, &result, &added.join(","))
}

fn put_first(text: &[u8], object: &Range<usize>, added: &str) -> Option<Bytes> {
    let comma = if members(text, object)?.is_empty() { "" } else { "," };
    let brace = memchr::memchr(b'{', text.get(object.clone())?)? + object.start;
    Some(replaced(text, &(brace..brace + 1), &format!("{{{added}{comma}")))
}

fn replaced(text: &[u8], range: &Range<usize>, with: &str) -> Bytes {
    let before = text.get(..range.start).unwrap_or_default();
    let after = text.get(range.end..).unwrap_or_default();
    [before, with.as_bytes(), after].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn meta_is_put_in_whatever_there_is() {
        for (message, wanted) in [
            (r#"{"id":1,"method":"x"}"#, r#"{"params":{"_meta":{"k":1}},"id":1,"method":"x"}"#),
            (r#"{"id":1,"params":null}"#, r#"{"id":1,"params":{"_meta":{"k":1}}}"#),
            (r#" {"params": { } }"#, r#" {"params": {"_meta":{"k":1} } }"#),
            (r#"{"params":{"a":1.0}}"#, r#"{"params":{"_meta":{"k":1},"a":1.0}}"#),
            (r#"{"params":{"_meta":null}}"#, r#"{"params":{"_meta":{"k":1}}}"#),
            (r#"{"params":{"_meta":{}}}"#, r#"{"params":{"_meta":{"k":1}}}"#),
            (
                r#"{"params":{"_meta":{ "p":"\u0041"}}}"#,
                r#"{"params":{"_meta":{"k":1, "p":"\u0041"}}}"#,
            ),
        ] {
            let spliced = with_meta(message.as_bytes(), &["k"], r#""k":1"#).unwrap();
            assert_eq!(spliced, wanted);
        }
        for message in [
            r#"{"params":{"_meta":{"k":2}}}"#,
            r#"{"params":{"_meta":{"\u006b":2}}}"#,
            r#"{"params":[]}"#,
            r#"{"params":{"_meta":7}}"#,
            "[]",
            "{",
        ] {
            assert_eq!(with_meta(message.as_bytes(), &["k"], r#""k":1"#), None, "{message}");
        }
    }

    #[test]
    fn results_get_what_they_lack() {
        let added = [("resultType", "\"complete\""), ("ttlMs", "0")];
        let spliced = |message: &str| with_result(message.as_bytes(), &added);
        assert_eq!(
            spliced(r#"{"id":1,"result":{"ttlMs":5,"x":1e0}}"#).unwrap(),
            r#"{"id":1,"result":{"resultType":"complete","ttlMs":5,"x":1e0}}"#
        );
        assert_eq!(
            spliced(r#"{"result":{}}"#).unwrap(),
            r#"{"result":{"resultType":"complete","ttlMs":0}}"#
        );
        assert_eq!(spliced(r#"{"id":1,"error":{}}"#), None);
        assert_eq!(spliced(r#"{"result":{},"result":{}}"#), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~\u{e9}\u{2028}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z_]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// What was judged is in what is sent, byte for byte and in the same place.
        #[test]
        fn the_arguments_that_were_judged_are_the_bytes_that_go(
            name in "[a-z\u{e9}\"]{1,8}", arguments in json(), meta in prop::option::of(json()), pad in "[ ]{0,3}",
        ) {
            let name = Value::from(name).to_string();
            let meta = meta.filter(Value::is_object).map(|meta| format!(",{pad}\"_meta\":{pad}{meta}"));
            let message = format!(
                "{{{pad}\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":{name},\"arguments\":{pad}{arguments}{}}}{pad}}}",
                meta.unwrap_or_default());
            let spliced = with_meta(message.as_bytes(), &["new/key"], "\"new/key\":1").unwrap();
            for path in [&["params", "name"][..], &["params", "arguments"], &["id"], &["method"]] {
                prop_assert_eq!(raw(&spliced, path), raw(message.as_bytes(), path));
            }
            prop_assert_eq!(raw(&spliced, &["params", "_meta", "new/key"]), Some(&b"1"[..]));
            // Without what was put in, it is the very message.
            let mut expected: Value = serde_json::from_str(&message).unwrap();
            expected["params"]["_meta"]["new/key"] = 1.into();
            prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), expected);
        }

        #[test]
        fn nothing_panics_whatever_comes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = with_meta(&bytes, &["k"], "\"k\":1");
            let _ = with_result(&bytes, &[("k", "1")]);
        }
    }
}
