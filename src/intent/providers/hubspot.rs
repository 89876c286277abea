//! HubSpot: the same two questions by POST for every kind of object.

/// Whether a POST reads. No object has the id `batch`, and a search stands
/// behind a type (`objects/contacts/search`, `objects/2026-03/contacts/search`)
/// or behind the lists, never behind one object.
pub(in crate::intent) fn post_reads(path: &str) -> bool {
    let mut back = path.rsplit('/');
    let tail = [(); 4].map(|()| back.next().unwrap_or_default());
    matches!(
        tail,
        ["read", "batch", ..]
            | ["read", "unsubscribe-all", "batch", _]
            | ["search" | "idmapping", "lists", ..]
            | ["search", _, "objects", _]
            | ["search", _, _, "objects"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        for path in [
            "/crm/v3/objects/contacts/search",
            "/crm/v3/objects/contacts/batch/read",
            "/crm/v4/associations/a/b/batch/read",
            "/crm/v3/lists/search",
        ] {
            assert!(post_reads(path), "{path}");
        }
        for path in ["/crm/v3/objects/search", "/crm/v3/objects/contacts", "/crm/v3/imports"] {
            assert!(!post_reads(path), "{path}");
        }
    }
}
