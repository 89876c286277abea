//! Where the rows of a session are looked for.

use jiff::Timestamp;

use super::{draft, holds, open, record, store};
use crate::store::audit::Draft;
use crate::store::purge::{Proof, purge};
use crate::store::read::{Filter, Reader};
use crate::store::{Options, schema};

#[test]
fn only_ranges_with_the_session_are_scanned() {
    let (folder, store) = store();
    for index in 0..3 * 1500 {
        let session = ["first", "second", "third"][index / 1500].into();
        record(&store, Draft { session, ..draft("read_file") }).unwrap();
    }
    store.close();
    let path = folder.path().join("audit.db");
    let looked_at = |session: Option<&str>| {
        let filter = Filter { session: session.map(str::to_owned), ..Filter::default() };
        let reader = Reader::open(&path).unwrap();
        let ranges = reader.snapshot().unwrap().select(&filter).unwrap().ranges;
        let found = reader.page(&filter, 0, 5_000).unwrap().rows;
        let among = ranges.iter().map(|(from, to)| (to - from + 1).max(0)).sum::<i64>();
        (found.len(), among)
    };
    let not_indexed = looked_at(Some("never")).1;
    assert!(not_indexed < 4500);
    assert_eq!(looked_at(Some("never")).0, 0);
    assert_eq!(looked_at(Some("first")), (1500, 1500 + not_indexed));
    assert_eq!(looked_at(Some("third")), (1500, 1500));
    assert_eq!(looked_at(None), (4500, 4500));
    // The same for a log of an older version, before and after the next write.
    let older = rusqlite::Connection::open(&path).unwrap();
    schema::make_older(&older, 4);
    assert_eq!(looked_at(Some("first")), (1500, 4500));
    assert!(holds(&path));
    open(&path).close();
    assert_eq!(looked_at(Some("first")), (1500, 1500 + not_indexed));
    assert!(holds(&path));
    purge(&path, (Timestamp::now(), Proof::Required), &Options::default(), |_| ()).unwrap();
    let left = "SELECT count(*) FROM session";
    assert_eq!(older.query_row(left, [], |row| row.get::<_, i64>(0)), Ok(0));
}
