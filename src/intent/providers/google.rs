//! Google: custom methods behind a colon (AIP-136), and a table of what the
//! read-only OAuth scopes are enough for.

use super::google_table::TABLE;
use super::table::Rows;
use crate::action::HttpRequest;
use crate::intent::http::{last_segment, reads_by_first_verb};
use crate::intent::lexicon::{Role, role};
use crate::intent::words::words;
use crate::intent::{Intent, Judgement};

const DOMAIN: &str = ".googleapis.com";

/// The service that answers where a request names no host.
const DEFAULT: &str = "www.googleapis.com";

pub(in crate::intent) fn get(request: &HttpRequest, path: &str) -> Judgement {
    if let Some(reads) = rows(request).and_then(|rows| rows.request(request, "GET")) {
        return Judgement::l2(if reads { Intent::Read } else { Intent::Execute });
    }
    match custom_verb(path).and_then(|verb| words(verb).next()).map(role) {
        Some(Role::Writes(intent)) => Judgement::l2(intent),
        _ => Judgement::l1(Intent::Read),
    }
}

/// Whether a POST reads, where that is known.
pub(in crate::intent) fn post_reads(request: &HttpRequest, path: &str) -> bool {
    let listed = rows(request).and_then(|rows| rows.request(request, "POST"));
    listed.unwrap_or_else(|| match custom_verb(path) {
        Some(verb) => reads_by_verb(verb),
        // Compute Engine, older than the colon.
        None => last_segment(path) == "testIamPermissions" && !is_storage(path),
    })
}

/// The verb behind the colon. Cloud Storage has none, and its object names may
/// hold colons.
pub(in crate::intent) fn custom_verb(path: &str) -> Option<&str> {
    let verb = last_segment(path).split_once(':').map(|(_, verb)| verb)?;
    (!verb.contains(':') && !is_storage(path)).then_some(verb)
}

fn is_storage(path: &str) -> bool {
    ["/storage/", "/upload/", "/download/"].iter().any(|prefix| path.starts_with(prefix))
}

/// An analysis is a job that is started, and asking which of one's permissions
/// hold starts with `test`.
fn reads_by_verb(verb: &str) -> bool {
    verb == "testIamPermissions" || (reads_by_first_verb(verb) && !verb.starts_with("analyze"))
}

/// What is known of the service at the request's host, or at the host of the
/// same service that has no region (`us-east1-aiplatform`, `x.mtls`).
fn rows(request: &HttpRequest) -> Option<Rows> {
    let Some(host) = request.host.as_deref() else { return TABLE.of(DEFAULT) };
    TABLE.of(host).or_else(|| {
        let service = host.strip_suffix(DOMAIN)?.split('.').next()?;
        let service = service.rsplit('-').next()?;
        TABLE.of(&format!("{service}{DOMAIN}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;

    fn reads(host: &str, path: &str) -> bool {
        let mut request = request("google", "POST", path);
        request.host = Some(host.to_owned());
        post_reads(&request, path)
    }

    #[test]
    fn a_verb_behind_the_colon_tells() {
        assert!(reads("chat.googleapis.com", "/v1/spaces/AAA/messages:search"));
        assert!(reads(
            "run.googleapis.com",
            "/v1/projects/p/locations/l/jobs/j:testIamPermissions"
        ));
        assert!(!reads("run.googleapis.com", "/v1/projects/p/locations/l/jobs/search"));
        assert!(!reads("storage.googleapis.com", "/upload/storage/v1/b/x/o/a:search"));
    }

    #[test]
    fn the_table_knows_what_no_verb_says() {
        assert!(reads("www.googleapis.com", "/calendar/v3/freeBusy"));
        assert!(reads("www.googleapis.com", "/webmasters/v3/sites/x/searchAnalytics/query"));
        let query = "/v1/projects/p/locations/l/reasoningEngines/e:query";
        assert!(!reads("aiplatform.googleapis.com", query));
        assert!(!reads("us-central1-aiplatform.googleapis.com", query));
    }
}
