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

/// Marks the file as ours ("AGAT").
const APPLICATION_ID: i32 = 0x4147_4154;

/// One step per schema version; `PRAGMA user_version` counts those done.
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

/// The write-ahead log is cut back to this size when it starts over, in bytes: longer than
/// it becomes under load, where writing over it costs half of what it does to let it grow.
const WAL_LIMIT: i64 = 40 << 20;

/// Pages in the write-ahead log that are copied into the database together: one
/// that was written many times meanwhile is copied once.
const COPIED_PAGES: i64 = 2048;

/// Length of the write-ahead log, in pages, at which writers are made to wait for it to
/// start over.
const RESTART_PAGES: i64 = 4 * COPIED_PAGES;

/// How long a reader waits where the database is just being opened or closed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the database to write; there is a file. The caller holds the write lock, and says
/// when closing it may write the write-ahead log back: see [`leave_wal`].
pub(super) fn open_to_write(files: &Files, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&files.db, flags)?;
        leave_wal(&connection, true);
        connection.busy_timeout(options.patience)?;
        Ok(connection)
    };
    let mut connection = open().map_err(|error| files.unopened(&error))?;
    check_ours(&connection, files)?;
    prepare(&mut connection, options).map_err(|error| files.unopened(&error))?;
    Ok(connection)
}

/// Opens the database as it is without its write-ahead log, to read: what is in it may be
/// of several moments.
pub(super) fn open_alone(files: &Files) -> rusqlite::Result<Connection> {
    let mut url = Url::from_file_path(&files.db)
        .map_err(|()| rusqlite::Error::InvalidPath(files.db.clone()))?;
    url.set_query(Some("immutable=1"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(url.as_str(), flags)
}

/// Opens the database to read; never creates or changes it.
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

/// The write-ahead log, in pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wal {
    /// Its length.
    pub(super) pages: i64,
    /// Those of them that are in the database already.
    pub(super) copied: i64,
}

impl Wal {
    /// As a `wal_checkpoint` tells it.
    fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { pages: row.get(1)?, copied: row.get(2)? })
    }

    /// How it is, with nothing done about it. Outside of a transaction.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], Self::from_row)
    }

    /// The same once it is written back into the database, where it is long enough for that;
    /// see [`checkpoint`].
    pub(super) fn copied_back(self, files: &Files) -> rusqlite::Result<Self> {
        match self.pages - self.copied < COPIED_PAGES {
            true => Ok(self),
            false => checkpoint(files),
        }
    }

    /// Whether it has to start over.
    pub(super) fn is_too_long(&self) -> bool {
        self.pages > RESTART_PAGES
    }

    /// The bytes that its file has at least, with pages of `page_size` bytes: a header, and
    /// one for each page (<https://sqlite.org/walformat.html>). The file may be longer, by
    /// what was in it before the log started over, and never shorter.
    pub(super) fn bytes(&self, page_size: u64) -> u64 {
        match u64::try_from(self.pages) {
            Ok(pages @ 1..) => 32 + pages.saturating_mul(24 + page_size),
            _ => 0,
        }
    }
}

/// Whether closing `connection` leaves the write-ahead log as it is: for as long as what is
/// in it may not be what it is to be.
pub(super) fn leave_wal(connection: &Connection, leave: bool) {
    // INVARIANT (infallible): this only sets a flag of the connection.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave);
}

/// Writes all of the write-ahead log back into the database, waiting for readers and
/// writers as long as `connection` does; it is empty then.
///
/// # Errors
/// Also where they took longer.
pub(super) fn empty_wal(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    match connection.query_row(sql, [], |row| row.get(0))? {
        0 => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
    }
}

/// Writes the write-ahead log back into the database, as far as readers and
/// writers allow without waiting for any.
pub(super) fn checkpoint(files: &Files) -> rusqlite::Result<Wal> {
    let connection = open_to_checkpoint(files)?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], Wal::from_row)
}

/// The same, all of it: see [`empty_wal`].
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

/// The schema version, where the file is a log of ours that we can read.
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
    // Whoever can write the file must not make rows vanish on their way into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))?;
    // Checkpoints sync the disk: the writer's thread makes them, not a caller.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    let synchronous = if options.sync_full { "full" } else { "normal" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(connection)
}

/// Goes up with every change of the schema, and where the whole database is written anew.
pub(super) fn cookie(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "schema_version", |row| row.get(0))
}

/// How many pages the database has, in its file or in the write-ahead log.
pub(super) fn pages(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "page_count", |row| row.get(0))
}

/// Whether nothing is left to migrate.
pub(super) fn is_up_to_date(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(version(connection)? == MIGRATIONS.len())
}

/// The schema version of a log of ours.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or_default())
}

/// What is in the schema and should not be, is missing, or is another: tables, indexes,
/// triggers and views, by their SQL.
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

/// The objects of a schema, each with its SQL. What `ANALYZE` leaves changes no answer.
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

/// A value of the table `meta`.
pub(super) fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Sets a value of the table `meta`.
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

/// Takes back what came with the versions after `version`.
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
