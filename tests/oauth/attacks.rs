//! Servers that lie about where to log in, and others who come to the callback:
//! no page is shown, no credential is sent where it does not belong.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use url::Url;

use crate::mock_servers::{
    Ended, MockServer, Received, Reply, answer, callback, challenge, metadata, redirect, resource,
    token, visit, with,
};

const METADATA: &str = "/.well-known/oauth-authorization-server";

/// A server that says something else in place of the document at `target`.
fn lying_at(
    target: &'static str,
    lie: impl Fn(&Url) -> Reply + Send + Sync + 'static,
) -> MockServer {
    MockServer::replying(move |base, asked| (asked.target == target).then(|| lie(base)))
}

/// The person agrees at once.
pub(crate) fn agree(page: &Url) -> Vec<String> {
    vec![callback(page, &[("code", "a-code")])]
}

/// Nobody saw a page, nobody registered, nothing is kept.
#[track_caller]
fn went_nowhere(server: &MockServer, ended: &Ended) {
    assert_eq!((ended.status, ended.page.as_ref()), (Some(2), None), "{}", ended.told);
    assert!(server.asked("/register").is_empty() && server.asked("/token").is_empty());
    assert_eq!(server.file(), None);
}

#[test]
fn an_honest_login_is_bound_to_its_resource_and_its_client() {
    let server = MockServer::honest();
    let ended = server.login_with(&[], agree);
    assert_eq!(ended.status, Some(0), "{}", ended.told);
    let page = ended.page.unwrap();
    let has = |name: &str, value: &str| {
        page.query_pairs().any(|pair| pair == (name.into(), value.into()))
    };
    assert!(has("resource", server.url.as_str()) && has("code_challenge_method", "S256"));
    let [asked] = <[Received; 1]>::try_from(server.asked("/token")).unwrap();
    let form: Vec<(String, String)> = {
        let (_, body) = asked.whole.split_once("\r\n\r\n").unwrap();
        form_urlencoded::parse(body.as_bytes()).into_owned().collect()
    };
    let value =
        |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(value("resource"), Some(server.url.as_str()));
    assert_eq!(value("client_id"), Some("registered"));
    assert!(value("code_verifier").is_some_and(|verifier| verifier.len() >= 43));
}

/// Metadata that says something that is not to be believed.
#[test]
fn addresses_that_are_no_place_to_log_in_at_are_not_opened_and_not_called() {
    for endpoint in
        ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"]
    {
        for address in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "x-evil://open",
            "http://login.example.com/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/x",
            "https://somebody:word@login.example.com/x",
            "-https://login.example.com/x",
            "/x",
        ] {
            let lie = move |base: &Url| answer(&with(metadata(base), json!({endpoint: address})));
            let server = lying_at(METADATA, lie);
            let ended = server.login(&[]);
            went_nowhere(&server, &ended);
        }
    }
}

#[test]
fn a_server_without_proof_keys_is_refused() {
    for methods in [json!(null), json!([]), json!(["plain"]), json!(["s256"]), json!("S256")] {
        let lie = move |base: &Url| {
            let methods = methods.clone();
            answer(&with(metadata(base), json!({"code_challenge_methods_supported": methods})))
        };
        let server = lying_at(METADATA, lie);
        let ended = server.login(&[]);
        went_nowhere(&server, &ended);
    }
}

/// RFC 8414, section 3.3: whoever speaks in another's name is not believed, wherever
/// the document is. Else the other's codes and refresh tokens would come here.
#[test]
fn servers_cannot_impersonate_another_issuer() {
    let honest = MockServer::honest();
    let victim = honest.url.join("/").unwrap();
    for place in [
        "",
        "tenant",
        ".well-known/oauth-authorization-server",
        ".well-known/openid-configuration",
        "a/.well-known/b",
        "a/.well-known/oauth-authorization-server",
        ".well-known/oauth-authorization-server/../../a/.well-known/x",
    ] {
        let claimed = metadata(&victim);
        let server = MockServer::replying(move |base, asked| {
            let lie = with(claimed.clone(), json!({"token_endpoint": format!("{base}token")}));
            match asked.target.as_str() {
                "/resource" => {
                    let server = format!("{base}{place}");
                    Some(answer(&with(resource(base), json!({"authorization_servers": [server]}))))
                }
                target if target.contains(".well-known") => Some(answer(&lie)),
                _ => None,
            }
        });
        let ended = server.login(&[]);
        went_nowhere(&server, &ended);
        assert!(honest.asked("/register").is_empty(), "{place}");
    }
}

#[test]
fn metadata_of_another_resource_is_not_used() {
    for claimed in ["https://mcp.example.com/mcp", "http://127.0.0.1:1/mcp", "mcp", ""] {
        let lie = move |base: &Url| answer(&with(resource(base), json!({"resource": claimed})));
        let server = lying_at("/resource", lie);
        let ended = server.login(&[]);
        went_nowhere(&server, &ended);
    }
    for claimed in ["mcp2", "mcp/x", "mc"] {
        let lie = move |base: &Url| {
            answer(&with(resource(base), json!({"resource": format!("{base}{claimed}")})))
        };
        let server = lying_at("/resource", lie);
        let ended = server.login(&[]);
        went_nowhere(&server, &ended);
    }
}

#[test]
fn where_a_challenge_points_is_not_looked_at_where_it_leads_inwards() {
    let other = MockServer::honest();
    let near = other.url.join("/").unwrap();
    for header in [
        "Bearer resource_metadata=\"http://169.254.169.254/latest\"".to_owned(),
        "Bearer resource_metadata=\"file:///etc/passwd\"".to_owned(),
        format!("Bearer realm=\"a\\\"b\", resource_metadata=\"{near}resource"),
        format!("Basic realm=\"x\", resource_metadata=\"http://10.0.0.1/\", Bearer x=\"{near}"),
        format!("Bearer {}", "resource_metadata=,".repeat(500)),
    ] {
        let server = MockServer::replying(move |_, asked| {
            (asked.target == "/mcp").then(|| challenge(&header))
        });
        // Its own metadata, found at the well-known place, is as good as ever.
        let ended = server.login_with(&[], agree);
        assert_eq!(ended.status, Some(0), "{}", ended.told);
        assert!(other.asked("/").is_empty(), "{}", ended.told);
    }
}

#[test]
fn documents_without_end_end_the_login() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for target in ["/resource", METADATA, "/register"] {
        for more in ["Content-Length: 100000000000", "Connection: close"] {
            let text = format!("{head}{more}\r\n\r\n{{");
            let server = lying_at(target, move |_| Reply::Endless(text.clone()));
            let ended = server.login(&[]);
            assert_eq!((ended.status, ended.page), (Some(2), None), "{}", ended.told);
            assert!(ended.told.contains("larger than"), "{}", ended.told);
        }
    }
}

#[test]
fn a_page_whose_address_no_system_takes_is_not_opened() {
    let scopes: Vec<String> = (0..5_000).map(|n| format!("scope{n}")).collect();
    let lie = move |base: &Url| answer(&with(resource(base), json!({"scopes_supported": scopes})));
    let ended = lying_at("/resource", lie).login(&[]);
    assert_eq!((ended.status, ended.page), (Some(2), None), "{}", ended.told);
    assert!(ended.told.contains("too long"), "{}", ended.told);
}

/// Else a server could have the gate call any number of others.
#[test]
fn number_of_discovery_urls_is_limited() {
    let target = MockServer::replying(|_, _| {
        Some(Reply::Whole("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_owned()))
    });
    let there = target.url.join("/").unwrap();
    let server = lying_at("/resource", move |base| {
        let servers: Vec<String> = (0..5_000).map(|n| format!("{there}{n}")).collect();
        answer(&with(resource(base), json!({"authorization_servers": servers})))
    });
    let ended = server.login(&[]);
    went_nowhere(&server, &ended);
    assert!(ended.told.contains("more places"), "{}", ended.told);
    assert!(target.asked("/").len() < 50, "{}", target.asked("/").len());
}

#[test]
fn nothing_is_sent_where_a_redirect_points() {
    for (target, status) in [
        (METADATA, 302),
        ("/resource", 307),
        ("/register", 307),
        ("/register", 302),
        ("/token", 307),
        ("/token", 302),
    ] {
        let elsewhere = MockServer::honest();
        let place = elsewhere.url.join(target).unwrap();
        let server = lying_at(target, move |_| redirect(status, place.as_str()));
        let ended = server.login_with(&[], agree);
        assert_eq!(ended.status, Some(2), "{target}: {}", ended.told);
        assert!(elsewhere.asked("/").is_empty(), "{target}");
        assert_eq!(server.file(), None);
    }
}

#[test]
fn callback_must_name_the_issuer_if_promised() {
    let promise = |base: &Url| {
        let promise = json!({"authorization_response_iss_parameter_supported": true});
        answer(&with(metadata(base), promise))
    };
    for issuer in [None, Some(""), Some("https://login.example.com")] {
        let server = lying_at(METADATA, promise);
        let ended = server.login_with(&[], |page| {
            let mut brings = vec![("code", "a-code")];
            brings.extend(issuer.map(|issuer| ("iss", issuer)));
            vec![callback(page, &brings)]
        });
        assert_eq!(ended.status, Some(2), "{issuer:?}: {}", ended.told);
        assert!(server.asked("/token").is_empty(), "{issuer:?}");
        assert!(ended.visits[0].contains("The login failed"), "{:?}", ended.visits);
    }
}

#[test]
fn tokens_of_another_type_are_rejected() {
    for lie in [
        json!({"token_type": "mac"}),
        json!({"token_type": "DPoP"}),
        json!({"token_type": null}),
        json!({"access_token": ""}),
        json!({"access_token": "a\r\nX-Evil: 1"}),
        json!({"access_token": "tok\u{e9}n"}),
        json!({"access_token": 7}),
    ] {
        let server = lying_at("/token", move |_| answer(&with(token(), lie.clone())));
        let ended = server.login_with(&[], agree);
        assert_eq!((ended.status, server.file()), (Some(2), None), "{}", ended.told);
        assert!(!ended.told.contains("a-refresh-token"), "{}", ended.told);
    }
}

/// Who comes to the callback a second time, or with another's state, or through a
/// name that is not this machine's, changes nothing.
#[test]
fn one_visit_is_redeemed_and_no_other() {
    let server = MockServer::honest();
    let ended = server.login_with(&[], |page| {
        let right = callback(page, &[("code", "a-code")]);
        let forged = callback(page, &[("code", "b-code"), ("state", "forged")]);
        assert!(visit(&forged).starts_with("HTTP/1.1 400 "));
        assert!(visit(&right.replace("state=", "no=")).starts_with("HTTP/1.1 400 "));
        vec![right.clone(), right.replace("a-code", "c-code"), right]
    });
    assert_eq!(ended.status, Some(0), "{}", ended.told);
    let asked = server.asked("/token");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(!asked[0].whole.contains("b-code"), "{asked:?}");
    let page = ended.page.unwrap();
    assert_eq!(visit(&callback(&page, &[("code", "a-code")])), "", "nobody listens any more");
    let logged_in = ended.visits.iter().filter(|visit| visit.contains("You are logged in"));
    assert_eq!(logged_in.count(), 1, "{:?}", ended.visits);
}

/// A page that leads on to another authorization server's, in the name of the client
/// there: the browser comes back where that client would.
#[test]
fn a_code_of_another_authorization_server_is_not_redeemed() {
    let honest = MockServer::honest().login_with(&[], agree).page.unwrap();
    let theirs: Url = callback(&honest, &[]).parse().unwrap();
    let attacker = MockServer::honest();
    let ended = attacker.login_with(&[], |page| {
        let mut back: Url = callback(page, &[("code", "a-code")]).parse().unwrap();
        assert_ne!(back.path(), theirs.path(), "both come back to one path");
        back.set_path(theirs.path());
        vec![back.into()]
    });
    assert!(ended.visits[0].starts_with("HTTP/1.1 400 "), "{:?}", ended.visits);
    assert_eq!((ended.status, attacker.file()), (Some(1), None), "{}", ended.told);
    assert!(attacker.asked("/token").is_empty());
}

#[test]
fn server_text_is_escaped_for_the_terminal() {
    let trick = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{200b}\r";
    let is_clean =
        |told: &str| !told.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{200b}', '\r']);
    let server = MockServer::honest();
    let ended = server.login_with(&[], |page| {
        vec![callback(page, &[("error", "access_denied"), ("error_description", trick)])]
    });
    assert!(ended.told.contains("access_denied") && is_clean(&ended.told), "{:?}", ended.told);

    let scoped = lying_at("/token", move |_| {
        answer(&with(token(), json!({"scope": format!("read {trick}")})))
    });
    let ended = scoped.login_with(&[], agree);
    assert_eq!(ended.status, Some(0), "{}", ended.told);
    assert!(ended.told.contains("`read`") && is_clean(&ended.told), "{:?}", ended.told);

    for (target, document) in [
        ("/token", json!({"error": "invalid_grant", "error_description": trick})),
        ("/register", json!({"error": trick})),
        (
            METADATA,
            json!({"issuer": format!("http://127.0.0.1/{trick}"),
                          "authorization_endpoint": "x", "token_endpoint": "x"}),
        ),
    ] {
        let text = document.to_string();
        let refusal = format!(
            "HTTP/1.1 {} No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            if target == METADATA { 200 } else { 400 },
            text.len()
        );
        let server = lying_at(target, move |_| Reply::Whole(refusal.clone()));
        let ended = server.login_with(&[], agree);
        assert!(ended.status == Some(2) && is_clean(&ended.told), "{target}: {:?}", ended.told);
    }
}

/// A server that has been taken over names another authorization server, openly or
/// in the first one's name: the refresh token and the client's secret stay here.
#[tokio::test]
async fn credentials_of_one_issuer_are_not_sent_to_another() {
    let thief = MockServer::honest();
    let there = thief.url.join("/").unwrap();
    for in_its_name in [false, true] {
        let taken_over = Arc::new(AtomicBool::new(false));
        let (is_taken_over, elsewhere) = (Arc::clone(&taken_over), there.clone());
        let server = MockServer::replying(move |base, asked| {
            if !is_taken_over.load(Ordering::Relaxed) {
                return None;
            }
            let (server, claimed) = match in_its_name {
                false => (elsewhere.to_string(), Value::Null),
                true => {
                    let thief = json!({"token_endpoint": format!("{elsewhere}token")});
                    (format!("{base}lie/.well-known/x"), with(metadata(base), thief))
                }
            };
            match asked.target.as_str() {
                "/resource" => {
                    Some(answer(&with(resource(base), json!({"authorization_servers": [server]}))))
                }
                "/lie/.well-known/x" => Some(answer(&claimed)),
                _ => None,
            }
        });
        assert_eq!(server.login_with(&[], agree).status, Some(0));
        let used = server.session().authorization().await;
        server.run_out();
        taken_over.store(true, Ordering::Relaxed);
        assert_eq!(server.session().authorization().await, used, "{in_its_name}");
        assert!(thief.asked("/token").is_empty(), "{in_its_name}");
        assert_eq!(server.asked("/token").len(), 1, "{in_its_name}");
        if in_its_name {
            let ended = server.login(&["--again"]);
            assert_eq!((ended.status, ended.page), (Some(2), None), "{}", ended.told);
        }
    }
}

/// What was made by hand at one issuer is shown to no other, not even the first time.
#[test]
fn a_client_made_by_hand_is_shown_to_its_own_issuer_only() {
    let server = MockServer::honest();
    let own = server.url.join("/").unwrap().to_string();
    let other = "https://login.example.com/tenant";
    let by_hand = |issuer| {
        let secret = ["--client-id", "by-hand", "--client-secret-env", "AGENTGATE_HOME"];
        [&secret[..], &["--issuer", issuer]].concat()
    };
    let ended = server.login(&by_hand(other));
    went_nowhere(&server, &ended);
    assert!(ended.told.contains(other) && ended.told.contains(own.trim_end_matches('/')));
    let ended = server.login_with(&by_hand(&own), agree);
    assert_eq!(ended.status, Some(0), "{}", ended.told);
    let asked = server.asked("/token").len();
    // That there is a login does not make it the one that was asked for.
    for arguments in [by_hand(other), vec!["--client-id", "another"]] {
        let ended = server.login(&arguments);
        assert_ne!(ended.status, Some(0), "{}", ended.told);
    }
    let ended = server.login(&["--issuer", &own]);
    assert!(ended.status == Some(2) && ended.told.contains("--client-id"), "{}", ended.told);
    assert_eq!(server.asked("/token").len(), asked);
    let ended = server.login(&by_hand(&own));
    assert!(ended.status == Some(0) && ended.page.is_none(), "{}", ended.told);
}

#[tokio::test]
async fn renewal_names_its_resource_and_keeps_its_scopes() {
    let server = MockServer::replying(|_, asked| {
        let renews = asked.target == "/token" && asked.whole.contains("refresh_token");
        let wide = json!({"access_token": "another", "scope": "read admin"});
        renews.then(|| answer(&with(token(), wide)))
    });
    let ended = server.login_with(&["--scope", "read"], agree);
    assert_eq!(ended.status, Some(0), "{}", ended.told);
    server.run_out();
    let renewed = server.session().authorization().await;
    assert_eq!(renewed.unwrap().to_str().unwrap(), "Bearer another");
    let asked = server.asked("/token").pop().unwrap();
    assert!(asked.method == "POST" && asked.whole.contains("resource=http"), "{}", asked.whole);
    let kept: Value = serde_json::from_slice(&fs::read(server.file().unwrap()).unwrap()).unwrap();
    assert_eq!(kept["scopes"], json!(["read"]));
}

#[test]
fn the_file_of_a_login_is_its_owners_whatever_was_there() {
    let server = MockServer::honest();
    assert_eq!(server.login_with(&[], agree).status, Some(0));
    let file = server.file().unwrap();
    let elsewhere = file.with_file_name("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    // What a draft would be written over.
    symlink(&elsewhere, file.with_extension("new")).unwrap();
    assert_eq!(server.login_with(&["--again"], agree).status, Some(0));
    assert_eq!(fs::read(&elsewhere).unwrap(), before, "it was written where a link led");
    let kept = fs::symlink_metadata(&file).unwrap();
    assert!(kept.is_file() && kept.permissions().mode() & 0o777 == 0o600);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let told = server.login(&[]).told;
    assert!(told.contains("others can read this login"), "{told}");
}
