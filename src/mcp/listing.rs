//! One page of `tools/list`: what its entries declare, and the removal of some of them without any
//! other change. Pure.

use super::params::ParamHeader;
use crate::action::DeclaredHints;
use crate::json::{self, Json, JsonError, Reader};

/// Maximum number of argument names remembered per tool.
pub const MAX_ARGUMENTS: usize = 256;

/// A tool as declared in `tools/list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The tool's name.
    pub name: String,
    /// Declared hints.
    pub hints: DeclaredHints,
    /// Names of the arguments that the schema declares.
    pub arguments: Vec<String>,
    /// Arguments that are also sent as headers.
    pub headers: Vec<ParamHeader>,
}

/// An element of `tools`.
#[derive(Debug)]
pub struct Entry<'f> {
    /// Its raw JSON.
    pub raw: &'f [u8],
    /// What it declares; `None` if that is ambiguous.
    pub listed: Option<Listed>,
}

/// Parses a `tools` array.
///
/// # Errors
/// If it is not an array.
pub fn entries(tools: &[u8]) -> Result<Vec<Entry<'_>>, JsonError> {
    let mut entries = Vec::new();
    let mut reader = Reader::new(tools)?;
    reader.array(|reader| {
        let raw = reader.raw()?;
        entries.push(Entry { raw, listed: Listed::read(raw) });
        Ok::<_, JsonError>(())
    })?;
    reader.finish()?;
    Ok(entries)
}

impl Listed {
    /// Parses one element; `None` if any part of it is ambiguous, or it has no name.
    #[must_use]
    pub fn read(raw: &[u8]) -> Option<Self> {
        let tree = json::parse(raw).ok()?;
        let tool = tree.as_object()?;
        let name = tool.get("name")?.as_str()?.to_owned();
        let annotations = tool.get("annotations").and_then(Json::as_object);
        let hint = |key| match annotations?.get(key)? {
            Json::Bool(value) => Some(*value),
            _ => None,
        };
        let hints = DeclaredHints {
            read_only: hint("readOnlyHint"),
            destructive: hint("destructiveHint"),
            idempotent: hint("idempotentHint"),
            open_world: hint("openWorldHint"),
        };
        let schema = tool.get("inputSchema").and_then(Json::as_object);
        let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
        let arguments = properties.map(|properties| {
            properties.iter().take(MAX_ARGUMENTS).map(|(key, _)| key.to_owned()).collect()
        });
        let headers = schema.map(ParamHeader::declared).unwrap_or_default();
        Some(Self { name, hints, arguments: arguments.unwrap_or_default(), headers })
    }
}

/// Removes the entries for which `hidden` returns `true`, keeping all other bytes. `None` if
/// there are none. `tools` must be a part of `line`.
#[must_use]
pub fn without(
    line: &[u8],
    tools: &[u8],
    mut hidden: impl FnMut(Option<&Listed>) -> bool,
) -> Option<Vec<u8>> {
    let entries = entries(tools).ok()?;
    let kept: Vec<bool> = entries.iter().map(|entry| !hidden(entry.listed.as_ref())).collect();
    if kept.iter().all(|kept| *kept) {
        return None;
    }
    // Both slices are of one buffer, so their distance is the offset.
    let offset = |part: &[u8]| (part.as_ptr() as usize).checked_sub(line.as_ptr() as usize);
    let first = entries.first().and_then(|entry| offset(entry.raw))?;
    let mut out = line.get(..first)?.to_vec();
    let mut end = first;
    let mut wrote = false;
    for (entry, kept) in entries.iter().zip(kept) {
        let start = offset(entry.raw)?;
        if kept {
            if wrote {
                out.extend_from_slice(line.get(end..start)?);
            }
            out.extend_from_slice(entry.raw);
            wrote = true;
        }
        end = start + entry.raw.len();
    }
    out.extend_from_slice(line.get(end..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Answer, Message, single};
    use super::*;

    #[test]
    fn hiding_takes_out_the_entries_and_not_a_byte_more() {
        let line = "{\"id\":1, \"result\":{\"x\":1.50,\"tools\":[ {\"name\":\"a\"} ,\t{\"name\":\"b\", \"v\":1e3},{\"name\":\"c\"} ]}}\r\n";
        let hide = |hidden: &'static [&'static str]| {
            let Message::Response { answer: Answer::Result(shape), .. } = single(line.as_bytes())
            else {
                panic!()
            };
            let out = without(line.as_bytes(), shape.tools.unwrap(), |listed| {
                hidden.contains(&listed.unwrap().name.as_str())
            });
            out.map(|out| String::from_utf8(out).unwrap())
        };
        assert_eq!(hide(&[]), None);
        assert_eq!(hide(&["b"]).unwrap(), line.replace(" ,\t{\"name\":\"b\", \"v\":1e3}", ""));
        assert_eq!(hide(&["a"]).unwrap(), line.replace("{\"name\":\"a\"} ,\t", ""));
        assert_eq!(
            hide(&["a", "b", "c"]).unwrap(),
            "{\"id\":1, \"result\":{\"x\":1.50,\"tools\":[  ]}}\r\n"
        );
    }
}
