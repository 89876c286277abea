//! Notion: questions come as POST to a place called `query`, which no POST ever
//! takes for an id.

/// Whether a POST reads.
pub(in crate::intent) fn post_reads(path: &str) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let mut segments = path.split('/').skip(1);
    let place = [(); 5].map(|()| segments.next());
    matches!(
        place,
        [Some("search"), None, ..]
            | [Some("oauth"), Some("introspect"), None, ..]
            | [Some("agents" | "sessions"), Some("query"), None, ..]
            | [Some("blocks"), Some("meeting_notes"), Some("query"), None, _]
            | [Some("databases" | "data_sources"), Some(_), Some("query"), None, _]
            | [Some("agents" | "sessions" | "threads"), Some(_), Some(_), Some("query"), None]
    )
}

/// Whether the body contains several operations, which are not parsed.
pub(in crate::intent) fn is_batch(path: &str) -> bool {
    path.strip_prefix("/v1").unwrap_or(path) == "/agents/batch"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        for path in [
            "/v1/search",
            "/search",
            "/v1/databases/x/query",
            "/data_sources/x/query",
            "/v1/agents/query",
            "/v1/threads/x/messages/query",
        ] {
            assert!(post_reads(path), "{path}");
        }
        for path in [
            "/v1/pages",
            "/v1/pages/search",
            "/v1/databases/query",
            "/v1/comments/query",
            "/v1/threads/query/messages",
            "/v1/threads/x/messages/query/x",
        ] {
            assert!(!post_reads(path), "{path}");
        }
    }
}
