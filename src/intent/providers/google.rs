//! Google: custom methods behind a colon (AIP-136), and a table of what the
//! read-only OAuth scopes are enough for.

use super::google_table::{ASKING, TABLE};
use super::table::Rows;
use crate::action::{Body, HttpRequest};
use crate::intent::http::{METHOD, asks_for_credentials, last_segment};
use crate::intent::lexicon::{Role, role};
use crate::intent::words::words;
use crate::intent::{Intent, Judgement, tool};

const TABLE_SAYS: &str = "the scopes and descriptions that Google publishes";

/// Domain of the hosts of single services.
pub(in crate::intent) const DOMAIN: &str = ".googleapis.com";

/// The service of requests without a host.
const DEFAULT: &str = "www.googleapis.com";

pub(in crate::intent) fn get(request: &HttpRequest, path: &str) -> Judgement {
    // Treats an escaped colon as a separator, whatever the server does.
    if path.contains("%3A") {
        let path = path.replace("%3A", ":");
        return get(&HttpRequest { path: path.clone(), ..request.clone() }, &path);
    }
    // Commits what was written to a table before.
    if service(request) == "bigquerystorage" && path.contains("/tables/") {
        return Judgement::l2(Intent::Update, "streams that are committed");
    }
    if asks_for_credentials(request) && !is_storage(request, path) {
        return Judgement::l2(Intent::Execute, "credentials that are handed out");
    }
    if let Some(reads) = listed(request, "GET") {
        return Judgement::l2(if reads { Intent::Read } else { Intent::Execute }, TABLE_SAYS);
    }
    // OAuth's revocation endpoint, which also accepts GET.
    if last_segment(path) == "revoke" {
        return Judgement::l2(Intent::Admin, "a token that is revoked");
    }
    // FHIR Bulk Data Access: starts an asynchronous export.
    if last_segment(path) == "$export" {
        return Judgement::l2(Intent::Execute, "an export that is begun");
    }
    let verb = last_verb(request, path).filter(|verb| *verb != "testIamPermissions");
    // Records an event, for browsers that can only load an image.
    if verb == Some("collect") {
        return Judgement::l2(Intent::Create, "an event that is recorded");
    }
    if verb.is_some_and(hands_out_secret) {
        return Judgement::l2(Intent::Execute, "a secret that is handed out");
    }
    if let Some(verb) = verb.filter(|verb| tool::joins_change(verb)) {
        return tool::by_name(verb);
    }
    match verb.and_then(|verb| words(verb).next()).map(role) {
        Some(
            Role::Writes(intent)
            | Role::Process(intent)
            | Role::Either(intent @ (Intent::Execute | Intent::Create)),
        ) => Judgement::l2(intent, "the verb behind the colon"),
        _ => Judgement::l1(Intent::Read, METHOD),
    }
}

/// Whether a POST reads.
pub(in crate::intent) fn post_reads(request: &HttpRequest, path: &str) -> bool {
    if writes_its_answer(request) || stores_its_answer(request, path) {
        return false;
    }
    listed(request, "POST").unwrap_or_else(|| match custom_verb(request, path) {
        // These return credentials, whatever the verb.
        Some(_) if last_segment(path).starts_with("credentials:") => false,
        Some(verb) => reads_by_verb(verb),
        // Compute Engine predates custom verbs.
        None => last_segment(path) == "testIamPermissions" && !is_storage(request, path),
    })
}

/// Whether a POST sends a message in Google Chat.
pub(in crate::intent) fn sends_message(request: &HttpRequest, path: &str) -> bool {
    let service = request.host.as_deref().and_then(|host| host.split('.').next());
    let mut segments = path.split('/').skip(2);
    let place = [(); 4].map(|()| segments.next());
    service == Some("chat") && matches!(place, [Some("spaces"), Some(_), Some("messages"), None])
}

/// Whether the answer to a question is stored, as Google's service definitions say of these: the
/// results of a validation ("creates or updates"), and an image in a bucket.
fn stores_its_answer(request: &HttpRequest, path: &str) -> bool {
    let asked = (service(request), custom_verb(request, path));
    matches!(asked, ("dialogflow", Some("validate")) | ("visionai", Some("getThumbnail")))
}

/// The service at the request's host, without a region (`us-east1-aiplatform`) or variant
/// (`x.mtls`).
fn service(request: &HttpRequest) -> &str {
    let host = request.host.as_deref().unwrap_or(DEFAULT);
    let label = host.split('.').next().unwrap_or_default();
    label.rsplit('-').next().unwrap_or_default()
}

/// Whether the result may be written to a bucket or table, by a member of the body or by a
/// parameter in its place (`outputConfig.gcsDestination.uri=…`).
fn writes_its_answer(request: &HttpRequest) -> bool {
    let by_parameter = |(name, _): &(String, String)| name.split('.').any(leads_elsewhere);
    let by_body = match &request.body {
        Body::Empty => false,
        Body::Json(body) => {
            body.as_object().is_some_and(|body| body.iter().any(|(name, _)| leads_elsewhere(name)))
        }
        // Google's parser accepts more than JSON: `{outputConfig: {}}`.
        Body::Text(_) | Body::Opaque => true,
    };
    by_body || request.query.iter().any(by_parameter)
}

/// Matches `outputConfig`, `gcsDestination` and `document_output_config`, in either spelling of
/// ProtoJSON.
fn leads_elsewhere(name: &str) -> bool {
    let name = name.replace('_', "").to_ascii_lowercase();
    // A plain `destination` is the end of a route.
    name.len() > "destination".len() && name.ends_with("destination")
        || name.contains("output")
            && ["config", "uri", "uriprefix"].iter().any(|end| name.ends_with(end))
}

/// Matches `showVcenterCredentials` and `retrieveLegacySecretKey`, but not `checkRefreshToken`.
fn hands_out_secret(verb: &str) -> bool {
    const SECRETS: [&str; 5] = ["Credential", "Credentials", "Password", "Secret", "Token"];
    let mut rest = words(verb);
    let gives = matches!(rest.next(), Some("access" | "fetch" | "get" | "retrieve" | "show"));
    gives && rest.any(|word| SECRETS.contains(&word))
}

/// The custom verb after the colon. Cloud Storage has none, and its object names may contain
/// colons.
pub(in crate::intent) fn custom_verb<'p>(request: &HttpRequest, path: &'p str) -> Option<&'p str> {
    let verb = last_segment(path).split_once(':').map(|(_, verb)| verb)?;
    (!verb.contains(':') && !is_storage(request, path)).then_some(verb)
}

/// The text after the last colon, where Google's routers look for the verb; names may contain
/// colons, too.
fn last_verb<'p>(request: &HttpRequest, path: &'p str) -> Option<&'p str> {
    let (_, verb) = last_segment(path).rsplit_once(':')?;
    (!is_storage(request, path)).then_some(verb)
}

/// Whether the path ends in a name chosen by customers: an object, in any of the storage APIs.
fn is_storage(request: &HttpRequest, path: &str) -> bool {
    let host = request.host.as_deref().unwrap_or_default();
    let service = host.split('.').next().unwrap_or_default();
    service.ends_with("storage")
        || service.starts_with("storage")
        || ["/storage/", "/upload/", "/download/"].iter().any(|prefix| path.starts_with(prefix))
}

/// Matches `searchCatalog` and `batchGet`, but neither `fetchAccessToken`, which returns a
/// token, nor plain `fetch`, which starts an import.
fn reads_by_verb(verb: &str) -> bool {
    let mut rest = words(verb);
    let asks = match rest.next() {
        Some("batch") => rest.next() == Some("Get"),
        first => first.is_some_and(|first| ASKING.contains(&first)),
    };
    let is_mere_question =
        !verb.ends_with("Token") && verb != "fetch" && tool::has_one_purpose(verb);
    verb == "testIamPermissions" || asks && is_mere_question
}

/// Whether a request reads, if a row matches. A row that says that it writes applies to all
/// hosts of the service: `drive` has one besides the common host.
fn listed(request: &HttpRequest, method: &str) -> Option<bool> {
    let at_its_host = rows(request).and_then(|rows| rows.request(request, method));
    at_its_host.or_else(|| {
        let common = TABLE.of(DEFAULT)?.request(request, method);
        common.filter(|reads| !reads)
    })
}

/// The rows of the service at the request's host, of any region or variant.
fn rows(request: &HttpRequest) -> Option<Rows<'static>> {
    let host = request.host.as_deref().unwrap_or(DEFAULT);
    TABLE.of(host).or_else(|| {
        host.ends_with(DOMAIN).then(|| TABLE.of(&format!("{}{DOMAIN}", service(request))))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;
    use crate::json;

    fn reads(host: &str, path: &str) -> bool {
        let mut request = request("google", "POST", path);
        request.host = Some(host.to_owned());
        post_reads(&request, path)
    }

    #[test]
    fn verb_after_a_colon_decides_the_intent() {
        assert!(reads("chat.googleapis.com", "/v1/spaces/AAA/messages:search"));
        assert!(reads(
            "run.googleapis.com",
            "/v1/projects/p/locations/l/jobs/j:testIamPermissions"
        ));
        assert!(!reads("run.googleapis.com", "/v1/projects/p/locations/l/jobs/search"));
        for verb in [
            "batchTranslateText",
            "bulkAnalyze",
            "suggest",
            "fetchReadToken",
            "fetch",
            "lint",
            "searchAndReplace",
            "lookupOrCreate",
            "batchGetAndClear",
            "readModifyWriteRow",
            "checkAndMutateRow",
        ] {
            assert!(!reads("new.googleapis.com", &format!("/v1/things/x:{verb}")), "{verb}");
        }
        for verb in ["batchGet", "searchAll", "translateText", "lookup", "wait"] {
            assert!(reads("new.googleapis.com", &format!("/v1/things/x:{verb}")), "{verb}");
        }
        assert!(!reads("storage.googleapis.com", "/upload/storage/v1/b/x/o/a:search"));
        for host in ["storage", "storage-upload", "firebasestorage", "us-storage", "storage.mtls"] {
            assert!(!reads(&format!("{host}.googleapis.com"), "/bucket/a:search"), "{host}");
        }
        assert!(!reads("new.googleapis.com", "/v1/authProviders/p/credentials:retrieve"));
    }

    #[test]
    fn an_answer_that_is_stored_is_written() {
        for host in ["dialogflow", "us-dialogflow"] {
            let agent = "/v3/projects/p/locations/l/agents/a:validate";
            assert!(!reads(&format!("{host}.googleapis.com"), agent), "{host}");
        }
        let stream = "/v1/projects/p/locations/l/clusters/c/streams/s:getThumbnail";
        assert!(!reads("visionai.googleapis.com", stream));
        assert!(reads("pubsub.googleapis.com", "/v1/projects/p/schemas:validate"));
    }

    #[test]
    fn a_policy_of_iam_is_who_may_do_what() {
        let post = |path: &str| http_intent("cloudresourcemanager.googleapis.com", path);
        assert_eq!(post("/v1/projects/p:setIamPolicy"), Intent::Admin);
        assert_eq!(post("/v1/projects/p:getIamPolicy"), Intent::Query);
    }

    fn http_intent(host: &str, path: &str) -> Intent {
        let mut asked = request("google", "POST", path);
        asked.host = Some(host.to_owned());
        crate::intent::http::judge(&asked).intent
    }

    #[test]
    fn writing_the_answer_elsewhere_is_a_write() {
        let intent = |path: &str, body: &str| {
            let mut asked = request("google", "POST", path);
            asked.host = Some("new.googleapis.com".to_owned());
            asked.body = Body::Json(json::parse(body.as_bytes()).expect("JSON"));
            post_reads(&asked, path)
        };
        assert!(intent("/v1/p:queryAssets", r#"{"statement":"a","pageSize":1}"#));
        assert!(intent("/v2:computeRoutes", r#"{"origin":{},"destination":{}}"#));
        for member in ["outputConfig", "documentOutputConfig", "gcs_destination", "outputUri"] {
            let body = format!(r#"{{"statement":"a","{member}":{{}}}}"#);
            assert!(!intent("/v1/p:queryAssets", &body), "{member}");
        }
        let reads = |query: &str, body: Body| {
            let query = vec![(query.to_owned(), "x".to_owned())];
            let path = "/v1/p:queryAssets";
            post_reads(&HttpRequest { query, body, ..request("google", "POST", path) }, path)
        };
        assert!(reads("pageSize", Body::Empty));
        assert!(!reads("outputConfig.gcsDestination.uri", Body::Empty));
        assert!(!reads("alt", Body::Text("{outputConfig: {}}".to_owned())));
        assert!(!reads("alt", Body::Opaque));
    }

    #[test]
    fn the_table_covers_operations_without_a_known_verb() {
        assert!(reads("www.googleapis.com", "/calendar/v3/freeBusy"));
        assert!(reads("www.googleapis.com", "/webmasters/v3/sites/x/searchAnalytics/query"));
        let query = "/v1/projects/p/locations/l/reasoningEngines/e:query";
        assert!(!reads("aiplatform.googleapis.com", query));
        assert!(!reads("threatintelligence.googleapis.com", "/v1beta/projects/p/alerts/a:read"));
        assert!(!reads("us-central1-aiplatform.googleapis.com", query));
        // What the caller puts in for `{+invokeId}` is no verb, however long it is.
        for host in ["aiplatform", "us-central1-aiplatform"] {
            for tail in ["x:search", "v1/x:search", "a/b/c/x:lookup"] {
                let invoked = format!("/v1/projects/p/locations/l/endpoints/e/invoke/{tail}");
                assert!(!reads(&format!("{host}.googleapis.com"), &invoked), "{host} {tail}");
            }
        }
        // A collection may be called so, where it is made by its name.
        let made = "/v1/projects/p/databases/d/documents/a/b/x:search";
        assert!(!reads("firestore.googleapis.com", made));
    }

    #[test]
    fn a_get_may_do_something() {
        let intent = |host: &str, path: &str| {
            let mut request = request("google", "GET", path);
            request.host = Some(host.to_owned());
            get(&request, path).intent
        };
        for host in ["www", "drive", "x.mtls"] {
            let host = format!("{host}.googleapis.com");
            assert_eq!(intent(&host, "/drive/v3/files/generateCseToken"), Intent::Execute);
            assert_eq!(intent(&host, "/drive/v3/files"), Intent::Read);
        }
        let collects = "/v1/projects/p/locations/l/dataStores/d/userEvents:collect";
        assert_eq!(intent("discoveryengine.googleapis.com", collects), Intent::Execute);
        let collects = "/v2/projects/p/locations/l/catalogs/c/userEvents:collect";
        assert_eq!(intent("retail.googleapis.com", collects), Intent::Create);
        let escaped = "/v1/billingAccounts/b%3Amove";
        assert_eq!(
            intent("new.googleapis.com", escaped),
            intent("new.googleapis.com", "/v1/x:move")
        );
        let table = "/v1/projects/p/datasets/d/tables/t";
        assert_eq!(intent("bigquerystorage.googleapis.com", table), Intent::Update);
        assert_eq!(intent("bigquery.googleapis.com", table), Intent::Read);
        let table = "/iceberg/v1/restcatalog/v1/projects/p/catalogs/c/namespaces/n/tables/t";
        assert_eq!(intent("biglake.googleapis.com", table), Intent::Read);
        let credentials = format!("{table}/credentials");
        assert_eq!(intent("biglake.googleapis.com", &credentials), Intent::Execute);
        assert_eq!(intent("storage.googleapis.com", &credentials), Intent::Read);
        assert_eq!(intent("new.googleapis.com", "/v1/things/x:start"), Intent::Execute);
        for verb in ["showVcenterCredentials", "retrieveLegacySecretKey", "getPassword"] {
            let asked = intent("new.googleapis.com", &format!("/v1/things/x:{verb}"));
            assert_eq!(asked, Intent::Execute, "{verb}");
        }
        for verb in ["checkRefreshToken", "computeAccessTokenStatus", "getSettings"] {
            let asked = intent("new.googleapis.com", &format!("/v1/things/x:{verb}"));
            assert_eq!(asked, Intent::Read, "{verb}");
        }
        let both = "/v1/things/x:getAndDelete";
        assert_eq!(intent("new.googleapis.com", both), Intent::Delete);
        assert_eq!(intent("oauth2.googleapis.com", "/revoke"), Intent::Admin);
        assert_eq!(intent("new.googleapis.com", "/v1/things/x%3Astart"), Intent::Execute);
        let secret = "/v1/things/example.com:x:showVcenterCredentials";
        assert_eq!(intent("new.googleapis.com", secret), Intent::Execute);
        assert_eq!(intent("storage.googleapis.com", "/bucket/a:b:start"), Intent::Read);
        let store = "/v1/projects/p/locations/l/datasets/d/fhirStores/s/fhir";
        let fhir = |rest: &str| intent("healthcare.googleapis.com", &format!("{store}/{rest}"));
        assert_eq!(fhir("Group/1/$export"), Intent::Execute);
        assert_eq!(fhir("Patient/1/$everything"), Intent::Read);
        assert_eq!(intent("new.googleapis.com", "/v1/things/x:showUsage"), Intent::Read);
    }
}
