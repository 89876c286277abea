//! Salesforce: almost everything by its method.

use crate::action::{Body, HttpRequest};
use crate::intent::{Intent, Judgement};

/// A GET runs code in two places of the Tooling API.
pub(in crate::intent) fn get(path: &str) -> Judgement {
    let runs = |segment: &str| {
        ["executeanonymous", "runtestsasynchronous", "runtestssynchronous"]
            .iter()
            .any(|name| segment.trim_end_matches('/').eq_ignore_ascii_case(name))
    };
    match path.rsplit_once("/tooling/") {
        Some((_, segment)) if runs(segment) => Judgement::l2(Intent::Execute),
        _ => Judgement::l1(Intent::Read),
    }
}

/// Whether a POST reads.
pub(in crate::intent) fn post_reads(request: &HttpRequest, path: &str) -> bool {
    if matches!(path, "/services/oauth2/introspect" | "/services/oauth2/userinfo") {
        return true;
    }
    let Some(place) = place(path) else { return false };
    match place {
        ["scheduling", "getAppointmentSlots" | "getAppointmentCandidates", ""]
        | ["parameterizedSearch", "", ""]
        // Runs a report as it would be with these filters, and saves nothing.
        | ["analytics", "reports", _]
        | ["wave", "query", ""] => place != ["analytics", "reports", ""],
        ["composite", "sobjects", kind] => !kind.is_empty() && asks_for_records(request),
        _ => false,
    }
}

/// Up to three segments behind `/services/data/v60.0`, with nothing behind them.
fn place(path: &str) -> Option<[&str; 3]> {
    let mut segments = path.strip_prefix("/services/data/")?.split('/').skip(1);
    let place = [(); 3].map(|()| segments.next().unwrap_or_default());
    segments.next().is_none().then_some(place)
}

/// `POST /composite/sobjects/Account {"ids", "fields"}`: too many ids for a URL.
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
        assert!(!reads("/services/data/v60.0/analytics/reports", "{}"));
        assert!(!reads("/services/data/v60.0/analytics/reports/00O1/instances", "{}"));
        assert!(!reads("/services/data/v60.0/sobjects/Account", "{}"));
    }

    #[test]
    fn a_get_may_run_code() {
        let path = "/services/data/v60.0/tooling/executeAnonymous/";
        assert_eq!(get(path).intent, Intent::Execute);
        assert_eq!(get("/services/data/v60.0/tooling/query").intent, Intent::Read);
    }
}
