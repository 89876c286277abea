//! The key of the admin API: from the environment, or made at the first start.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::os::files::{create, create_private_folder, private};

/// Minimum length of a key that does not count as weak, in characters.
pub const MIN_LENGTH: usize = 16;

/// Publicly known keys: the original product's, obvious ones, and those in our documentation.
const KNOWN: [&str; 5] = [
    "ag_dev_change_me_in_production",
    "changeme-changeme",
    "agentgate-master-key",
    "master-key",
    "change-me-to-something-long",
];

/// Prefix of generated keys.
const PREFIX: &str = "agm_";

/// The master key; only a keyed digest is stored.
#[derive(Clone)]
pub struct MasterKey {
    mac: Hmac<Sha256>,
    digest: [u8; 32],
    weakness: Option<&'static str>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// The key `text`, trimmed like HTTP trims header values: otherwise it could never match.
    ///
    /// # Errors
    /// If it is empty, which a request without the header would match, or if there is no
    /// randomness.
    pub fn new(text: &str) -> io::Result<Self> {
        let text = text.trim_ascii();
        if text.is_empty() {
            let what = "it is empty; remove it, and another is generated";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut blind = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *blind).map_err(io::Error::other)?;
        let mac = Hmac::<Sha256>::new_from_slice(&*blind).map_err(io::Error::other)?;
        let weakness = if KNOWN.contains(&text) {
            Some("it is a publicly known key")
        } else if text.chars().count() < MIN_LENGTH {
            Some("it is shorter than 16 characters")
        } else {
            None
        };
        let digest = digest(mac.clone(), text.as_bytes());
        Ok(Self { mac, digest, weakness })
    }

    /// Loads the key from `file`; generates one, readable only by the owner, if there is none.
    /// Then also returns its text, which is shown once.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn load_or_make(file: &Path) -> io::Result<(Self, Option<Zeroizing<String>>)> {
        match Self::load(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded.map(|key| (key, None)),
        }
        let mut bytes = Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
        let secret = Zeroizing::new(hex::encode(*bytes));
        let text = Zeroizing::new(format!("{PREFIX}{}", &*secret));
        if let Some(folder) = file.parent() {
            create_private_folder(folder)?;
        }
        match create(file, text.as_bytes(), private(&mut OpenOptions::new())) {
            Ok(()) => Ok((Self::new(&text)?, Some(text))),
            // Another process has generated and shown it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok((Self::load(file)?, None))
            }
            Err(error) => Err(error),
        }
    }

    fn load(file: &Path) -> io::Result<Self> {
        Self::new(&Zeroizing::new(fs::read_to_string(file)?))
    }

    /// Compares in constant time.
    #[must_use]
    pub fn is(&self, presented: &[u8]) -> bool {
        digest(self.mac.clone(), presented).ct_eq(&self.digest).into()
    }

    /// Why the key is too weak for listening beyond this machine; `None` if it is not.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        self.weakness
    }
}

fn digest(mut mac: Hmac<Sha256>, text: &[u8]) -> [u8; 32] {
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_is_the_key() {
        let key = MasterKey::new("a long enough key").unwrap();
        assert!(key.is(b"a long enough key") && !key.is(b"a long enough kez") && !key.is(b""));
        assert!(key.weakness().is_none());
        let pasted = MasterKey::new(" a long enough key\r\n").unwrap();
        assert!(pasted.is(b"a long enough key"));
        assert!(MasterKey::new("short").unwrap().weakness().is_some());
        assert!(MasterKey::new(" \n").is_err(), "a request without a key would bear it");
        assert!(MasterKey::new("short            ").unwrap().weakness().is_some());
        assert!(MasterKey::new(KNOWN[0]).unwrap().weakness().is_some());
    }

    #[test]
    fn no_key_of_the_documents_is_a_secret() {
        let readme = include_str!("../../README.md");
        let shown = readme.split("AGENTGATE_MASTER_KEY=\"").skip(1);
        let shown: Vec<_> = shown.filter_map(|rest| rest.split('"').next()).collect();
        assert!(!shown.is_empty());
        for key in shown {
            assert!(MasterKey::new(key).unwrap().weakness().is_some(), "{key}");
        }
    }

    #[test]
    fn of_several_that_start_at_once_one_makes_the_key_and_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let made: Vec<_> = std::thread::scope(|scope| {
            let start = |_| scope.spawn(|| MasterKey::load_or_make(&file).unwrap());
            let started: Vec<_> = (0..8).map(start).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let shown: Vec<_> = made.iter().filter_map(|(_, shown)| shown.as_ref()).collect();
        assert_eq!(shown.len(), 1);
        assert!(made.iter().all(|(key, _)| key.is(shown[0].as_bytes())));
    }

    #[test]
    fn key_is_generated_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/master.key");
        let (first, shown) = MasterKey::load_or_make(&file).unwrap();
        let shown = shown.unwrap();
        assert!(first.is(shown.as_bytes()) && first.weakness().is_none());
        let (second, nothing) = MasterKey::load_or_make(&file).unwrap();
        assert!(second.is(shown.as_bytes()) && nothing.is_none());
        #[cfg(unix)]
        assert_eq!(crate::os::files::mode(&file), Some(0o600));
    }
}
