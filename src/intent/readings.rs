//! What a request amounts to besides itself: the requests of a batch, or the same
//! request with its escaped `/` as separators, which one server takes for part of
//! a name and the next for the end of one. Intents and policies look here and
//! nowhere else, so that both judge the same.

use super::batch::{self, BatchError};
use super::providers::aws;
use crate::action::HttpRequest;

/// Other readings of a request.
#[derive(Debug)]
pub enum Others {
    /// Nothing.
    None,
    /// The same request with escaped `/` read as separators, which may be a batch.
    Separated(Box<HttpRequest>),
    /// The requests of a batch.
    Batch(Vec<HttpRequest>),
    /// A batch that servers could split differently.
    Unclear(BatchError),
}

/// The other readings of `request`.
#[must_use]
pub fn others(request: &HttpRequest) -> Others {
    match batch::members(request) {
        Some(Ok(members)) => Others::Batch(members),
        Some(Err(error)) => Others::Unclear(error),
        None if !holds_separator(&request.path) || aws::routes_as_written(request) => Others::None,
        None => {
            let path = request.path.replace("%2F", "/").replace("%2f", "/");
            Others::Separated(Box::new(HttpRequest { path, ..request.clone() }))
        }
    }
}

fn holds_separator(path: &str) -> bool {
    path.as_bytes().windows(3).any(|escape| escape.eq_ignore_ascii_case(b"%2F"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;

    fn kind(provider: &str, path: &str) -> String {
        match others(&request(provider, "POST", path)) {
            Others::None => "none".to_owned(),
            Others::Separated(other) => other.path,
            Others::Batch(_) => "a batch".to_owned(),
            Others::Unclear(error) => error.to_string(),
        }
    }

    #[test]
    fn escaped_separators_are_read_where_servers_differ_about_them() {
        assert_eq!(kind("github", "/repos/o/r/contents/a%2Fb%2fc"), "/repos/o/r/contents/a/b/c");
        assert_eq!(kind("github", "/repos/o/r/contents/a%2Eb"), "none");
        assert_eq!(kind("aws", "/bucket/a%2Fb"), "none");
        assert_eq!(kind("microsoft", "/v1.0%2F$batch"), "/v1.0/$batch");
        assert_eq!(kind("microsoft", "/v1.0/$batch"), BatchError::Malformed.to_string());
    }
}
