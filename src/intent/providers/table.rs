//! What a vendor says of its operations where the rules would not tell; see
//! `scripts/operation_table.py` for how the rows come about.

use std::sync::OnceLock;

use crate::action::HttpRequest;

/// Services sorted by name, each with its rows: `+POST /a/*/b` reads, `-GET /c/**` does not,
/// `+POST /a?List` reads if the query has that parameter, `+ListThings` is an operation
/// identified by name.
#[derive(Debug)]
pub(in crate::intent) struct Table {
    services: &'static [(&'static str, &'static str)],
    /// The rows of each service, sorted by key; computed on first use.
    indexed: OnceLock<Vec<Vec<Row>>>,
}

/// The rows of one service.
#[derive(Debug, Clone, Copy)]
pub(in crate::intent) struct Rows<'t>(&'t [Row]);

/// A row, with the key by which it is looked up.
#[derive(Debug)]
struct Row {
    key: Key,
    template: &'static str,
    query: &'static str,
    reads: bool,
}

/// Method, number of segments (0 for any number, and for names), and the first segment (`*` for
/// any) or the name.
type Key = (&'static str, usize, &'static str);

impl Table {
    pub(super) const fn new(services: &'static [(&'static str, &'static str)]) -> Self {
        Self { services, indexed: OnceLock::new() }
    }

    /// The rows of the service with this name.
    pub(in crate::intent) fn of(&self, service: &str) -> Option<Rows<'_>> {
        let at = self.services.binary_search_by(|(name, _)| (*name).cmp(service)).ok()?;
        let indexed = self.indexed.get_or_init(|| {
            let rows = |(_, rows): &(_, &'static str)| {
                let mut rows: Vec<Row> = rows.lines().filter_map(Row::read).collect();
                rows.sort_by_key(|row| row.key);
                rows
            };
            self.services.iter().map(rows).collect()
        });
        indexed.get(at).map(|rows| Rows(rows))
    }
}

impl Row {
    fn read(line: &'static str) -> Option<Self> {
        let (sign, row) = line.split_at_checked(1)?;
        let (method, template) = row.split_once(' ').unwrap_or(("", row));
        let (template, query) = template.split_once('?').unwrap_or((template, ""));
        let segments = if template.ends_with("**") { 0 } else { segments(template) };
        let first = match first_segment(template) {
            first if first.starts_with('*') => "*",
            first => first,
        };
        Some(Self { key: (method, segments, first), template, query, reads: sign == "+" })
    }
}

impl<'t> Rows<'t> {
    /// Whether the operation with this name reads, if there is a row for it.
    pub(in crate::intent) fn operation(self, name: &str) -> Option<bool> {
        self.under(("", 0, name)).next().map(|row| row.reads)
    }

    /// Whether a request reads, if a row matches. The most specific row wins, as in the
    /// vendors' routers.
    pub(in crate::intent) fn request(self, request: &HttpRequest, method: &str) -> Option<bool> {
        let path = match request.path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let fitting = |row: &Row| {
            let asks = row.query.is_empty() || has_parameter(&request.query, row.query);
            asks.then_some((fit(row.template, path)?, !row.query.is_empty(), !row.reads))
        };
        let lengths = [segments(path), 0];
        let firsts = [first_segment(path), "*"];
        let keys = lengths.into_iter().flat_map(|n| firsts.map(|first| (method, n, first)));
        // If two are equally specific, the one that writes.
        let best = keys.flat_map(|key| self.under(key)).filter_map(fitting).max();
        best.map(|(_, _, writes)| !writes)
    }

    fn under(self, key: (&str, usize, &str)) -> impl Iterator<Item = &'t Row> {
        let start = self.0.partition_point(|row| row.key < key);
        self.0.iter().skip(start).take_while(move |row| row.key == key)
    }
}

fn segments(path: &str) -> usize {
    path.bytes().filter(|b| *b == b'/').count()
}

/// The first path segment; for a name, the whole.
fn first_segment(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_once('/').map_or(path, |(first, _)| first)
}

/// Whether the query contains `key` or `key=value`.
fn has_parameter(query: &[(String, String)], wanted: &str) -> bool {
    let (key, value) = wanted.split_once('=').unwrap_or((wanted, ""));
    query.iter().any(|(k, v)| k == key && v == value)
}

/// How specifically `template` matches `path`, if it does: two bits per segment, the leftmost
/// first.
fn fit(template: &str, path: &str) -> Option<u64> {
    let mut weight: u64 = 0;
    let mut segments = path.split('/');
    let mut left = u64::BITS / 2;
    for pattern in template.split('/') {
        let segment = segments.next()?;
        left = left.checked_sub(1)?;
        weight = weight << 2 | u64::from(segment_weight(pattern, segment)?);
        if pattern == "**" {
            return Some(weight << (left * 2));
        }
    }
    segments.next().is_none().then_some(weight << (left * 2))
}

/// 0 for `**`, 1 for `*`, 2 for `*:verb`, 3 for a literal; `None` if `segment` does not match.
fn segment_weight(pattern: &str, segment: &str) -> Option<u8> {
    if pattern == segment {
        return Some(3);
    }
    let (weight, fits) = match pattern.strip_prefix('*')? {
        "*" => (0, !segment.is_empty()),
        "" => (1, !segment.is_empty()),
        end => (2, segment.len() > end.len() && segment.ends_with(end)),
    };
    fits.then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;
    use crate::intent::providers::{aws_table, google_table};

    static TABLE: Table = Table::new(&[
        ("one", ""),
        (
            "two",
            "
+POST /a/*
-POST /a/b
+POST /a/*/c
-POST /a/*/*
+POST /v1/*:search
-GET /keys/**
+POST /policies?List
-POST /policies
+Frob
-GetFrob",
        ),
    ]);

    fn to(path: &str) -> HttpRequest {
        request("aws", "POST", path)
    }

    #[test]
    fn the_most_literal_row_holds() {
        let rows = TABLE.of("two").expect("a service");
        for (method, path, expected) in [
            ("POST", "/a/x", Some(true)),
            ("POST", "/a/b", Some(false)),
            ("POST", "/a/x/c", Some(true)),
            ("POST", "/a/x/d", Some(false)),
            ("POST", "/a/", None),
            ("POST", "/a/x/", Some(true)),
            ("POST", "/a/x/c/d", None),
            ("GET", "/a/x", None),
            ("POST", "/v1/x:search", Some(true)),
            ("POST", "/v1/:search", None),
            ("POST", "/v1/search", None),
            ("GET", "/keys/a/b/c", Some(false)),
            ("GET", "/keys", None),
        ] {
            assert_eq!(rows.request(&to(path), method), expected, "{method} {path}");
        }
        let mut lists = to("/policies/");
        assert_eq!(rows.request(&lists, "POST"), Some(false));
        lists.query.push(("List".to_owned(), String::new()));
        assert_eq!(rows.request(&lists, "POST"), Some(true));
        assert_eq!(rows.operation("Frob"), Some(true));
        assert_eq!(rows.operation("GetFrob"), Some(false));
        assert_eq!(rows.operation("GetFrobs"), None);
        assert!(TABLE.of("three").is_none());
    }

    #[test]
    fn a_path_of_any_length_is_judged() {
        let rows = TABLE.of("two").expect("a service");
        assert_eq!(rows.request(&to(&format!("/keys{}", "/x".repeat(1_000))), "GET"), Some(false));
        assert_eq!(rows.request(&to(&"/a".repeat(1_000)), "POST"), None);
    }

    #[test]
    fn the_services_stand_in_order() {
        for table in [&aws_table::TABLE, &google_table::TABLE] {
            assert!(table.services.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}
