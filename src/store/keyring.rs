//! The identity of a database: its key, and the salt of its row ids.

use std::sync::Arc;

use rusqlite::Connection;

use super::StoreError;
use super::audit::RowId;
use super::chain::Keys;
use super::files::Files;
use super::schema::{meta, set_meta};
use crate::os::files::exposure;

/// Key in `meta` of the fingerprint of the secret.
pub(super) const FINGERPRINT: &str = "fingerprint";

/// Loads the keys of a database. If the log is empty, creates them, or takes over those of
/// `before`.
pub(super) fn load_keys(
    files: &Files,
    connection: &Connection,
    fresh: bool,
    before: Option<&Arc<Keys>>,
) -> Result<Arc<Keys>, StoreError> {
    let secret = match files.read_secret().map_err(|error| files.open_error(error))? {
        Some(secret) => secret,
        None if !fresh => {
            return Err(files.open_error(format_args!(
                "its key `{}` is missing; restore it, or move the log away to begin a new one",
                files.key.display()
            )));
        }
        None => {
            let secret = match before {
                Some(keys) => *keys.secret(),
                None => random().map_err(|error| files.open_error(error))?,
            };
            files.write_secret(&secret).map_err(|error| files.open_error(error))?;
            secret
        }
    };
    for path in [&files.key, &files.db] {
        if let Some(exposure) = exposure(path) {
            tracing::warn!(path = %path.display(), "others can read this file: its {exposure}");
        }
    }
    let keys = Keys::derive(secret).ok_or_else(|| files.open_error("its key cannot be used"))?;
    if fresh {
        set_meta(connection, FINGERPRINT, keys.fingerprint())
            .map_err(|error| files.unopened(&error))?;
    }
    check_key(files, connection, &keys)?;
    Ok(Arc::new(keys))
}

/// Restores the key file if it is missing. The caller holds the write lock.
pub(super) fn restore_key(files: &Files, keys: &Keys) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| files.open_error(error);
    match files.read_secret().map_err(failed)? {
        Some(secret) if secret == *keys.secret() => Ok(()),
        Some(_) => Err(wrong_key_error(files)),
        None => {
            files.write_secret(keys.secret()).map_err(failed)?;
            tracing::warn!(path = %files.key.display(), "the log's key was missing and has been put back");
            Ok(())
        }
    }
}

fn wrong_key_error(files: &Files) -> StoreError {
    files
        .open_error(format_args!("`{}` is not the key that it was begun with", files.key.display()))
}

/// Checks that `keys` are those the log was created with.
pub(super) fn check_key(
    files: &Files,
    connection: &Connection,
    keys: &Keys,
) -> Result<(), StoreError> {
    let fingerprint: Option<Vec<u8>> =
        meta(connection, FINGERPRINT).map_err(|error| files.unopened(&error))?;
    match fingerprint {
        Some(fingerprint) if fingerprint == keys.fingerprint() => Ok(()),
        Some(_) => Err(wrong_key_error(files)),
        None => Err(files.open_error(
            "it does not name its key: it is only just being begun, or it was changed",
        )),
    }
}

/// Key in `meta` of the authentication tag of the salt.
pub(super) const SALT_TAG: &str = "salt_tag";

/// Loads or creates the salt that distinguishes this log's row ids. Logs of older versions have
/// no tag yet.
pub(super) fn load_salt(connection: &Connection, keys: &Keys) -> rusqlite::Result<u16> {
    let salt = match meta::<u16>(connection, "salt")? {
        Some(salt) => salt,
        None => {
            let [low, high] = random().unwrap_or_default();
            let salt = u16::from_le_bytes([low, high]) & RowId::MAX_SALT;
            set_meta(connection, "salt", salt)?;
            salt
        }
    };
    if meta::<Vec<u8>>(connection, SALT_TAG)?.is_none() {
        set_meta(connection, SALT_TAG, keys.of_salt(salt))?;
    }
    Ok(salt)
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
