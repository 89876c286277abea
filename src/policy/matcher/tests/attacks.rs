//! Other names of the same file, host or command: deny rules must still match, allow rules must not
//! start to match, and ordinary values must stay certain.

use std::sync::LazyLock;

use super::*;

/// How `matcher` judges `text`.
fn judged(matcher: &str, text: &str) -> Ternary {
    let text = Json::String(text.to_owned());
    let args = Object::from_members(vec![("a".to_owned(), text)]).unwrap();
    judge(&format!("a: {matcher}"), &args.canonical())
}

#[track_caller]
fn assert_unknown(all: &[(&str, &str)]) {
    for (matcher, text) in all {
        assert_eq!(judged(matcher, text), Ternary::Unknown, "{matcher} on {text:?}");
    }
}

/// Servers that insert a path into a URL, or treat it as a part of one: WHATWG parsers resolve
/// `%2e%2e` and drop tabs, and the server asked decodes other escapes and ignores a query.
#[test]
fn paths_are_recognized_as_parts_of_urls() {
    let url =
        url::Url::parse("https://api.example/contents/docs/%2E%2e/.git\thub/a?x=.md").unwrap();
    assert_eq!(url.path(), "/contents/.github/a");
    assert_unknown(&[
        ("{under: /etc}", "/srv/%2e%2e/etc/passwd"),
        ("{under: /etc}", "/srv/%252e%252e/etc/passwd"),
        ("{prefix: /etc/}", "/srv/%2e%2e/etc/passwd"),
        ("{prefix: /etc/}", "/srv/%252e%252e/etc/passwd"),
        ("{prefix: /etc/}", "%2fetc%2fpasswd"),
        ("{prefix: /etc/}", "/srv/..%2fetc/passwd"),
        ("{prefix: .github/}", "%2egithub/workflows/a.yml"),
        ("{prefix: .github/}", ".git\thub/workflows/a.yml"),
        ("{regex: '^[/.]*\\.github/'}", "docs/.\t./.github/a.yml"),
        ("{regex: '(^|/)\\.env$'}", "config/.env?x"),
        ("{regex: '(^|/)\\.env$'}", "config/%2Eenv#x"),
        ("{glob: '*/.env'}", "config/.%65nv"),
        ("secret.txt", "secret.tx%74"),
        ("secret.txt", "secret.txt?ref=x"),
        ("main", "ma\nin"),
        // Escapes do not leave an allowed folder unnoticed.
        ("{prefix: /srv/}", "/srv/%2e%2e/etc/passwd"),
        ("{prefix: /srv/}", "/srv/%252E./etc/passwd"),
        ("{glob: '/srv/*'}", "/srv/..%2f..%2fetc/passwd"),
        ("{suffix: .md}", "/etc/passwd\0.md"),
    ]);
}

/// `CreateFile` and the layers above it (Naming Files, Paths, and Namespaces; File path formats on
/// Windows systems).
#[test]
fn paths_are_recognized_as_windows_interprets_them() {
    assert_unknown(&[
        ("{glob: '*.env'}", ".env::$DATA"),
        ("{suffix: .pem}", "C:\\keys\\a.pem::$data"),
        ("{regex: '\\.pem$'}", "C:\\keys\\a.pem. "),
        ("secret.txt", "secret.txt::$DATA"),
        ("{prefix: C:/secrets/}", "C:/secrets::$INDEX_ALLOCATION/a"),
        ("{prefix: C:/secrets/}", "C:/secrets./a"),
        ("{prefix: 'C:\\secrets\\'}", "C:\\secrets:$I30:$INDEX_ALLOCATION\\a"),
        ("{prefix: 'C:\\secrets\\'}", "\\\\?\\C:\\secrets\\a"),
        ("{prefix: C:/secrets/}", "\\\\.\\C:\\secrets\\a"),
        ("{prefix: 'C:\\secrets\\'}", "\\\\localhost\\c$\\secrets\\a"),
        ("{prefix: 'C:/secrets/'}", "/c/secrets/a"),
        ("{prefix: 'C:/secrets/'}", "/mnt/c/secrets/a"),
        ("{under: C:/secrets}", "/c/secrets/a"),
        ("{under: C:/secrets}", "//?/C:/secrets/a"),
        ("{under: C:/secrets}", "C:/secrets:$I30:$INDEX_ALLOCATION/a"),
    ]);
}

#[test]
fn commands_are_recognized_without_their_quotes() {
    for command in [
        "r'm' -rf /srv",
        "\"rm\" -rf /srv",
        "r\\m -rf /srv",
        "rm$IFS-rf$IFS/srv",
        "rm${IFS}-rf /srv",
        "r$@m -r\\\nf /srv",
        "rm '-rf' \"/srv\"",
    ] {
        assert_unknown(&[
            ("{contains: rm -rf}", command),
            ("{prefix: rm -rf}", command),
            ("{regex: 'rm\\s+-rf'}", command),
            ("{glob: 'rm -rf*'}", command),
        ]);
    }
    assert_unknown(&[
        ("{contains: 'del /s'}", "d^el /s x"),
        ("{contains: Remove-Item}", "Remove-It`em x"),
    ]);
}

/// Hosts as `httpx` and browsers find them, addresses as mailers do.
#[test]
fn destinations_are_recognized() {
    assert_unknown(&[
        ("{prefix: 'https://evil.example/'}", "https://x.org\\@evil.example/a"),
        ("{prefix: 'https://x.org'}", "https://x.org\\@evil.example/a"),
        ("{glob: 'https://evil.example/*'}", "view-source:https://evil.example/a"),
        ("{suffix: '@acme.example'}", "x@evil.example, a@acme.example\n"),
        ("{suffix: '@evil.example'}", "Team: x@evil.example, a@acme.example"),
    ]);
    for list in [
        "Team: x@evil.example, a@acme.example",
        "\"Doe, J\" <x@evil.example>, a@acme.example",
        "J Doe x@evil.example, a@acme.example",
        "x@evil.example\nBcc: a@acme.example",
    ] {
        assert_unknown(&[
            ("{suffix: '@acme.example'}", list),
            ("{regex: '@acme\\.example$'}", list),
        ]);
    }
}

#[test]
fn disguised_words_are_recognized_in_texts_of_any_length() {
    let padding = "a b ".repeat(4 << 10);
    for word in ["ig\u{200b}nore", "\u{ff49}gnore", "ig\u{1}nore"] {
        assert_unknown(&[("{regex: ignore}", word), ("{contains: ignore}", word)]);
        assert_unknown(&[("{regex: ignore}", &format!("{padding}{word}{padding}"))]);
    }
    assert_eq!(judged("{regex: ignore}", &format!("{padding}\u{2014}é{padding}")), Ternary::False);
}

/// All of them reach a server that listens at 127.0.0.1.
#[test]
fn local_machine_is_recognized_by_all_its_names() {
    let names = [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "0.0.0.0",
        "LOCALHOST.",
        "2130706433",
    ];
    for name in names {
        for port in ["", ":8080"] {
            let url = format!("http://{name}{port}/a");
            for matcher in [
                "{glob: 'http://127.0.0.1*'}",
                "{glob: 'http://localhost*'}",
                "{regex: '^http://(localhost|[^/]*\\.internal)\\b'}",
                "{prefix: 'http://[::1]'}",
            ] {
                assert_ne!(judged(matcher, &url), Ternary::False, "{matcher} on {url}");
            }
            let host = format!("{name}{port}");
            for matcher in [
                "localhost",
                "127.0.0.1",
                "{prefix: localhost}",
                "{glob: '127.0.0.*'}",
                "{regex: '^127\\.'}",
            ] {
                assert_ne!(judged(matcher, &host), Ternary::False, "{matcher} on {host}");
            }
        }
    }
    assert_unknown(&[
        ("'::1'", "localhost"),
        ("{prefix: localhost}", "::1"),
        ("localhost", "app.localhost"),
    ]);
    // A server at one address is not reached at every other.
    for (matcher, text) in [
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "localhost"),
        ("{prefix: 0.0.0.0}", "127.0.0.1"),
        ("localhost", "localhosts"),
        ("localhost", "localhost.example"),
        ("127.0.0.1", "128.0.0.1"),
        ("{glob: '127.0.0.*'}", "0"),
        ("{prefix: localhost}", "12.7.0.0"),
        ("{contains: localhost}", "https://example.com/127.0.0.1"),
    ] {
        assert_eq!(judged(matcher, text), Ternary::False, "{matcher} on {text}");
    }
}

/// Rules as people write them, with ordinary values.
#[test]
fn ordinary_values_are_certain() {
    let rules = [
        "{prefix: [/etc/, /srv/secrets/, ~/.ssh/, 'C:\\Windows\\', .github/]}",
        "{glob: ['*.env', '*.pem', '/home/*/.aws/*', '**/secrets/**', 'http://localhost*', 'rm -rf *']}",
        "{contains: [rm -rf, DROP TABLE, 169.254.169.254, 127.0.0.1, localhost]}",
        "{regex: '(^|/)\\.env($|\\.)|\\bsudo\\b|(?i)drop\\s+table|^-'}",
        "{in: [main, master, /etc/passwd, secret.txt, localhost, 0.0.0.0, root]}",
    ];
    let mut taken = Vec::new();
    for text in [
        "src/lib.rs",
        "/srv/project/a b.md",
        "/srv/project/100%25.md",
        "docs/a%20b.md",
        "docs/C#/intro.md#part",
        "https://example.com/a/b?c=d%20e&f=%2Fg#h",
        "http://10.0.0.7:8080/health",
        "C:\\Users\\RUNNER~1\\AppData\\Local\\Temp\\a.txt",
        "C:/Program Files/app/a.dll",
        "\\\\server\\share\\a.txt",
        "/c/project/a.rs",
        "HEAD~1",
        "feature/PROJ-12#2",
        "acme/site#12",
        "v1.2.3",
        "10.1",
        "0.1.0",
        "cargo test --all -- --nocapture",
        "git commit -m \"Don't fail where there is no file; it's fine\"",
        "grep -rn 'fn main' src | head -20",
        "echo \"$HOME costs $5\" > a.txt",
        "for f in *.rs; do echo \"${f}\"; done",
        "Is this the main branch? Yes. It's what we're on; they're not.",
        "SELECT name FROM users WHERE email LIKE '%a@b.org%' -- all of them",
        "fn main() {\n    println!(\"{}/{}\", \"a\", 'b');\n}\n",
        "printf(\"%d/%s\\n\", a, b); // 50%ab\n",
        "See [the guide](../docs/a.md) and `cargo build`.\n\n- one\n- two ^1\n",
        "{\"a\": [\"b\", \"c\"], \"d\": \"e\\\\f\"}",
        "2026-11-28T10:00:00Z",
        "a:b",
        "urn:isbn:0451450523",
        "Mend the locale of hosts",
        "x^2 + y^2",
    ] {
        taken.extend(
            rules
                .iter()
                .filter(|rule| judged(rule, text) != Ternary::False)
                .map(|rule| (*rule, text)),
        );
    }
    assert_eq!(taken, []);
}

/// Allow rules still match.
#[test]
fn allow_rules_still_match_ordinary_values() {
    for (matcher, text) in [
        ("{under: /srv/project}", "/srv/project/a b (1).md"),
        ("{under: /srv/project}", "/srv/project/100%25.md"),
        ("{under: /srv/project}", "/srv/project/a%20b.md"),
        ("{prefix: /srv/project/}", "/srv/project/C#/a?b.md"),
        ("{regex: '^[\\w./%-]+$'}", "docs/a%20b.md"),
        ("{regex: '^[\\w-]+/[\\w-]+#\\d+$'}", "acme/site#12"),
        ("{regex: '^/repos\\?page=\\d+$'}", "/repos?page=2"),
        ("{glob: 'C:\\project\\*'}", "C:\\project\\a.txt"),
        ("{prefix: 'git '}", "git commit -m \"it's 'fine'\""),
        ("{regex: '^git (log|show)( [^;&|$`<>]+)?$'}", "git log --format='%h %s'"),
        ("{regex: '^[^$;|&]+$'}", "echo \"a\" 'b'"),
        ("localhost", "localhost"),
        ("{prefix: 'http://localhost:3000/'}", "http://localhost:3000/a"),
        ("{glob: '127.0.0.1:*'}", "127.0.0.1:80"),
        ("{suffix: .md}", "docs/a?b.md"),
        ("{contains: weather}", "Ask a@x.org or b@y.org about the weather, please, and tell me"),
        ("{suffix: '@acme.example'}", "\"Doe, J\" <x@acme.example>, J Doe a@acme.example"),
    ] {
        assert_eq!(judged(matcher, text), Ternary::True, "{matcher} on {text:?}");
    }
}

/// Matchers that use every form of a text.
const LOOKED_AT: [&str; 16] = [
    "a: {eq: /etc/passwd}",
    "a: {in: [main, 10.0.0.1, ~/.ssh/id]}",
    "a: {ne: 'DROP TABLE'}",
    "a: {not_in: [a@x.org, evil.example]}",
    "a: {prefix: /etc/}",
    "a: {prefix: /home/}",
    "a: {prefix: 'https://evil.example'}",
    "a: {suffix: .pem}",
    "a: {contains: 'DROP TABLE'}",
    "a: {contains: 10.0.0.1}",
    "a: {glob: ['/srv/*/.env', '~/.ssh/*']}",
    "a: {glob: 'https://*.example/*'}",
    "a: {regex: '(^|/)\\.env|DROP\\s+TABLE'}",
    "a: {under: /etc}",
    "a: {len_lte: 9}",
    "a: {gt: 9}",
];

static MATCHERS: LazyLock<Vec<Matcher>> =
    LazyLock::new(|| LOOKED_AT.iter().flat_map(|text| matchers(text).unwrap()).collect());

proptest::proptest! {
    /// The cache gives the same answers as a fresh analysis.
    #[test]
    fn cached_analysis_does_not_change_results(
        parts in proptest::collection::vec(
            "[ -~]{0,3}|é|\u{301}|\u{200b}|\0|\n|/etc/passwd|/\\.\\./|~/\\.ssh/id|%2e|DROP|/\\*\\*/|TABLE|\\.env|/home/me/|https://evil\\.example|[\\\\]|main|\\[\"|\"\\]|a@x\\.org, |10\\.1|2130706433|[x]{300}",
            0..6,
        ),
        order in proptest::collection::vec(0..LOOKED_AT.len(), 8..32),
    ) {
        let text = parts.concat();
        let args = Object::from_members(vec![("a".to_owned(), Json::String(text))]).unwrap();
        let texts = Texts::default();
        for number in order {
            let alone = MATCHERS[number].judge_object(&args, &Texts::default());
            let known = MATCHERS[number].judge_object(&args, &texts);
            proptest::prop_assert_eq!(known, alone, "{}", LOOKED_AT[number]);
        }
    }
}
