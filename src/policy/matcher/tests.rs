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
fn judge(matcher: &str, args: &str) -> Truth {
    let args = crate::json::parse(args.as_bytes()).unwrap();
    let answers = matchers(matcher).unwrap();
    Truth::all(answers.iter().map(|matcher| matcher.judge_object(args.as_object().unwrap())))
}

#[test]
fn operators_judge_what_they_can() {
    use Truth::{No, Unjudged, Yes};
    for (matcher, args, expected) in [
        ("a: main", r#"{"a":"main"}"#, Yes),
        ("a: main", r#"{"a":"Main"}"#, Unjudged),
        ("a: main", r#"{"a":" main"}"#, Unjudged),
        ("a: main", r#"{"a":"mane"}"#, No),
        ("a: main", r#"{"a":["main"]}"#, Unjudged),
        ("a: main", r#"{"a":["main","x"]}"#, Unjudged),
        ("a: main", r#"{"a":["y","x"]}"#, No),
        ("a: main", r#"{"a":1}"#, No),
        ("a: true", r#"{"a":"yes"}"#, Unjudged),
        ("a: true", r#"{"a":false}"#, No),
        ("a: true", r#"{"a":null}"#, No),
        ("a: [x, true]", r#"{"a":1}"#, Unjudged),
        ("a: {not_in: [x, true]}", r#"{"a":"true"}"#, Unjudged),
        ("a: {ne: true}", r#"{"a":"true"}"#, Unjudged),
        ("a: 1", r#"{"a":1.0}"#, Yes),
        ("a: 1", r#"{"a":"1"}"#, Unjudged),
        ("a: '1'", r#"{"a":1}"#, Unjudged),
        ("a: 1", r#"{"a":1e99999999999}"#, Unjudged),
        ("a: [x, 2]", r#"{"a":2}"#, Yes),
        ("a: {ne: 1}", r#"{"a":"1"}"#, Unjudged),
        ("a: {ne: 1}", r#"{"a":"2"}"#, Yes),
        ("a: {in: [1, 2]}", r#"{"a":3}"#, No),
        ("a: {not_in: [1, 2]}", r#"{"a":3}"#, Yes),
        ("a: {not_in: [1, 2]}", r#"{"a":2.0}"#, No),
        ("a: {gt: 9007199254740992}", r#"{"a":9007199254740994}"#, Yes),
        // To a float they are the same.
        ("a: {gt: 9007199254740992}", r#"{"a":9007199254740993}"#, Unjudged),
        ("a: 22", r#"{"a":22.5}"#, Unjudged),
        ("a: 22", r#"{"a":"0b10110"}"#, Unjudged),
        ("a: 22", r#"{"a":"220"}"#, No),
        ("a: {gte: 1, lt: 2}", r#"{"a":1.9999999999999}"#, Yes),
        // To a float it is 2.
        ("a: {gte: 1, lt: 2}", r#"{"a":1.999999999999999999999}"#, Unjudged),
        ("a: 1", r#"{"a":1.00000000000000000001}"#, Unjudged),
        ("a: {lte: 2}", r#"{"a":"2"}"#, Unjudged),
        ("a: {glob: '*.rs'}", r#"{"a":"src/a.rs"}"#, Yes),
        ("a: {prefix: /etc}", r#"{"a":"//etc/passwd"}"#, Unjudged),
        ("a: {prefix: /etc}", r#"{"a":"\"/etc/passwd\""}"#, Unjudged),
        ("a: {prefix: /srv/}", r#"{"a":"/srv/../etc/passwd"}"#, Unjudged),
        ("a: {prefix: /srv/}", r#"{"a":"/srv/./a"}"#, Yes),
        ("a: main", r#"{"a":"'main'"}"#, Unjudged),
        ("a: evil", r#"{"a":"[\"x\",\"evil\"]"}"#, Unjudged),
        ("a: evil", r#"{"a":"[\"x\"]"}"#, No),
        ("a: {suffix: '@evil.org'}", r#"{"a":"[\"a@evil.org\"]"}"#, Unjudged),
        ("a: {glob: '*.rs'}", r#"{"a":1}"#, Unjudged),
        ("a: {glob: '*.rs'}", r#"{"a":"a.RS "}"#, Unjudged),
        ("a: {prefix: /etc}", r#"{"a":"/Etc/x"}"#, Unjudged),
        ("a: {suffix: .pem}", r#"{"a":"a.pem\u0000.txt"}"#, Unjudged),
        ("a: {contains: ' rm '}", r#"{"a":"form"}"#, No),
        ("a: {contains: DROP TABLE}", r#"{"a":"x; drop table y"}"#, Unjudged),
        ("a: {prefix: 'file:///etc'}", r#"{"a":"file:///%65tc/passwd"}"#, Unjudged),
        ("a: {prefix: 'https://x.org/pub/'}", r#"{"a":"https://x.org/pub/%2e%2e/a"}"#, Unjudged),
        ("a: {prefix: 'https://x.org/pub/'}", r#"{"a":"https://x.org/pub/%7Ea"}"#, Yes),
        ("a: 'https://x.org/%7Ea'", r#"{"a":"https://x.org/%7Ea"}"#, Yes),
        ("a: 'https://x.org/~a'", r#"{"a":"https://x.org/%7Ea"}"#, Unjudged),
        ("a: {contains: 127.0.0.1}", r#"{"a":"http://2130706433/"}"#, Unjudged),
        ("a: {regex: '^[a-z]+$'}", r#"{"a":"abc\n"}"#, Unjudged),
        ("a: {regex: '^[a-z]+$'}", r#"{"a":"ABC"}"#, No),
        ("a: {contains: \"\\u00a0\"}", r#"{"a":"x y"}"#, No),
        ("a: {prefix: [x, y]}", r#"{"a":"yes"}"#, Yes),
        ("a: {suffix: s}", r#"{"a":"yes"}"#, Yes),
        ("a: {contains: e}", r#"{"a":["e"]}"#, Unjudged),
        ("a: {under: /srv}", r#"{"a":"/srv/x"}"#, Yes),
        ("a: {under: /srv}", r#"{"a":"/srv/../x"}"#, Unjudged),
        ("a: {under: /srv}", r#"{"a":["/srv/x"]}"#, Unjudged),
        ("a: {under: /etc}", r#"{"a":"/srv/etc"}"#, No),
        ("a: {under: /etc}", r#"{"a":"\"/etc/passwd\""}"#, Unjudged),
        ("a: {exists: true}", r#"{"a":null}"#, Unjudged),
        ("a: {exists: false}", r#"{"a":null}"#, Unjudged),
        ("a: {exists: true}", r#"{"a":0}"#, Yes),
        ("a: {exists: false}", r#"{"a":""}"#, No),
        ("a: {not_in: [false, ~], exists: true}", r#"{"a":null}"#, No),
        ("a: {len_lte: 2}", r#"{"a":"日本"}"#, Yes),
        ("a: {len_lte: 2}", r#"{"a":[1,2,3]}"#, No),
        ("a: {len_lte: 2}", r#"{"a":2}"#, Unjudged),
        ("a: {eq: {x: 1, y: [2]}}", r#"{"a":{"y":[2.0],"x":1}}"#, Yes),
        ("a: ~", r#"{"a":null}"#, Yes),
    ] {
        assert_eq!(judge(matcher, args), expected, "{matcher} on {args}");
    }
}

/// Who asks for a thing as it is written gets it, by whatever other names it goes.
#[test]
fn what_is_asked_for_is_certain_by_its_own_name() {
    use Truth::{No, Unjudged, Yes};
    for (matcher, value, expected) in [
        ("{regex: '^https://[^ ]+$'}", "https://x.org/a%20b?c=d%0Ae%22%2F", Yes),
        ("{regex: '^https://x.org/[^&]+$'}", "https://x.org/a?b=c%26d", Yes),
        ("{regex: '^https://x.org/[^/]+$'}", "https://x.org/a%2Fb", Unjudged),
        ("{regex: '^https://x.org/[^/]+$'}", "https://x.org/a%5Cb", Yes),
        ("{regex: '^https://x.org/\\w+$'}", "https://x.org/Zürich", Yes),
        ("{prefix: 'https://Org.x.org/'}", "https://Org.x.org/a", Yes),
        ("{prefix: 'https://x.org:443/'}", "https://x.org:443/a", Yes),
        ("{prefix: 'https://münchen.de/'}", "https://münchen.de/a", Yes),
        ("{prefix: 'https://münchen.de/'}", "https://xn--mnchen-3ya.de/a", No),
        ("{prefix: 'https://xn--mnchen-3ya.de/'}", "https://münchen.de/a", Unjudged),
        ("{prefix: 'https://x.org/My Docs/'}", "https://x.org/My%20Docs/a", Unjudged),
        ("{prefix: 'file:///srv/'}", "file:///srv/?/../../etc/passwd", Unjudged),
        ("{prefix: 'file:///etc/'}", "file:///srv/?/../../etc/passwd", Unjudged),
        ("{prefix: 'https://x.org/a'}", "https://x.org/a?b=/../../c", Yes),
        ("{prefix: 'C:\\srv\\'}", "C:\\srv\\a", Yes),
        ("{glob: 'C:/srv/*.md'}", "C:/srv/a/b.md", Yes),
        ("{under: 'C:/srv'}", "C:/srv/a", Yes),
        ("{under: 'C:/srv'}", "C:\\srv\\a", Yes),
        ("{under: 'C:\\srv'}", "C:\\srv\\..\\a", Unjudged),
        ("{prefix: 'C:/srv/'}", "C:\\srv\\a", Unjudged),
        ("{prefix: 'C:\\srv\\'}", "C:\\srv\\..\\a", Unjudged),
        ("{prefix: 'C:\\srv\\'}", "C:/srv/../a", No),
        ("{regex: '^// Copyright'}", "// Copyright\n// us\na", Yes),
        ("{contains: '://jira.x.org/'}", "Done, and/or not: ./a, https://jira.x.org/b", Yes),
        ("{prefix: 'src/'}", "src/../secrets", Unjudged),
        ("{prefix: 'secrets/'}", "./secrets/a", Unjudged),
        ("{glob: '/srv/secrets/*'}", "/srv//secrets/a", Unjudged),
        ("{ne: /srv/a}", "/srv//a", Unjudged),
        ("{prefix: /home/me/.ssh/}", "~/.ssh/id", Unjudged),
        ("{prefix: /home/me}", "~/a", Unjudged),
        ("{glob: '/Users/*/.aws/*'}", "~me/.AWS/credentials", Unjudged),
        ("{prefix: /home/me/.ssh/}", "~/a", No),
        ("{prefix: /home/me/.ssh/}", "/home/you/.ssh/id", No),
        ("{prefix: /etc/}", "~/a/etc/b", No),
        ("{prefix: /srv/secrets/}", "secrets/a", Unjudged),
        ("{prefix: /srv/secrets}", "../secrets", Unjudged),
        ("{prefix: /srv/secret}", "secretary/a", No),
        ("{prefix: /srv/secrets/}", "a/secrets/b", No),
        ("{prefix: /srv/secrets/}", "main", No),
        ("{prefix: /srv/secrets/}", "~/secrets/a", Unjudged),
        ("{suffix: a.txt}", "/srv/a.txt/.", Unjudged),
        ("{glob: '**/.env'}", ".env", Unjudged),
        ("{glob: '/srv/*'}", "main", No),
        ("{contains: /}", "main", No),
        ("/etc/passwd", "etc/passwd", Unjudged),
        ("{suffix: '@x.org'}", "a@y.org,b@x.org", Unjudged),
        ("{suffix: '@x.org'}", "a@x.org, b@x.org", Yes),
        ("a@y.org", "Me <a@y.org>", Unjudged),
        ("{not_in: [/srv/b]}", "/srv//a", Yes),
    ] {
        let matcher = format!("a: {matcher}");
        let value = Json::Object(
            Object::from_members(vec![("a".to_owned(), Json::String(value.to_owned()))]).unwrap(),
        );
        assert_eq!(judge(&matcher, &value.canonical()), expected, "{matcher} on {value}");
    }
}

#[test]
fn a_missing_path_matches_only_what_asks_for_absence() {
    for matcher in ["{exists: false}", "{ne: 1}", "{not_in: [1]}", "{ne: 1, exists: false}"] {
        assert_eq!(judge(&format!("a: {matcher}"), "{}"), Truth::Yes, "{matcher}");
        assert_eq!(judge(&format!("a.b[0].c: {matcher}"), r#"{"a":{"b":[]}}"#), Truth::Yes);
    }
    for matcher in ["1", "{lt: 1}", "{glob: '*'}", "{exists: true}", "{len_lte: 3}", "~"] {
        assert_eq!(judge(&format!("a: {matcher}"), "{}"), Truth::No, "{matcher}");
    }
}

#[test]
fn paths_reach_in_and_lists_say_any_or_all() {
    use Truth::{No, Unjudged, Yes};
    for (matcher, args, expected) in [
        ("repo.owner: me", r#"{"repo":{"owner":"me"}}"#, Yes),
        ("repo.owner: me", r#"{"repo":"me"}"#, Unjudged),
        ("f[0].p: x", r#"{"f":[{"p":"x"}]}"#, Yes),
        ("f[any].p: x", r#"{"f":[{"p":"y"},{"p":"x"}]}"#, Yes),
        ("f[all].p: x", r#"{"f":[{"p":"y"},{"p":"x"}]}"#, No),
        ("f[all].p: x", r#"{"f":[{"p":"x"},{"p":"x"}]}"#, Yes),
        ("f[any].p: x", r#"{"f":[]}"#, No),
        ("f[all].p: x", r#"{"f":[]}"#, No),
        ("f[any].p: x", r#"{"f":{"p":"x"}}"#, Unjudged),
        ("f[any].p: x", r#"{"f":["x"]}"#, Unjudged),
        ("f[any]: x", r#"{"f":["x"]}"#, Yes),
        (r#"a["b.c"].d: 1"#, r#"{"a":{"b.c":{"d":1}}}"#, Yes),
    ] {
        assert_eq!(judge(matcher, args), expected, "{matcher} on {args}");
    }
}

#[test]
fn what_is_given_twice_is_only_certain_where_all_agree() {
    let source = Source::new("t", "{prefix: a}");
    let node = yaml::parse(&source).unwrap();
    let mut reader = Reader::new(&source);
    let name = At { value: "X-Id".to_owned(), span: node.span };
    let matcher = Matcher::named(&mut reader, &name, &node, true).unwrap();
    let pairs = |values: &[&str]| -> Vec<(String, String)> {
        values.iter().map(|value| ("x-id".to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(matcher.judge_pairs(&pairs(&["a1", "a2"])), Truth::Yes);
    assert_eq!(matcher.judge_pairs(&pairs(&["a1", "b"])), Truth::Unjudged);
    assert_eq!(matcher.judge_pairs(&pairs(&["b", "c"])), Truth::No);
    assert_eq!(matcher.judge_pairs(&[]), Truth::No);
}

#[test]
fn mistakes_are_told_with_advice() {
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

/// What one server or another reads as the value, and what nobody does.
#[test]
fn what_some_server_reads_otherwise_is_in_doubt() {
    use Truth::{No, Unjudged, Yes};
    for (matcher, values, expected) in [
        // 32 bits.
        ("{gt: 100}", &["-4294966296", "[101]"][..], Unjudged),
        ("{lte: 100}", &["-4294966296", "4294967297"], Unjudged),
        ("{lte: 100}", &["100", "-5", "-2147483648"], Yes),
        ("{lt: 1700000000000}", &["1764288000000"], No),
        // Homes.
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
            Unjudged,
        ),
        ("{prefix: ~/.ssh/}", &["\"~/.ssh/id\""], Yes),
        ("{prefix: ~/.ssh/}", &["\"/home/me/ssh\"", "\"/srv/.ssh/id\"", "\"src/a\""], No),
        (
            "~/.netrc",
            &["\"/home/me/.netrc\"", "\"/Users/me/.NETRC\"", "\"${HOME}/.netrc\""],
            Unjudged,
        ),
        ("{glob: '~/.aws/**'}", &["\"/root/.aws/credentials\"", "\"/home/me/.aws\""], Unjudged),
        ("{glob: '~/.aws/**'}", &["\"/home/me/aws/credentials\""], No),
        // Folders.
        ("{prefix: /srv/keys/}", &["\"/srv/keys\"", "\"/srv/Keys\""], Unjudged),
        ("{contains: /keys/}", &["\"/srv/keys\""], Unjudged),
        ("{prefix: /srv/keys/}", &["\"/srv/keystone\"", "\"/srv\""], No),
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
            Unjudged,
        ),
        ("{regex: 'drop\\s+table'}", &["\"drop/**/table t\""], Unjudged),
        ("drop table t", &["\"DROP\\tTABLE  t\""], Unjudged),
        ("{regex: '[~\\s]'}", &["\"fix--bug\"", "\"src/**/a\""], No),
        ("{glob: '* *'}", &["\"src/**/a\""], No),
        ("{contains: drop table}", &["\"drop the table\"", "\"- drop\\n- table\""], No),
        // Hosts.
        (
            "127.0.0.1",
            &["\"127.1\"", "\"2130706433\"", "2130706433", "\"::ffff:7f00:1\"", "\"127.0.0.1:80\""],
            Unjudged,
        ),
        ("evil.example", &["\"evil.example.\"", "\"https://me@evil.example/a\""], Unjudged),
        ("evil.example", &["\"sub.evil.example\"", "\"evil.example.org\""], No),
        (
            "{glob: 127.*}",
            &["\"2130706433\"", "\"0x7f.0.0.1\"", "\"[::ffff:127.0.0.1]\""],
            Unjudged,
        ),
        ("{regex: '^127\\.'}", &["\"2130706433\"", "\"017700000001\""], Unjudged),
        ("{prefix: '1.0'}", &["\"1.2\"", "\"20000000\""], No),
        ("{regex: '[^a-z0-9]'}", &["\"2130706433\"", "\"main\""], No),
        (
            "{prefix: 'https://evil.example/'}",
            &[
                "\"https://evil.example\"",
                "\"https://evil.example./a\"",
                "\"https://me:you@evil.example/a\"",
                "\"evil.example/a\"",
                "\"//evil.example/a\"",
            ],
            Unjudged,
        ),
        ("{regex: '^https?://evil\\.example/'}", &["\"evil.example\""], Unjudged),
        ("{prefix: 'https://'}", &["\"evil.example\"", "\"README.md\""], No),
        // Ends.
        ("{suffix: .pem}", &["\"a.pem.\"", "\"a.pem. \"", "\"file:///a.pem#b\""], Unjudged),
        ("{suffix: '@x.org'}", &["\"a@x.org (b)\"", "\"a@x.org.\""], Unjudged),
        ("{suffix: .pem}", &["\"a.pem.txt\"", "\"apem\""], No),
    ] {
        for value in values {
            let judged = judge(&format!("a: {matcher}"), &format!("{{\"a\":{value}}}"));
            assert_eq!(judged, expected, "{matcher} of {value}");
        }
    }
}
