//! Opening a database and bringing it up to date.
//!
//! `entry` is the log itself: append-only, chained. `facet` is its dictionary:
//! the combinations of values that repeat. `posting`, `answer`, `tally` and
//! `session` are an index made from the log, a little behind it (see `index.rs`);
//! they can be made again at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, ffi, params};
use url::Url;

use super::files::Files;
use super::{Options, StoreError};

/// SQLite's `application_id` of our databases ("AGAT").
const APPLICATION_ID: i32 = 0x4147_4154;

/// One migration per schema version; `PRAGMA user_version` counts those applied.
const MIGRATIONS: [&str; 6] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
];

/// SQLite's page cache per connection, in KiB.
const CACHE_KIB: i64 = 512;

/// SQLite truncates the write-ahead log to this length when it restarts, in bytes. Larger than
/// the log becomes under load: overwriting a page costs half of extending the file.
const WAL_LIMIT: i64 = 40 << 20;

/// Pages in the write-ahead log that trigger a checkpoint. A page written several times in
/// between is copied once.
const CHECKPOINT_PAGES: i64 = 2048;

/// Pages in the write-ahead log at which writers have to wait until it restarts.
const RESTART_PAGES: i64 = 4 * CHECKPOINT_PAGES;

/// How long a reader waits while the database is being opened or closed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the existing database for writing. The caller holds the write lock, and calls
/// [`checkpoint_on_close`] once closing the connection may checkpoint.
pub(super) fn open_to_write(files: &Files, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&files.db, flags)?;
        keep_wal_on_close(&connection);
        connection.busy_timeout(options.lock_timeout)?;
        Ok(connection)
    };
    let mut connection = open().map_err(|error| files.unopened(&error))?;
    check_ours(&connection, files)?;
    prepare(&mut connection, options).map_err(|error| files.unopened(&error))?;
    Ok(connection)
}

/// Opens the database without its write-ahead log for reading. The content may be inconsistent:
/// a checkpoint may have been interrupted.
pub(super) fn open_alone(files: &Files) -> rusqlite::Result<Connection> {
    let mut url = Url::from_file_path(&files.db)
        .map_err(|()| rusqlite::Error::InvalidPath(files.db.clone()))?;
    url.set_query(Some("immutable=1"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(url.as_str(), flags)
}

/// Opens the database for reading; never creates or changes it.
pub(super) fn open_to_read(files: &Files) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&files.db, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| files.unopened(&error))?;
    match check_ours(&connection, files)? {
        0 => Err(files.open_error("it is empty; the first recorded action turns it into a log")),
        _ => Ok(connection),
    }
}

/// State of the write-ahead log, in pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wal {
    /// Length.
    pub(super) pages: i64,
    /// Pages already checkpointed.
    pub(super) copied: i64,
}

impl Wal {
    /// Reads the result of `PRAGMA wal_checkpoint`.
    fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { pages: row.get(1)?, copied: row.get(2)? })
    }

    /// The current state. Must be called outside of a transaction.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], Self::from_row)
    }

    /// The state after a checkpoint, which is made only if the log is long enough; see
    /// [`checkpoint`].
    pub(super) fn after_checkpoint(self, files: &Files) -> rusqlite::Result<Self> {
        match self.pages - self.copied < CHECKPOINT_PAGES {
            true => Ok(self),
            false => checkpoint(files),
        }
    }

    /// Whether writers should wait until the log restarts.
    pub(super) fn is_too_long(&self) -> bool {
        self.pages > RESTART_PAGES
    }

    /// Minimum length of the file in bytes, for pages of `page_size` bytes: a header, and a
    /// frame per page (<https://sqlite.org/walformat.html>). The file may be longer, as
    /// restarting the log does not shorten it.
    pub(super) fn bytes(&self, page_size: u64) -> u64 {
        match u64::try_from(self.pages) {
            Ok(pages @ 1..) => 32 + pages.saturating_mul(24 + page_size),
            _ => 0,
        }
    }
}

/// Makes closing `connection` leave the write-ahead log as it is instead of checkpointing it:
/// its content may be wrong.
pub(super) fn keep_wal_on_close(connection: &Connection) {
    set_keep_wal_on_close(connection, true);
}

/// Makes closing `connection` checkpoint the write-ahead log, if no other has it open.
pub(super) fn checkpoint_on_close(connection: &Connection) {
    set_keep_wal_on_close(connection, false);
}

fn set_keep_wal_on_close(connection: &Connection, keep: bool) {
    // INVARIANT (infallible): this only sets a flag of the connection.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep);
}

/// Checkpoints and truncates the write-ahead log, waiting for readers and writers for the busy
/// timeout of `connection`.
///
/// # Errors
/// Also if that elapses.
pub(super) fn empty_wal(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    match connection.query_row(sql, [], |row| row.get(0))? {
        0 => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
    }
}

/// Checkpoints as much as possible without waiting for readers or writers.
pub(super) fn checkpoint(files: &Files) -> rusqlite::Result<Wal> {
    let connection = open_to_checkpoint(files)?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], Wal::from_row)
}

/// Checkpoints everything; see [`empty_wal`].
pub(super) fn checkpoint_and_truncate(files: &Files) -> rusqlite::Result<()> {
    let connection = open_to_checkpoint(files)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    empty_wal(&connection)
}

fn open_to_checkpoint(files: &Files) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&files.db, flags)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

/// The schema version, if the file is an audit log that this version can read.
fn check_ours(connection: &Connection, files: &Files) -> Result<usize, StoreError> {
    let pragma = |name: &str| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let read = || -> rusqlite::Result<(i64, i64, bool)> {
        let tables = "SELECT 1 FROM sqlite_master LIMIT 1";
        let empty = connection.query_row(tables, [], |_| Ok(())).optional()?.is_none();
        Ok((pragma("application_id")?, pragma("user_version")?, empty))
    };
    let (application, version, empty) = read().map_err(|error| files.unopened(&error))?;
    if application != i64::from(APPLICATION_ID) && !empty {
        return Err(files.open_error("it is the database of another program"));
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(files.open_error(format_args!(
            "it was written by a newer AgentGate (schema {version}, this one knows {}); \
             update this program",
            MIGRATIONS.len()
        )));
    }
    Ok(version)
}

fn prepare(connection: &mut Connection, options: &Options) -> rusqlite::Result<()> {
    // Triggers in the file could suppress inserts.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))?;
    // Checkpoints sync the disk, so the writer's thread makes them, not a caller.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    let synchronous = if options.sync_full { "full" } else { "normal" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(connection)
}

/// Changes with every change of the schema, and with `VACUUM`.
pub(super) fn cookie(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "schema_version", |row| row.get(0))
}

/// Length of the database in pages, including those in the write-ahead log.
pub(super) fn pages(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "page_count", |row| row.get(0))
}

/// Whether all migrations have been applied.
pub(super) fn is_up_to_date(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(version(connection)? == MIGRATIONS.len())
}

/// The schema version of an audit log.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or_default())
}

/// Differences between the schema and the expected one: tables, indexes, triggers and views are
/// compared by their SQL.
pub(super) fn differences(
    connection: &Connection,
    version: usize,
) -> rusqlite::Result<Vec<String>> {
    let ours = Connection::open_in_memory()?;
    for step in MIGRATIONS.iter().take(version) {
        ours.execute_batch(step)?;
    }
    let (ours, mut there) = (objects(&ours)?, objects(connection)?);
    let mut differences = Vec::new();
    for (object, sql) in ours {
        match there.remove(&object) {
            Some(same) if same == sql => {}
            Some(_) => differences.push(format!("schema: the {object} is another")),
            None => differences.push(format!("schema: the {object} is missing")),
        }
    }
    let others = there.into_keys().map(|object| format!("schema: the {object} is not ours"));
    differences.extend(others);
    Ok(differences)
}

/// The objects of a schema with their SQL, except for those of `ANALYZE`, which change no
/// result.
fn objects(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Option<String>>> {
    let mut select = connection.prepare(
        "SELECT type || ' `' || name || '`', sql FROM sqlite_master
         WHERE name NOT GLOB 'sqlite_stat*'",
    )?;
    let objects = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    objects.collect()
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or_default();
    if done == MIGRATIONS.len() {
        return Ok(());
    }
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()
}

/// Reads a value of the table `meta`.
pub(super) fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Writes a value of the table `meta`.
pub(super) fn set_meta(
    connection: &Connection,
    name: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])
        .map(drop)
}

/// Reverts the schema to an older `version`.
#[cfg(test)]
pub(super) fn make_older(connection: &Connection, version: usize) {
    let undo = [
        "",
        "DROP TABLE agent_key; DROP TABLE agent",
        "DROP TABLE escalation",
        "",
        "DROP TABLE session",
        "DROP TABLE slot_queue; DROP TABLE slot_window",
    ];
    assert_eq!(undo.len(), MIGRATIONS.len());
    for step in undo.iter().skip(version).rev() {
        connection.execute_batch(step).unwrap();
    }
    if version < 6 {
        let slot = MIGRATIONS[0].split_once("CREATE TABLE slot").unwrap().1;
        let slot = format!("CREATE TABLE slot{}", slot.split_once(';').unwrap().0);
        connection.execute_batch(&slot).unwrap();
    }
    connection.pragma_update(None, "user_version", version as i64).unwrap();
}
