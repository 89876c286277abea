//! Identification of the agent by its key, in `X-Agent-Key` or in place of the credential,
//! because some SDKs cannot send another header.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::aws::{self, Claim};
use crate::action::Provider;
use crate::keys::{AGENT_KEY, KEY_PREFIX, holds_key};
use crate::store::agents::AgentRecord;
use crate::store::directory::{Directory, KeyHolder};

/// A well-formed key that was never issued.
const UNISSUED_KEY: &str = "ag_0000000000000000000000000000000000000000000000000000000000000000";

/// The headers that hold credentials, for most providers.
pub static DEFAULT_CREDENTIAL_HEADERS: [HeaderName; 1] = [AUTHORIZATION];

/// The header for the bare token in Salesforce's Bulk API 1.0.
pub(super) const SFDC_SESSION: HeaderName = HeaderName::from_static("x-sfdc-session");

static SALESFORCE_CREDENTIAL_HEADERS: [HeaderName; 2] = [AUTHORIZATION, SFDC_SESSION];

/// The headers that hold credentials for `provider`.
pub(super) fn credential_headers(provider: Provider) -> &'static [HeaderName] {
    match provider {
        Provider::Salesforce => &SALESFORCE_CREDENTIAL_HEADERS,
        _ => &DEFAULT_CREDENTIAL_HEADERS,
    }
}

/// The agent, and where its key was.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The agent.
    pub agent: Arc<AgentRecord>,
    /// The id of the key.
    pub key_id: Arc<str>,
    /// Whether the key was in place of the credential, so that the client sent no
    /// credential to forward.
    pub replaces_credential: bool,
    /// The AWS signature that remains to be verified.
    pub claim: Option<Box<Claim>>,
}

/// Why no agent was identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    /// No key at all.
    #[error("no agent key: send it as X-Agent-Key, or in place of the credential")]
    NoKey,
    /// An unknown key, or two different ones.
    #[error("the agent key is not valid")]
    WrongKey,
}

/// Finds the agent by the keys in the headers, or by the access-key id of an AWS
/// signature. Where there are both, they have to agree.
///
/// # Errors
/// [`IdentifyError`].
pub fn agent(
    provider: Provider,
    parts: &Parts,
    directory: &Directory,
) -> Result<Identified, IdentifyError> {
    let claim = match provider {
        Provider::Aws => aws::claim(parts, directory),
        _ => None,
    };
    let claim = match (claim, parts.headers.contains_key(AGENT_KEY)) {
        (None, _) => return by_key(credential_headers(provider), &parts.headers, directory),
        // The client's own signature, which is not forwarded.
        (Some(Err(())), true) if !aws::is_presigned(parts) => {
            return by_key(&DEFAULT_CREDENTIAL_HEADERS, &parts.headers, directory);
        }
        (Some(claim), _) => claim.map_err(|()| IdentifyError::WrongKey)?,
    };
    let agent = Arc::clone(claim.agent());
    match by_key(&DEFAULT_CREDENTIAL_HEADERS, &parts.headers, directory) {
        Ok(who) if who.agent.id != agent.id => return Err(IdentifyError::WrongKey),
        Err(IdentifyError::WrongKey) => return Err(IdentifyError::WrongKey),
        Ok(_) | Err(IdentifyError::NoKey) => {}
    }
    let key_id = Arc::clone(claim.key_id());
    Ok(Identified { agent, key_id, replaces_credential: true, claim: Some(Box::new(claim)) })
}

/// Finds the agent by the key in `headers`: in `X-Agent-Key`, or in one of the credential
/// headers `places`.
///
/// # Errors
/// [`IdentifyError`].
pub fn by_key(
    places: &[HeaderName],
    headers: &HeaderMap,
    directory: &Directory,
) -> Result<Identified, IdentifyError> {
    let mut own = headers.get_all(AGENT_KEY).iter();
    let mut placed =
        places.iter().filter_map(|place| headers.get(place).and_then(key_in_credential));
    let in_place = placed.next();
    if placed.any(|other| in_place.as_ref() != Some(&other)) {
        return Err(IdentifyError::WrongKey);
    }
    let (key, replaces_credential) = match (own.next(), in_place) {
        (Some(key), None) => (as_text(key).ok_or(IdentifyError::WrongKey)?, false),
        (Some(key), Some(placed)) => {
            let key = as_text(key).ok_or(IdentifyError::WrongKey)?;
            if key != placed {
                return Err(IdentifyError::WrongKey);
            }
            (key, true)
        }
        (None, Some(placed)) => (placed, true),
        (None, None) => {
            // As much work as for a wrong key, against timing differences.
            let _ = directory.identify(UNISSUED_KEY);
            return Err(IdentifyError::NoKey);
        }
    };
    let twice = places.iter().any(|place| headers.get_all(place).iter().nth(1).is_some());
    if own.next().is_some() || (replaces_credential && twice) {
        return Err(IdentifyError::WrongKey);
    }
    let KeyHolder { agent, key_id } = directory.holder(&key).ok_or(IdentifyError::WrongKey)?;
    Ok(Identified { agent, key_id, replaces_credential, claim: None })
}

/// The error for a header that holds a key of the gate's where it would be forwarded: only
/// `X-Agent-Key` and the credential headers `places` are stripped.
#[must_use]
pub fn misplaced_key(places: &[HeaderName], headers: &HeaderMap) -> Option<String> {
    let is_taken_out = |name: &HeaderName| {
        let is_in_place = || headers.get(name).and_then(key_in_credential).is_some();
        *name == AGENT_KEY || (places.contains(name) && is_in_place())
    };
    let misplaced_key = |(name, value): &(&HeaderName, &HeaderValue)| {
        holds_key(value.as_bytes()) && !is_taken_out(name)
    };
    if headers.keys().any(|name| holds_key(name.as_str().as_bytes())) {
        return Some("a header is named like a key of the gate".to_owned());
    }
    let (name, _) = headers.iter().find(misplaced_key)?;
    Some(format!(
        "the header `{name}` contains a key of the gate: send it as X-Agent-Key, and only there"
    ))
}

/// The gate's key in place of a credential.
fn key_in_credential(value: &HeaderValue) -> Option<Zeroizing<String>> {
    let text = as_text(value)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or(("", &text));
    let candidate = match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let decoded = Zeroizing::new(STANDARD.decode(rest.trim()).ok()?);
            let pair = std::str::from_utf8(&decoded).ok()?;
            // Jira: the account and the key; some send the key as the user.
            let (user, password) = pair.split_once(':')?;
            let key = if password.starts_with(KEY_PREFIX) { password } else { user };
            Zeroizing::new(key.to_owned())
        }
        _ => Zeroizing::new(rest.trim().to_owned()),
    };
    candidate.starts_with(KEY_PREFIX).then_some(candidate)
}

fn as_text(value: &HeaderValue) -> Option<Zeroizing<String>> {
    value.to_str().ok().map(|text| Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;
    use crate::store::agents::{NewAgent, Registry};

    fn parts(pairs: &[(&'static str, String)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in pairs {
            request = request.header(*name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn requests_with_a_misplaced_key_are_refused() {
        let key = format!("{KEY_PREFIX}{}", "0a".repeat(32));
        let in_header = |name: &'static str, value: String| {
            let own = ("x-agent-key", key.clone());
            let parts = parts(&[own, (name, value)]);
            misplaced_key(&DEFAULT_CREDENTIAL_HEADERS, &parts.headers)
                .is_some_and(|text| text.contains(&format!("`{name}`")))
        };
        for (name, value) in [
            ("authorization", format!("Bearer\t{key}")),
            ("authorization", format!("Bearer token={key}")),
            ("cookie", format!("a=b; key={key}")),
            ("x-api-key", key.clone()),
        ] {
            assert!(in_header(name, value), "{name}");
        }
        for (name, value) in [
            ("authorization", format!("Bearer {key}")),
            ("authorization", "Bearer ag_1".to_owned()),
            ("cookie", format!("a={}", key.replace('0', "x"))),
        ] {
            assert!(!in_header(name, value), "{name}");
        }
    }

    #[test]
    fn the_key_is_found_wherever_an_sdk_can_put_it() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(&folder.path().join("a.db"), &Options::default());
        let key = registry
            .create(&NewAgent { name: "a".to_owned(), ..NewAgent::default() })
            .unwrap()
            .api_key
            .to_string();
        let directory = Directory::open(registry).unwrap();
        let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
        for (pairs, in_place) in [
            (vec![("x-agent-key", key.clone())], false),
            (vec![("x-agent-key", key.clone()), ("authorization", "Bearer real".into())], false),
            (vec![("authorization", format!("Bearer {key}"))], true),
            (vec![("authorization", format!("token {key}"))], true),
            (vec![("authorization", key.clone())], true),
            (vec![("authorization", basic(format!("me@example.com:{key}")))], true),
            (vec![("authorization", basic(format!("{key}:x-oauth-basic")))], true),
            (vec![("x-agent-key", key.clone()), ("authorization", format!("Bearer {key}"))], true),
        ] {
            let found = agent(Provider::Github, &parts(&pairs), &directory).unwrap();
            assert_eq!((&*found.agent.name, found.replaces_credential), ("a", in_place));
        }
        let session = parts(&[("x-sfdc-session", key.clone())]);
        let found = agent(Provider::Salesforce, &session, &directory).unwrap();
        assert!(
            found.replaces_credential
                && misplaced_key(&SALESFORCE_CREDENTIAL_HEADERS, &session.headers).is_none()
        );
        let elsewhere = agent(Provider::Github, &session, &directory).map(drop);
        assert_eq!(elsewhere, Err(IdentifyError::NoKey));
        assert!(misplaced_key(&DEFAULT_CREDENTIAL_HEADERS, &session.headers).is_some());
        let wrong = format!("{KEY_PREFIX}{}", "0".repeat(64));
        let two = parts(&[("x-sfdc-session", key.clone()), ("authorization", wrong.clone())]);
        let found = agent(Provider::Salesforce, &two, &directory).map(drop);
        assert_eq!(found, Err(IdentifyError::WrongKey));
        for (pairs, error) in [
            (vec![], IdentifyError::NoKey),
            (vec![("authorization", "Bearer real".into())], IdentifyError::NoKey),
            (vec![("x-agent-key", wrong.clone())], IdentifyError::WrongKey),
            (vec![("authorization", format!("Bearer {wrong}"))], IdentifyError::WrongKey),
            (
                vec![("x-agent-key", key.clone()), ("x-agent-key", key.clone())],
                IdentifyError::WrongKey,
            ),
            (vec![("x-agent-key", key.clone()), ("authorization", wrong)], IdentifyError::WrongKey),
        ] {
            let found = agent(Provider::Github, &parts(&pairs), &directory)
                .map(|found| found.agent.name.clone());
            assert_eq!(found, Err(error), "{pairs:?}");
        }
    }
}
