//! Arguments that are also sent as headers (2026-07-28, "Custom headers from tool parameters"):
//! those that a tool's schema marks `x-mcp-header`. Pure.

use crate::json::{Json, Object};

/// The schema keyword.
const KEYWORD: &str = "x-mcp-header";

/// Prefix of the headers' names.
const PREFIX: &str = "mcp-param-";

/// Whether a header (in lower case) has the form of an argument.
#[must_use]
pub fn is_argument(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Maximum depth of a marked argument, and maximum number per tool.
const MAX_DEPTH: usize = 16;
const MAX_HEADERS: usize = 64;

/// An argument that is also sent as a header `Mcp-Param-…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamHeader {
    /// Name of the header, in lower case.
    pub name: String,
    path: Vec<String>,
}

impl ParamHeader {
    /// The arguments marked in a tool's input schema. Marks that violate the specification (not
    /// a token, a duplicate name, not within `properties`) are ignored.
    #[must_use]
    pub fn declared(schema: &Object) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        collect(schema, &mut Vec::new(), &mut found);
        found
    }

    /// The value that the header must have, not yet encoded. `None` if the argument is absent,
    /// null, or of a type that has no header form.
    #[must_use]
    pub fn value(&self, arguments: &Object) -> Option<String> {
        let (last, way) = self.path.split_last()?;
        let mut here = arguments;
        for step in way {
            here = here.get(step)?.as_object()?;
        }
        match here.get(last)? {
            Json::String(text) => Some(text.clone()),
            Json::Bool(value) => Some(value.to_string()),
            Json::Number(number) => Some(number.as_str().to_owned()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }
}

fn collect(schema: &Object, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) {
    let properties = schema.get("properties").and_then(Json::as_object);
    for (key, property) in properties.into_iter().flat_map(Object::iter) {
        let Some(property) = property.as_object() else { continue };
        path.push(key.to_owned());
        if let Some(suffix) = property.get(KEYWORD).and_then(Json::as_str).filter(|it| is_token(it))
        {
            let name = format!("{PREFIX}{}", suffix.to_ascii_lowercase());
            if found.len() < MAX_HEADERS && found.iter().all(|other| other.name != name) {
                found.push(ParamHeader { name, path: path.clone() });
            }
        }
        if path.len() < MAX_DEPTH {
            collect(property, path, found);
        }
        path.pop();
    }
}

/// Whether `text` is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn object(text: &str) -> Object {
        json::parse(text.as_bytes()).unwrap().as_object().unwrap().clone()
    }

    #[test]
    fn marked_arguments_are_found_where_the_specification_allows_them() {
        let schema = object(
            r#"{"properties":{
                "region":{"type":"string","x-mcp-header":"Region"},
                "again":{"type":"string","x-mcp-header":"REGION"},
                "bad":{"type":"string","x-mcp-header":"a b"},
                "odd":{"type":"string","x-mcp-header":1},
                "deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
                "list":{"items":{"x-mcp-header":"Item"}}}}"#,
        );
        let declared = ParamHeader::declared(&schema);
        let names: Vec<_> = declared.iter().map(|header| header.name.as_str()).collect();
        assert_eq!(names, ["mcp-param-region", "mcp-param-n"]);
        let arguments = object(r#"{"region":"eu","deep":{"n":10}}"#);
        let values: Vec<_> = declared.iter().map(|header| header.value(&arguments)).collect();
        assert_eq!(values, [Some("eu".to_owned()), Some("10".to_owned())]);
        for absent in [r#"{"region":null}"#, r#"{"region":{}}"#, "{}", r#"{"deep":1}"#] {
            assert!(declared.iter().all(|header| header.value(&object(absent)).is_none()));
        }
    }
}
