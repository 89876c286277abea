//! The challenge of a server that requires a login.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};
use rmcp::transport::auth::WWWAuthenticateParams;
use url::Url;

/// Maximum length of a challenge, in bytes.
const MAX_CHALLENGE: usize = 8 << 10;

/// Maximum number of scopes read from a challenge.
const MAX_SCOPES: usize = 64;

/// A server's refusal that a login may resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The `WWW-Authenticate` header with the scheme Bearer, if any.
    header: Option<String>,
    /// Whether the token is valid but lacks scope.
    wants_scope: bool,
    /// The `Authorization` header that was refused; sensitive, so hidden in `Debug`.
    refused: Option<HeaderValue>,
}

impl Challenge {
    /// Reads a response's status and headers. `used` is the `Authorization` header of the
    /// request, so that a token renewed meanwhile is not renewed again. `None` if a login would
    /// not help: for a status other than 401, or a 403 that does not ask for more scope (RFC
    /// 6750, section 3.1).
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap, used: Option<&HeaderValue>) -> Option<Self> {
        let header = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter(|value| value.len() <= MAX_CHALLENGE)
            .find_map(bearer)
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

    /// The scopes in the challenge.
    pub(super) fn scopes(&self) -> Vec<String> {
        let Some(header) = &self.header else { return Vec::new() };
        // Only a relative metadata URL, which is not used here, is resolved against it.
        let Ok(base) = Url::parse("http://localhost") else { return Vec::new() };
        let scope = WWWAuthenticateParams::parse(header, &base).scope.unwrap_or_default();
        scope.split_whitespace().take(MAX_SCOPES).map(str::to_owned).collect()
    }

    pub(super) fn refused(&self) -> Option<&HeaderValue> {
        self.refused.as_ref()
    }
}

/// The first challenge with the scheme Bearer in a header, which may contain several (RFC 9110,
/// section 11.6.1).
fn bearer(header: &str) -> Option<&str> {
    let mut challenges = elements(header).filter(|(_, element)| begins_challenge(element));
    let (begin, _) = challenges.by_ref().find(|(_, element)| {
        let scheme = element.split_ascii_whitespace().next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer")
    })?;
    let end = challenges.next().map_or(header.len(), |(next, _)| next);
    let challenge = header.get(begin..end)?;
    Some(challenge.trim_end_matches(|c: char| c == ',' || c.is_ascii_whitespace()))
}

/// The elements of a list with their offsets; commas within quotes do not separate.
fn elements(list: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = list.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return true,
            _ => {}
        }
        false
    });
    let mut at = 0;
    parts.map(move |part| {
        let element = part.trim_ascii();
        let begin = at + (part.len() - part.trim_ascii_start().len());
        at += part.len() + 1;
        (begin, element)
    })
}

/// Whether an element starts with a scheme, and is not a parameter of the previous challenge.
fn begins_challenge(element: &str) -> bool {
    let rest = element.trim_start_matches(|c: char| !c.is_ascii_whitespace() && c != '=');
    !element.is_empty() && !rest.trim_ascii_start().starts_with('=')
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
    fn a_header_may_hold_several_challenges() {
        for (header, found) in [
            ("Bearer", Some("Bearer")),
            ("bearer scope=read", Some("bearer scope=read")),
            (
                r#"Basic realm="x", Bearer scope="a b", error=e"#,
                Some(r#"Bearer scope="a b", error=e"#),
            ),
            (r#"Bearer scope="a", Basic realm="scope=b""#, Some(r#"Bearer scope="a""#)),
            (r#"Bearer a = "1" , b="2",,Negotiate"#, Some(r#"Bearer a = "1" , b="2""#)),
            (r#"Digest realm="a \", Bearer scope=x", nonce=1"#, None),
            (r#"Basic realm="Bearer error=insufficient_scope""#, None),
            ("Bearer=1, scope=2", None),
            (r#"Basic realm="never closed, Bearer scope=x"#, None),
            ("BearerToken x", None),
            ("", None),
            (",,", None),
        ] {
            assert_eq!(bearer(header), found, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_breaks_it(header in "[Bearer \"\\\\,=a]{0,40}") {
            if let Some(found) = bearer(&header) {
                proptest::prop_assert!(found.to_ascii_lowercase().starts_with("bearer"));
            }
        }
    }

    #[test]
    fn refused_token_is_not_displayed() {
        let used = HeaderValue::from_static("Bearer hunter2");
        let challenge = Challenge::of(StatusCode::UNAUTHORIZED, &headers(&[]), Some(&used));
        assert!(!format!("{challenge:?}").contains("hunter2"));
    }
}
