use super::*;
use crate::action::{Agent, Listing, Target, ToolCall, Transport};
use crate::json::Json;

fn action(args: &str) -> Action {
    let Ok(Json::Object(args)) = crate::json::parse(args.as_bytes()) else { panic!("args") };
    Action {
        at: "2026-11-22T10:00:00Z".parse().unwrap(),
        agent: Agent::default(),
        session: "s1".into(),
        transport: Transport::Stdio,
        target: Target::Tool(ToolCall {
            server: "github".into(),
            tool: "push_files".to_owned(),
            args,
            annotations: None,
            listing: Listing::Unknown,
        }),
    }
}

fn holds(expression: &str, args: &str) -> Result<bool, Failure> {
    Condition::compile(expression, &mut SizeBudget::default())
        .unwrap()
        .holds(&action(args), Intent::Update)
}

#[test]
fn sees_the_action() {
    for expression in [
        "agent.name == 'default' && session.id == 's1'",
        "server == 'github' && tool.startsWith('push_') && method == 'tools/call'",
        "args.n == 3 && args.f > 2.4 && type(args.n) == int && type(args.f) == double",
        "annotations.destructiveHint && !annotations.readOnlyHint",
        "intent == 'update' && path == '' && body == null && provider == ''",
        "time < timestamp('2027-01-01T00:00:00Z') && time.getHours() == 10",
        "args.files.exists(f, f.path.startsWith('/etc')) && size(args.files) == 2",
        "args.files.filter(f, f.path != '').exists(f, f.path == '/b')",
        "has(args.n) && !has(args.nothing) && args.s.matches('^a+$')",
        "'ABC'.lowerAscii() == 'abc' && 'a,b'.split(',').exists(x, x == 'b')",
    ] {
        let args = r#"{"n":3,"f":2.5,"s":"aa","files":[{"path":"/etc/x"},{"path":"/b"}]}"#;
        assert_eq!(holds(expression, args), Ok(true), "{expression}");
    }
}

#[test]
fn times_are_moved_into_time_zones() {
    for expression in [
        // Summer time and standard time.
        "timestamp('2026-07-01T10:00:00Z').getHours('Europe/Berlin') == 12",
        "timestamp('2026-01-01T10:00:00Z').getHours('Europe/Berlin') == 11",
        "timestamp('2026-01-01T23:30:00Z').getDayOfMonth('Asia/Tokyo') == 1",
        "timestamp('2026-01-01T02:00:00Z').getFullYear('America/New_York') == 2025",
        "timestamp('2026-01-01T10:00:00Z').getMinutes('-03:30') == 30",
        "timestamp('2026-01-01T10:00:00Z').getHours('05:45') == 15",
        "timestamp('2026-01-01T10:00:00+02:00').getHours('') == 8",
        "time.getHours(args.zone) == time.getHours('Asia/Kolkata')",
    ] {
        assert_eq!(holds(expression, r#"{"zone":"+05:30"}"#), Ok(true), "{expression}");
    }
    for zone in ["Mars/Base", "+24:00", "+01:60", "+1:00", "--1:00", "01:00:00", "../UTC"] {
        let expression = format!("time.getHours('{zone}') == 1");
        let refused = Condition::compile(&expression, &mut SizeBudget::default()).unwrap_err();
        assert!(refused.contains(&format!("unknown time zone `{zone}`")), "{refused}");
        let args = format!(r#"{{"zone":"{zone}"}}"#);
        assert!(holds("time.getHours(args.zone) == 1", &args).is_err(), "{zone}");
    }
    assert!(holds("time.getHours(args.n) == 1", r#"{"n":1}"#).is_err());
    assert!(holds("args.n.getHours('UTC') == 1", r#"{"n":1}"#).is_err());
}

#[test]
fn expressions_without_a_boolean_result_fail() {
    for (expression, args) in [
        ("args.missing == 1", "{}"),
        ("args.n", r#"{"n":1}"#),
        ("args.n > 1", r#"{"n":"2"}"#),
        ("args.n / 0 == 1", r#"{"n":1}"#),
        ("args.n == 9223372036854775807", r#"{"n":9223372036854775808}"#),
        ("args.n > 1.0", r#"{"n":1e999}"#),
        ("args.n + 1 > 0", r#"{"n":9223372036854775807}"#),
    ] {
        assert!(holds(expression, args).is_err(), "{expression}");
    }
}

#[test]
fn ranges_are_bounded() {
    let list = |n: usize| format!(r#"{{"l":[{}]}}"#, vec!["1"; n].join(","));
    assert_eq!(holds("args.l.all(x, x == 1)", &list(MAX_ELEMENTS)), Ok(true));
    for expression in ["args.l.all(x, x == 1)", "args.l.map(x, x) != []"] {
        assert!(holds(expression, &list(MAX_ELEMENTS + 1)).is_err(), "{expression}");
    }
    assert!(holds("(args.l + args.l).all(x, x == 1)", &list(MAX_ELEMENTS)).is_err());
}

#[test]
fn bad_expressions_are_refused_at_load() {
    let parens_within = format!("{}true{}", "(".repeat(8), ")".repeat(8));
    assert!(Condition::compile(&parens_within, &mut SizeBudget::default()).is_ok());
    let parens = format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000));
    let chain = format!("args{} == 1", ".a".repeat(500));
    let sum = format!("{}1 == 1", "1+".repeat(500));
    let lists = format!("{}{} == 1", "[".repeat(2_000), "]".repeat(2_000));
    let ternary = format!("{}true", "true?true:".repeat(100));
    for (expression, expected) in [
        ("args.a ==", "it ends too early"),
        ("(args.a", "missing ')' at the end"),
        ("args.a >> 1", "unexpected `>`"),
        ("tol == 'x'", "did you mean `tool`"),
        ("args.a.replace('', args.b) == ''", "unknown function `replace`"),
        ("args.a.startWith('x')", "did you mean `startsWith`"),
        ("args.a == 1 and args.b == 2", "write `&&`"),
        ("args.a == 1 or args.b == 2", "write `||`"),
        ("args.a.all(x, args.b.all(y, x == y))", "do not nest"),
        ("args.a.map(x, args.b.filter(y, true)).size() > 0", "do not nest"),
        ("args.a.matches('[')", "bad regex"),
        ("args.a.matches(args.b)", "has to be written out"),
        ("args.all(name, name.matches(name))", "has to be written out"),
        (r"args.a.matches('\d')", r"a regex needs `\\d`"),
        ("'a", "without an end"),
        ("args.a == \"\"\"x\"\"\"", "three quotes"),
        ("true // yes", "no comments"),
        (&parens, ""),
        (&chain, ""),
        (&sum, ""),
        (&lists, ""),
        (&ternary, ""),
    ] {
        let error = Condition::compile(expression, &mut SizeBudget::default()).err();
        let error = error.unwrap_or_else(|| panic!("{expression:.40} must be refused"));
        assert!(error.contains(expected), "{expression:.40}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r#"[a-z.()\[\]{}!&|=<>+*/?:'"0-9 ,-]{0,60}"#) {
        if let Ok(condition) = Condition::compile(&text, &mut SizeBudget::default()) {
            let _ = condition.holds(&action("{}"), Intent::Read);
        }
    }
}

/// Expressions without a result have none for lenient servers either.
#[test]
fn values_that_lenient_servers_convert_are_uncertain() {
    for (expression, args, in_doubt) in [
        ("args.n == 1", r#"{"n":"1"}"#, true),
        ("args.n == 1", r#"{"n":1}"#, false),
        ("args.n == 1", r#"{"n":2}"#, false),
        ("args.b != 'main'", r#"{"b":"Main"}"#, true),
        ("args.b != 'main'", r#"{"b":["main"]}"#, true),
        ("args.b != 'main'", r#"{"b":"dev"}"#, false),
        ("has(args.f) && args.f == true", r#"{"f":"yes"}"#, true),
        ("'main' == args.r[0].b", r#"{"r":[{"b":" main"}]}"#, true),
        ("args.b in ['main', 'release']", r#"{"b":"RELEASE"}"#, true),
        ("args.b in ['main', 'release']", r#"{"b":"dev"}"#, false),
        ("args.b in ['main', 'Main']", r#"{"b":"Main"}"#, false),
        ("args.b in ['main', 'Main']", r#"{"b":"MAIN"}"#, true),
        ("args.b == 'fast' || args.b == 'Fast'", r#"{"b":"Fast"}"#, false),
        ("tool == 'other' && args.b == 'main'", r#"{"b":"Main"}"#, false),
        ("tool == 'push_files' && args.b == 'main'", r#"{"b":"Main"}"#, true),
        ("args.b == 'main' && args.c == 'x'", r#"{"b":"Main","c":"y"}"#, false),
        ("'prod' in args.t", r#"{"t":["PROD"]}"#, true),
        ("args.t.exists(t, t == 'prod')", r#"{"t":["a","b","c","d","e","f","PROD"]}"#, true),
        ("args.t.all(t, t.endsWith('.org'))", r#"{"t":["a.ORG"]}"#, true),
        ("args.t.exists(t, t.n == 'x')", r#"{"t":[{"n":"X"}]}"#, true),
        ("args.t.exists(t, t == 'prod')", r#"{"t":["dev"]}"#, false),
        ("args.p.startsWith('/etc/')", r#"{"p":"/ETC/passwd"}"#, true),
        ("args.p.startsWith('/etc/')", r#"{"p":"//etc/passwd"}"#, true),
        ("args.p.lowerAscii().startsWith('/etc/')", r#"{"p":"//ETC/passwd"}"#, true),
        ("args.p.matches('^/etc/')", r#"{"p":"//etc/passwd"}"#, true),
        ("args.p.startsWith('C:/srv/')", r#"{"p":"C:/srv/a"}"#, false),
        ("args.u.matches('^https://[^ ]+$')", r#"{"u":"https://x.org/a%20b"}"#, false),
        ("!args.p.startsWith('C:/srv/')", r#"{"p":"C:\\srv\\a"}"#, true),
        ("args.b == args.c", r#"{"b":"1","c":1}"#, false),
        ("args.p.startsWith('/etc/')", r#"{"p":"/srv/../etc/passwd"}"#, true),
        ("args.p.startsWith('/srv/')", r#"{"p":"/srv/../etc/passwd"}"#, true),
        ("args.p.startsWith('/srv/')", r#"{"p":"/srv/./a","q":"/srv/../b"}"#, false),
        ("args.to.exists(t, t.endsWith('@evil.org'))", r#"{"to":["[\"a@evil.org\"]"]}"#, true),
        ("args.u.contains('127.0.0.1')", r#"{"u":"http://2130706433/"}"#, true),
        ("args.u.contains('127.0.0.1')", r#"{"u":"http://example.com/"}"#, false),
        ("args.n > 100", r#"{"n":-4294966296}"#, true),
        ("100 < args.n", r#"{"n":-4294966296}"#, true),
        ("args.n <= 100", r#"{"n":-4294966296}"#, true),
        ("args.n.all(n, n >= 1000)", r#"{"n":[1000,4294967296]}"#, true),
        ("args.n > 100", r#"{"n":101}"#, false),
        ("args.n >= 1700000000000", r#"{"n":1764288000000}"#, false),
        ("args.q.contains('drop table')", r#"{"q":"DROP\tTABLE t"}"#, true),
        ("args.q.lowerAscii().contains('drop table')", r#"{"q":"DROP/**/TABLE t"}"#, true),
        ("args.p.startsWith('~/.ssh/')", r#"{"p":"/home/me/.ssh/id"}"#, true),
        ("args.h == '127.0.0.1'", r#"{"h":"2130706433"}"#, true),
    ] {
        let condition = Condition::compile(expression, &mut SizeBudget::default()).unwrap();
        let judged = condition.judge(&action(args), Intent::Update, &Texts::default());
        assert_eq!(judged == Ok(Ternary::Unknown), in_doubt, "{expression} {args}");
    }
}

/// A text that is a list of texts has as many readings as elements.
#[test]
fn readings_of_a_long_list_are_bounded() {
    let list = |count: usize| {
        let text = Json::String(format!("[{}\"x\"]", "\"x\",".repeat(count - 1)));
        action(&format!(r#"{{"a":{text}}}"#))
    };
    let distinct = |count: usize| {
        let texts: Vec<String> = (0..count).map(|number| format!("\"x{number}\"")).collect();
        let text = Json::String(format!("[{}]", texts.join(",")));
        action(&format!(r#"{{"a":{text}}}"#))
    };
    let expression = "has(args.a) && args.a.lowerAscii().contains('secret')";
    let condition = Condition::compile(expression, &mut SizeBudget::default()).unwrap();
    for (action, expected) in [
        (list(100_000), Ternary::False),
        (distinct(1_000), Ternary::False),
        (distinct(100_000), Ternary::Unknown),
    ] {
        assert_eq!(condition.judge(&action, Intent::Update, &Texts::default()), Ok(expected));
    }
}

#[test]
fn single_equals_sign_is_reported_as_such() {
    let error = |text: &str| Condition::compile(text, &mut SizeBudget::default()).unwrap_err();
    assert_eq!(error("args.x = 1"), "one `=`; `==` compares");
    assert_eq!(error("args.x =1 && args.y == 2"), "one `=`; `==` compares");
    assert!(!error("args.x == '=' &&").contains("one `=`"));
    assert!(!error("args.x >= 1 && <= 2 !=").contains("one `=`"));
}
