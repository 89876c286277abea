//! A stored login: its tokens, their owner, scopes and expiry.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// The version of the file's format.
const VERSION: u32 = 1;

/// How long before its expiry a token is renewed, in seconds; at most half its lifetime.
const RENEW_BEFORE_EXPIRY: i64 = 30;

/// How long a token counts as new, in seconds: a server that refuses a new token will refuse
/// the next one, too.
const NEW_FOR: i64 = 60;

/// A secret: `Debug` does not show it, and it is wiped when dropped.
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

/// The gate's registration as a client of an authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClientRegistration {
    pub(super) id: String,
    pub(super) secret: Option<Secret>,
    /// The redirect URI registered with it.
    pub(super) redirect: String,
    /// Port of the redirect URI if it is fixed; else 0.
    pub(super) port: u16,
    /// Whether it was registered by hand, or dynamically by the gate.
    pub(super) given: bool,
}

impl ClientRegistration {
    /// The `Authorization` header of a client with a secret (RFC 6749, section 2.3.1).
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

/// How a token was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ObtainedBy {
    Login,
    Renewal,
}

/// The response of a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Grant {
    pub(super) access_token: Secret,
    pub(super) token_type: String,
    pub(super) refresh_token: Option<Secret>,
    /// Lifetime in seconds.
    pub(super) expires_in: Option<i64>,
}

/// The login to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    #[serde(flatten)]
    pub(super) details: LoginDetails,
    access_token: Secret,
    refresh_token: Option<Secret>,
    by: ObtainedBy,
    /// Unix time in seconds.
    received: i64,
    expires: Option<i64>,
}

/// A login without its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LoginDetails {
    /// The server's URL, as called.
    pub(super) server: String,
    /// The resource that the token is for (RFC 8707).
    pub(super) resource: String,
    /// The authorization server that issued the token.
    pub(super) issuer: String,
    /// The client it was issued to.
    pub(super) client: ClientRegistration,
    /// The granted scopes.
    #[serde(rename = "scopes")]
    pub(super) granted_scopes: Vec<String>,
    #[serde(rename = "asked")]
    pub(super) requested_scopes: Vec<String>,
    /// The revocation endpoint (RFC 7009), if any.
    pub(super) revocation: Option<String>,
    /// The `WWW-Authenticate` challenge that led to the login: some servers name their
    /// authorization server nowhere else.
    #[serde(default)]
    pub(super) challenge: Option<String>,
}

impl Record {
    /// A login made at `now` (Unix time in seconds).
    pub(super) fn new(details: LoginDetails, grant: Grant, now: i64) -> Self {
        Self {
            version: VERSION,
            details,
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
            by: ObtainedBy::Login,
            received: now,
            expires: grant.expires_in.map(|seconds| now.saturating_add(seconds)),
        }
    }

    /// The same login with the tokens obtained by its refresh token at `now`.
    pub(super) fn renewed(&self, grant: Grant, now: i64) -> Self {
        Self {
            access_token: grant.access_token,
            refresh_token: grant.refresh_token.or_else(|| self.refresh_token.clone()),
            by: ObtainedBy::Renewal,
            received: now,
            expires: grant.expires_in.map(|seconds| now.saturating_add(seconds)),
            ..self.clone()
        }
    }

    /// The same login after its refresh token was refused.
    pub(super) fn without_refresh(&self) -> Self {
        Self { refresh_token: None, ..self.clone() }
    }

    /// Whether the file has this version's format, and is for `server`.
    pub(super) fn is_for(&self, server: &str) -> bool {
        self.version == VERSION && self.details.server == server
    }

    /// The `Authorization` header; `None` if the token is not valid in one.
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

    /// Whether the token should be renewed.
    pub(super) fn is_due(&self, now: i64) -> bool {
        let Some(expires) = self.expires else { return false };
        let life = expires.saturating_sub(self.received);
        expires.saturating_sub(now) < RENEW_BEFORE_EXPIRY.min(life / 2).max(1)
    }

    /// How the token was obtained, if it is new and has not expired.
    pub(super) fn recently_obtained_by(&self, now: i64) -> Option<ObtainedBy> {
        let is_new = (0..NEW_FOR).contains(&now.saturating_sub(self.received));
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
        let client = ClientRegistration {
            id: "client".to_owned(),
            secret: Some(Secret::new("hunter2".to_owned())),
            redirect: "http://127.0.0.1:1/callback".to_owned(),
            port: 0,
            given: false,
        };
        let details = LoginDetails {
            server: "https://mcp.example.com/mcp".to_owned(),
            resource: "https://mcp.example.com/mcp".to_owned(),
            issuer: "https://login.example.com".to_owned(),
            client,
            granted_scopes: vec!["read".to_owned()],
            requested_scopes: vec!["read".to_owned()],
            revocation: None,
            challenge: None,
        };
        Record::new(details, grant(token, expires_in), now)
    }

    #[test]
    fn a_token_is_renewed_shortly_before_its_end() {
        let hour = record("t", Some(3600), 1_000);
        assert!(!hour.is_due(1_000 + 3600 - RENEW_BEFORE_EXPIRY));
        assert!(hour.is_due(1_000 + 3600 - RENEW_BEFORE_EXPIRY + 1));
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
        assert_eq!(
            (renewed.recently_obtained_by(109), renewed.recently_obtained_by(110)),
            (Some(ObtainedBy::Renewal), None)
        );
        let hour = record("three", Some(3600), 0);
        let new = [-1, 0, NEW_FOR - 1, NEW_FOR].map(|now| hour.recently_obtained_by(now));
        assert_eq!(new, [None, Some(ObtainedBy::Login), Some(ObtainedBy::Login), None]);
    }

    #[test]
    fn stored_format_is_stable() {
        let stored = r#"{"version":1,"server":"https://mcp.example.com/mcp","resource":"https://mcp.example.com/mcp","issuer":"https://login.example.com","client":{"id":"client","secret":"hunter2","redirect":"http://127.0.0.1:1/callback","port":0,"given":false},"scopes":["read"],"asked":["read"],"revocation":null,"challenge":null,"access_token":"t","refresh_token":"t-again","by":"login","received":5,"expires":15}"#;
        let login = record("t", Some(10), 5);
        assert_eq!(serde_json::to_string(&login).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Record>(stored).unwrap(), login);
        let without_challenge = stored.replace(r#""challenge":null,"#, "");
        assert_eq!(serde_json::from_str::<Record>(&without_challenge).unwrap(), login);
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let login = record("tok3n", Some(10), 0);
        let shown = format!("{login:?} {:?}", login.header());
        for secret in ["tok3n", "hunter2"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
