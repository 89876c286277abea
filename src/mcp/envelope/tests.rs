use super::*;
use proptest::prelude::*;

fn refused(line: &str) -> Unreadable {
    match read(line.as_bytes(), Batches::Refused, Framing::Lines) {
        Ok(frame) => panic!("passed: {line}: {frame:?}"),
        Err(unreadable) => unreadable,
    }
}

fn call(line: &str) -> Call {
    match read(line.as_bytes(), Batches::Refused, Framing::Lines) {
        Ok(Frame::Single(Message { content: Content::Call(call), .. })) => call,
        other => panic!("no call: {line}: {other:?}"),
    }
}

fn passes(line: &str) {
    let frame = read(line.as_bytes(), Batches::Refused, Framing::Lines);
    assert!(matches!(frame, Ok(Frame::Single(_) | Frame::Blank)), "{line}: {frame:?}");
}

#[test]
fn a_call_is_read_whatever_the_order_of_its_members() {
    let first = call(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1.0},"_meta":{"progressToken":3}}}"#,
    );
    let second = call(
        " { \"params\" : {\"_meta\":{\"progressToken\":3},\"arguments\":{\"a\":1.0},\"name\":\"x\"},\"method\":\"tools\\/call\",\"id\":\"1\"}\r\n",
    );
    for call in [first, second] {
        assert_eq!(call.name, "x");
        assert_eq!(call.arguments.canonical(), r#"{"a":1.0}"#);
        assert!(call.meta.get("progressToken").is_some() && !call.task);
    }
    assert!(call(r#"{"id":1,"method":"tools/call","params":{"name":"x","task":{"ttl":1}}}"#).task);
    assert!(
        call(r#"{"id":1,"method":"tools/call","params":{"name":"x","arguments":null}}"#)
            .arguments
            .is_empty()
    );
}

#[test]
fn messages_other_than_calls_pass_in_any_form() {
    passes("");
    passes(" \t\r\n");
    passes(
        r#"{"jsonrpc":"2.0","id":18446744073709551616,"method":"vendor/Thing","params":{"Name":"x","n":123456789012345678901234567890.50,"":[]},"extra":{"deep":[{}]}}"#,
    );
    passes(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#);
    passes(r#"{"jsonrpc":"2.0","id":1,"method":"vendor/positional","params":[1,2]}"#);
    passes(
        r#"{"jsonrpc":"2.0","id":0,"result":{"content":{"type":"text","text":"x"},"a":1,"a":2}}"#,
    );
    passes(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#);
    passes(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"text\":\"a\u{2028}b\"}}",
    );
}

#[test]
fn disguises_duplicates_and_wrong_shapes_are_refused_with_their_id() {
    for line in [
        r#"{"id":7,"method":"ping","method":"tools/call","params":{"name":"x"}}"#,
        r#"{"id":7,"method":"ping","Method":"tools/call","params":{"name":"x"}}"#,
        r#"{"id":7,"method":"ping","method\u0000":"tools/call"}"#,
        r#"{"id":7,"method":"ping","method\u0000x":"tools/call"}"#,
        r#"{"id":7,"method":"ping","ｍethod":"tools/call"}"#,
        r#"{"id":7,"method":"ping"," method":"tools/call"}"#,
        r#"{"id":7,"method":"ping","me\u200bthod":"tools/call"}"#,
        r#"{"id":7,"method":"Tools/Call","params":{"name":"x"}}"#,
        r#"{"id":7,"method":"tools/call ","params":{"name":"x"}}"#,
        r#"{"id":7,"method":"tools/call\u0000","params":{"name":"x"}}"#,
        r#"{"id":7,"method":"tool\u017f/call","params":{"name":"x"}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","name":"y"}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","Name":"y"}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","name\u0000":"y"}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","Arguments":{}}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":1,"a":2}}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":[{"b":1,"\u0062":2}]}}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","arguments":[1]}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","arguments":"{}"}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","arguments":{"__proto__":{}}}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","__proto__":{}}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"x","_meta":[]}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":["x"]}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":""}}"#,
        r#"{"id":7,"method":"tools/call","params":{"arguments":{}}}"#,
        r#"{"id":7,"method":"tools/call","params":["x"]}"#,
        r#"{"id":7,"method":"tools/call","params":null}"#,
        r#"{"id":7,"method":"tools/call"}"#,
        r#"{"id":7,"method":"resources/read","params":["x"]}"#,
        r#"{"id":7,"method":"resources/read","params":{"uri":"a","Uri":"b"}}"#,
        r#"{"id":7,"method":["tools/call"],"params":{"name":"x"}}"#,
        r#"{"id":7,"method":"ping","params":{"a":"\ud800"}}"#,
        r#"{"id":7,"method":"tools/call","params":{"name":"\udc00"}}"#,
        r#"{"id":7,"method":"ping","result":{}}"#,
        r#"{"id":7}"#,
        r#"{"id":7,"x":1,"x":2,"method":"ping"}"#,
        "{\"id\":7,\"method\":\"ping\",\"params\":{\"a\":\r{\"id\":8,\"method\":\"tools/call\",\"params\":{\"name\":\"x\"}}\r}}",
    ] {
        let refusal = refused(line);
        assert_eq!(refusal.ids, [Some(b"7".to_vec())], "{line}: {refusal:?}");
    }
}

#[test]
fn an_id_in_doubt_is_answered_with_null() {
    for line in [
        r#"{"id":null,"method":"ping"}"#,
        r#"{"id":1.0,"method":"ping"}"#,
        r#"{"id":1e0,"method":"ping"}"#,
        r#"{"id":true,"method":"ping"}"#,
        r#"{"id":{},"method":"ping"}"#,
        r#"{"id":[1],"method":"ping"}"#,
        r#"{"id":1,"id":2,"method":"ping"}"#,
        r#"{"id":1,"ID":2,"method":"ping"}"#,
        r#"{"method":"tools/call","params":{"name":"x"}}"#,
        r#"{"id":1,"method":"ping"}{"id":2,"method":"tools/call","params":{"name":"x"}}"#,
        r#"{"id":1,"method":"ping"} x"#,
        r#"{"id":1,"method":"ping""#,
        "\u{feff}{\"id\":1,\"method\":\"ping\"}",
        "nonsense",
        "7",
        "\"tools/call\"",
    ] {
        assert_eq!(refused(line).ids, [None], "{line}");
    }
    let response = refused(r#"{"id":1,"result":"\ud800"}"#);
    assert_eq!((response.ids, response.answered), (vec![None], Some(b"1".to_vec())));
    assert!(
        read(
            b"{\"id\":1,\"method\":\"ping\",\"params\":{\"a\":\"\xff\"}}",
            Batches::Refused,
            Framing::Lines
        )
        .is_err()
    );
}

#[test]
fn depth_bombs_are_refused_wherever_they_hide() {
    for depth in [json::MAX_DEPTH + 1, 1_000, 100_000] {
        let bomb = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for line in [
            format!(r#"{{"id":7,"method":"ping","params":{{"a":{bomb}}}}}"#),
            format!(r#"{{"id":7,"params":{{"a":{bomb}}},"method":"ping"}}"#),
            format!(
                r#"{{"id":7,"method":"tools/call","params":{{"name":"x","arguments":{{"a":{bomb}}}}}}}"#
            ),
            format!(r#"{{"id":7,"method":"ping","extra":{bomb}}}"#),
        ] {
            assert_eq!(refused(&line).ids, [Some(b"7".to_vec())]);
        }
        assert!(read(bomb.as_bytes(), Batches::Allowed, Framing::Lines).is_err());
    }
}

#[test]
fn a_batch_is_read_where_the_revision_has_them_and_answered_where_not() {
    let batch = r#"[{"id":1,"method":"ping"},{"id":"2","method":"tools/call","params":{"name":"x"}},{"method":"notifications/x"},{"id":3,"result":{}}]"#;
    assert!(
        matches!(read(batch.as_bytes(), Batches::Allowed, Framing::Lines), Ok(Frame::Batch(messages)) if messages.len() == 4)
    );
    assert_eq!(refused(batch).ids, [Some(b"1".to_vec()), Some(b"\"2\"".to_vec())]);
    let odd = r#"[{"id":1,"method":"ping"},{"id":2,"method":"ping","Method":"x"}]"#;
    let refusal = read(odd.as_bytes(), Batches::Allowed, Framing::Lines).unwrap_err();
    assert_eq!(refusal.ids, [Some(b"1".to_vec()), Some(b"2".to_vec())]);
    for nonsense in ["[]", "[1]", "[[]]", "[{}", r#"[{"method":"x"}] []"#] {
        assert!(read(nonsense.as_bytes(), Batches::Allowed, Framing::Lines).is_err(), "{nonsense}");
    }
}

#[test]
fn json_parser_agrees_with_the_public_test_suite() {
    let Some(rows) = crate::mcp::tests::truth("corpora/jsontestsuite.jsonl") else { return };
    let mut seen = 0;
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let text = crate::mcp::tests::base64(row["b64"].as_str().unwrap());
        // A line of a stream cannot hold the line ends that a file can.
        if text.contains(&b'\n') || text.contains(&b'\r') {
            continue;
        }
        let expected = row["expect"].as_str().unwrap();
        let strict = json::parse(&text);
        let mut line = br#"{"id":1,"method":"ping","params":{"a":"#.to_vec();
        line.extend_from_slice(&text);
        line.extend_from_slice(b"}}");
        let passed = read(&line, Batches::Refused, Framing::Lines).is_ok();
        match expected {
            // The suite accepts duplicate keys; the gate exists to refuse them.
            "accept" => assert!(
                passed || matches!(strict, Err(JsonError::DuplicateKey { .. })),
                "{}",
                row["name"]
            ),
            "reject" => assert!(strict.is_err(), "{}", row["name"]),
            _ => assert_eq!(passed, strict.is_ok(), "{}", row["name"]),
        }
        seen += 1;
    }
    assert!(seen > 100, "only {seen} rows");
}

/// How a lenient parser finds a member: which keys count as `wanted`.
type Sameness = fn(&str, &str) -> bool;

fn go(key: &str, wanted: &str) -> bool {
    // encoding/json, foldName: simple folding, where ſ is s and K is k.
    let simple = |text: &str| text.replace('ſ', "s").replace('\u{212a}', "k").to_lowercase();
    simple(key) == simple(wanted)
}

fn c_string(key: &str, wanted: &str) -> bool {
    key.split('\0').next() == Some(wanted)
}

fn trimmed(key: &str, wanted: &str) -> bool {
    key.trim() == wanted
}

fn same(key: &str, wanted: &str) -> bool {
    key == wanted
}

const READERS: [Sameness; 4] = [same, go, c_string, trimmed];

fn pick<'m>(
    members: &'m [(String, serde_json::Value)],
    wanted: &str,
    sameness: Sameness,
    last_wins: bool,
) -> Option<&'m serde_json::Value> {
    let mut found = members.iter().filter(|(key, _)| sameness(key, wanted)).map(|(_, value)| value);
    if last_wins { found.next_back() } else { found.next() }
}

fn spelling(word: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just(word.to_owned()),
        1 => Just(word.to_uppercase()),
        1 => Just(format!("{word}\0")),
        1 => Just(format!(" {word}")),
        1 => Just(word.replace('s', "ſ")),
        1 => Just(format!("{word}x")),
    ]
}

fn method() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![spelling("tools/call"), Just("ping".to_owned())].prop_map(Into::into)
}

/// An object's text, written by hand so that a key can stand in it twice.
fn text(members: &[(String, serde_json::Value)]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key.as_str())))
        .collect();
    format!("{{{}}}", members.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What passes as one call, or as none, is the same to every reader.
    #[test]
    fn no_lenient_reader_sees_another_call(
        envelope in proptest::collection::vec((spelling("method"), method()), 0..3),
        params in proptest::collection::vec(
            (spelling("name"), prop_oneof![Just("allowed"), Just("denied")].prop_map(Into::into)), 0..3),
        swap in any::<bool>(),
    ) {
        let mut members = envelope.clone();
        members.push(("id".to_owned(), 1.into()));
        let mut outer = text(&members);
        let inner = format!(r#""params":{}"#, text(&params));
        outer = if swap {
            format!("{{{inner},{}", &outer[1..])
        } else {
            format!("{},{inner}}}", &outer[..outer.len() - 1])
        };
        let Ok(Frame::Single(message)) = read(outer.as_bytes(), Batches::Refused, Framing::Lines) else { return Ok(()) };
        for reader in READERS {
            for last_wins in [true, false] {
                let method = pick(&envelope, "method", reader, last_wins).and_then(|m| m.as_str());
                let calls = method.is_some_and(|method| reader(method, "tools/call"));
                let name = pick(&params, "name", reader, last_wins).and_then(|name| name.as_str());
                match &message.content {
                    Content::Call(call) => {
                        prop_assert!(calls);
                        prop_assert_eq!(name, Some(call.name.as_str()));
                    }
                    _ => prop_assert!(!calls, "{}", outer),
                }
            }
        }
    }

    /// Whoever goes by the outline and whoever goes by the envelope see one message.
    #[test]
    fn an_outline_has_the_id_of_what_passes(
        key in "[a-z\u{e9}]{1,300}", escaped in any::<bool>(), first in any::<bool>(), pad in 0_usize..2_000,
        id in prop_oneof!["[1-9][0-9]{0,30}", "\"[a-z\u{e9}]{0,1500}\""],
    ) {
        let escape = |c: char| if escaped { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        let other = format!("\"{}\":1", key.chars().map(escape).collect::<String>());
        let id = format!("\"id\": {id}{}", " ".repeat(pad));
        let (one, two) = if first { (&id, &other) } else { (&other, &id) };
        let line = format!("{{{one},\"method\":\"x\",{two}}}");
        if let Ok(Frame::Single(message)) = read(line.as_bytes(), Batches::Refused, Framing::Lines) {
            prop_assert_eq!(outline(line.as_bytes()).id, message.id.map(<[u8]>::to_vec));
        }
    }

    #[test]
    fn nothing_makes_it_panic_and_every_refusal_names_somebody(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(refusal) = read(&line, Batches::Allowed, Framing::Lines) {
            prop_assert!(!refusal.ids.is_empty());
        }
    }

    #[test]
    fn near_json_does_not_either(line in "[\\[{]?([\\[{}\\]:,\"\\\\ ]|\"id\"|\"method\"|\"params\"|\"tools/call\"|1|null|:|\\{\"name\":\"x\"\\}){0,30}") {
        let _ = read(line.as_bytes(), Batches::Allowed, Framing::Lines);
        let _ = read(line.as_bytes(), Batches::Refused, Framing::Lines);
    }
}
