//! `agentgate login` and `agentgate logout`: logins to remote servers, by hand.

use std::env;
use std::io::Write as _;

use anyhow::{Context as _, ensure};
use serde_json::json;
use url::Url;

use super::Done;
use crate::cli::{LoginArgs, LogoutArgs};
use crate::config::Home;
use crate::net::client::Client;
use crate::oauth::{
    ClientConfig, Login, LoginError, LoginOptions, LogoutOutcome, Options, Session,
};
use crate::terminal;

pub(super) fn log_in(args: &LoginArgs) -> anyhow::Result<Done> {
    let options = Options {
        browser: !args.no_browser,
        login_timeout: args.timeout.unwrap_or(Options::LOGIN_TIMEOUT),
        ..Options::default()
    };
    let wanted =
        LoginOptions { scopes: args.scopes.clone(), client: client(args)?, again: args.again };
    let session = session(&args.url, options)?;
    let mut out = anstream::stdout();
    match runtime()?.block_on(session.log_in(wanted)) {
        Ok(login) if args.json => terminal::json_line(&mut out, &json(&args.url, &login))?,
        Ok(login) => writeln!(out, "{}", summary(&login))?,
        Err(error @ (LoginError::Denied { .. } | LoginError::TimedOut { .. })) => {
            anstream::eprintln!("agentgate: {error}");
            return Ok(Done::DoesNotHold);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Done::Success)
}

pub(super) fn log_out(args: &LogoutArgs) -> anyhow::Result<Done> {
    let session = session(&args.url, Options::default())?;
    let mut out = anstream::stdout();
    match runtime()?.block_on(session.log_out())? {
        LogoutOutcome::None => writeln!(out, "there was no login")?,
        LogoutOutcome::Forgotten => {
            writeln!(out, "logged out; the authorization server has no way to revoke tokens")?;
        }
        LogoutOutcome::Revoked => writeln!(out, "logged out; the tokens were revoked")?,
        LogoutOutcome::NotRevoked(error) => {
            writeln!(out, "logged out")?;
            anstream::eprintln!("agentgate: the tokens were not revoked: {error}");
        }
    }
    Ok(Done::Success)
}

fn session(url: &Url, options: Options) -> anyhow::Result<Session> {
    let home = Home::find()?;
    Ok(Session::for_url(url, &home.data, Client::new()?, options)?)
}

fn client(args: &LoginArgs) -> anyhow::Result<ClientConfig> {
    let secret = match &args.client_secret_env {
        Some(name) => {
            let secret =
                env::var(name).with_context(|| format!("the variable `{name}` is not set"))?;
            ensure!(!secret.is_empty(), "`{name}` is empty");
            Some(secret.into())
        }
        None => None,
    };
    let document = args.client_document.as_ref().map(ToString::to_string);
    let (id, issuer) = (args.client_id.clone(), args.issuer.as_ref().map(ToString::to_string));
    Ok(ClientConfig { id, secret, issuer, document, port: args.callback_port })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn summary(login: &Login) -> String {
    let begin = if login.is_new { "logged in" } else { "already logged in" };
    let scopes = match login.scopes.is_empty() {
        true => String::new(),
        false => format!(" for `{}`", login.scopes.join(" ")),
    };
    let end = match (login.renews, login.expires) {
        (true, _) => "; it renews itself".to_owned(),
        (false, Some(expires)) => format!("; it expires at {expires}"),
        (false, None) => String::new(),
    };
    format!("{begin} at {}{scopes}{end}", login.issuer)
}

fn json(url: &Url, login: &Login) -> serde_json::Value {
    json!({
        "url": url.as_str(),
        "new": login.is_new,
        "issuer": login.issuer,
        "client_id": login.client,
        "scopes": login.scopes,
        "expires": login.expires.map(|at| at.to_string()),
        "renews": login.renews,
    })
}
