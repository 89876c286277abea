//! Names of form fields in the headers of parts, as any parser may read them.

use percent_encoding::percent_decode;

use crate::head::HeadError;
use crate::overrides;

/// Searches the headers of a part, line by line, for names of fields that override the method.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The headers after [`squeeze`]. Nothing it recognises spans a line end, so lines can be
    /// squeezed one by one.
    text: String,
    /// Where the first `name*=` ends.
    encoded: Option<usize>,
    /// Number of bytes searched so far.
    #[cfg(test)]
    looked_at: usize,
}

/// Rack uses this header if there is no name.
const ID: &str = "content-id:";

/// How far before its last character a refused pattern may begin.
const REACH: usize = ID.len() + overrides::LONGEST;

impl Names {
    /// Checks the next line of the headers.
    ///
    /// # Errors
    /// [`HeadError::Override`] if the headers so far name such a field.
    pub(super) fn push(&mut self, line: &[u8]) -> Result<(), HeadError> {
        let known = self.text.len();
        squeeze(line, &mut self.text);
        if self.text.len() == known {
            return Ok(());
        }
        let from = known.saturating_sub(REACH);
        let text = self.text.get(from..).unwrap_or_default();
        #[cfg(test)]
        {
            self.looked_at += text.len();
        }
        for (at, name) in text.match_indices("name") {
            let rest = text.get(at + name.len()..).unwrap_or_default();
            match (rest.strip_prefix('='), rest.strip_prefix("*=")) {
                // Encoded names (RFC 2047) and continuations (RFC 2231): no SDK writes those,
                // and few servers read them.
                (Some(value), _) if value.starts_with("=?") => return refused(Some("=?")),
                (None, None) if rest.starts_with('*') => return refused(Some("name*")),
                (Some(value), _) => refused(overrides::begun_by(value))?,
                (_, Some(value)) if self.encoded.is_none() => {
                    self.encoded = Some(self.text.len() - value.len());
                }
                _ => {}
            }
        }
        for (at, _) in text.match_indices(ID) {
            refused(overrides::begun_by(text.get(at + ID.len()..).unwrap_or_default()))?;
        }
        // Encoding and language come first, and may contain anything.
        let encoded = self.encoded.and_then(|behind| self.text.get(behind.max(from)..));
        refused(encoded.and_then(overrides::within))
    }
}

fn refused(parameter: Option<&str>) -> Result<(), HeadError> {
    parameter.map_or(Ok(()), |name| Err(HeadError::Override(name.to_owned())))
}

/// Appends a line of headers to `text` without what some readers skip or treat as the end of a
/// name: white space, quotes, escapes, non-ASCII characters, and the angle brackets of an id.
/// File names are left out.
fn squeeze(line: &[u8], text: &mut String) {
    let decoded = percent_decode(line).map(|byte| char::from(byte.to_ascii_lowercase()));
    let decoded = decoded.collect::<String>().replace("filename", ";");
    for c in decoded.chars().filter(|c| c.is_ascii_graphic() && !"\"'\\".contains(*c)) {
        if c != '<' || !text.ends_with(ID) {
            text.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rest::form::MAX_LINE_ENDS;

    /// What is refused of headers, said of all of them at once.
    fn is_refused(headers: &[u8]) -> bool {
        let decoded = percent_decode(headers).map(|byte| char::from(byte.to_ascii_lowercase()));
        let text = decoded.collect::<String>().replace("filename", ";");
        let is_kept = |c: &char| c.is_ascii_graphic() && !"\"'\\".contains(*c);
        let text: String = text.chars().filter(is_kept).collect();
        let named = text.match_indices("name").any(|(at, name)| {
            let rest = &text[at + name.len()..];
            match (rest.strip_prefix('='), rest.strip_prefix("*=")) {
                (Some(value), _) => value.starts_with("=?") || overrides::begun_by(value).is_some(),
                (_, Some(value)) => overrides::within(value).is_some(),
                (None, None) => rest.starts_with('*'),
            }
        });
        named
            || text.match_indices(ID).any(|(at, _)| {
                let id = text[at + ID.len()..].trim_start_matches('<');
                overrides::begun_by(id).is_some()
            })
    }

    #[test]
    fn multipart_lines_are_scanned_once() {
        let mut names = Names::default();
        for _ in 0..MAX_LINE_ENDS {
            names.push(format!("a:name={}\n", "x".repeat(200)).as_bytes()).unwrap();
        }
        assert!(names.looked_at <= names.text.len() + MAX_LINE_ENDS * REACH);
        names.push(b"\n").unwrap();
        assert!(names.looked_at <= names.text.len() + MAX_LINE_ENDS * REACH);
    }

    #[test]
    fn a_name_in_pieces_is_found_however_far_it_reaches() {
        for begin in ["name=", "name*=utf-8''", "Content-ID: <<<"] {
            for name in overrides::PARAMETERS.into_iter().chain(overrides::METHOD_HEADERS) {
                let mut names = Names::default();
                let (most, last) = name.split_at(name.len() - 1);
                for line in [begin, "\r", "\n"] {
                    assert_eq!(names.push(line.as_bytes()), Ok(()), "{begin} {name}");
                }
                // Some begin with another one.
                let is_found = [most, "\r", "\n", last].map(|line| names.push(line.as_bytes()));
                assert!(is_found.iter().any(Result::is_err), "{begin} {name}");
            }
        }
    }

    proptest! {
        #[test]
        fn line_by_line_the_same_is_refused_as_of_all_lines(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("name"), Just("file"), Just("="), Just("*"), Just("=?"), Just("content-id:"),
                    Just("<"), Just("["), Just("."), Just("_"), Just("method"), Just("_me"),
                    Just("thod"), Just("%5F"), Just("%"), Just("6e"), Just("%6"), Just("x-http-"),
                    Just("-override"), Just("\""), Just(" "), Just("\r"), Just("\n"), Just("\n"),
                    Just("name*="), Just("$httpheaders"), Just("\u{e9}"),
                    Just("abcdefghijklmnopqrstuvwxyz0123456789"),
                ],
                0..40,
            ),
        ) {
            let headers = format!("{}\n", parts.concat());
            let mut names = Names::default();
            let mut so_far = 0;
            for line in headers.as_bytes().split_inclusive(|byte| matches!(byte, b'\r' | b'\n')) {
                so_far += line.len();
                let is_refused = is_refused(&headers.as_bytes()[..so_far]);
                prop_assert_eq!(names.push(line).is_err(), is_refused, "{:?}", &headers[..so_far]);
                if is_refused {
                    break;
                }
            }
        }
    }
}
