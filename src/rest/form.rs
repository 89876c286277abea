//! Forms with files (`multipart/form-data`, RFC 7578), which stream: no field of
//! one may ask upstream for another method.
//!
//! Form parsers are lenient, each in its own way: where a header begins and continues, what
//! is quoted, which of two names counts. So the headers of a part are not parsed as any one
//! of them does. They reach from the boundary, wherever it is, to the first empty line that
//! all parsers accept as one; and whatever could be such a name to some parser is refused.

mod names;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use memchr::memchr2;
use memchr::memmem::{self, Finder};

use self::names::Names;
use crate::head::HeadError;
use crate::net::Body;
use crate::net::body::{Unfit, stepwise};

/// Maximum length of a part's headers, in bytes.
const MAX_HEADERS: usize = 16 << 10;

/// Maximum number of line ends (`\r` and `\n`) in a part's headers: at each of them some reader
/// may end the headers.
const MAX_LINE_ENDS: usize = 64;

/// Maximum length of a boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;

/// Checks the headers of a multipart form's parts while it streams.
#[derive(Debug)]
pub(super) struct Fields {
    /// Two dashes and the boundary.
    delimiter: Finder<'static>,
    /// Whether no reader accepts lines that end in `\n` alone.
    is_strict: bool,
    /// Whether the position is within headers.
    in_headers: bool,
    /// Within headers: the headers so far, from the boundary on. Elsewhere: what may be the
    /// beginning of a boundary.
    held: Vec<u8>,
    lines: Lines,
    names: Names,
}

/// State of a part's headers, updated line by line.
#[derive(Debug, Default)]
struct Lines {
    /// Number of complete lines, and where the last of them ends.
    ends: usize,
    end: usize,
    /// Where the last boundary within them ends.
    begin: usize,
    /// Whether the line of that boundary ended in `\r\n`; `None` until it ends.
    is_crlf: Option<bool>,
    /// Whether anything but white space followed that line.
    has_any: bool,
}

impl Fields {
    /// A checker for a form with these headers.
    ///
    /// # Errors
    /// [`HeadError::Header`] if they do not declare a boundary that all parsers read alike.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, HeadError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default();
        let boundary = boundary(kind).ok_or_else(|| {
            HeadError::Header(
                "the header `content-type` names no single, plain boundary".to_owned(),
            )
        })?;
        let form = "multipart/form-data";
        Ok(Self {
            delimiter: Finder::new(&format!("--{boundary}")).into_owned(),
            is_strict: kind.get(..form.len()).is_some_and(|is| is.eq_ignore_ascii_case(form)),
            in_headers: false,
            held: Vec::new(),
            lines: Lines::default(),
            names: Names::default(),
        })
    }

    /// Checks the next piece.
    ///
    /// # Errors
    /// [`HeadError::Override`]; [`HeadError::Header`] if headers cannot be read.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), HeadError> {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = match self.in_headers {
                true => self.headers(rest)?,
                false => self.content(rest),
            };
        }
        Ok(())
    }

    /// Skips content up to and including a boundary.
    fn content<'p>(&mut self, rest: &'p [u8]) -> &'p [u8] {
        let length = self.delimiter.needle().len();
        // It may have begun in the previous piece.
        let before = self.held.len();
        self.held.extend_from_slice(rest.get(..length).unwrap_or(rest));
        let end = match self.delimiter.find(&self.held) {
            Some(at) => Some((at + length).saturating_sub(before)),
            None => self.delimiter.find(rest).map(|at| at + length),
        };
        if let Some(end) = end {
            self.in_headers = true;
            self.held.clear();
            return rest.get(end..).unwrap_or_default();
        }
        if let Some(last) = rest.len().checked_sub(length) {
            self.held.clear();
            self.held.extend_from_slice(rest.get(last..).unwrap_or_default());
        }
        let gone = (self.held.len() + 1).saturating_sub(length);
        self.held.drain(..gone);
        &[]
    }

    /// Checks a line of headers, as far as it has arrived.
    fn headers<'p>(&mut self, rest: &'p [u8]) -> Result<&'p [u8], HeadError> {
        let end = memchr2(b'\r', b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        let is_whole = matches!(line.last(), Some(b'\r' | b'\n'));
        self.lines.ends += usize::from(is_whole);
        if self.held.len() + line.len() > MAX_HEADERS || self.lines.ends > MAX_LINE_ENDS {
            let what = "the headers of a part of the form have no end".to_owned();
            return Err(HeadError::Header(what));
        }
        self.held.extend_from_slice(line);
        if is_whole {
            // Not all readers wait for an empty line.
            self.names.push(self.held.get(self.lines.end..).unwrap_or_default())?;
            if self.are_over()? {
                self.in_headers = false;
                self.held.clear();
                (self.lines, self.names) = Default::default();
            }
        }
        Ok(after)
    }

    /// Whether an empty line has ended the headers, after one more line. Some readers skip
    /// empty lines at their beginning, and some restart them at a boundary. If lines end in
    /// `\n` alone, as Google's own library writes them, any empty line ends them: Rack 1 and 2
    /// would read on, but not in a form as browsers send it.
    fn are_over(&mut self) -> Result<bool, HeadError> {
        let Self { held, lines, delimiter, .. } = self;
        let line = held.get(lines.end..).unwrap_or_default();
        // A boundary contains no line end, so it cannot span two lines.
        if let Some(at) = memmem::rfind(line, delimiter.needle()) {
            let begin = lines.end + at + delimiter.needle().len();
            *lines = Lines { begin, ends: lines.ends, ..Lines::default() };
        }
        lines.end = held.len();
        let Some(is_crlf) = lines.is_crlf else {
            let first = held.get(lines.begin..).unwrap_or_default();
            if first.ends_with(b"\n") {
                let is_crlf = *lines.is_crlf.insert(first.ends_with(b"\r\n"));
                // The last boundary has no content after it.
                if self.is_strict && !is_crlf && !first.starts_with(b"--") {
                    let what = "lines of a form have to end in `\\r\\n`".to_owned();
                    return Err(HeadError::Header(what));
                }
            }
            return Ok(false);
        };
        lines.has_any |= !line.trim_ascii().is_empty();
        let ends: &[&[u8]] = if is_crlf { &[b"\r\n\r\n"] } else { &[b"\n\n", b"\n\r\n"] };
        Ok(lines.has_any && ends.iter().any(|end| held.ends_with(end)))
    }
}

/// The boundary declared in a media type, where all parsers agree on it: it is given once,
/// and no parser would cut or unquote it differently.
fn boundary(kind: &str) -> Option<&str> {
    const NAME: &str = "boundary";
    let named = kind.to_ascii_lowercase().find(NAME)?;
    let (before, rest) = kind.split_at_checked(named)?;
    let value = rest.get(NAME.len()..)?.strip_prefix('=')?;
    let (boundary, marks, behind) = match value.strip_prefix('"') {
        Some(quoted) => {
            let (boundary, behind) = quoted.split_once('"')?;
            (boundary, "+_-.=:/?", behind)
        }
        None => {
            let (boundary, behind) = value.split_at(value.find(';').unwrap_or(value.len()));
            (boundary.trim_ascii_end(), "+_-.", behind)
        }
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    let behind = behind.trim_ascii_start();
    let is_alone = before.trim_ascii_end().ends_with(';')
        && (behind.is_empty() || behind.starts_with(';'))
        && !behind.to_ascii_lowercase().contains(NAME)
        && !boundary.to_ascii_lowercase().contains("boundary=");
    let fits = (1..=MAX_BOUNDARY).contains(&boundary.len()) && boundary.chars().all(is_plain);
    (is_alone && fits).then_some(boundary)
}

/// Checks a whole form, with the headers `announced`.
///
/// # Errors
/// See [`Fields::of`] and [`Fields::push`].
pub(super) fn check_whole(announced: &HeaderMap, form: &[u8]) -> Result<(), HeadError> {
    let mut fields = Fields::of(announced)?;
    fields.push(form)?;
    fields.push(b"\n")
}

/// The rest of a form after what `fields` have checked. It ends with [`Unfit`] before a field
/// that overrides the method would pass.
pub(super) fn checked(rest: Body, mut fields: Fields) -> Body {
    stepwise(rest, move |next| {
        let piece = next.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        match piece.map_or(Ok(()), |piece| fields.push(piece)) {
            Ok(()) => next,
            Err(fault) => {
                let unfit = Unfit { code: fault.code(), what: fault.to_string() };
                Some(Err(axum::Error::new(unfit)))
            }
        }
    })
}

#[cfg(test)]
mod tests;
