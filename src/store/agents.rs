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

/// What every AWS access-key id of the gate's begins with.
pub const AWS_PREFIX: &str = "AGAK";

/// The longest name of an agent, in characters.
pub const MAX_NAME: usize = 128;

/// Agents of one database.
pub const MAX_AGENTS: i64 = 100_000;

/// Keys of one agent that are good for a while after a rotation; beyond it those
/// that would end first are dead at once.
pub const MAX_RETIRING: i64 = 8;

/// Counts changes, so that other processes notice them.
const GENERATION: &str = "agents_generation";

/// An agent as it is registered; its keys are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentRecord {
    /// A version 4 UUID.
    #[serde(rename = "agent_id")]
    pub id: Arc<str>,
    /// The name that policies and the log use; unique.
    pub name: Arc<str>,
    /// For people.
    pub description: String,
    /// The policy that decides for it; `None` for the gate's own.
    pub policy: Option<Arc<str>>,
    /// The one provider it may use; `None` for all.
    #[serde(serialize_with = "provider_name")]
    pub provider: Option<Provider>,
    /// When it was registered.
    pub created_at: Timestamp,
}

#[cfg(test)]
impl AgentRecord {
    /// An agent of that name, which may use everything.
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

/// What is said of an agent that is to be registered.
#[derive(Debug, Clone, Default)]
pub struct NewAgent {
    /// The name; unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// The policy that decides for it.
    pub policy: Option<String>,
    /// The one provider it may use.
    pub provider: Option<Provider>,
}

/// An agent together with its key, which is never shown again.
pub struct Issued {
    /// The agent.
    pub agent: AgentRecord,
    /// The key.
    pub api_key: Zeroizing<String>,
    /// The id that stands for the key in AWS signatures.
    pub aws_access_key_id: String,
    /// The secret that goes with it.
    pub aws_secret_access_key: Zeroizing<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Issued").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// Why an agent could not be registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Not a name.
    #[error(
        "`{0}` is not a name for an agent: 1 to {MAX_NAME} letters, digits, spaces and . _ - @ : /, \
         and not `unidentified`, which is what the log calls strangers"
    )]
    Name(String),
    /// There is one of that name.
    #[error("there is an agent named `{0}` already")]
    Taken(String),
    /// There is none of that name or id.
    #[error("there is no agent `{0}`")]
    Unknown(String),
    /// There are [`MAX_AGENTS`].
    #[error("there are {MAX_AGENTS} agents already")]
    TooMany,
    /// No randomness to be had.
    #[error("no key can be generated: {0}")]
    Random(getrandom::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys of keys, derived from the database's secret.
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

    /// What is kept of a key.
    pub(super) fn hash(&self, key: &str) -> Hash {
        tag(self.hash.clone(), key.as_bytes())
    }

    /// The key that signed paths are sealed with.
    pub(super) fn paths(&self) -> Zeroizing<Hash> {
        self.paths.clone()
    }

    /// The secret that goes with an access-key id: 40 characters, as AWS's.
    pub(super) fn aws_secret(&self, aws_id: &str) -> Zeroizing<String> {
        let tag = Zeroizing::new(tag(self.aws.clone(), aws_id.as_bytes()));
        Zeroizing::new(hex::encode(tag.get(..20).unwrap_or_default()))
    }
}

/// Registers, retires and lists agents. Each change is a transaction of its own;
/// other processes see it within [`super::directory::POLL`].
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

    /// Registers an agent and issues its first key.
    ///
    /// # Errors
    /// [`AgentError`]: the name is taken or none, or the database cannot be written.
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

    /// Issues a new key. The old one is dead at once, or after `grace`.
    ///
    /// # Errors
    /// [`AgentError`]: there is none of that name or id, or the database cannot be written.
    pub fn rotate(&self, named: &str, grace: Duration) -> Result<Issued, AgentError> {
        self.change(|connection, keys| {
            let Some(agent) = find(connection, named)? else {
                return Ok(Err(AgentError::Unknown(named.to_owned())));
            };
            let now = Timestamp::now().as_microsecond();
            let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
            let until = now.saturating_add(grace);
            // A key that was retired before is not given more time.
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

    /// Removes an agent; its keys are dead at once.
    ///
    /// # Errors
    /// [`AgentError`]: there is none of that name or id, or the database cannot be written.
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

    /// The agent of that name or id.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn find(&self, named: &str) -> Result<Option<AgentRecord>, StoreError> {
        self.read(|connection| find(connection, named))
    }

    /// Every agent, by name.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn list(&self) -> Result<Vec<AgentRecord>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare(&format!("{SELECT} ORDER BY name"))?;
            select.query_map([], record)?.collect()
        })
    }

    /// The database, made or brought up to date where need be.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        Ledger::open(&self.path, &self.options, None).map(drop)
    }

    /// A reader of the database, which never makes one.
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
            ledger.transact(self.options.patience, |transaction: &mut Transaction<'_>| {
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
                    // Whatever the refused change has written is rolled back.
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
    /// Every key with the agent it belongs to.
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

    /// A number that is another one after every change to agents or keys.
    pub(super) fn agents_generation(&self) -> Result<i64, StoreError> {
        let generation = meta(self.connection(), GENERATION);
        Ok(generation.map_err(|error| self.error(&error))?.unwrap_or_default())
    }
}

/// The keys of every agent.
#[derive(Debug)]
pub(super) struct KeyRing {
    pub(super) keys: KeyDeriver,
    pub(super) entries: Vec<KeyEntry>,
}

/// A key and whose it is.
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
        // A provider that this version does not know must not turn into all.
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

/// By id first: a name cannot take another agent's id away from it.
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

/// The time in the precision that is kept.
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

/// One character a byte, in the alphabet of AWS's own ids (RFC 4648, section 6).
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
