mod attacks;

use super::super::diagnostic::Source;
use super::super::yaml;
use super::*;

fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let source = Source::new("t", text);
    let root = yaml::parse(&source).map_err(|finding| finding.to_string())?;
    let mut reader = Reader::new(&source);
    let mut made = Vec::new();
    for (path, node) in reader.entries(&root, "args") {
        let path = At { value: path.value.to_owned(), span: path.span };
        made.extend(Matcher::compile(&mut reader, &path, node));
    }
    if reader.found.is_empty() { Ok(made) } else { Err(reader.found.to_string()) }
}

#[track_caller]
fn judge(matcher: &str, args: &str) -> Ternary {
    let args = crate::json::parse(args.as_bytes()).unwrap();
    let answers = matchers(matcher).unwrap();
    let (args, texts) = (args.as_object().unwrap(), Texts::default());
    Ternary::all(answers.iter().map(|matcher| matcher.judge_object(args, &texts)))
}

#[test]
fn operators_give_three_valued_results() {
    use Ternary::{False, True, Unknown};
    for (matcher, args, expected) in [
        ("a: main", r#"{"a":"main"}"#, True),
        ("a: main", r#"{"a":"Main"}"#, Unknown),
        ("a: main", r#"{"a":" main"}"#, Unknown),
        ("a: main", r#"{"a":"mane"}"#, False),
        ("a: main", r#"{"a":["main"]}"#, Unknown),
        ("a: main", r#"{"a":["main","x"]}"#, Unknown),
        ("a: main", r#"{"a":["y","x"]}"#, False),
        ("a: main", r#"{"a":1}"#, False),
        ("a: true", r#"{"a":"yes"}"#, Unknown),
        ("a: true", r#"{"a":false}"#, False),
        ("a: true", r#"{"a":null}"#, False),
        ("a: [x, true]", r#"{"a":1}"#, Unknown),
        ("a: {not_in: [x, true]}", r#"{"a":"true"}"#, Unknown),
        ("a: {ne: true}", r#"{"a":"true"}"#, Unknown),
        ("a: 1", r#"{"a":1.0}"#, True),
        ("a: 1", r#"{"a":"1"}"#, Unknown),
        ("a: '1'", r#"{"a":1}"#, Unknown),
        ("a: 1", r#"{"a":1e99999999999}"#, Unknown),
        ("a: [x, 2]", r#"{"a":2}"#, True),
        ("a: {ne: 1}", r#"{"a":"1"}"#, Unknown),
        ("a: {ne: 1}", r#"{"a":"2"}"#, True),
        ("a: {in: [1, 2]}", r#"{"a":3}"#, False),
        ("a: {not_in: [1, 2]}", r#"{"a":3}"#, True),
        ("a: {not_in: [1, 2]}", r#"{"a":2.0}"#, False),
        ("a: {gt: 9007199254740992}", r#"{"a":9007199254740994}"#, True),
        // Equal as floats.
        ("a: {gt: 9007199254740992}", r#"{"a":9007199254740993}"#, Unknown),
        ("a: 22", r#"{"a":22.5}"#, Unknown),
        ("a: 22", r#"{"a":"0b10110"}"#, Unknown),
        ("a: 22", r#"{"a":"220"}"#, False),
        ("a: {gte: 1, lt: 2}", r#"{"a":1.9999999999999}"#, True),
        // As a float it is 2.
        ("a: {gte: 1, lt: 2}", r#"{"a":1.999999999999999999999}"#, Unknown),
        ("a: 1", r#"{"a":1.00000000000000000001}"#, Unknown),
        ("a: {lte: 2}", r#"{"a":"2"}"#, Unknown),
        ("a: {glob: '*.rs'}", r#"{"a":"src/a.rs"}"#, True),
        ("a: {prefix: /etc}", r#"{"a":"//etc/passwd"}"#, Unknown),
        ("a: {prefix: /etc}", r#"{"a":"\"/etc/passwd\""}"#, Unknown),
        ("a: {prefix: /srv/}", r#"{"a":"/srv/../etc/passwd"}"#, Unknown),
        ("a: {prefix: /srv/}", r#"{"a":"/srv/./a"}"#, True),
        ("a: main", r#"{"a":"'main'"}"#, Unknown),
        ("a: evil", r#"{"a":"[\"x\",\"evil\"]"}"#, Unknown),
        ("a: evil", r#"{"a":"[\"x\"]"}"#, False),
        ("a: {suffix: '@evil.org'}", r#"{"a":"[\"a@evil.org\"]"}"#, Unknown),
        ("a: {glob: '*.rs'}", r#"{"a":1}"#, Unknown),
        ("a: {glob: '*.rs'}", r#"{"a":"a.RS "}"#, Unknown),
        ("a: {prefix: /etc}", r#"{"a":"/Etc/x"}"#, Unknown),
        ("a: {suffix: .pem}", r#"{"a":"a.pem\u0000.txt"}"#, Unknown),
        ("a: {contains: ' rm '}", r#"{"a":"form"}"#, False),
        ("a: {contains: DROP TABLE}", r#"{"a":"x; drop table y"}"#, Unknown),
        ("a: {prefix: 'file:///etc'}", r#"{"a":"file:///%65tc/passwd"}"#, Unknown),
        ("a: {prefix: 'https://x.org/pub/'}", r#"{"a":"https://x.org/pub/%2e%2e/a"}"#, Unknown),
        ("a: {prefix: 'https://x.org/pub/'}", r#"{"a":"https://x.org/pub/%7Ea"}"#, True),
        ("a: 'https://x.org/%7Ea'", r#"{"a":"https://x.org/%7Ea"}"#, True),
        ("a: 'https://x.org/~a'", r#"{"a":"https://x.org/%7Ea"}"#, Unknown),
        ("a: {contains: 127.0.0.1}", r#"{"a":"http://2130706433/"}"#, Unknown),
        ("a: {regex: '^[a-z]+$'}", r#"{"a":"abc\n"}"#, Unknown),
        ("a: {regex: '^[a-z]+$'}", r#"{"a":"ABC"}"#, False),
        ("a: {contains: \"\\u00a0\"}", r#"{"a":"x y"}"#, False),
        ("a: {prefix: [x, y]}", r#"{"a":"yes"}"#, True),
        ("a: {suffix: s}", r#"{"a":"yes"}"#, True),
        ("a: {contains: e}", r#"{"a":["e"]}"#, Unknown),
        ("a: {under: /srv}", r#"{"a":"/srv/x"}"#, True),
        ("a: {under: /srv}", r#"{"a":"/srv/../x"}"#, Unknown),
        ("a: {under: /srv}", r#"{"a":["/srv/x"]}"#, Unknown),
        ("a: {under: /etc}", r#"{"a":"/srv/etc"}"#, False),
        ("a: {under: /etc}", r#"{"a":"\"/etc/passwd\""}"#, Unknown),
        ("a: {exists: true}", r#"{"a":null}"#, Unknown),
        ("a: {exists: false}", r#"{"a":null}"#, Unknown),
        ("a: {exists: true}", r#"{"a":0}"#, True),
        ("a: {exists: false}", r#"{"a":""}"#, False),
        ("a: {not_in: [false, ~], exists: true}", r#"{"a":null}"#, False),
        ("a: {len_lte: 2}", r#"{"a":"日本"}"#, True),
        ("a: {len_lte: 2}", r#"{"a":[1,2,3]}"#, False),
        ("a: {len_lte: 2}", r#"{"a":2}"#, Unknown),
        ("a: {eq: {x: 1, y: [2]}}", r#"{"a":{"y":[2.0],"x":1}}"#, True),
        ("a: ~", r#"{"a":null}"#, True),
    ] {
        assert_eq!(judge(matcher, args), expected, "{matcher} on {args}");
    }
}

/// A text exactly as in the rule is certain, whatever its other names.
#[test]
fn exact_values_are_certain() {
    use Ternary::{False, True, Unknown};
    for (matcher, value, expected) in [
        ("{regex: '^https://[^ ]+$'}", "https://x.org/a%20b?c=d%0Ae%22%2F", True),
        ("{regex: '^https://x.org/[^&]+$'}", "https://x.org/a?b=c%26d", True),
        ("{regex: '^https://x.org/[^/]+$'}", "https://x.org/a%2Fb", Unknown),
        ("{regex: '^https://x.org/[^/]+$'}", "https://x.org/a%5Cb", True),
        ("{regex: '^https://x.org/\\w+$'}", "https://x.org/Zürich", True),
        ("{prefix: 'https://Org.x.org/'}", "https://Org.x.org/a", True),
        ("{prefix: 'https://x.org:443/'}", "https://x.org:443/a", True),
        ("{prefix: 'https://münchen.de/'}", "https://münchen.de/a", True),
        ("{prefix: 'https://münchen.de/'}", "https://xn--mnchen-3ya.de/a", False),
        ("{prefix: 'https://xn--mnchen-3ya.de/'}", "https://münchen.de/a", Unknown),
        ("{prefix: 'https://x.org/My Docs/'}", "https://x.org/My%20Docs/a", Unknown),
        ("{prefix: 'file:///srv/'}", "file:///srv/?/../../etc/passwd", Unknown),
        ("{prefix: 'file:///etc/'}", "file:///srv/?/../../etc/passwd", Unknown),
        ("{prefix: 'https://x.org/a'}", "https://x.org/a?b=/../../c", True),
        ("{prefix: 'C:\\srv\\'}", "C:\\srv\\a", True),
        ("{glob: 'C:/srv/*.md'}", "C:/srv/a/b.md", True),
        ("{under: 'C:/srv'}", "C:/srv/a", True),
        ("{under: 'C:/srv'}", "C:\\srv\\a", True),
        ("{under: 'C:\\srv'}", "C:\\srv\\..\\a", Unknown),
        ("{prefix: 'C:/srv/'}", "C:\\srv\\a", Unknown),
        ("{prefix: 'C:\\srv\\'}", "C:\\srv\\..\\a", Unknown),
        ("{prefix: 'C:\\srv\\'}", "C:/srv/../a", False),
        ("{regex: '^// Copyright'}", "// Copyright\n// us\na", True),
        ("{contains: '://jira.x.org/'}", "Done, and/or not: ./a, https://jira.x.org/b", True),
        ("{prefix: 'src/'}", "src/../secrets", Unknown),
        ("{prefix: 'secrets/'}", "./secrets/a", Unknown),
        ("{glob: '/srv/secrets/*'}", "/srv//secrets/a", Unknown),
        ("{ne: /srv/a}", "/srv//a", Unknown),
        ("{prefix: /home/me/.ssh/}", "~/.ssh/id", Unknown),
        ("{prefix: /home/me}", "~/a", Unknown),
        ("{glob: '/Users/*/.aws/*'}", "~me/.AWS/credentials", Unknown),
        ("{prefix: /home/me/.ssh/}", "~/a", False),
        ("{prefix: /home/me/.ssh/}", "/home/you/.ssh/id", False),
        ("{prefix: /etc/}", "~/a/etc/b", False),
        ("{prefix: /srv/secrets/}", "secrets/a", Unknown),
        ("{prefix: /srv/secrets}", "../secrets", Unknown),
        ("{prefix: /srv/secret}", "secretary/a", False),
        ("{prefix: /srv/secrets/}", "a/secrets/b", False),
        ("{prefix: /srv/secrets/}", "main", False),
        ("{prefix: /srv/secrets/}", "~/secrets/a", Unknown),
        ("{suffix: a.txt}", "/srv/a.txt/.", Unknown),
        ("{glob: '**/.env'}", ".env", Unknown),
        ("{glob: '/srv/*'}", "main", False),
        ("{contains: /}", "main", False),
        ("/etc/passwd", "etc/passwd", Unknown),
        ("{suffix: '@x.org'}", "a@y.org,b@x.org", Unknown),
        ("{suffix: '@x.org'}", "a@x.org, b@x.org", True),
        ("a@y.org", "Me <a@y.org>", Unknown),
        ("{not_in: [/srv/b]}", "/srv//a", True),
    ] {
        let matcher = format!("a: {matcher}");
        let value = Json::Object(
            Object::from_members(vec![("a".to_owned(), Json::String(value.to_owned()))]).unwrap(),
        );
        assert_eq!(judge(&matcher, &value.canonical()), expected, "{matcher} on {value}");
    }
}

#[test]
fn missing_value_matches_only_negative_operators() {
    for matcher in ["{exists: false}", "{ne: 1}", "{not_in: [1]}", "{ne: 1, exists: false}"] {
        assert_eq!(judge(&format!("a: {matcher}"), "{}"), Ternary::True, "{matcher}");
        assert_eq!(judge(&format!("a.b[0].c: {matcher}"), r#"{"a":{"b":[]}}"#), Ternary::True);
    }
    for matcher in ["1", "{lt: 1}", "{glob: '*'}", "{exists: true}", "{len_lte: 3}", "~"] {
        assert_eq!(judge(&format!("a: {matcher}"), "{}"), Ternary::False, "{matcher}");
    }
}

#[test]
fn paths_lead_into_objects_and_lists() {
    use Ternary::{False, True, Unknown};
    for (matcher, args, expected) in [
        ("repo.owner: me", r#"{"repo":{"owner":"me"}}"#, True),
        ("repo.owner: me", r#"{"repo":"me"}"#, Unknown),
        ("f[0].p: x", r#"{"f":[{"p":"x"}]}"#, True),
        ("f[any].p: x", r#"{"f":[{"p":"y"},{"p":"x"}]}"#, True),
        ("f[all].p: x", r#"{"f":[{"p":"y"},{"p":"x"}]}"#, False),
        ("f[all].p: x", r#"{"f":[{"p":"x"},{"p":"x"}]}"#, True),
        ("f[any].p: x", r#"{"f":[]}"#, False),
        ("f[all].p: x", r#"{"f":[]}"#, False),
        ("f[any].p: x", r#"{"f":{"p":"x"}}"#, Unknown),
        ("f[any].p: x", r#"{"f":["x"]}"#, Unknown),
        ("f[any]: x", r#"{"f":["x"]}"#, True),
        (r#"a["b.c"].d: 1"#, r#"{"a":{"b.c":{"d":1}}}"#, True),
    ] {
        assert_eq!(judge(matcher, args), expected, "{matcher} on {args}");
    }
}

#[test]
fn repeated_parameter_is_certain_only_if_all_values_agree() {
    let source = Source::new("t", "{prefix: a}");
    let node = yaml::parse(&source).unwrap();
    let mut reader = Reader::new(&source);
    let name = At { value: "X-Id".to_owned(), span: node.span };
    let matcher = Matcher::header(&mut reader, &name, &node).unwrap();
    let pairs = |values: &[&str]| -> Vec<(String, String)> {
        values.iter().map(|value| ("x-id".to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(matcher.judge_pairs(&pairs(&["a1", "a2"]), &Texts::default()), Ternary::True);
    assert_eq!(matcher.judge_pairs(&pairs(&["a1", "b"]), &Texts::default()), Ternary::Unknown);
    assert_eq!(matcher.judge_pairs(&pairs(&["b", "c"]), &Texts::default()), Ternary::False);
    assert_eq!(matcher.judge_pairs(&[], &Texts::default()), Ternary::False);
}

#[test]
fn errors_come_with_advice() {
    for (text, advice) in [
        ("'f[*].p': x", "`f[any].p` or `f[all].p`"),
        ("a: {prefx: x}", "did you mean `prefix`?"),
        ("repo: {owner: x}", "`repo.owner`"),
        ("a: {gt: x}", "`gt` needs a number, not text"),
        ("a: {regex: '['}", "bad regex"),
        ("a: {glob: '{a'}", "unbalanced"),
        ("a: {under: a}", "absolute path"),
        ("a: {in: []}", "empty"),
        ("a: {}", "no operator"),
        ("a..b: 1", "empty step"),
        ("a[x]: 1", "neither a number"),
        ("'a[0': 1", "closing"),
    ] {
        let error = matchers(text).expect_err(text);
        assert!(error.contains(advice), "{text}: {error}");
    }
}

/// Values that some server converts to the wanted one, and values that none does.
#[test]
fn values_that_some_server_converts_are_uncertain() {
    use Ternary::{False, True, Unknown};
    for (matcher, values, expected) in [
        // 32-bit integers.
        ("{gt: 100}", &["-4294966296", "[101]"][..], Unknown),
        ("{lte: 100}", &["-4294966296", "4294967297"], Unknown),
        ("{lte: 100}", &["100", "-5", "-2147483648"], True),
        ("{lt: 1700000000000}", &["1764288000000"], False),
        // Home directories.
        (
            "{prefix: ~/.ssh/}",
            &[
                "\"/home/me/.ssh/id\"",
                "\"/home/me/.ssh\"",
                "\"/root/.ssh/id\"",
                "\"C:\\\\Users\\\\me\\\\.ssh\\\\id\"",
                "\"/home/me/a/../.ssh/id\"",
                "\"$HOME/.ssh/id\"",
                "\"file:///home/me/.ssh/id\"",
                "\".ssh/id\"",
            ],
            Unknown,
        ),
        ("{prefix: ~/.ssh/}", &["\"~/.ssh/id\""], True),
        ("{prefix: ~/.ssh/}", &["\"/home/me/ssh\"", "\"/srv/.ssh/id\"", "\"src/a\""], False),
        (
            "~/.netrc",
            &["\"/home/me/.netrc\"", "\"/Users/me/.NETRC\"", "\"${HOME}/.netrc\""],
            Unknown,
        ),
        ("{glob: '~/.aws/**'}", &["\"/root/.aws/credentials\"", "\"/home/me/.aws\""], Unknown),
        ("{glob: '~/.aws/**'}", &["\"/home/me/aws/credentials\""], False),
        // Folders.
        ("{prefix: /srv/keys/}", &["\"/srv/keys\"", "\"/srv/Keys\""], Unknown),
        ("{contains: /keys/}", &["\"/srv/keys\""], Unknown),
        ("{prefix: /srv/keys/}", &["\"/srv/keystone\"", "\"/srv\""], False),
        // White space and comments.
        (
            "{contains: drop table}",
            &[
                "\"DROP  TABLE t\"",
                "\"drop\\ttable t\"",
                "\"drop\\n table t\"",
                "\"drop/**/table t\"",
                "\"drop -- why\\ntable t\"",
            ],
            Unknown,
        ),
        ("{regex: 'drop\\s+table'}", &["\"drop/**/table t\""], Unknown),
        ("drop table t", &["\"DROP\\tTABLE  t\""], Unknown),
        ("{regex: '[~\\s]'}", &["\"fix--bug\"", "\"src/**/a\""], False),
        ("{glob: '* *'}", &["\"src/**/a\""], False),
        ("{contains: drop table}", &["\"drop the table\"", "\"- drop\\n- table\""], False),
        // Hosts.
        (
            "127.0.0.1",
            &["\"127.1\"", "\"2130706433\"", "2130706433", "\"::ffff:7f00:1\"", "\"127.0.0.1:80\""],
            Unknown,
        ),
        ("evil.example", &["\"evil.example.\"", "\"https://me@evil.example/a\""], Unknown),
        ("evil.example", &["\"sub.evil.example\"", "\"evil.example.org\""], False),
        ("{glob: 127.*}", &["\"2130706433\"", "\"0x7f.0.0.1\"", "\"[::ffff:127.0.0.1]\""], Unknown),
        ("{regex: '^127\\.'}", &["\"2130706433\"", "\"017700000001\""], Unknown),
        ("{prefix: '1.0'}", &["\"1.2\"", "\"20000000\""], False),
        ("{regex: '[^a-z0-9]'}", &["\"2130706433\"", "\"main\""], False),
        (
            "{prefix: 'https://evil.example/'}",
            &[
                "\"https://evil.example\"",
                "\"https://evil.example./a\"",
                "\"https://me:you@evil.example/a\"",
                "\"evil.example/a\"",
                "\"//evil.example/a\"",
            ],
            Unknown,
        ),
        ("{regex: '^https?://evil\\.example/'}", &["\"evil.example\""], Unknown),
        ("{prefix: 'https://'}", &["\"evil.example\"", "\"README.md\""], False),
        // Ends of names.
        ("{suffix: .pem}", &["\"a.pem.\"", "\"a.pem. \"", "\"file:///a.pem#b\""], Unknown),
        ("{suffix: '@x.org'}", &["\"a@x.org (b)\"", "\"a@x.org.\""], Unknown),
        ("{suffix: .pem}", &["\"a.pem.txt\"", "\"apem\""], False),
    ] {
        for value in values {
            let judged = judge(&format!("a: {matcher}"), &format!("{{\"a\":{value}}}"));
            assert_eq!(judged, expected, "{matcher} of {value}");
        }
    }
}
