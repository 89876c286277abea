//! Agents and their keys: who they are, and how keys are made, kept and retired.
//!
//! A key is 256 random bits, shown once and kept as a keyed hash. The secret
//! that goes with an AWS access-key id is derived from it when it is needed, and
//! kept nowhere.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hmac::Hmac;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::chain::{Hash, Keys, subkey, tag};
use super::ledger::{Ledger, Transaction};
use super::read::Reader;
use super::schema::{meta, set_meta};
use super::{Options, StoreError};
use crate::action::{Agent, Provider};
use crate::fold::fold;
use crate::keys::KEY_PREFIX;

/// Prefix of AWS access-key ids issued by the gate.
pub const AWS_PREFIX: &str = "AGAK";

/// Maximum length of an agent's name, in characters.
pub const MAX_NAME: usize = 128;

/// Maximum number of agents per database.
pub const MAX_AGENTS: i64 = 100_000;

/// Maximum number of rotated keys of one agent in their grace period. Beyond it, those with the
/// least time left are revoked at once.
pub const MAX_RETIRING: i64 = 8;

/// Counter in `meta` that every change increments, so that other processes notice it.
const GENERATION: &str = "agents_generation";

/// A registered agent, without its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentRecord {
    /// A version 4 UUID.
    #[serde(rename = "agent_id")]
    pub id: Arc<str>,
    /// Unique name, used by policies and the log.
    pub name: Arc<str>,
    /// Free text.
    pub description: String,
    /// Name of its policy; `None` for the gate's default policy.
    pub policy: Option<Arc<str>>,
    /// The only provider it may use; `None` for all.
    #[serde(serialize_with = "provider_name")]
    pub provider: Option<Provider>,
    /// When it was registered.
    pub created_at: Timestamp,
}

#[cfg(test)]
impl AgentRecord {
    /// An unregistered agent called `name`, not restricted to a provider.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            id: "1".into(),
            name: name.into(),
            description: String::new(),
            policy: None,
            provider: None,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }
}

/// Parameters of [`Registry::create`].
#[derive(Debug, Clone, Default)]
pub struct NewAgent {
    /// Unique name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Name of its policy.
    pub policy: Option<String>,
    /// The only provider it may use.
    pub provider: Option<Provider>,
}

/// An agent with its new key. The key is not stored, so this is the only time it can be shown.
pub struct Issued {
    /// The agent.
    pub agent: AgentRecord,
    /// The API key.
    pub api_key: Zeroizing<String>,
    /// The access-key id that stands for the key in AWS signatures.
    pub aws_access_key_id: String,
    /// The secret access key for that id.
    pub aws_secret_access_key: Zeroizing<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Issued").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// Error of [`Registry`].
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Invalid name.
    #[error(
        "`{0}` is not a name for an agent: 1 to {MAX_NAME} letters, digits, spaces and . _ - @ : /, \
         and not `unidentified`, which is what the log calls strangers"
    )]
    Name(String),
    /// The name is in use.
    #[error("there is an agent named `{0}` already")]
    Taken(String),
    /// No agent has this name or id.
    #[error("there is no agent `{0}`")]
    Unknown(String),
    /// The limit [`MAX_AGENTS`] is reached.
    #[error("there are {MAX_AGENTS} agents already")]
    TooMany,
    /// The system's random number generator failed.
    #[error("no key can be generated: {0}")]
    Random(getrandom::Error),
    /// Database error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Derives keys and secrets of agents from the database's secret.
#[derive(Clone)]
pub(super) struct KeyDeriver {
    hash: Hmac<Sha256>,
    aws: Hmac<Sha256>,
    paths: Zeroizing<Hash>,
}

impl fmt::Debug for KeyDeriver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyKeys(…)")
    }
}

impl KeyDeriver {
    pub(super) fn derive(keys: &Keys) -> Option<Self> {
        Some(Self {
            hash: subkey(keys.secret(), b"agentgate agent keys v1")?,
            aws: subkey(keys.secret(), b"agentgate agent aws secrets v1")?,
            paths: Zeroizing::new(tag(subkey(keys.secret(), b"agentgate signed paths v1")?, b"")),
        })
    }

    /// The keyed hash of `key`: what the database stores.
    pub(super) fn hash(&self, key: &str) -> Hash {
        tag(self.hash.clone(), key.as_bytes())
    }

    /// The key that seals signed paths.
    pub(super) fn paths(&self) -> Zeroizing<Hash> {
        self.paths.clone()
    }

    /// The secret access key for `aws_id`: 40 characters, like AWS's.
    pub(super) fn aws_secret(&self, aws_id: &str) -> Zeroizing<String> {
        let tag = Zeroizing::new(tag(self.aws.clone(), aws_id.as_bytes()));
        Zeroizing::new(hex::encode(tag.get(..20).unwrap_or_default()))
    }
}

/// Creates, deletes and lists agents. Each change is one transaction; other processes see it
/// within [`super::directory::POLL_INTERVAL`].
#[derive(Debug, Clone)]
pub struct Registry {
    path: PathBuf,
    options: Options,
}

impl Registry {
    /// The registry in the database at `path`.
    #[must_use]
    pub fn new(path: &Path, options: &Options) -> Self {
        Self { path: path.to_owned(), options: options.clone() }
    }

    /// Creates an agent and issues its first key.
    ///
    /// # Errors
    /// [`AgentError`]: the name is invalid or taken, or the database cannot be written.
    pub fn create(&self, new: &NewAgent) -> Result<Issued, AgentError> {
        if !is_name(&new.name) {
            return Err(AgentError::Name(new.name.clone()));
        }
        let agent = AgentRecord {
            id: uuid::Builder::from_random_bytes(random()?).into_uuid().to_string().into(),
            name: new.name.as_str().into(),
            description: new.description.clone(),
            policy: new.policy.as_deref().map(Arc::from),
            provider: new.provider,
            created_at: now(),
        };
        self.change(|connection, keys| {
            let count: i64 =
                connection.query_row("SELECT count(*) FROM agent", [], |row| row.get(0))?;
            if count >= MAX_AGENTS {
                return Ok(Err(AgentError::TooMany));
            }
            let inserted = connection.execute(
                "INSERT OR IGNORE INTO agent (id, name, description, policy, provider, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    &*agent.id,
                    &*agent.name,
                    agent.description,
                    agent.policy.as_deref(),
                    agent.provider.map(Provider::as_str),
                    agent.created_at.as_microsecond(),
                ],
            )?;
            if inserted == 0 {
                return Ok(Err(AgentError::Taken(agent.name.to_string())));
            }
            issue(connection, keys, agent)
        })
    }

    /// Issues a new key. The old one stays valid for `grace`.
    ///
    /// # Errors
    /// [`AgentError`]: no such agent, or the database cannot be written.
    pub fn rotate(&self, named: &str, grace: Duration) -> Result<Issued, AgentError> {
        self.change(|connection, keys| {
            let Some(agent) = find(connection, named)? else {
                return Ok(Err(AgentError::Unknown(named.to_owned())));
            };
            let now = Timestamp::now().as_microsecond();
            let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
            let until = now.saturating_add(grace);
            // A key that is already being retired does not get more time.
            connection.execute(
                "UPDATE agent_key SET expires_at = min(ifnull(expires_at, ?2), ?2)
                 WHERE agent = ?1",
                params![&*agent.id, until],
            )?;
            connection.execute("DELETE FROM agent_key WHERE expires_at <= ?1", [now])?;
            connection.execute(
                "DELETE FROM agent_key WHERE agent = ?1 AND hash NOT IN (
                   SELECT hash FROM agent_key WHERE agent = ?1 ORDER BY expires_at DESC LIMIT ?2)",
                params![&*agent.id, MAX_RETIRING],
            )?;
            issue(connection, keys, agent)
        })
    }

    /// Deletes an agent and revokes its keys.
    ///
    /// # Errors
    /// [`AgentError`]: no such agent, or the database cannot be written.
    pub fn delete(&self, named: &str) -> Result<AgentRecord, AgentError> {
        self.change(|connection, _| {
            let Some(agent) = find(connection, named)? else {
                return Ok(Err(AgentError::Unknown(named.to_owned())));
            };
            connection.execute("DELETE FROM agent_key WHERE agent = ?1", [&*agent.id])?;
            connection.execute("DELETE FROM agent WHERE id = ?1", [&*agent.id])?;
            Ok(Ok(agent))
        })
    }

    /// Finds an agent by name or id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn find(&self, named: &str) -> Result<Option<AgentRecord>, StoreError> {
        self.read(|connection| find(connection, named))
    }

    /// All agents, sorted by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list(&self) -> Result<Vec<AgentRecord>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare(&format!("{SELECT} ORDER BY name"))?;
            select.query_map([], record)?.collect()
        })
    }

    /// Creates or migrates the database if necessary.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        Ledger::open(&self.path, &self.options, None).map(drop)
    }

    /// Opens the database for reading; never creates one.
    pub(super) fn reader(&self) -> Result<Reader, StoreError> {
        let reader = Reader::open(&self.path)?;
        if reader.is_up_to_date()? {
            return Ok(reader);
        }
        self.prepare()?;
        Reader::open(&self.path)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let reader = self.reader()?;
        read(reader.connection()).map_err(|error| reader.error(&error))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&Connection, &KeyDeriver) -> rusqlite::Result<Result<T, AgentError>>,
    ) -> Result<T, AgentError> {
        let mut ledger = Ledger::open(&self.path, &self.options, None)?;
        let keys = KeyDeriver::derive(ledger.keys())
            .ok_or_else(|| StoreError::open(&self.path, "its key cannot be used"))?;
        let mut refusal = None;
        let changed =
            ledger.transact(self.options.lock_timeout, |transaction: &mut Transaction<'_>| {
                let connection = transaction.connection();
                let changed = change(connection, &keys).and_then(|changed| {
                    if changed.is_ok() {
                        let before: i64 = meta(connection, GENERATION)?.unwrap_or_default();
                        set_meta(connection, GENERATION, before + 1)?;
                    }
                    Ok(changed)
                });
                match changed.map_err(|error| transaction.error(&error))? {
                    Ok(changed) => Ok(changed),
                    // Dropping the transaction rolls it back.
                    Err(error) => {
                        refusal = Some(error);
                        Err(StoreError::Undecided)
                    }
                }
            });
        changed.map_err(|error| refusal.unwrap_or(AgentError::Store(error)))
    }
}

impl Reader {
    /// All valid keys and their agents.
    pub(super) fn key_ring(&self) -> Result<KeyRing, StoreError> {
        let keys = KeyDeriver::derive(&self.keys()?)
            .ok_or_else(|| self.files().open_error("its key cannot be used"))?;
        let read = || -> rusqlite::Result<Vec<KeyEntry>> {
            let mut select = self.connection().prepare_cached(
                "SELECT id, name, description, policy, provider, created_at, hash, aws_id, expires_at
                 FROM agent JOIN agent_key ON agent.id = agent_key.agent",
            )?;
            let entries = select.query_map([], |row| {
                let expires_at: Option<i64> = row.get(8)?;
                Ok(KeyEntry {
                    agent: Arc::new(record(row)?),
                    hash: row.get(6)?,
                    aws_id: row.get::<_, String>(7)?.into(),
                    expires_at: expires_at.and_then(|at| Timestamp::from_microsecond(at).ok()),
                })
            })?;
            entries.collect()
        };
        Ok(KeyRing { keys, entries: read().map_err(|error| self.error(&error))? })
    }

    /// A number that every change of agents or keys increments.
    pub(super) fn agents_generation(&self) -> Result<i64, StoreError> {
        let generation = meta(self.connection(), GENERATION);
        Ok(generation.map_err(|error| self.error(&error))?.unwrap_or_default())
    }
}

/// The keys of all agents.
#[derive(Debug)]
pub(super) struct KeyRing {
    pub(super) keys: KeyDeriver,
    pub(super) entries: Vec<KeyEntry>,
}

/// A key and its agent.
#[derive(Debug, Clone)]
pub(super) struct KeyEntry {
    pub(super) agent: Arc<AgentRecord>,
    pub(super) hash: Hash,
    pub(super) aws_id: Arc<str>,
    pub(super) expires_at: Option<Timestamp>,
}

const SELECT: &str = "SELECT id, name, description, policy, provider, created_at FROM agent";

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<AgentRecord> {
    let text = |at: usize| -> rusqlite::Result<Arc<str>> { Ok(row.get::<_, String>(at)?.into()) };
    let policy: Option<String> = row.get(3)?;
    let provider: Option<String> = row.get(4)?;
    let provider = match provider.as_deref() {
        None => None,
        // A provider unknown to this version must not be read as "all providers".
        Some(name) => Some(Provider::from_name(name).ok_or(rusqlite::Error::InvalidQuery)?),
    };
    Ok(AgentRecord {
        id: text(0)?,
        name: text(1)?,
        description: row.get(2)?,
        policy: policy.map(Arc::from),
        provider,
        created_at: Timestamp::from_microsecond(row.get(5)?).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

/// Ids take precedence: an agent must not shadow another one by taking its id as a name.
fn find(connection: &Connection, named: &str) -> rusqlite::Result<Option<AgentRecord>> {
    let by = |column: &str| {
        let sql = format!("{SELECT} WHERE {column} = ?1");
        connection.query_row(&sql, [named], record).optional()
    };
    Ok(by("id")?.or(by("name")?))
}

fn issue(
    connection: &Connection,
    keys: &KeyDeriver,
    agent: AgentRecord,
) -> rusqlite::Result<Result<Issued, AgentError>> {
    let (secret, aws) = match (random::<32>(), random::<16>()) {
        (Ok(secret), Ok(aws)) => (Zeroizing::new(secret), aws),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
    };
    let api_key = Zeroizing::new(format!("{KEY_PREFIX}{}", &*Zeroizing::new(hex::encode(*secret))));
    let aws_id = format!("{AWS_PREFIX}{}", base32(&aws));
    connection.execute(
        "INSERT INTO agent_key (hash, agent, aws_id) VALUES (?1, ?2, ?3)",
        params![keys.hash(&api_key), &*agent.id, aws_id],
    )?;
    Ok(Ok(Issued {
        agent,
        api_key,
        aws_secret_access_key: keys.aws_secret(&aws_id),
        aws_access_key_id: aws_id,
    }))
}

/// The current time in the precision of the database.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || " ._-@:/".contains(c);
    let length = name.chars().count();
    (1..=MAX_NAME).contains(&length)
        && name.chars().all(fits)
        && name.trim() == name
        && fold(name) != Agent::UNIDENTIFIED
}

fn random<const N: usize>() -> Result<[u8; N], AgentError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(AgentError::Random)?;
    Ok(bytes)
}

/// Base32 (RFC 4648, section 6), the alphabet of AWS's own ids; one character per byte.
fn base32(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'A');
    bytes.iter().map(|byte| char::from(letter(byte))).collect()
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn provider_name<S: serde::Serializer>(
    provider: &Option<Provider>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    provider.map(Provider::as_str).serialize(serializer)
}
