//! The index, made of what the writer remembers and of what it reads again.

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::{completion, draft, open, record, store};
use crate::store::audit::{Completion, Draft, Outcome};
use crate::store::recent::Recent;
use crate::store::schema::{meta, set_meta};
use crate::store::{Store, index};

const TABLES: [&str; 4] = ["posting", "answer", "tally", "session"];

fn rows(connection: &Connection, table: &str) -> Vec<Vec<Value>> {
    let sql =
        format!("SELECT * FROM {table} ORDER BY 1, 2, {}", if table == "tally" { 3 } else { 1 });
    let mut select = connection.prepare(&sql).unwrap();
    let columns = select.column_count();
    let rows = select.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn write(store: &Store, rows: usize) {
    for row in 0..rows {
        let session = format!("{}", row % 7).into();
        let agent = ["a", "b"][row % 2].into();
        let id = record(store, Draft { agent, session, ..draft("t") }).unwrap();
        match row % 3 {
            0 => store.complete(&id, completion()),
            1 => store.complete(&id, Completion { outcome: Outcome::Error, ..completion() }),
            _ => {}
        }
    }
}

#[test]
fn cached_rows_are_indexed_like_stored_ones() {
    let (folder, one) = store();
    let path = folder.path().join("audit.db");
    write(&one, 1_300);
    let other = open(&path);
    for _ in 0..10 {
        write(&one, 20);
        write(&other, 30);
    }
    other.close();
    write(&one, 1_300);
    one.close();

    let again = Connection::open(&path).unwrap();
    let folded: i64 = meta(&again, "folded").unwrap().unwrap();
    assert!(folded > 3_000, "{folded}");
    let indexed = TABLES.map(|table| rows(&again, table));
    for table in TABLES {
        again.execute(&format!("DELETE FROM {table}"), []).unwrap();
    }
    again.execute("DELETE FROM entry WHERE seq > ?1", params![folded]).unwrap();
    set_meta(&again, "folded", 0).unwrap();
    while index::update(&again, &mut Recent::default()).unwrap().newest < folded {}
    assert!(indexed == TABLES.map(|table| rows(&again, table)));
}
