//! Tickets: what a signed path of the gate's stands for, sealed with a key that
//! is derived from the database's secret (AES-256-GCM, RFC 5116). Nobody can
//! make or change one without the key, and nobody can read the pre-authenticated
//! URL out of it and go there directly.

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
use crate::store::directory::Holder;

/// How long a signed path is good. Graph's pre-authenticated downloads live as
/// long; an upload that takes longer needs a new session.
pub const LIFETIME: Duration = Duration::from_secs(3_600);

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 32 << 10;

/// What the seal is for; part of what it covers.
const PURPOSE: &[u8] = b"agentgate signed path v1";

/// What a signed path stands for. Everything in it is covered by the seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The id of the agent that it was made for.
    pub agent_id: String,
    /// The id of the key that the agent showed: it ends with that key.
    pub key_id: String,
    /// The provider's name.
    pub provider: String,
    /// What may be done there.
    pub methods: Vec<String>,
    /// Until when, in seconds since 1970.
    pub until: i64,
    /// The pre-authenticated URL, as the provider wrote it.
    pub url: String,
    /// The path, as it was judged, of the request whose answer held it: what
    /// policies judge the upload by, since it names the resource and no secret.
    pub path: String,
}

/// Seals tickets and opens them.
pub struct Seals {
    key: LessSafeKey,
}

impl fmt::Debug for Seals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seals(…)")
    }
}

impl Seals {
    /// Seals by `key`; `None` only were the cipher to refuse its length.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self { key: LessSafeKey::new(key) })
    }

    /// The token for `ticket`; `None` where there is no randomness to be had.
    #[must_use]
    pub fn seal(&self, ticket: &Ticket) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut text = serde_json::to_vec(ticket).ok()?;
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce_used, Aad::from(PURPOSE), &mut text).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// The ticket in `token`; `None` where it was not made with this key, or was
    /// changed in any way. The tag is compared in constant time.
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

/// Makes the signed paths in the answers to one request.
#[derive(Clone)]
pub struct Signer {
    /// The key of the seals.
    pub key: Zeroizing<[u8; 32]>,
    /// Who asked, and with which key.
    pub holder: Holder,
    /// Whose answer it is.
    pub provider: Provider,
    /// Where the provider begins, as the client sees it.
    pub base: String,
    /// The path of the request, as it was judged.
    pub path: String,
    /// What may stand in the answer.
    pub rows: Vec<&'static PreauthenticatedUrl>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What signed paths begin with, below a provider.
pub const SIGNED: &str = "/~signed/";

/// The token in a signed path. Some clients write `%7E` for `~`, which is the same
/// (RFC 3986, section 2.3): as any other path it would go upstream and into the log.
#[must_use]
pub fn token(path: &str) -> Option<&str> {
    let behind = ["/~", "/%7E", "/%7e"].iter().find_map(|tilde| path.strip_prefix(tilde))?;
    behind.strip_prefix("signed/")
}

/// A path as it may be written down: a signed one is as good as a key.
#[must_use]
pub fn shown(path: &str) -> &str {
    if token(path).is_some() { SIGNED } else { path }
}

impl Signer {
    /// The path of the gate's that stands for `url`. Where none can be made, one
    /// that will be refused: the URL itself is never shown.
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
        let token = Seals::new(&self.key).and_then(|seals| seals.seal(&ticket));
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
            assert_eq!((token(path), shown(path)), (Some("x"), SIGNED), "{path}");
        }
        for path in ["/~signed", "/signed/x", "/a/~signed/x", "/~Signed/x"] {
            assert_eq!((token(path), shown(path)), (None, path), "{path}");
        }
    }

    #[test]
    fn a_token_says_nothing_and_cannot_be_changed() {
        let seals = Seals::new(&[7; 32]).unwrap();
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
        assert_eq!(Seals::new(&[8; 32]).unwrap().open(&token), None);
        for nonsense in ["", "x", "%", &"A".repeat(MAX_TOKEN + 1), &format!("{token}=")] {
            assert_eq!(seals.open(nonsense), None);
        }
    }
}
