//! The real credential: the client's own, or the gate's from its configuration.
//! It is sent to the provider's configured upstream and nowhere else.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::identify::{SFDC_SESSION, credential_headers};
use crate::action::Provider;

/// How long a credential read from a file is cached.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// Maximum length of a credential, in bytes.
const MAX_CREDENTIAL: u64 = 16 << 10;

/// Where a credential comes from: `{env: NAME}` or `{file: PATH}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A variable of the environment.
    Env(String),
    /// A file, read again when it changes.
    File(PathBuf),
}

impl Source {
    /// Reads the current value.
    ///
    /// # Errors
    /// Why it cannot be read. Never contains the value.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let secret = match self {
            Self::Env(name) => {
                std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?
            }
            Self::File(path) => {
                let failed = |error: std::io::Error| format!("{}: {error}", path.display());
                let size = std::fs::metadata(path).map_err(failed)?.len();
                if size > MAX_CREDENTIAL {
                    return Err(format!("{} is no credential: {size} bytes", path.display()));
                }
                std::fs::read_to_string(path).map_err(failed)?
            }
        };
        Ok(Zeroizing::new(secret))
    }
}

/// A provider's configured credential.
pub struct Credential {
    provider: Provider,
    source: Source,
    cached: Mutex<Option<(Instant, HeaderValue)>>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credential").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why there is no credential to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCredential {
    /// None is configured, and the client sent only its agent key.
    #[error("the gate has no credential for {0}: configure `providers.{0}.credential`")]
    NotConfigured(&'static str),
    /// The variable or file is missing or unusable.
    #[error("the credential for {provider} cannot be read: {why}")]
    Unreadable {
        /// The provider.
        provider: &'static str,
        /// The cause. Never contains the value.
        why: String,
    },
}

impl Credential {
    /// A credential for `provider` from `source`, read when it is first needed.
    #[must_use]
    pub fn new(provider: Provider, source: Source) -> Self {
        Self { provider, source, cached: Mutex::default() }
    }

    /// The value of `Authorization` in the provider's format.
    ///
    /// # Errors
    /// [`NoCredential::Unreadable`].
    pub fn header(&self) -> Result<HeaderValue, NoCredential> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, value)) = &*cached
            && (matches!(self.source, Source::Env(_)) || since.elapsed() < CACHE_TTL)
        {
            return Ok(value.clone());
        }
        let value = self
            .read()
            .map_err(|why| NoCredential::Unreadable { provider: self.provider.as_str(), why })?;
        *cached = Some((Instant::now(), value.clone()));
        Ok(value)
    }

    fn read(&self) -> Result<HeaderValue, String> {
        let secret = self.source.read()?;
        let secret = secret.trim();
        if secret.is_empty() {
            return Err("it is empty".to_owned());
        }
        let text = Zeroizing::new(in_form(self.provider, secret));
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| "it contains a line break".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The `Authorization` value for the provider; a secret that names its scheme is unchanged.
fn in_form(provider: Provider, secret: &str) -> String {
    match provider {
        _ if secret.contains(' ') => secret.to_owned(),
        // Personal keys are sent without a scheme, OAuth tokens as bearer tokens.
        Provider::Linear if secret.starts_with("lin_api_") => secret.to_owned(),
        // The format is `account:token`.
        Provider::Jira if secret.contains(':') => format!("Basic {}", STANDARD.encode(secret)),
        _ => format!("Bearer {secret}"),
    }
}

/// Replaces the client's credentials and cookies in `headers` by the configured credential, and
/// removes the agent's key.
///
/// # Errors
/// [`NoCredential`].
pub fn apply(
    provider: Provider,
    configured: Option<&Credential>,
    key_in_place: bool,
    headers: &mut HeaderMap,
) -> Result<(), NoCredential> {
    match configured {
        Some(credential) => {
            let value = credential.header()?;
            // The client may use Salesforce's own header, too.
            if credential_headers(provider).contains(&SFDC_SESSION)
                && headers.contains_key(SFDC_SESSION)
            {
                headers.insert(SFDC_SESSION, token(&value)?);
            }
            headers.insert(AUTHORIZATION, value);
            // Cookies could belong to another session.
            headers.remove(COOKIE);
            Ok(())
        }
        None if key_in_place => Err(NoCredential::NotConfigured(provider.as_str())),
        None => Ok(()),
    }
}

/// The token without its scheme.
fn token(value: &HeaderValue) -> Result<HeaderValue, NoCredential> {
    let token = value.as_bytes().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let why = |_| NoCredential::NotConfigured(Provider::Salesforce.as_str());
    let mut token = HeaderValue::from_bytes(token).map_err(why)?;
    token.set_sensitive(true);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_is_sent_in_each_providers_form() {
        assert_eq!(in_form(Provider::Github, "ghp_x"), "Bearer ghp_x");
        assert_eq!(in_form(Provider::Github, "token ghp_x"), "token ghp_x");
        assert_eq!(in_form(Provider::Linear, "lin_api_x"), "lin_api_x");
        assert_eq!(in_form(Provider::Jira, "me@x:t"), "Basic bWVAeDp0");
    }

    #[test]
    fn the_agents_key_never_stays_in_the_credentials_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "real\n").unwrap();
        let credential = Credential::new(Provider::Notion, Source::File(file));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer ag_x"));
        assert!(apply(Provider::Notion, None, true, &mut headers.clone()).is_err());
        apply(Provider::Notion, Some(&credential), true, &mut headers).unwrap();
        assert_eq!(headers.get(AUTHORIZATION).unwrap(), "Bearer real");
        assert!(!format!("{credential:?} {headers:?}").contains("real"));
        headers.insert(SFDC_SESSION, HeaderValue::from_static("ag_x"));
        apply(Provider::Notion, Some(&credential), true, &mut headers.clone()).unwrap();
        apply(Provider::Salesforce, Some(&credential), true, &mut headers).unwrap();
        assert_eq!(headers.get(SFDC_SESSION).unwrap(), "real");
        assert!(!format!("{headers:?}").contains("real"));
        let missing = Credential::new(Provider::Notion, Source::Env("AGENTGATE_NONE".to_owned()));
        assert!(apply(Provider::Notion, Some(&missing), false, &mut headers).is_err());
    }
}
