//! Salesforce: almost everything by its method.

use crate::action::{Body, HttpRequest, without_format};
use crate::intent::http::{METHOD, is_update_flag};
use crate::intent::{Intent, Judgement};
use crate::json::Json;

/// The endpoint that calls the classes of Salesforce CPQ.
const ROUTER: &str = "/services/apexrest/SBQQ/ServiceRouter";

/// Judges a GET. It runs code in parts of the Tooling API, revokes a token, and outside of
/// Salesforce's own resources runs the customer's code (Apex REST, Visualforce pages).
pub(in crate::intent) fn get(request: &HttpRequest, path: &str) -> Judgement {
    const RUN: [&str; 3] = ["executeanonymous", "runtestsasynchronous", "runtestssynchronous"];
    let is_one_of = |names: &[&str], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let segments = || path.split('/');
    let runs = |(place, name): (&str, &str)| {
        place.eq_ignore_ascii_case("tooling") && is_one_of(&RUN, without_format(name))
    };
    if segments().zip(segments().skip(1)).any(runs) {
        return Judgement::l2(Intent::Execute, "code that is run");
    }
    if marks_as_viewed(request) {
        return Judgement::l2(Intent::Update, "a query that marks what it finds as viewed");
    }
    if is_own(path) || asks_who(path) || reads_quote(request, path) {
        return Judgement::l1(Intent::Read, METHOD);
    }
    Judgement::unsure("a path beside Salesforce's own resources, where a GET may do anything")
}

/// Whether the path is one of Salesforce's own resources. Elsewhere the customer's code or the
/// envelope (SOAP) determines what a request does.
pub(in crate::intent) fn is_own(path: &str) -> bool {
    const OWN: [&str; 5] =
        ["/services/data", "/services/async", "/services/scim", "/id", "/.well-known"];
    let rest = |start: &&str| path.strip_prefix(*start);
    OWN.iter().filter_map(rest).any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a POST runs something: a flow, a customer's class, an action.
pub(in crate::intent) fn runs(path: &str) -> bool {
    let mut segments = path.split('/').skip(4);
    path.starts_with("/services/data/") && segments.next() == Some("actions")
}

/// Whether a query ends with a clause that marks its results as viewed (SOQL: `FOR VIEW`, `FOR
/// REFERENCE`, `UPDATE VIEWSTAT`; SOSL: `UPDATE TRACKING`) or locks them (`FOR UPDATE`). No
/// literal can follow these.
fn marks_as_viewed(request: &HttpRequest) -> bool {
    let marks = |query: &str| {
        let end = query.rsplit(['\'', '}']).next().unwrap_or_default();
        let all = || end.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words: Vec<String> =
            all().filter(|it| !it.is_empty()).map(str::to_ascii_uppercase).collect();
        words.windows(2).any(|pair| match pair {
            [first, second] if first == "FOR" => {
                ["VIEW", "REFERENCE", "UPDATE"].contains(&second.as_str())
            }
            [first, second] if first == "UPDATE" => {
                ["TRACKING", "VIEWSTAT"].contains(&second.as_str())
            }
            _ => false,
        })
    };
    request.query.iter().any(|(name, value)| name.eq_ignore_ascii_case("q") && marks(value))
}

fn asks_who(path: &str) -> bool {
    matches!(path, "/services/oauth2/introspect" | "/services/oauth2/userinfo")
}

/// Whether a GET to Salesforce CPQ reads: it does for the class of CPQ that the query names.
/// Other classes run the customer's code.
fn reads_quote(request: &HttpRequest, path: &str) -> bool {
    path == ROUTER && names_class(request, "reader", |class| class.starts_with("SBQQ."))
}

/// Whether a PATCH to Salesforce CPQ reads: the class named in the query computes from input
/// and stored data, without storing anything (CPQ developer guide, "Service Router": `load`).
/// Except those for contracts, which create quotes.
pub(in crate::intent) fn patch_reads(request: &HttpRequest, path: &str) -> bool {
    const LOADERS: [&str; 4] =
        ["SBQQ.ConfigAPI.", "SBQQ.ProductAPI.", "SBQQ.QuoteAPI.", "SBQQ.QuoteTermAPI."];
    let only_context = match &request.body {
        Body::Empty => true,
        Body::Json(body) => {
            body.as_object().is_some_and(|body| body.iter().all(|(key, _)| key == "context"))
        }
        Body::Text(_) | Body::Opaque => false,
    };
    let loads = |class: &str| LOADERS.iter().any(|of| class.starts_with(of));
    path == ROUTER && only_context && names_class(request, "loader", loads)
}

/// Whether the query names one fitting class under `key`, and contains no other relevant
/// parameter.
fn names_class(request: &HttpRequest, key: &str, fits: impl Fn(&str) -> bool) -> bool {
    let mut classes = request.query.iter().filter(|(name, _)| name != "uid");
    let class = classes.next().filter(|(name, class)| name == key && fits(class));
    class.is_some() && classes.next().is_none()
}

/// Whether a POST reads.
pub(in crate::intent) fn post_reads(request: &HttpRequest, path: &str) -> bool {
    if asks_who(path) {
        return true;
    }
    let Some(place) = place(path) else { return false };
    let is_marked =
        |body: &Json| body.as_object().is_some_and(|b| b.iter().any(|(n, _)| is_update_flag(n)));
    let may_mark = match &request.body {
        Body::Empty => false,
        Body::Json(body) => is_marked(body),
        // XML may contain the same flag.
        Body::Text(_) | Body::Opaque => matches!(place, ["parameterizedSearch" | "ui-api", ..]),
    };
    if may_mark {
        return false;
    }
    match place {
        ["scheduling", "getAppointmentSlots" | "getAppointmentCandidates", "", ""]
        | ["parameterizedSearch", "", "", ""]
        // Records of a list, with more options than fit into a URL.
        | ["ui-api", "list-records" | "related-list-records", _, _]
        // Runs a report with these filters, without saving it.
        | ["analytics", "reports", _, ""]
        // SQL of Data Cloud, which supports only SELECT.
        | ["ssot", "query" | "queryv2" | "query-sql", "", ""]
        | ["wave", "query", "", ""] => place != ["analytics", "reports", "", ""],
        ["composite", "sobjects", kind, ""] => !kind.is_empty() && asks_for_records(request),
        _ => false,
    }
}

/// Whether a POST starts a Bulk API job that deletes records. Assumed unless it clearly states
/// another operation.
pub(in crate::intent) fn removes(request: &HttpRequest, path: &str) -> bool {
    const OTHERS: [&str; 5] = ["insert", "update", "upsert", "query", "queryAll"];
    let is_job = place(path) == Some(["jobs", "ingest", "", ""])
        || path.starts_with("/services/async/") && path.ends_with("/job");
    let operation = || match &request.body {
        Body::Json(body) => body.as_object()?.get("operation")?.as_str(),
        // Exactly one `<operation>insert</operation>`.
        Body::Text(xml) => match &xml.split("operation>").collect::<Vec<_>>()[..] {
            [_, operation, _] => operation.strip_suffix("</"),
            _ => None,
        },
        Body::Empty | Body::Opaque => None,
    };
    is_job && !operation().is_some_and(|operation| OTHERS.contains(&operation.trim()))
}

/// Up to four segments after `/services/data/v60.0`; `None` if there are more.
fn place(path: &str) -> Option<[&str; 4]> {
    let mut segments = path.strip_prefix("/services/data/")?.split('/').skip(1);
    let place = [(); 4].map(|()| segments.next().unwrap_or_default());
    segments.next().is_none().then_some(place)
}

/// Whether it is `POST /composite/sobjects/Account {"ids", "fields"}`: reads more ids than fit
/// into a URL.
fn asks_for_records(request: &HttpRequest) -> bool {
    let Body::Json(body) = &request.body else { return false };
    let asks = |key| body.as_object().is_some_and(|body| body.get(key).is_some());
    asks("ids") && asks("fields") && !asks("records")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;
    use crate::json;

    fn reads(path: &str, body: &str) -> bool {
        let mut request = request("salesforce", "POST", path);
        request.body = Body::Json(json::parse(body.as_bytes()).expect("JSON"));
        post_reads(&request, path)
    }

    #[test]
    fn questions_by_post() {
        let ids = r#"{"ids":["1"],"fields":["Name"]}"#;
        assert!(reads("/services/data/v60.0/composite/sobjects/Account", ids));
        assert!(!reads("/services/data/v60.0/composite/sobjects/Account", r#"{"records":[]}"#));
        assert!(!reads("/services/data/v60.0/composite/sobjects", ids));
        assert!(reads("/services/data/v60.0/scheduling/getAppointmentSlots", "{}"));
        assert!(reads("/services/data/v60.0/analytics/reports/00O1", "{}"));
        assert!(reads("/services/data/v64.0/ssot/query-sql", r#"{"sql":"SELECT 1"}"#));
        assert!(!reads("/services/data/v64.0/ssot/segments", "{}"));
        assert!(!reads("/services/data/v60.0/analytics/reports", "{}"));
        assert!(!reads("/services/data/v60.0/analytics/reports/00O1/instances", "{}"));
        assert!(!reads("/services/data/v60.0/sobjects/Account", "{}"));
    }

    #[test]
    fn a_job_may_delete() {
        let begins = |path: &str, body: Body| {
            removes(&HttpRequest { body, ..request("salesforce", "POST", path) }, path)
        };
        let json = |text: &str| Body::Json(json::parse(text.as_bytes()).expect("JSON"));
        let (two, one) = ("/services/data/v60.0/jobs/ingest", "/services/async/60.0/job");
        for operation in ["delete", "hardDelete"] {
            let body = format!(r#"{{"object":"Account","operation":"{operation}"}}"#);
            assert!(begins(two, json(&body)) && begins(one, json(&body)), "{operation}");
        }
        let xml = |inside: &str| Body::Text(format!("<jobInfo xmlns=\"x\">{inside}</jobInfo>"));
        for inside in [
            "<operation>delete</operation>",
            "<operation>&#100;elete</operation>",
            "<operation>insert</operation><operation>delete</operation>",
            "<operation a=\"b\">delete</operation>",
            "",
        ] {
            assert!(begins(one, xml(inside)), "{inside}");
        }
        assert!(!begins(one, xml("<operation>insert</operation><object>A</object>")));
        assert!(!begins(two, json(r#"{"object":"Account","operation":"insert"}"#)));
        assert!(!begins("/services/data/v60.0/sobjects/X", json(r#"{"operation":"delete"}"#)));
    }

    #[test]
    fn a_get_may_run_code() {
        let intent = |path: &str| get(&request("salesforce", "GET", path), path).intent;
        assert_eq!(intent("/services/data/v60.0/Tooling/executeanonymous"), Intent::Execute);
        let with_format = "/services/data/v60.0/tooling/executeAnonymous.json";
        assert_eq!(intent(with_format), Intent::Execute);
        let further = "/services/data/v60.0/tooling/runTestsSynchronous/x";
        assert_eq!(intent(further), Intent::Execute);
        assert_eq!(intent("/services/data/v60.0/tooling/query"), Intent::Read);
        assert_eq!(intent("/services/data"), Intent::Read);
        for path in ["/services/apexrest/own", "/services/oauth2/revoke", "/apex/Page", "/"] {
            assert_eq!(intent(path), Intent::Unknown, "{path}");
        }
    }

    #[test]
    fn a_query_may_mark_what_it_finds() {
        let intent = |query: &str| {
            let path = "/services/data/v60.0/query";
            let mut get = request("salesforce", "GET", path);
            get.query.push(("q".to_owned(), query.to_owned()));
            self::get(&get, path).intent
        };
        for query in [
            "SELECT Id FROM Account WHERE Name = 'it for view' LIMIT 5",
            "SELECT Id, View__c FROM Account",
            "FIND {update tracking} IN ALL FIELDS RETURNING Account(Id)",
        ] {
            assert_eq!(intent(query), Intent::Read, "{query}");
        }
        for query in [
            "SELECT Id FROM Account FOR VIEW",
            "SELECT Id FROM Account WHERE Name = 'a' LIMIT 1\nfor  reference",
            "SELECT Id FROM Account WHERE Name IN ('a')FOR VIEW",
            "SELECT Title FROM FAQ__kav WHERE PublishStatus='Online' UPDATE VIEWSTAT",
            "FIND {it's} RETURNING FAQ__kav(Id) UPDATE TRACKING, VIEWSTAT",
        ] {
            assert_eq!(intent(query), Intent::Update, "{query}");
        }
        let search = "/services/data/v60.0/parameterizedSearch";
        assert!(reads(search, r#"{"q":"a"}"#));
        assert!(!reads(search, r#"{"q":"a","updateTracking":true}"#));
        let xml = Body::Text("<updateTracking>true</updateTracking>".to_owned());
        let in_xml = HttpRequest { body: xml, ..request("salesforce", "POST", search) };
        assert!(!post_reads(&in_xml, search));
    }

    fn routed(method: &str, query: &[(&str, &str)], body: Body) -> HttpRequest {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        HttpRequest { query: query.collect(), body, ..request("salesforce", method, ROUTER) }
    }

    #[test]
    fn classes_of_the_quote_api_read() {
        let intent =
            |query: &[(&str, &str)]| get(&routed("GET", query, Body::Empty), ROUTER).intent;
        let reader = ("reader", "SBQQ.QuoteAPI.QuoteReader");
        assert_eq!(intent(&[reader, ("uid", "1")]), Intent::Read);
        assert_eq!(intent(&[reader, ("saver", "SBQQ.QuoteAPI.QuoteSaver")]), Intent::Unknown);
        assert_eq!(intent(&[("reader", "Own")]), Intent::Unknown);
        assert_eq!(intent(&[reader, ("reader", "Own")]), Intent::Unknown);
    }

    #[test]
    fn classes_of_the_quote_api_compute() {
        let json = |text: &str| Body::Json(json::parse(text.as_bytes()).expect("JSON"));
        let reads =
            |query: &[(&str, &str)], body| patch_reads(&routed("PATCH", query, body), ROUTER);
        let calculator = ("loader", "SBQQ.QuoteAPI.QuoteCalculator");
        assert!(reads(&[calculator], json(r#"{"context":"{}"}"#)));
        assert!(reads(&[("loader", "SBQQ.ProductAPI.ProductLoader"), ("uid", "1")], Body::Empty));
        assert!(!reads(
            &[calculator],
            json(r#"{"context":"{}","saver":"SBQQ.QuoteAPI.QuoteSaver"}"#)
        ));
        assert!(!reads(&[calculator], Body::Opaque));
        assert!(!reads(&[calculator, calculator], Body::Empty));
        assert!(!reads(&[], Body::Empty));
        for class in
            ["SBQQ.ContractManipulationAPI.ContractAmender", "Own", "QuoteDocumentAPI.SaveProposal"]
        {
            assert!(!reads(&[("loader", class)], Body::Empty), "{class}");
        }
    }
}
