//! HubSpot: the same two questions by POST for every kind of object, under
//! versions by number (`v3`) and by date (`2026-03`, `2026-09-beta`).

/// Whether a POST reads. No object has the id `batch`, and `search` follows an object type
/// (`crm/v3/objects/contacts/search`) or the lists, never an object. What follows `source-code` or
/// `filemapper` is a file path chosen by the customer.
pub(in crate::intent) fn post_reads(path: &str) -> bool {
    let segments = path.split('/').skip(1).filter(|segment| !is_version(segment));
    match &segments.collect::<Vec<_>>()[..] {
        ["cms", "source-code", ..] | ["content", "filemapper", ..] => false,
        ["crm", "lists", "search" | "idmapping" | "all"]
        | ["crm", "objects", _, "search"]
        | ["oauth", "token", "introspect"]
        | ["crm-objects", "objects", _, "batch-read"]
        | [_, .., "batch", "read"]
        | [_, .., "batch", "unsubscribe-all", "read"] => true,
        _ => false,
    }
}

/// Whether a POST deletes: `batch/archive` is the batch form of DELETE.
pub(in crate::intent) fn removes(path: &str) -> bool {
    path.ends_with("/archive")
}

/// Whether the segment is a version: `v3`, `2026-03`, `2026-09-beta`.
fn is_version(segment: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let date = segment.strip_suffix("-beta").unwrap_or(segment).split_once('-');
    segment.strip_prefix('v').is_some_and(digits)
        || date.is_some_and(|(year, month)| year.len() == 4 && digits(year) && digits(month))
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
            "/crm/lists/2026-03/search",
            "/crm/objects/2026-09-beta/contacts/search",
            "/crm-objects/v1/objects/products/batch-read",
            "/crm/lists/2026-09/all",
            "/oauth/v3/token/introspect",
            "/communication-preferences/v4/statuses/batch/unsubscribe-all/read",
        ] {
            assert!(post_reads(path), "{path}");
        }
        for path in [
            "/crm/v3/objects/search",
            "/crm/objects/2026-03/search",
            "/crm/v3/objects/contacts/1/search",
            "/crm/v3/objects/contacts",
            "/crm/v3/imports",
            "/crm/v3/objects/batch-read",
            "/crm/v3/properties/batch-read",
            "/automation/actions/2026-09/batch-read",
            "/cms/v3/source-code/published/content/templates/batch/read",
            "/cms/source-code/2026-03/draft/content/batch/read",
            "/cms/v3/source-code/published/content/crm/objects/x/search",
            "/content/filemapper/v1/upload/templates/batch/read",
            "/oauth/v3/token",
            "/read",
            "/batch/read",
        ] {
            assert!(!post_reads(path), "{path}");
        }
    }
}
