//! What a server says when it wants a login.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};
use rmcp::transport::auth::WWWAuthenticateParams;
use url::Url;

/// The longest challenge that is read, in bytes.
const MAX_CHALLENGE: usize = 8 << 10;

/// The most scopes that a challenge may name.
const MAX_SCOPES: usize = 64;

/// A server's refusal that a login may cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The `WWW-Authenticate` header of the scheme Bearer, where there is one.
    header: Option<String>,
    /// Whether the token is good, but not for this.
    wants_scope: bool,
    /// The `Authorization` header that was refused; shows nothing in `Debug`.
    refused: Option<HeaderValue>,
}

impl Challenge {
    /// Reads an answer's status and headers; `used` is the `Authorization` header
    /// the request went with, so that a token renewed meanwhile is not renewed
    /// again. `None` where no login would help: another status than 401, and 403
    /// that does not ask for more scope (RFC 6750, section 3.1).
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap, used: Option<&HeaderValue>) -> Option<Self> {
        let header = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find(|value| value.len() <= MAX_CHALLENGE && is_bearer(value))
            .map(str::to_owned);
        let wants_scope = match status {
            StatusCode::UNAUTHORIZED => false,
            StatusCode::FORBIDDEN if header.as_deref().is_some_and(wants_scope) => true,
            _ => return None,
        };
        let mut refused = used.cloned();
        if let Some(refused) = &mut refused {
            refused.set_sensitive(true);
        }
        Some(Self { header, wants_scope, refused })
    }

    pub(super) fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    pub(super) fn wants_scope(&self) -> bool {
        self.wants_scope
    }

    /// The scopes that the server names.
    pub(super) fn scopes(&self) -> Vec<String> {
        let Some(header) = &self.header else { return Vec::new() };
        // Only a relative address of metadata, not read here, is looked up there.
        let Ok(base) = Url::parse("http://localhost") else { return Vec::new() };
        let scope = WWWAuthenticateParams::parse(header, &base).scope.unwrap_or_default();
        scope.split_whitespace().take(MAX_SCOPES).map(str::to_owned).collect()
    }

    pub(super) fn refused(&self) -> Option<&HeaderValue> {
        self.refused.as_ref()
    }
}

fn is_bearer(challenge: &str) -> bool {
    let scheme = challenge.split_whitespace().next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer")
}

fn wants_scope(challenge: &str) -> bool {
    let compact: String = challenge.chars().filter(|c| *c != '"' && *c != ' ').collect();
    compact.to_ascii_lowercase().contains("error=insufficient_scope")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(challenges: &[&'static str]) -> HeaderMap {
        let pairs = challenges.iter().map(|it| (WWW_AUTHENTICATE, HeaderValue::from_static(it)));
        pairs.collect()
    }

    #[test]
    fn only_what_a_login_cures_is_a_challenge() {
        let bare = headers(&[]);
        let scope = headers(&[r#"Bearer error="insufficient_scope", scope="write""#]);
        let other = headers(&[r#"Bearer error="invalid_token""#]);
        let of = |status, headers| Challenge::of(status, headers, None);
        assert!(of(StatusCode::UNAUTHORIZED, &bare).is_some_and(|it| !it.wants_scope()));
        assert!(of(StatusCode::UNAUTHORIZED, &other).is_some_and(|it| it.header().is_some()));
        let wants = of(StatusCode::FORBIDDEN, &scope).unwrap();
        assert!(wants.wants_scope());
        assert_eq!(wants.scopes(), ["write"]);
        for (status, headers) in [
            (StatusCode::FORBIDDEN, &bare),
            (StatusCode::FORBIDDEN, &other),
            (StatusCode::OK, &scope),
            (StatusCode::NOT_FOUND, &scope),
        ] {
            assert_eq!(of(status, headers), None);
        }
    }

    #[test]
    fn the_bearer_challenge_is_found_among_others() {
        let mixed = headers(&["Basic realm=x", "bearer scope=read"]);
        let challenge = Challenge::of(StatusCode::UNAUTHORIZED, &mixed, None).unwrap();
        assert_eq!(challenge.header(), Some("bearer scope=read"));
    }

    #[test]
    fn a_refused_token_is_not_shown() {
        let used = HeaderValue::from_static("Bearer hunter2");
        let challenge = Challenge::of(StatusCode::UNAUTHORIZED, &headers(&[]), Some(&used));
        assert!(!format!("{challenge:?}").contains("hunter2"));
    }
}
