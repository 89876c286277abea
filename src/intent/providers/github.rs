//! GitHub: by method, with questions by POST in a few places.

/// Whether a POST reads.
pub(in crate::intent) fn post_reads(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let place = [(); 5].map(|()| segments.next().unwrap_or_default());
    matches!(
        place,
        ["markdown", "" | "raw", "", ..]
            | ["orgs" | "users", _, "attestations", "bulk-list", ""]
            // Checks whether a token is valid.
            | ["applications", _, "token", "", ""]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        assert!(post_reads("/markdown") && post_reads("/markdown/raw"));
        assert!(post_reads("/orgs/o/attestations/bulk-list"));
        assert!(post_reads("/applications/Iv1/token"));
        assert!(!post_reads("/applications/Iv1/token/scoped"));
        // It asks for a right to write, though it saves nothing.
        assert!(!post_reads("/repos/o/r/releases/generate-notes"));
        assert!(!post_reads("/orgs/o/attestations/delete-request"));
        assert!(!post_reads("/repos/markdown/raw/issues"));
        assert!(!post_reads("/repos/o/r/hooks/1/pings"));
    }
}
