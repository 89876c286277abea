//! Overrides: headers, parameters and members that make some servers treat a request as one with
//! another method, path or body. Pure.

use std::borrow::Cow;

use crate::json::{Json, Object};

/// Headers that override the method, in lower case.
pub const METHOD_HEADERS: [&str; 9] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "http-method-override",
    "method-override",
    "x-http-verb-override",
    "x-http-verb",
    "x-original-method",
    "x-tunneled-method",
];

/// Headers that override the path, in lower case.
const PATH_HEADERS: [&str; 5] = [
    "x-original-url",
    "x-rewrite-url",
    "x-override-url",
    "x-http-path-override",
    "x-http-destinationurl",
];

/// Parameters that override the method, in lower case. `$httpheaders` carries headers and so may
/// carry an overriding one (Closure's `goog.net.rpc.HttpCors`, which Google supports).
pub const PARAMETERS: [&str; 5] =
    ["_method", "_method_override", "_httpmethod", "$httpmethod", "$httpheaders"];

/// Parameters of Google's that stand for the body and its type, which browsers use to ask about
/// unsafe sites by GET.
const BODY_PARAMETERS: [&str; 2] = ["$req", "$ct"];

/// Length of the longest of [`PARAMETERS`] and [`METHOD_HEADERS`] (some servers accept the latter
/// as parameters).
pub const LONGEST: usize = 22;

/// Whether a header overrides the method or the path. `name` is in lower case. Some servers also
/// accept [`PARAMETERS`] as headers.
#[must_use]
pub fn is_header(name: &str) -> bool {
    METHOD_HEADERS.contains(&name) || PATH_HEADERS.contains(&name) || PARAMETERS.contains(&name)
}

/// `name` (in lower case) as servers see it that turn header names into variables, as CGI does:
/// every character except letters and digits is equivalent to `-`. `None` if that changes nothing.
#[must_use]
pub fn folded(name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let fold = |c| if is_plain(c) { c } else { '-' };
    (!name.chars().all(is_plain)).then(|| name.chars().map(fold).collect())
}

/// Like [`is_header`], also for servers that fold names.
#[must_use]
pub fn is_header_to_some(name: &str) -> bool {
    is_header(name) || folded(name).is_some_and(|folded| is_header(&folded))
}

/// Whether a parameter overrides the method. Some servers accept [`METHOD_HEADERS`] as parameters,
/// and `_method[]` for `_method`; PHP replaces a leading `.` or `[` by `_`.
#[must_use]
pub fn is_parameter(name: &str) -> bool {
    let name = as_php_has_it(name.trim());
    let name = name.split('[').next().unwrap_or_default();
    known().any(|known| name.eq_ignore_ascii_case(known))
}

/// The overriding parameter that `text` (in lower case) begins with.
#[must_use]
pub fn begun_by(text: &str) -> Option<&'static str> {
    match text.strip_prefix(AS_UNDERSCORE) {
        Some(rest) => {
            let is_it =
                |known: &&str| known.strip_prefix('_').is_some_and(|it| rest.starts_with(it));
            known().find(is_it)
        }
        None => known().find(|known| text.starts_with(known)),
    }
}

/// The overriding parameter that `text` (in lower case) contains.
#[must_use]
pub fn within(text: &str) -> Option<&'static str> {
    known().find(|known| text.contains(known))
}

fn known() -> impl Iterator<Item = &'static str> {
    PARAMETERS.into_iter().chain(METHOD_HEADERS)
}

/// Leading characters of parameter names that PHP replaces by `_`.
const AS_UNDERSCORE: [char; 2] = ['.', '['];

fn as_php_has_it(name: &str) -> Cow<'_, str> {
    let begun = name.strip_prefix(AS_UNDERSCORE);
    begun.map_or(Cow::Borrowed(name), |rest| Cow::Owned(format!("_{rest}")))
}

/// The first parameter of a query or form that overrides the method or stands for the body. Some
/// servers separate parameters by `;`, too.
#[must_use]
pub fn parameter_in(form: &[u8]) -> Option<String> {
    let parts = form.split(|byte| matches!(byte, b'&' | b';'));
    let mut names = parts.flat_map(form_urlencoded::parse).map(|(name, _)| name);
    let is_body = |name: &str| BODY_PARAMETERS.iter().any(|own| name.eq_ignore_ascii_case(own));
    names.find(|name| is_parameter(name) || is_body(name.trim())).map(|name| name.trim().to_owned())
}

/// The first member of a JSON object that overrides the method.
#[must_use]
pub fn member_in(value: &Json) -> Option<&str> {
    let members = value.as_object().into_iter().flat_map(Object::iter);
    members.map(|(name, _)| name).find(|name| is_parameter(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_override_the_method_are_found() {
        for form in [
            "_method=DELETE",
            "a=1;_HttpMethod=DELETE",
            "+_method=DELETE",
            "_method[]=DELETE",
            "%5Fmethod%5B0%5D=DELETE",
            ".method=DELETE",
            "[method=DELETE",
            "a&X-HTTP-Method-Override=DELETE",
            "%24req=e30",
            "a=1&$CT=application/json",
        ] {
            assert!(parameter_in(form.as_bytes()).is_some(), "{form}");
        }
        for form in
            ["", "method=DELETE", "a[_method]=DELETE", "a=_method", "my_method=x", "$request=x"]
        {
            assert_eq!(parameter_in(form.as_bytes()), None, "{form}");
        }
    }

    #[test]
    fn leading_parameter_is_found_as_php_reads_it() {
        assert_eq!(known().map(str::len).max(), Some(LONGEST));
        for text in
            ["_method", "_methodx", ".method", "[method_override", "x-http-method-override="]
        {
            assert!(begun_by(text).is_some(), "{text}");
        }
        for text in ["", ".", "method", "._method", ".x-http-method", "[$httpmethod", " _method"] {
            assert_eq!(begun_by(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_folded_as_cgi_does() {
        assert_eq!(folded("x.http_method~override").as_deref(), Some("x-http-method-override"));
        assert_eq!(folded("x-http-method-override"), None);
    }
}
