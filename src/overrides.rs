//! How an HTTP request asks some servers to take it for another one than its head
//! says: for one of another method, or at another place. Pure.

/// Headers that ask for another method, in lower case.
pub const METHOD_HEADERS: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-tunneled-method",
];

/// Headers that ask for another place, in lower case.
const PLACE_HEADERS: [&str; 5] = [
    "x-original-url",
    "x-rewrite-url",
    "x-override-url",
    "x-http-path-override",
    "x-http-destinationurl",
];

/// Parameters that ask for another method, in lower case; one that stands for
/// headers may hold any (Closure's `goog.net.rpc.HttpCors`, as Google reads it).
pub const PARAMETERS: [&str; 5] =
    ["_method", "_method_override", "_httpmethod", "$httpmethod", "$httpheaders"];

/// Whether a header of this name, in lower case, asks for another request.
#[must_use]
pub fn is_header(name: &str) -> bool {
    METHOD_HEADERS.contains(&name) || PLACE_HEADERS.contains(&name)
}

/// A header's name as servers have it that make a variable's of it: all but letters
/// and digits is one to them, as it is to CGI.
#[must_use]
pub fn folded(name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(fold).collect()
}

/// Whether a parameter of this name does. Some servers take the headers from there,
/// and `_method[]` is the same to some; PHP makes `_` of what no name begins with.
#[must_use]
pub fn is_parameter(name: &str) -> bool {
    let name = name.trim();
    let begun = name.strip_prefix(['.', '[']).map(|rest| format!("_{rest}"));
    let name = begun.as_deref().unwrap_or(name);
    let name = name.split('[').next().unwrap_or_default();
    let mut known = PARAMETERS.iter().chain(&METHOD_HEADERS);
    known.any(|known| name.eq_ignore_ascii_case(known))
}

/// The parameter of a query or a form that does. Some servers take `;` for `&`.
#[must_use]
pub fn parameter_in(form: &[u8]) -> Option<String> {
    let parts = form.split(|byte| matches!(byte, b'&' | b';'));
    let mut names = parts.flat_map(form_urlencoded::parse).map(|(name, _)| name);
    names.find(|name| is_parameter(name)).map(|name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_ask_for_another_method_are_found() {
        for form in [
            "_method=DELETE",
            "a=1;_HttpMethod=DELETE",
            "+_method=DELETE",
            "_method[]=DELETE",
            "%5Fmethod%5B0%5D=DELETE",
            ".method=DELETE",
            "[method=DELETE",
            "a&X-HTTP-Method-Override=DELETE",
        ] {
            assert!(parameter_in(form.as_bytes()).is_some(), "{form}");
        }
        for form in ["", "method=DELETE", "a[_method]=DELETE", "a=_method", "my_method=x"] {
            assert_eq!(parameter_in(form.as_bytes()), None, "{form}");
        }
    }

    #[test]
    fn a_name_is_folded_as_cgi_does() {
        assert_eq!(folded("X.HTTP_Method~Override"), "X-HTTP-Method-Override");
    }
}
