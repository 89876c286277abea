//! The master key: who may call the admin API.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::os::files::{create_private_folder, private};

/// What a key that is made begins with.
const PREFIX: &str = "agm_";

/// The shortest key that may be used beyond this machine, in bytes.
pub const MIN_LENGTH: usize = 16;

/// The file in the data folder.
const FILE: &str = "master.key";

/// Keys that stand in documents: everybody knows them.
const KNOWN: [&str; 5] = [
    "ag_dev_change_me_in_production",
    "change_me_in_production",
    "change-me-in-production",
    "your-master-key-here",
    "your_master_api_key_here",
];

/// The master key. It is kept as a hash, so that comparing takes the same time
/// whatever is presented.
#[derive(Clone)]
pub struct MasterKey {
    hash: [u8; 32],
    weakness: Option<Weakness>,
}

/// Why a key is easily guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// It stands in documents.
    Known,
    /// It has fewer than [`MIN_LENGTH`] bytes.
    Short,
}

/// A master key, and whether it was just made.
#[derive(Debug)]
pub struct Resolved {
    /// The key.
    pub key: MasterKey,
    /// The text of a key that was just made, to be shown this once.
    pub made: Option<Zeroizing<String>>,
    /// Where it is kept, unless it was given.
    pub file: Option<PathBuf>,
}

/// Why there is no usable master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// It is empty.
    #[error("the master key is empty; unset AGENTGATE_MASTER_KEY to have one made")]
    Empty,
    /// It is known or short, and others could reach the listener.
    #[error(
        "the master key {weakness}, and {address} can be reached from other machines; set \
         AGENTGATE_MASTER_KEY to a random one of at least {MIN_LENGTH} characters, or listen on 127.0.0.1"
    )]
    Exposed {
        /// Why it is easily guessed.
        weakness: Weakness,
        /// What was to be listened on.
        address: SocketAddr,
    },
    /// The file cannot be read or made.
    #[error("the master key `{}` cannot be kept: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for Weakness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known => formatter.write_str("is one that stands in documents"),
            Self::Short => write!(formatter, "is shorter than {MIN_LENGTH} characters"),
        }
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// The key that was given.
    ///
    /// # Errors
    /// [`MasterKeyError::Empty`].
    pub fn given(key: &str) -> Result<Self, MasterKeyError> {
        if key.trim().is_empty() {
            return Err(MasterKeyError::Empty);
        }
        let weakness = match key {
            known if KNOWN.contains(&known) => Some(Weakness::Known),
            short if short.len() < MIN_LENGTH => Some(Weakness::Short),
            _ => None,
        };
        Ok(Self { hash: Sha256::digest(key).into(), weakness })
    }

    /// The key that was given, else the one kept in `folder`, else a new one,
    /// which is kept there from now on, for its owner only.
    ///
    /// # Errors
    /// [`MasterKeyError::Empty`], [`MasterKeyError::File`].
    pub fn resolve(given: Option<&str>, folder: &Path) -> Result<Resolved, MasterKeyError> {
        if let Some(given) = given {
            return Ok(Resolved { key: Self::given(given)?, made: None, file: None });
        }
        let path = folder.join(FILE);
        let failed = |error| MasterKeyError::File { path: path.clone(), error };
        let (text, is_new) = kept_or_made(folder, &path).map_err(failed)?;
        let key = Self::given(text.trim_end())?;
        Ok(Resolved { key, made: is_new.then_some(text), file: Some(path) })
    }

    /// Whether `presented` is the key.
    #[must_use]
    pub fn admits(&self, presented: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(presented).into();
        hash.ct_eq(&self.hash).into()
    }

    /// Whether it may guard a listener on `address`; a weak one is warned of
    /// even where it may.
    ///
    /// # Errors
    /// [`MasterKeyError::Exposed`].
    pub fn may_guard(&self, address: SocketAddr) -> Result<(), MasterKeyError> {
        let Some(weakness) = self.weakness else { return Ok(()) };
        if !address.ip().to_canonical().is_loopback() {
            return Err(MasterKeyError::Exposed { weakness, address });
        }
        tracing::warn!("the master key {weakness}; every program on this machine may guess it");
        Ok(())
    }
}

/// The text in the file, or a new one; whether it is new.
fn kept_or_made(folder: &Path, path: &Path) -> io::Result<(Zeroizing<String>, bool)> {
    match fs::read_to_string(path) {
        Ok(kept) => return Ok((Zeroizing::new(kept), false)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if !folder.exists() {
        create_private_folder(folder)?;
    }
    let made = make().map_err(io::Error::other)?;
    let draft = folder.join(format!("{FILE}.{}", std::process::id()));
    // One may be left over from a run that was killed just here.
    let _ = fs::remove_file(&draft);
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&draft)?;
    file.write_all(made.as_bytes())?;
    file.sync_all()?;
    // Where two start at once, the first to link wins, and both use that one.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok((made, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((Zeroizing::new(fs::read_to_string(path)?), false))
        }
        Err(error) => Err(error),
    }
}

fn make() -> Result<Zeroizing<String>, getrandom::Error> {
    use fmt::Write as _;
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * bytes.len()));
    text.push_str(PREFIX);
    for byte in &*bytes {
        // INVARIANT (infallible): writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_kept_for_the_owner_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = MasterKey::resolve(None, &data).unwrap();
        let text = first.made.unwrap();
        assert!(text.starts_with(PREFIX) && text.len() == PREFIX.len() + 64);
        let second = MasterKey::resolve(None, &data).unwrap();
        assert!(second.made.is_none() && second.key.admits(text.as_bytes()));
        assert!(!second.key.admits(b"") && !second.key.admits(b"agm_"));
        #[cfg(unix)]
        assert_eq!(crate::os::files::mode(&data.join(FILE)), Some(0o600));
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    }

    #[test]
    fn weak_keys_stay_on_this_machine() {
        let here = ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"];
        let there = ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"];
        for weak in ["ag_dev_change_me_in_production", "short", "15-characters--"] {
            let key = MasterKey::given(weak).unwrap();
            for address in here {
                assert!(key.may_guard(address.parse().unwrap()).is_ok(), "{weak} {address}");
            }
            for address in there {
                assert!(key.may_guard(address.parse().unwrap()).is_err(), "{weak} {address}");
            }
        }
        let strong = MasterKey::given("sixteen-or-more-of-them").unwrap();
        assert!(strong.may_guard("0.0.0.0:1".parse().unwrap()).is_ok());
        assert!(MasterKey::given(" ").is_err());
    }

    #[test]
    fn a_key_never_shows_in_debug_output() {
        let key = MasterKey::given("sixteen-or-more-of-them").unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
    }
}
