use proptest::prelude::*;

use super::*;

fn refused(text: &[u8]) -> JsonError {
    parse(text).expect_err("must be refused")
}

#[test]
fn numbers_keep_their_text() {
    for text in ["1", "1.0", "1e0", "-0", "123456789012345678901234567890", "0.10"] {
        assert_eq!(parse(text.as_bytes()).expect("a number").to_string(), text);
    }
}

#[test]
fn duplicate_keys_are_refused_at_any_depth_and_however_spelt() {
    for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"y":[{"k":1,"k":1}]}}]"#] {
        assert!(matches!(refused(text.as_bytes()), JsonError::DuplicateKey { .. }), "{text}");
    }
    let many: Vec<String> = (0..40).map(|n| format!("\"k{}\":0", n % 39)).collect();
    let text = format!("{{{}}}", many.join(","));
    assert!(matches!(refused(text.as_bytes()), JsonError::DuplicateKey { .. }));
}

#[test]
fn texts_that_parsers_disagree_on_are_refused() {
    for text in [
        &b"\xef\xbb\xbf{}"[..],
        b"\"\\ud800\"",
        b"\"\\udc00\\ud800\"",
        b"\"\xff\"",
        b"\"\xc0\x80\"",
        b"{} {}",
        b"01",
        b"+1",
        b".5",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[1,]",
        b"{'a':1}",
        b"\"\t\"",
        b"",
        b"//\n1",
    ] {
        refused(text);
    }
}

#[test]
fn depth_is_bounded_in_values_and_in_skipped_parts() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(refused(&nested(MAX_DEPTH + 1)), JsonError::TooDeep);
    for depth in [10_000, 100_000] {
        let text = nested(depth);
        let mut reader = Reader::new(&text).expect("UTF-8");
        assert_eq!(reader.raw().expect_err("too deep"), JsonError::TooDeep);
    }
}

#[test]
fn canonical_sorts_keys_and_nothing_else() {
    let value = parse(br#" { "b" : [ 1.0 , {"z":1,"a":"\u00e9\n"} ] , "a" : null } "#);
    let value = value.expect("JSON");
    assert_eq!(value.canonical(), r#"{"a":null,"b":[1.0,{"a":"é\n","z":1}]}"#);
    assert_eq!(value.to_string(), r#"{"b":[1.0,{"z":1,"a":"é\n"}],"a":null}"#);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".{0,3}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Parses what another library wrote, and writes it with the same meaning.
    #[test]
    fn reads_what_serde_json_writes(value in any_json()) {
        let ours = parse(value.to_string().as_bytes()).expect("valid JSON");
        let again: serde_json::Value = serde_json::from_str(&ours.to_string()).expect("JSON");
        prop_assert_eq!(again, value);
    }

    /// Escapes only what must be escaped.
    #[test]
    fn a_string_is_written_character_by_character(text in r#"[\x00-\x22\\aé😀]{0,24}"#) {
        let mut written = String::new();
        write_string(&mut written, &text);
        let escaped = |character: char| match character {
            '"' | '\\' => format!("\\{character}"),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\0'..=' ' if character != ' ' => format!("\\u{:04x}", u32::from(character)),
            other => other.to_string(),
        };
        let expected: String = text.chars().map(escaped).collect();
        prop_assert_eq!(&written, &format!("\"{expected}\""));
        prop_assert_eq!(serde_json::from_str::<String>(&written).expect("a string"), text);
    }

    /// Accepts nothing that another strict parser refuses.
    #[test]
    fn accepts_no_more_than_serde_json(text in r#"[\[\]{}",:0-9eE.+\-truefalsn\\ u]{0,24}"#) {
        if parse(text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&bytes);
    }
}

#[test]
fn parameters_that_are_repeated_show_all_their_values() {
    let pairs = [("b", "1"), ("a", "2"), ("b", ""), ("b", "3")];
    let object = Json::Object(Object::from_parameters(&pairs));
    assert_eq!(object.to_string(), r#"{"b":["1","","3"],"a":"2"}"#);
}
