use super::*;
use crate::json::parse;
use proptest::prelude::*;

fn redacted(json: &str) -> String {
    payload(&Payload::Whole(parse(json.as_bytes()).unwrap().as_object().unwrap()))
}

fn redacted_part(name: &'static str, pairs: &[(&str, &str)]) -> String {
    let part = Json::Object(Object::from_parameters(pairs));
    payload(&Payload::Parts(vec![(name, Cow::Owned(part))]))
}

#[test]
fn secret_keys_are_found_in_all_spellings() {
    for key in [
        "password",
        "PASSWORD",
        "dbPassword",
        "user_passwd",
        "api_key",
        "apiKey",
        "API-KEY",
        "x-api-key",
        "apikey",
        "APIKey",
        "apiKeys",
        "Authorization",
        "proxy-authorization",
        "access_token",
        "accesstoken",
        "refreshToken",
        "clientSecret",
        "client_secret",
        "clientsecret",
        "secrets",
        "Set-Cookie",
        "private_key",
        "privateKey",
        "sshKey",
        "AWS_SECRET_ACCESS_KEY",
        "credentials",
        "jwt",
        "auth",
        "passphrase",
        "token",
    ] {
        assert!(is_secret_key(key), "{key}");
    }
}

#[test]
fn ordinary_keys_are_not() {
    for key in [
        "path",
        "author",
        "authors",
        "secretary",
        "tokenizer",
        "key",
        "keys",
        "keyboard",
        "primary_key",
        "max_tokens",
        "maxTokens",
        "token_count",
        "passenger",
        "compass",
        "issue_key",
        "tokenize",
        "",
    ] {
        assert!(!is_secret_key(key), "{key}");
    }
}

#[test]
fn secrets_are_redacted_and_the_rest_is_kept() {
    assert_eq!(
        redacted(r#"{"path":"/srv","password":"hunter2","n":1.50,"deep":[{"token":{"a":1}}]}"#),
        r#"{"path":"/srv","password":"[redacted]","n":1.50,"deep":[{"token":"[redacted]"}]}"#
    );
    assert_eq!(
        redacted(r#"{"has_password":true,"token":null,"secret":""}"#),
        r#"{"has_password":true,"token":null,"secret":""}"#
    );
}

#[test]
fn parameters_have_secrets_of_their_own() {
    for name in [
        "token",
        "access_token",
        "client_secret",
        "client_assertion",
        "code",
        "device_code",
        "code_verifier",
        "sig",
        "tempauth",
        "Signature",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
        "X-Amz-Credential",
        "X-Goog-Signature",
        "AWSAccessKeyId",
    ] {
        for part in ["query", "form"] {
            let once = redacted_part(part, &[(name, "hunter2"), ("page", "2")]);
            let shown = format!(r#"{{"{part}":{{"{name}":"[redacted]","page":"2"}}}}"#);
            assert_eq!(once, shown);
            let twice = redacted_part(part, &[(name, "hunter2"), (name, "hunter3")]);
            assert!(!twice.contains("hunter"), "{twice}");
        }
    }
    let ordinary = [("country_code", "JP"), ("q", "code"), ("Action", "ListUsers")];
    let shown = r#"{"query":{"country_code":"JP","q":"code","Action":"ListUsers"}}"#;
    assert_eq!(redacted_part("query", &ordinary), shown);
    let argument = r#"{"code":"fn main() {}","signature":"()"}"#;
    assert_eq!(redacted(argument), argument);
}

#[test]
fn a_part_that_is_too_long_leaves_the_others_named() {
    let names: Vec<_> = (0..10_000).map(|n| format!("name{n}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "value")).collect();
    let query = Cow::Owned(Json::Object(Object::from_parameters(&pairs)));
    let body = Cow::Owned(parse(br#"{"b":[1,2]}"#).unwrap());
    let raw = Cow::Owned(Json::String("x".repeat(100_000)));
    let out = payload(&Payload::Parts(vec![("query", query), ("body", body), ("raw", raw)]));
    assert!(out.len() < MAX_TOTAL + 2 * MAX_STRING, "{}", out.len());
    assert!(out.contains(r#""body":{"…":"[1 more]"}"#), "{out}");
    parse(out.as_bytes()).unwrap();
}

#[test]
fn a_pair_names_its_secret() {
    assert_eq!(
        redacted(r#"{"fields":[{"name":"Password","type":"textbox","value":"hunter2"}]}"#),
        r#"{"fields":[{"name":"Password","type":"textbox","value":"[redacted]"}]}"#
    );
    let harmless = r#"{"fields":[{"name":"City","value":"Kyoto"}]}"#;
    assert_eq!(redacted(harmless), harmless);
}

#[test]
fn credentials_are_found_in_any_text() {
    // Split, so that no scanner takes the test for a leak.
    let made = |parts: &[&str]| parts.concat();
    for (credential, kept) in [
        (made(&["ghp", "_", "0123456789abcdefghijklmnopqrstuvwxyz"]), ""),
        (made(&["sk", "-proj-", "0123456789abcdefghij"]), ""),
        (made(&["xox", "b-", "123456789012-abcdef"]), ""),
        (made(&["AK", "IA", "ABCDEFGHIJKLMNOP"]), ""),
        (made(&["ey", "JhbGciOiJIUzI1", ".ey", "JzdWIiOiIxMjM0", ".abc"]), ""),
        (made(&["Bearer ", "abcdefghijkl"]), "Bearer "),
        (made(&["API_TOKEN=", "abcdefgh"]), "API_TOKEN="),
        (
            made(&["-----BEGIN RSA ", "PRIVATE KEY-----\nMIIE\n-----END RSA ", "PRIVATE KEY-----"]),
            "",
        ),
    ] {
        let json = Json::String(format!("say {credential} now"));
        let mut out = String::new();
        value(&mut out, &json);
        assert_eq!(out, format!("\"say {kept}[redacted] now\""), "{credential}");
    }
    assert_eq!(text("postgres://me:hunter2@db/x"), "postgres://me:[redacted]@db/x");
    assert_eq!(text("curl https://example.org/a:b"), "curl https://example.org/a:b");
}

#[test]
fn published_formats_are_found() {
    let (long, digits) = ("a1B2c3D4e5".repeat(12), "0123456789abcdef".repeat(4));
    let (any, hex) = (|count| &long[..count], |count| &digits[..count]);
    // Split, so that no scanner takes the test for a leak.
    for parts in [
        vec!["ghs", "_12_eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxMjM0.", any(20)],
        vec!["glrt", "-", any(20)],
        vec!["glcbt", "-64_", any(20)],
        vec!["gloas", "-", hex(64)],
        vec!["xox", "d-", any(40), "%2B", any(8)],
        vec!["xoxe.xox", "p-1-", any(100)],
        vec!["xw", "fp-", any(40)],
        vec!["whsec", "_", any(32)],
        vec!["AB", "SK", any(100), "=="],
        vec!["1/", "/0", any(60)],
        vec!["GOC", "SPX-", any(28)],
        vec!["AQ", ".Ab8", any(40)],
        vec!["dckr", "_pat_", any(27)],
        vec!["SG", ".", any(22), ".", any(43)],
        vec!["dop", "_v1_", hex(64)],
        vec!["hv", "s.", any(90)],
        vec!["da", "pi", hex(32)],
        vec!["ATA", "TT3xFfGF0", any(100), "=0A"],
        vec!["pat", any(14), ".", hex(64)],
        vec!["pat-", "na1-01234567-89ab-cdef-0123-456789abcdef"],
        vec!["fig", "d_", any(40)],
        vec!["gl", "sa_", any(32), "_01234567"],
        vec!["sb", "p_", hex(40)],
        vec!["sb_sec", "ret_", any(30)],
        vec!["gs", "k_", any(52)],
        vec!["xa", "i-", any(80)],
        vec!["r8", "_", any(37)],
        vec!["1234567890", ":AA", any(33)],
        vec!["AGE-SECRET", "-KEY-1", &"QPZRY9X8".repeat(7)],
    ] {
        assert_eq!(text(&format!("say {} now", parts.concat())), "say [redacted] now", "{parts:?}");
    }
}

#[test]
fn credentials_are_found_by_their_prefix() {
    for (before, after) in [
        ("Authorization: token ", ""),
        ("curl -H 'Authorization: ", "' https://example.org"),
        (r#"{\"Authorization\": \"Bearer "#, r#"\"}"#),
        ("Set-Cookie: ", "\r\nVary: *"),
        ("curl -u admin:", " https://example.org"),
        ("mysql --password ", " db"),
        ("tool --api-token=", " x"),
        ("https://hooks.slack.com/services/", "?x"),
        ("https://discord.com/api/webhooks/123456789/", "?wait=true"),
        ("https://x.blob.core.windows.net/c?sv=2022&sig=", "&x=1"),
        ("AccountName=x;AccountKey=", ";x"),
        (r#"{"a":"{\"password\": \""#, r#"\"}"}"#),
        ("export DB_PASSWORD=\"", "\""),
    ] {
        let secret = "T0123456/B0123456/hunter2hunter2hunter2"
            .replace('/', if before.contains("slack") { "/" } else { "" });
        let shown = text(&format!("{before}{secret}{after}")).into_owned();
        assert_eq!(shown, format!("{before}[redacted]{after}"));
    }
    assert_eq!(
        text("git clone https://0123456789abcdefghijk@host/a"),
        "git clone https://[redacted]@host/a"
    );
    assert_eq!(text("postgres://me:hunter@2@db/x"), "postgres://me:[redacted]@db/x");
    assert_eq!(text("password = 'correct horse battery'"), "password = '[redacted]'");
}

#[test]
fn ordinary_text_is_kept() {
    for ordinary in [
        "a global-configuration-of-all-things",
        "the password must be long; see the token endpoint",
        "a well-known-secret sauce, and - secret sauce",
        "https://registry.example.org:443/@scope/name",
        "ssh://git@github.com/o/r.git and git@github.com:o/r.git",
        "docker run -u 10:10 x",
        "SG.1 or pat-x or hv.s or https://hooks.slack.com/services/",
        "max_tokens: 100, secretary: Ann",
    ] {
        assert_eq!(text(ordinary), ordinary);
    }
}

#[test]
fn a_credential_across_the_cut_does_not_show() {
    let long = format!("{}{}{}", "x".repeat(MAX_STRING - 9), " ghp_", "a1".repeat(20));
    let shown = text(&long);
    assert!(!shown.contains("a1"), "{shown}");
    assert!(shown.ends_with(&format!("…[{} bytes]", long.len())), "{shown}");
}

#[test]
fn the_whole_is_bounded_and_stays_json() {
    let many = format!("{{\"list\":[{}1]}}", "\"0123456789\",".repeat(10_000));
    let out = redacted(&many);
    assert!(out.len() < MAX_TOTAL + MAX_STRING, "{}", out.len());
    assert!(out.contains("more]"));
    parse(out.as_bytes()).unwrap();
    let number = format!("{{\"n\":{}}}", "1".repeat(4000));
    assert_eq!(redacted(&number), r#"{"n":"[4000 digits]"}"#);
}

proptest! {
    #[test]
    fn no_secret_survives_whatever_stands_around_it(
        prefix in ".{0,40}", suffix in ".{0,40}", depth in 0usize..10,
    ) {
        let secret = "hunter2hunter2";
        let mut json = format!("{{\"password\":{}}}", serde_json::Value::from(secret));
        for _ in 0..depth {
            let key = serde_json::Value::from(format!("{prefix}k"));
            json = format!("{{{key}:[{json}],\"z\":{}}}", serde_json::Value::from(&*suffix));
        }
        let out = redacted(&json);
        prop_assert!(!out.contains(secret));
        prop_assert!(parse(out.as_bytes()).is_ok());
    }

    #[test]
    fn any_text_is_scrubbed_without_a_panic(any in "\\PC{0,2000}") {
        prop_assert!(text(&any).len() <= MAX_STRING + OVERLAP + 32);
    }
}
