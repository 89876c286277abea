//! Names of a form's fields in the headers of its parts, as anybody may read them.

use percent_encoding::percent_decode;

use crate::head::HeadError;
use crate::overrides;

/// What in the headers of a part could be the name of a field that asks for another
/// method, looked for as their lines come.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The headers as [`squeeze`] leaves them. Nothing that it takes for one thing
    /// reaches over a line end, so the lines can be squeezed one by one.
    text: String,
    /// Where the first `name*=` in them ends.
    encoded: Option<usize>,
    /// How many bytes were looked at for them.
    #[cfg(test)]
    looked_at: usize,
}

/// What Rack takes for the name where there is no other.
const ID: &str = "content-id:";

/// How far before its last character something begins that is refused.
const REACH: usize = ID.len() + overrides::LONGEST;

impl Names {
    /// Takes the next line of the headers.
    ///
    /// # Errors
    /// [`HeadError::Override`] where they name such a field up to here.
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
                // A name in an encoding (RFC 2047), and one in pieces (RFC 2231): nobody's
                // SDK writes those, and few servers read them.
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
        // An encoding and a language come before it, and may hold anything.
        let encoded = self.encoded.and_then(|behind| self.text.get(behind.max(from)..));
        refused(encoded.and_then(overrides::within))
    }
}

fn refused(parameter: Option<&str>) -> Result<(), HeadError> {
    parameter.map_or(Ok(()), |name| Err(HeadError::Override(name.to_owned())))
}

/// Adds a line of headers to `text` without all that some readers leave out, and some
/// take for the end of a name: white space, quotes, escapes, what is not ASCII, and the
/// brackets that an id begins with. A file may have any name.
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
    fn no_line_is_looked_at_again_with_every_other() {
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
