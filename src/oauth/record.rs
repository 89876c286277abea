//! A login as it is kept: whose token it is, for what, and until when.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// The version of the file's form.
const VERSION: u32 = 1;

/// How long before its end a token is renewed, in seconds; half its life where
/// that is shorter.
const AHEAD: i64 = 30;

/// How long after it was given a token is still new, in seconds: a server that
/// refuses a new one will not like the next one better.
const NEW: i64 = 60;

/// A text that is never shown, and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Who the gate is to an authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) secret: Option<Secret>,
    /// The redirect address that was registered with it.
    pub(super) redirect: String,
    /// Its port, where it has to be that one; else 0.
    pub(super) port: u16,
    /// Whether a person gave it; otherwise the gate registered itself.
    pub(super) given: bool,
}

impl Identity {
    /// The proof of a client that has a secret (RFC 6749, section 2.3.1).
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let id: String = encoded(&self.id);
        let secret: Zeroizing<String> = Zeroizing::new(encoded(self.secret.as_ref()?.expose()));
        let pair = Zeroizing::new(format!("{id}:{}", *secret));
        let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What a token came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum By {
    Login,
    Renewal,
}

/// What an authorization server gave.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Grant {
    pub(super) access_token: Secret,
    pub(super) token_type: String,
    pub(super) refresh_token: Option<Secret>,
    /// In seconds from now.
    pub(super) expires_in: Option<i64>,
}

/// The login to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// The server's URL, as it is called.
    pub(super) server: String,
    /// What the token is for (RFC 8707).
    pub(super) resource: String,
    /// Who gave it.
    pub(super) issuer: String,
    /// Whom it was given to.
    pub(super) client: Identity,
    /// What was granted, and what had been asked for.
    pub(super) scopes: Vec<String>,
    pub(super) asked: Vec<String>,
    /// Where tokens are taken back (RFC 7009), where that is offered.
    pub(super) revocation: Option<String>,
    /// What the server said when it wanted the login: some name nowhere else who logs
    /// people in.
    #[serde(default)]
    pub(super) challenge: Option<String>,
    access_token: Secret,
    refresh_token: Option<Secret>,
    by: By,
    /// Unix time in seconds.
    received: i64,
    expires: Option<i64>,
}

/// What a login is besides its tokens.
pub(super) struct About {
    pub(super) server: String,
    pub(super) resource: String,
    pub(super) issuer: String,
    pub(super) client: Identity,
    pub(super) scopes: Vec<String>,
    pub(super) asked: Vec<String>,
    pub(super) revocation: Option<String>,
    pub(super) challenge: Option<String>,
}

impl Record {
    /// A login made at `now`, in Unix seconds.
    pub(super) fn new(about: About, grant: Grant, now: i64) -> Self {
        let About { server, resource, issuer, client, scopes, asked, revocation, challenge } =
            about;
        Self {
            version: VERSION,
            server,
            resource,
            issuer,
            client,
            scopes,
            asked,
            revocation,
            challenge,
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
            by: By::Login,
            received: now,
            expires: grant.expires_in.map(|seconds| now.saturating_add(seconds)),
        }
    }

    /// The same login with what was given for its refresh token at `now`.
    pub(super) fn renewed(&self, grant: Grant, now: i64) -> Self {
        Self {
            access_token: grant.access_token,
            refresh_token: grant.refresh_token.or_else(|| self.refresh_token.clone()),
            by: By::Renewal,
            received: now,
            expires: grant.expires_in.map(|seconds| now.saturating_add(seconds)),
            ..self.clone()
        }
    }

    /// The same login after its refresh token was refused.
    pub(super) fn without_refresh(&self) -> Self {
        Self { refresh_token: None, ..self.clone() }
    }

    /// Whether the form of the file is this version's, and it is about `server`.
    pub(super) fn is_for(&self, server: &str) -> bool {
        self.version == VERSION && self.server == server
    }

    /// The `Authorization` header; `None` where the token cannot be in one.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.access_token.expose()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn access(&self) -> &Secret {
        &self.access_token
    }

    pub(super) fn refresh(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    pub(super) fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// Whether it is time to renew the token.
    pub(super) fn is_due(&self, now: i64) -> bool {
        let Some(expires) = self.expires else { return false };
        let life = expires.saturating_sub(self.received);
        expires.saturating_sub(now) < AHEAD.min(life / 2).max(1)
    }

    /// Whether the token was given just now, and by what; one that has run out
    /// is no longer new.
    pub(super) fn new_by(&self, now: i64) -> Option<By> {
        let is_new = (0..NEW).contains(&now.saturating_sub(self.received));
        let lives = self.expires.is_none_or(|expires| now < expires);
        (is_new && lives).then_some(self.by)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::oauth) fn grant(token: &str, expires_in: Option<i64>) -> Grant {
        Grant {
            access_token: Secret::new(token.to_owned()),
            token_type: "Bearer".to_owned(),
            refresh_token: Some(Secret::new(format!("{token}-again"))),
            expires_in,
        }
    }

    pub(in crate::oauth) fn record(token: &str, expires_in: Option<i64>, now: i64) -> Record {
        let client = Identity {
            id: "client".to_owned(),
            secret: Some(Secret::new("hunter2".to_owned())),
            redirect: "http://127.0.0.1:1/callback".to_owned(),
            port: 0,
            given: false,
        };
        let about = About {
            server: "https://mcp.example.com/mcp".to_owned(),
            resource: "https://mcp.example.com/mcp".to_owned(),
            issuer: "https://login.example.com".to_owned(),
            client,
            scopes: vec!["read".to_owned()],
            asked: vec!["read".to_owned()],
            revocation: None,
            challenge: None,
        };
        Record::new(about, grant(token, expires_in), now)
    }

    #[test]
    fn a_token_is_renewed_shortly_before_its_end() {
        let hour = record("t", Some(3600), 1_000);
        assert!(!hour.is_due(1_000 + 3600 - AHEAD));
        assert!(hour.is_due(1_000 + 3600 - AHEAD + 1));
        let short = record("t", Some(10), 1_000);
        assert!(!short.is_due(1_005));
        assert!(short.is_due(1_006));
        let endless = record("t", None, 1_000);
        assert!(!endless.is_due(i64::MAX));
    }

    #[test]
    fn a_renewed_login_keeps_its_refresh_token_where_no_other_comes() {
        let login = record("one", Some(10), 0);
        let without = Grant { refresh_token: None, ..grant("two", Some(10)) };
        let renewed = login.renewed(without, 100);
        assert_eq!(renewed.refresh(), login.refresh());
        assert_eq!(renewed.expires(), Some(110));
        assert_eq!((renewed.new_by(109), renewed.new_by(110)), (Some(By::Renewal), None));
        let hour = record("three", Some(3600), 0);
        let new = [-1, 0, NEW - 1, NEW].map(|now| hour.new_by(now));
        assert_eq!(new, [None, Some(By::Login), Some(By::Login), None]);
    }

    #[test]
    fn no_secret_is_shown() {
        let login = record("tok3n", Some(10), 0);
        let shown = format!("{login:?} {:?}", login.header());
        for secret in ["tok3n", "hunter2"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
