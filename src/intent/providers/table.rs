//! What a vendor says of its operations where the rules would not tell; see
//! `scripts/operation_table.py` for how the rows come about.

use crate::action::HttpRequest;

/// Services in order of their names, each with its rows: `+POST /a/*/b` reads,
/// `-GET /c/**` does not, `+POST /a?List` reads where the query has that
/// parameter, `+ListThings` is an operation called by its name.
#[derive(Debug)]
pub(in crate::intent) struct Table(pub(super) &'static [(&'static str, &'static str)]);

/// The rows of one service.
#[derive(Debug, Clone, Copy)]
pub(in crate::intent) struct Rows(&'static str);

impl Table {
    /// The rows of the service of exactly that name.
    pub(in crate::intent) fn of(&self, service: &str) -> Option<Rows> {
        let at = self.0.binary_search_by(|(name, _)| (*name).cmp(service)).ok()?;
        self.0.get(at).map(|(_, rows)| Rows(rows))
    }
}

impl Rows {
    /// Whether the operation of that name reads, where a row says.
    pub(in crate::intent) fn operation(self, name: &str) -> Option<bool> {
        self.each().find_map(|(reads, row)| (row == name).then_some(reads))
    }

    /// Whether a request reads, where a row says: the one that says most about
    /// the path, as the vendors' own routers have it.
    pub(in crate::intent) fn request(self, request: &HttpRequest, method: &str) -> Option<bool> {
        let path = match request.path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let pattern = |(reads, row): (bool, &'static str)| {
            let template = row.strip_prefix(method)?.strip_prefix(' ')?;
            let (template, query) = template.split_once('?').unwrap_or((template, ""));
            let asks = query.is_empty() || has_parameter(&request.query, query);
            asks.then_some((fit(template, path)?, !query.is_empty(), !reads))
        };
        // Of two that say as much, the one that writes.
        self.each().filter_map(pattern).max().map(|(_, _, writes)| !writes)
    }

    fn each(self) -> impl Iterator<Item = (bool, &'static str)> {
        self.0.lines().filter_map(|line| match line.split_at_checked(1)? {
            ("+", row) => Some((true, row)),
            ("-", row) => Some((false, row)),
            _ => None,
        })
    }
}

/// `key` or `key=value`.
fn has_parameter(query: &[(String, String)], wanted: &str) -> bool {
    let (key, value) = wanted.split_once('=').unwrap_or((wanted, ""));
    query.iter().any(|(k, v)| k == key && v == value)
}

/// How much `template` says about `path`, where it fits: two bits a segment,
/// the leftmost first.
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

/// 0 for `**`, 1 for `*`, 2 for `*:verb`, 3 for a literal; `None` where
/// `segment` does not fit.
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

    const TABLE: Table = Table(&[
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
            assert!(table.0.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}
