use super::super::answer::{Message, single};
use super::*;
use proptest::prelude::*;

const READ: &str = r#"{"name":"look","annotations":{"readOnlyHint":true}}"#;
const WRITE: &str =
    r#"{"name":"look","annotations":{"readOnlyHint":false,"destructiveHint":true}}"#;

fn page(tools: &mut Tools, cursor: Option<&str>, list: &str, next: Option<&str>) {
    let next = next.map(|next| format!(",\"nextCursor\":{next}")).unwrap_or_default();
    let line = format!("{{\"id\":1,\"result\":{{\"tools\":[{list}]{next}}}}}");
    let Message::Response { answer: Answer::Result(shape), .. } = single(line.as_bytes()) else {
        panic!()
    };
    let generation = tools.generation();
    let cursor = cursor.map(|cursor| Key::new(cursor.as_bytes()));
    tools.page(cursor.as_ref(), generation, &shape);
}

fn initialized() -> Era {
    let mut era = Era::default();
    era.begin_handshake();
    era.end_handshake(Some("2025-11-25".to_owned()));
    era.initialized();
    era
}

fn id_of(line: &[u8]) -> Vec<u8> {
    super::super::scan::outline(line).id.unwrap()
}

#[test]
fn a_list_is_complete_when_its_last_page_came() {
    let mut tools = Tools::new(true);
    assert_eq!(tools.lookup("look"), Lookup::ListNeeded);
    page(&mut tools, None, READ, Some("\"2\""));
    assert!(matches!(tools.lookup("look"), Lookup::Known(Some(hints)) if hints.read_only));
    assert_eq!(tools.lookup("other"), Lookup::ListNeeded);
    page(&mut tools, Some("\"7\""), r#"{"name":"stray"}"#, None);
    assert_eq!(tools.lookup("other"), Lookup::ListNeeded, "a page out of sequence");
    page(&mut tools, Some("\"2\""), r#"{"name":"bare"}"#, None);
    assert_eq!(tools.lookup("other"), Lookup::Known(None));
    assert_eq!(tools.lookup("bare"), Lookup::Known(None));
}

#[test]
fn a_later_definition_tightens_and_never_loosens() {
    let mut tools = Tools::new(true);
    page(&mut tools, None, READ, None);
    tools.changed();
    assert_eq!(tools.lookup("look"), Lookup::ListNeeded);
    page(&mut tools, None, WRITE, None);
    assert!(tools.hints("look").is_some_and(|hints| hints.destructive && !hints.read_only));
    page(&mut tools, None, READ, None);
    assert!(tools.hints("look").is_some_and(|hints| hints.destructive));
    page(&mut tools, None, r#"{"name":"later"}"#, None);
    page(&mut tools, None, r#"{"name":"later","annotations":{"readOnlyHint":true}}"#, None);
    assert_eq!(tools.hints("later"), None);
}

#[test]
fn hints_seen_first_apply_to_all_conversations() {
    let run = FirstSeen::default();
    let [mut one, mut other] = [(); 2].map(|()| Tools::after(run.clone(), true));
    page(&mut one, None, WRITE, None);
    assert_eq!(other.lookup("look"), Lookup::ListNeeded, "it may offer other tools");
    page(&mut other, None, READ, None);
    assert!(other.hints("look").is_some_and(|hints| hints.destructive && !hints.read_only));
    let later = [r#"{"name":"later","annotations":{"readOnlyHint":true}}"#, r#"{"name":"later"}"#];
    page(&mut one, None, later[0], None);
    page(&mut other, None, later[1], None);
    assert_eq!(one.hints("later"), None, "what tightens holds for those under way");
}

#[test]
fn first_seen_tools_are_bounded() {
    let read_only = DeclaredHints { read_only: Some(true), ..DeclaredHints::default() };
    let run = FirstSeen::default();
    run.tighten(&"long".repeat(1_000), read_only);
    assert_eq!(run.hints(&"long".repeat(1_000)), DeclaredHints::default());
    for number in 0..=MAX_TOOLS {
        run.tighten(&number.to_string(), read_only);
    }
    assert_eq!(run.hints(&(MAX_TOOLS - 1).to_string()), read_only);
    assert_eq!(run.hints(&MAX_TOOLS.to_string()), DeclaredHints::default());
}

#[test]
fn listed_twice_the_strictest_holds_in_either_order() {
    for list in [format!("{READ},{WRITE}"), format!("{WRITE},{READ}")] {
        let mut tools = Tools::new(true);
        page(&mut tools, None, &list, None);
        assert!(tools.hints("look").is_some_and(|hints| hints.destructive));
    }
}

#[test]
fn hints_of_a_server_that_is_not_trusted_only_tighten() {
    let mut tools = Tools::new(false);
    page(&mut tools, None, READ, None);
    assert_eq!(tools.lookup("look"), Lookup::Known(None));
    page(&mut tools, None, WRITE, None);
    assert_eq!(tools.lookup("look"), Lookup::Known(Some(Hints::default())));
}

#[test]
fn the_gate_requests_page_by_page_and_consumes_only_its_own_responses() {
    let mut tools = Tools::new(true);
    assert_eq!(tools.request_list(&Era::default()), None);
    assert!(!tools.is_list_requested());
    let era = initialized();
    let first = tools.request_list(&era).unwrap();
    assert_eq!(tools.request_list(&era), None, "one at a time");
    let line = br#"{"id":0,"result":{"tools":[{"name":"a"}],"nextCursor":"c"}}"#;
    let Message::Response { answer, .. } = single(line) else { panic!() };
    assert_eq!(tools.consume(b"1", &answer, &era), None);
    let Some(ListProgress::NextPage(second)) = tools.consume(&id_of(&first), &answer, &era) else {
        panic!()
    };
    assert!(String::from_utf8(second.clone()).unwrap().contains(r#""params":{"cursor":"c"}"#));
    assert_ne!(id_of(&first), id_of(&second));
    let line = br#"{"id":0,"result":{"tools":[{"name":"b"}]}}"#;
    let Message::Response { answer, .. } = single(line) else { panic!() };
    assert_eq!(tools.consume(&id_of(&second), &answer, &era), Some(ListProgress::Ended));
    assert_eq!(tools.lookup("c"), Lookup::Known(None));
}

#[test]
fn a_list_that_does_not_come_is_the_worst_case_until_it_changes() {
    let mut tools = Tools::new(true);
    let line = tools.request_list(&initialized()).unwrap();
    tools.list_timed_out();
    assert_eq!(tools.lookup("a"), Lookup::Known(None));
    let late = single(
        br#"{"id":0,"result":{"tools":[{"name":"a","annotations":{"readOnlyHint":true}}]}}"#,
    );
    let Message::Response { answer, .. } = late else { panic!() };
    assert_eq!(tools.consume(&id_of(&line), &answer, &initialized()), Some(ListProgress::Ended));
    assert!(matches!(tools.lookup("a"), Lookup::Known(Some(_))));
    tools.changed();
    let line = tools.request_list(&initialized()).unwrap();
    let refused = Answer::Error(Some(b"-32601"));
    assert_eq!(tools.consume(&id_of(&line), &refused, &initialized()), Some(ListProgress::Ended));
    assert_eq!(tools.lookup("b"), Lookup::Known(None));
}

#[test]
fn an_endless_list_ends() {
    let mut tools = Tools::new(true);
    let mut line = tools.request_list(&initialized()).unwrap();
    let mut pages = 1;
    loop {
        let page = br#"{"id":0,"result":{"tools":[],"nextCursor":"again"}}"#;
        let Message::Response { answer, .. } = single(page) else { panic!() };
        match tools.consume(&id_of(&line), &answer, &initialized()) {
            Some(ListProgress::NextPage(next)) => (line, pages) = (next, pages + 1),
            settled => break assert_eq!(settled, Some(ListProgress::Ended)),
        }
    }
    assert_eq!(pages, MAX_PAGES);
    assert_eq!(tools.lookup("x"), Lookup::Known(None));
}

#[test]
fn names_are_known_with_their_arguments_and_by_their_like() {
    let mut tools = Tools::new(true);
    let list = r#"{"name":"push","inputSchema":{"properties":{"branch":{},"t":{},"T":{}}}},{"name":"Push2"}"#;
    page(&mut tools, None, list, None);
    assert_eq!(tools.listing("push").declared(), ["branch", "t", "T"]);
    assert_eq!(tools.listing("Push2"), Listing::Exact([].into()));
    for name in ["Push", "push ", "push\0", "pu\u{200b}sh"] {
        assert_eq!(tools.listing(name), Listing::Alike("push".into()), "{name}");
    }
    assert_eq!(tools.listing("push2"), Listing::Alike("Push2".into()));
    assert_eq!(tools.listing("pull"), Listing::Absent(None));
}

#[test]
fn a_tool_is_absent_only_where_the_whole_list_is_known() {
    let mut tools = Tools::new(true);
    let absent = |near: Option<&str>| Listing::Absent(near.map(Arc::from));
    assert_eq!(tools.listing("write_fil"), Listing::Unknown);
    page(&mut tools, None, r#"{"name":"write_file"}"#, Some("\"2\""));
    assert_eq!(tools.listing("write_fil"), Listing::Unknown, "one page of two");
    page(&mut tools, Some("\"2\""), r#"{"name":"read_file"}"#, None);
    assert_eq!(tools.listing("write_fil"), absent(Some("write_file")));
    assert_eq!(tools.listing("format"), absent(None));
    assert_eq!(tools.listing(&"write_file".repeat(100_000)), absent(None), "not compared");
    tools.changed();
    assert_eq!(tools.listing("write_fil"), Listing::Unknown, "until the new list has come");
    page(&mut tools, None, r#"{"name":"read_file"},{"name":"a","name":"b"}"#, None);
    assert_eq!(tools.listing("b"), Listing::Unknown, "an entry is unreadable");
}

fn hint() -> impl Strategy<Value = Option<bool>> {
    proptest::option::of(any::<bool>())
}

fn hints() -> impl Strategy<Value = DeclaredHints> {
    (hint(), hint(), hint(), hint()).prop_map(|(read_only, destructive, idempotent, open_world)| {
        DeclaredHints { read_only, destructive, idempotent, open_world }
    })
}

proptest! {
    #[test]
    fn the_strictest_of_two_is_no_looser_than_either(one in hints(), other in hints()) {
        let both = strictest(one, other);
        prop_assert_eq!(both, strictest(other, one));
        prop_assert_eq!(strictest(one, one), one);
        for single in [one.filled_in(), other.filled_in()] {
            let merged = both.filled_in();
            prop_assert!(single.read_only || !merged.read_only);
            prop_assert!(merged.destructive || !single.destructive);
            prop_assert!(single.idempotent || !merged.idempotent);
            prop_assert!(merged.open_world || !single.open_world);
        }
    }
}
