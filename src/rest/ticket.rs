//! Tickets: the contents of the gate's signed paths, encrypted and authenticated with a key
//! derived from the database's secret (AES-256-GCM, RFC 5116). Without the key nobody can
//! make or change one, or read the pre-authenticated URL in it and use it directly.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::preauthenticated_urls::PreauthenticatedUrl;
use crate::action::Provider;
use crate::store::directory::KeyHolder;

/// How long a signed path is valid. Graph's pre-authenticated downloads live as
/// long; an upload that takes longer needs a new session.
pub const LIFETIME: Duration = Duration::from_secs(3_600);

/// The longest token that is decoded, in bytes.
const MAX_TOKEN: usize = 32 << 10;

/// The additional authenticated data: the purpose of the token.
const PURPOSE: &[u8] = b"agentgate signed path v1";

/// The contents of a signed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The id of the agent that it was made for.
    pub agent_id: String,
    /// The id of the key that the agent used: the ticket is valid as long as that key.
    pub key_id: String,
    /// The provider's name.
    pub provider: String,
    /// The methods allowed.
    pub methods: Vec<String>,
    /// When it expires, in seconds since 1970.
    pub until: i64,
    /// The pre-authenticated URL, as the provider wrote it.
    pub url: String,
    /// The path of the request whose response contained the URL, as policies saw it. Policies
    /// see it for the upload, too: it names the resource and no secret.
    pub path: String,
}

/// Seals tickets and opens them.
pub struct TicketSealer {
    key: LessSafeKey,
}

impl fmt::Debug for TicketSealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seals(…)")
    }
}

impl TicketSealer {
    /// A sealer with `key`; `None` only if the cipher refused its length.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self { key: LessSafeKey::new(key) })
    }

    /// The token for `ticket`; `None` if the system gives no randomness.
    #[must_use]
    pub fn seal(&self, ticket: &Ticket) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut text = serde_json::to_vec(ticket).ok()?;
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce_used, Aad::from(PURPOSE), &mut text).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// The ticket in `token`; `None` if it was not sealed with this key, or was changed.
    /// The tag is compared in constant time.
    #[must_use]
    pub fn open(&self, token: &str) -> Option<Ticket> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let mut sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(PURPOSE), text).ok()?;
        serde_json::from_slice(text).ok()
    }
}

/// Makes the signed paths in the response to one request.
#[derive(Clone)]
pub struct Signer {
    /// The sealing key.
    pub key: Zeroizing<[u8; 32]>,
    /// The agent, and the key that it used.
    pub holder: KeyHolder,
    /// The provider that responded.
    pub provider: Provider,
    /// The provider's base URL as the client sees it.
    pub base: String,
    /// The path of the request, as policies saw it.
    pub path: String,
    /// The kinds of pre-authenticated URLs that the response may contain.
    pub rows: Vec<&'static PreauthenticatedUrl>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The prefix of signed paths, below a provider.
pub const SIGNED: &str = "/~signed/";

/// The token in a signed path. Some clients write `%7E` for `~`, which is the same
/// (RFC 3986, section 2.3): as any other path it would go upstream and into the log.
#[must_use]
pub fn token(path: &str) -> Option<&str> {
    let behind = ["/~", "/%7E", "/%7e"].iter().find_map(|tilde| path.strip_prefix(tilde))?;
    behind.strip_prefix("signed/")
}

/// A path for display and logs: a signed one is a secret.
#[must_use]
pub fn redacted(path: &str) -> &str {
    if token(path).is_some() { SIGNED } else { path }
}

impl Signer {
    /// The signed path for `url`. Where none can be made, one that will be refused: the URL
    /// itself is never exposed.
    #[must_use]
    pub fn sign(&self, url: &str, methods: &[&str]) -> String {
        let until = Timestamp::now().as_second().saturating_add(LIFETIME.as_secs() as i64);
        let ticket = Ticket {
            agent_id: self.holder.agent.id.to_string(),
            key_id: self.holder.key_id.to_string(),
            provider: self.provider.as_str().to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            until,
            url: url.to_owned(),
            path: self.path.clone(),
        };
        let token = TicketSealer::new(&self.key).and_then(|seals| seals.seal(&ticket));
        format!("{}{SIGNED}{}", self.base, token.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            agent_id: "1".to_owned(),
            key_id: "AGAK".to_owned(),
            provider: "slack".to_owned(),
            methods: vec!["POST".to_owned()],
            until: 1,
            url: "https://files.slack.com/upload/v1/secret".to_owned(),
            path: "/api/files.getUploadURLExternal".to_owned(),
        }
    }

    #[test]
    fn a_signed_path_is_one_however_its_tilde_is_written() {
        for path in ["/~signed/x", "/%7Esigned/x", "/%7esigned/x"] {
            assert_eq!((token(path), redacted(path)), (Some("x"), SIGNED), "{path}");
        }
        for path in ["/~signed", "/signed/x", "/a/~signed/x", "/~Signed/x"] {
            assert_eq!((token(path), redacted(path)), (None, path), "{path}");
        }
    }

    #[test]
    fn tickets_are_encrypted_and_authenticated() {
        let seals = TicketSealer::new(&[7; 32]).unwrap();
        let token = seals.seal(&ticket()).unwrap();
        assert_eq!(seals.open(&token), Some(ticket()));
        let inside = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert!(memchr::memmem::find(&inside, b"secret").is_none());
        assert_ne!(seals.seal(&ticket()).unwrap(), token);
        for at in 0..inside.len() {
            let mut changed = inside.clone();
            changed[at] ^= 1;
            assert_eq!(seals.open(&URL_SAFE_NO_PAD.encode(&changed)), None, "{at}");
            assert_eq!(seals.open(&URL_SAFE_NO_PAD.encode(&inside[..at])), None, "{at}");
        }
        assert_eq!(TicketSealer::new(&[8; 32]).unwrap().open(&token), None);
        for nonsense in ["", "x", "%", &"A".repeat(MAX_TOKEN + 1), &format!("{token}=")] {
            assert_eq!(seals.open(nonsense), None);
        }
    }
}
