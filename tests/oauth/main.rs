//! Logins to remote servers: the real binary, a real authorization server with
//! an MCP server behind it, and a script for the person with a browser.

#![cfg(unix)]
#![cfg(test)]

mod attacks;
mod mock_servers;
#[path = "../shared/real.rs"]
mod real;
mod renewals;
mod stage;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agentgate::oauth::{Challenge, LoginError};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use stage::{Stage, text};

/// Longer than anything here takes, the longest test of a machine under load too.
const LONG: Duration = Duration::from_secs(120);

/// A server's refusal of a token.
fn refusal(used: Option<&HeaderValue>) -> Challenge {
    Challenge::of(StatusCode::UNAUTHORIZED, &HeaderMap::new(), used).unwrap()
}

#[tokio::test]
async fn a_person_logs_in_once_and_the_token_is_used() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    let output = stage.login();
    assert!(text(&output.stdout).starts_with("logged in at http://127.0.0.1:"));
    assert!(stage.end().contains("You are logged in"), "{}", stage.end());
    let mode = stage.file().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let page = stage.opened().pop().unwrap();
    for part in ["code_challenge_method=S256", "resource=http", "state=", "scope=read"] {
        assert!(page.contains(part), "{page}");
    }
    assert!(text(&output.stderr).contains(&page), "the page's address is told");

    assert!(text(&stage.login().stdout).starts_with("already logged in"));
    let session = stage.session(LONG);
    let used = session.authorization().await;
    assert!(stage.call("read", used).await.unwrap().contains("read done"));
    assert_eq!((stage.opened().len(), stage.asked("registration")), (1, 1));
}

#[test]
fn no_secret_is_written_to_the_log_however_much_is_logged() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    let login = stage.login();
    let secrets = stage.secrets();
    assert_eq!(secrets.len(), 3, "two tokens and a code");
    let logout = stage.run(&["logout", stage.url.as_str()]);
    for output in [login, logout] {
        let told = text(&output.stdout) + &text(&output.stderr);
        for secret in &secrets {
            assert!(!told.contains(secret.as_str()), "{secret} in {told}");
        }
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_once_for_all() {
    let Some(stage) = Stage::set("agree", json!({"ttl": 4})) else { return };
    stage.login();
    let first = stage.session(LONG).authorization().await;
    let sessions = [stage.session(LONG), stage.session(LONG)];
    let started = Instant::now();
    // Due two seconds before its end.
    while sessions[0].authorization().await == first {
        assert!(started.elapsed() < LONG, "it is never renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = sessions[1].authorization().await;
    assert_ne!(used, first);
    assert!(stage.call("read", used).await.is_ok());
    assert_eq!(stage.grants(), ["authorization_code", "refresh_token"]);
    assert_eq!(stage.opened().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_however_many_were_refused() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    stage.login();
    let session = stage.session(LONG);
    let used = session.authorization().await;
    let mut challenge = stage.call("read", None).await.unwrap_err();
    assert_eq!(session.handle_challenge(&challenge).await, Ok(()), "there is a token meanwhile");

    challenge = refusal(used.as_ref());
    let refused = session.handle_challenge(&challenge).await;
    assert!(matches!(refused, Err(LoginError::TokenRejected { .. })), "just given: {refused:?}");

    stage.age(100);
    let others = [stage.session(LONG), stage.session(LONG)];
    let (one, two, three) = tokio::join!(
        session.handle_challenge(&challenge),
        others[0].handle_challenge(&challenge),
        others[1].handle_challenge(&challenge),
    );
    assert_eq!([one, two, three], [Ok(()), Ok(()), Ok(())]);
    assert_eq!(stage.grants(), ["authorization_code", "refresh_token"]);
    assert!(stage.call("read", session.authorization().await).await.is_ok());
    assert_eq!(stage.opened().len(), 1);
}

#[tokio::test]
async fn refused_refresh_token_leads_to_a_new_login() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    stage.login();
    stage.age(100);
    stage.change("refresh_token", |_| json!("one of another life"));
    let session = stage.session(Duration::from_millis(100));
    let (used, started) = (session.authorization().await, Instant::now());
    let challenge = refusal(used.as_ref());
    while !matches!(session.handle_challenge(&challenge).await, Err(LoginError::Waiting { .. })) {
        assert!(started.elapsed() < LONG, "nobody is asked");
    }
    assert_eq!(stage.kept()["refresh_token"], json!(null), "it would be offered again");
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_used_all_the_same() {
    let Some(mut stage) = Stage::set("agree", json!({})) else { return };
    stage.login();
    let session = stage.session(LONG);
    let used = session.authorization().await;
    stage.end_server();
    stage.age(100);
    stage.change("expires", |expires| json!(expires.as_i64().unwrap() - 3600));
    assert!(used.is_some());
    assert_eq!(session.authorization().await, used);
    let refused = session.handle_challenge(&refusal(used.as_ref())).await;
    assert!(matches!(refused, Err(LoginError::Failed { .. })), "{refused:?}");
}

#[tokio::test]
async fn logging_out_gives_the_tokens_back() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    stage.login();
    let session = stage.session(LONG);
    let used = session.authorization().await;
    assert!(stage.call("read", used.clone()).await.is_ok());
    let output = stage.run(&["logout", stage.url.as_str()]);
    assert_eq!(text(&output.stdout), "logged out; the tokens were revoked\n");
    assert_eq!((stage.asked("revocation"), stage.file()), (2, None));
    assert!(stage.call("read", used).await.is_err(), "the token still works");
    let forgets = async {
        // What a session has looked at is taken for true for a moment.
        while session.authorization().await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let forgotten = tokio::time::timeout(Duration::from_secs(10), forgets).await;
    assert!(forgotten.is_ok(), "the session still has it");
    let again = stage.run(&["logout", stage.url.as_str()]);
    assert_eq!(text(&again.stdout), "there was no login\n");
}

#[test]
fn logout_reports_tokens_that_were_not_revoked() {
    let Some(stage) = Stage::set("agree", json!({"revocation": false})) else { return };
    stage.login();
    let output = stage.run(&["logout", stage.url.as_str()]);
    assert!(text(&output.stdout).contains("no way to revoke tokens"));
    assert_eq!((output.status.code(), stage.file()), (Some(0), None));
}

#[test]
fn processes_that_start_together_open_one_page() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    let start = || {
        let mut command = stage.gate(&["login", stage.url.as_str()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started = [start(), start(), start()];
    for process in started {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!((stage.opened().len(), stage.asked("registration")), (1, 1));
    assert_eq!(stage.grants(), ["authorization_code"]);
}

#[test]
fn a_callback_that_does_not_know_the_state_changes_nothing() {
    let Some(stage) = Stage::set("wrong state", json!({})) else { return };
    stage.login();
    assert_eq!(stage.visited("/callback/"), [400, 200]);
}

#[test]
fn an_answer_in_another_issuers_name_is_not_redeemed() {
    let Some(stage) = Stage::set("wrong issuer", json!({})) else { return };
    let output = stage.run(&["login", stage.url.as_str()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("issuer mismatch"), "{}", text(&output.stderr));
    assert_eq!((stage.grants().len(), stage.file()), (0, None));
    assert!(stage.end().contains("The login failed"), "{}", stage.end());
}

#[test]
fn metadata_that_names_another_issuer_is_not_believed() {
    let Some(stage) = Stage::set("agree", json!({"issuer": "other"})) else { return };
    let output = stage.run(&["login", stage.url.as_str()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("issuer mismatch"), "{}", text(&output.stderr));
    assert_eq!((stage.opened().len(), stage.asked("registration")), (0, 0));
}

#[test]
fn a_person_may_refuse() {
    let Some(stage) = Stage::set("refuse", json!({})) else { return };
    let output = stage.run(&["login", stage.url.as_str()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("access_denied"), "{}", text(&output.stderr));
    assert!(stage.end().contains("The login was refused"), "{}", stage.end());
    assert_eq!((stage.grants().len(), stage.file()), (0, None));
}

#[test]
fn login_times_out() {
    let Some(stage) = Stage::set("stay away", json!({})) else { return };
    let output = stage.run(&["login", "--timeout", "1s", stage.url.as_str()]);
    assert_eq!((output.status.code(), stage.file()), (Some(1), None));
}

#[tokio::test]
async fn a_request_is_answered_while_the_login_waits() {
    let Some(stage) = Stage::set("stay away", json!({})) else { return };
    let session = stage.session(Duration::from_millis(100));
    assert_eq!(session.authorization().await, None);
    let challenge = stage.call("read", None).await.unwrap_err();
    let started = Instant::now();
    let page = loop {
        match session.handle_challenge(&challenge).await {
            Err(LoginError::Waiting { url: Some(url), .. }) => break url,
            _ => assert!(started.elapsed() < LONG, "no page is told"),
        }
    };
    assert_eq!(stage.asked("registration"), 1, "every request joined one login");
    let (visited, told) = (page.clone(), session.handle_challenge(&challenge).await);
    assert!(told.unwrap_err().to_string().contains(&page));

    let stage = std::sync::Arc::new(stage);
    let person = std::sync::Arc::clone(&stage);
    let visit = tokio::task::spawn_blocking(move || person.visit(&visited));
    while session.handle_challenge(&challenge).await.is_err() {
        assert!(started.elapsed() < LONG, "the login never ends");
    }
    visit.await.unwrap();
    let used = session.authorization().await;
    assert!(stage.call("read", used).await.unwrap().contains("read done"));
}

#[tokio::test]
async fn missing_scopes_are_requested_on_challenge() {
    let Some(stage) = Stage::set("agree", json!({})) else { return };
    stage.login();
    let session = stage.session(Duration::from_millis(100));
    let used = session.authorization().await;
    let challenge = stage.call("write", used).await.unwrap_err();
    let stage = std::sync::Arc::new(stage);
    let started = Instant::now();
    let mut visit = None;
    loop {
        match session.handle_challenge(&challenge).await {
            Ok(()) => break,
            Err(LoginError::Waiting { url: Some(url), .. }) if visit.is_none() => {
                assert!(url.contains("scope=read+offline_access+write"), "{url}");
                let person = std::sync::Arc::clone(&stage);
                visit = Some(tokio::task::spawn_blocking(move || person.visit(&url)));
            }
            other => assert!(started.elapsed() < LONG, "{other:?}"),
        }
    }
    let used = session.authorization().await;
    assert!(stage.call("write", used.clone()).await.unwrap().contains("write done"));
    assert!(stage.call("read", used.clone()).await.is_ok(), "what was granted before is lost");
}

#[tokio::test]
async fn a_client_registered_by_hand_is_used_and_remembered() {
    let Some(stage) = Stage::set("agree", json!({"ttl": 4})) else { return };
    let url = stage.url.as_str();
    let options = ["login", "--client-id", "by-hand", "--client-secret-env", "SECRET", url];
    let secret = "a-secret-made-by-hand";
    let output = stage.gate(&options).env("SECRET", secret).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains(secret));
    let again = stage.run(&["login", "--again", url]);
    assert!(text(&again.stdout).starts_with("logged in"), "{}", text(&again.stderr));

    let session = stage.session(LONG);
    let (first, started) = (session.authorization().await, Instant::now());
    while session.authorization().await == first {
        assert!(started.elapsed() < LONG, "it is never renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let output = stage.run(&["logout", url]);
    assert_eq!(text(&output.stdout), "logged out; the tokens were revoked\n");
    assert_eq!((stage.asked("registration"), stage.opened().len()), (0, 2));
}

#[test]
fn tokens_are_sent_in_clear_text_to_this_machine_only() {
    let gate = |url: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentgate"));
        let folder = tempfile::tempdir().unwrap();
        command.args(["login", url]).env("AGENTGATE_HOME", folder.path()).output().unwrap()
    };
    for (url, words) in [
        ("http://mcp.example.com/mcp", "https only"),
        ("http://10.0.0.1/mcp", "https only"),
        ("ftp://127.0.0.1/", "http or https"),
    ] {
        let output = gate(url);
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}
