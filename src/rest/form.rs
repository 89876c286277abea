//! Forms with files (`multipart/form-data`, RFC 7578), which stream: no field of
//! one may ask upstream for another method.
//!
//! Readers of such forms forgive much, each in its own way: where a header begins
//! and goes on, what is quoted, which of two names counts. So the headers of a part
//! are not read as anybody reads them. They reach from the boundary, wherever it
//! stands, to the first empty line that is one to everybody; and whatever in them
//! could be a name of that kind to somebody is one.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use memchr::memchr2;
use memchr::memmem::{self, Finder};
use percent_encoding::percent_decode;

use super::inbound::Fault;
use crate::net::Body;
use crate::net::body::{Unfit, stepwise};
use crate::overrides;

/// The longest headers of a part, in bytes.
const MAX_HEADERS: usize = 16 << 10;

/// Line ends in the headers of a part, `\r` and `\n` counted: each of them is where
/// some reader may take the headers for whole.
const MAX_LINE_ENDS: usize = 64;

/// The longest boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;

/// Looks at the headers of a form's parts as it comes in pieces.
#[derive(Debug)]
pub(super) struct Fields {
    /// What begins a part: two dashes and the boundary.
    delimiter: Finder<'static>,
    /// Nobody takes lines that end in `\n` alone for those of a form.
    is_strict: bool,
    /// Whether what comes are headers.
    in_headers: bool,
    /// The headers as far as they came, from the boundary on; of anything else, what
    /// may be the beginning of a boundary.
    held: Vec<u8>,
    lines: Lines,
    names: Names,
}

/// What is known of the headers of a part, of their whole lines. Each line is looked
/// at once.
#[derive(Debug, Default)]
struct Lines {
    /// How many ended, and where the last of them did.
    ends: usize,
    end: usize,
    /// Behind the last boundary in them.
    begin: usize,
    /// Whether the line of that boundary ended in `\r\n`, once it ended in `\n`.
    is_crlf: Option<bool>,
    /// Whether more than white space came after that line.
    has_any: bool,
}

impl Fields {
    /// Those of a form that is announced with these headers.
    ///
    /// # Errors
    /// [`Fault::Header`] where they announce no boundary that is the same to everybody.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default();
        let boundary = boundary(kind).ok_or_else(|| {
            Fault::Header("the header `content-type` names no single, plain boundary".to_owned())
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

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`Fault::Override`]; [`Fault::Header`] where headers cannot be read.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = match self.in_headers {
                true => self.headers(rest)?,
                false => self.content(rest),
            };
        }
        Ok(())
    }

    /// Takes what is no header, up to a boundary and with it.
    fn content<'p>(&mut self, rest: &'p [u8]) -> &'p [u8] {
        let length = self.delimiter.needle().len();
        // It may have begun in the piece before.
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

    /// Takes a line of headers, as far as it came.
    fn headers<'p>(&mut self, rest: &'p [u8]) -> Result<&'p [u8], Fault> {
        let end = memchr2(b'\r', b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        let is_whole = matches!(line.last(), Some(b'\r' | b'\n'));
        self.lines.ends += usize::from(is_whole);
        if self.held.len() + line.len() > MAX_HEADERS || self.lines.ends > MAX_LINE_ENDS {
            let what = "the headers of a part of the form have no end".to_owned();
            return Err(Fault::Header(what));
        }
        self.held.extend_from_slice(line);
        if is_whole {
            // Not everybody waits for an empty line.
            self.names.push(self.held.get(self.lines.end..).unwrap_or_default())?;
            if self.are_over()? {
                self.in_headers = false;
                self.held.clear();
                (self.lines, self.names) = Default::default();
            }
        }
        Ok(after)
    }

    /// Whether an empty line has ended the headers, now that one more line has ended.
    /// Some readers skip empty lines at their beginning, and some begin them anew at a
    /// boundary. Where lines end in `\n` alone, as Google's own library writes them, any
    /// empty line does: Rack 1 and 2 would read on there, but not in a form as browsers
    /// send it.
    fn are_over(&mut self) -> Result<bool, Fault> {
        let Self { held, lines, delimiter, .. } = self;
        let line = held.get(lines.end..).unwrap_or_default();
        // No boundary has a line end in it, so none reaches into two lines.
        if let Some(at) = memmem::rfind(line, delimiter.needle()) {
            let begin = lines.end + at + delimiter.needle().len();
            *lines = Lines { begin, ends: lines.ends, ..Lines::default() };
        }
        lines.end = held.len();
        let Some(is_crlf) = lines.is_crlf else {
            let first = held.get(lines.begin..).unwrap_or_default();
            if first.ends_with(b"\n") {
                let is_crlf = *lines.is_crlf.insert(first.ends_with(b"\r\n"));
                // The last boundary is followed by nothing.
                if self.is_strict && !is_crlf && !first.starts_with(b"--") {
                    let what = "lines of a form have to end in `\\r\\n`".to_owned();
                    return Err(Fault::Header(what));
                }
            }
            return Ok(false);
        };
        lines.has_any |= !line.trim_ascii().is_empty();
        let ends: &[&[u8]] = if is_crlf { &[b"\r\n\r\n"] } else { &[b"\n\n", b"\n\r\n"] };
        Ok(lines.has_any && ends.iter().any(|end| held.ends_with(end)))
    }
}

/// The boundary that a media type announces, where all readers take the same for it:
/// it is named once, and no reader cuts or unquotes it in a way of its own.
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

/// Refuses a form that is there as a whole, and announced with `announced`.
///
/// # Errors
/// See [`Fields::of`] and [`Fields::push`].
pub(super) fn check_whole(announced: &HeaderMap, form: &[u8]) -> Result<(), Fault> {
    let mut fields = Fields::of(announced)?;
    fields.push(form)?;
    fields.push(b"\n")
}

/// What in the headers of a part could be the name of a field that asks for another
/// method, looked for as their lines come.
#[derive(Debug, Default)]
struct Names {
    /// The headers as [`squeeze`] leaves them. Nothing that it takes for one thing
    /// reaches over a line end, so the lines can be squeezed one by one.
    text: String,
    /// Behind the first `name*=` in them.
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
    /// [`Fault::Override`] where they name such a field up to here.
    fn push(&mut self, line: &[u8]) -> Result<(), Fault> {
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

fn refused(parameter: Option<&str>) -> Result<(), Fault> {
    parameter.map_or(Ok(()), |name| Err(Fault::Override(name.to_owned())))
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

/// What follows of a form on what `fields` have seen, broken off with [`Unfit`] before
/// a field that asks for another method goes on.
pub(super) fn checked(rest: Body, mut fields: Fields) -> Body {
    stepwise(rest, move |next| {
        let piece = next.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        match piece.map_or(Ok(()), |piece| fields.push(piece)) {
            Ok(()) => next,
            Err(fault) => {
                let unfit = Unfit { code: fault.answer().1, what: fault.to_string() };
                Some(Err(axum::Error::new(unfit)))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announced(kind: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())])
    }

    fn fields() -> Fields {
        Fields::of(&announced("multipart/form-data; boundary=b")).unwrap()
    }

    fn whole(form: impl AsRef<[u8]>) -> Result<(), Fault> {
        check_whole(&announced("multipart/form-data; boundary=b"), form.as_ref())
    }

    fn form(header: &str) -> String {
        format!("--b\r\n{header}\r\n\r\nDELETE\r\n--b--\r\n")
    }

    fn is_found(form: &str) {
        assert!(matches!(whole(form), Err(Fault::Override(_))), "{form:?}: {:?}", whole(form));
        let mut fields = fields();
        let in_pieces = form.as_bytes().chunks(1).try_for_each(|byte| fields.push(byte));
        assert!(in_pieces.is_err(), "{form:?}");
    }

    #[test]
    fn a_field_that_overrides_is_found_however_it_is_written() {
        for header in [
            "Content-Disposition: form-data; name=\"_method\"",
            "content-disposition:form-data;name=_method",
            "CONTENT-DISPOSITION : form-data; NAME = \"_Method\"",
            " Content-Disposition: form-data; name=\"_method\"",
            "Content-Disposition: form-data; name='_method'",
            "Content-Disposition: form-data;\r\n name=\"_method\"",
            "Content-Disposition: form-data;\n\tname=\"_method\"",
            "Content-Disposition: form-data; name=\"_me\r\n thod\"; name=\"_method\"",
            "Content-Disposition: form-data;\r\n\tx=y;\r\n name=_method",
            "Content-Disposition: form-data; name=\"_method\"\r\n x",
            "Content-Disposition: form-data; name=name=_method",
            "Content-Disposition: form-data; filename=\"a\"; name=\"_method\"",
            "Content-Disposition: form-data; name=\"a\"; name=\"_method\"",
            "Content-Disposition: form-data; name=\"_method[]\"",
            "Content-Disposition: form-data; name=\"\\_method\"",
            "Content-Disposition: form-data; name=\"%5Fmethod\"",
            "Content-Disposition: form-data; name=\" _method \"",
            "Content-Disposition: form-data; name=\"_method",
            "Content-Disposition: form-data name=_method",
            "Content-Disposition: form-data; name*=utf-8''_method",
            "Content-Disposition: form-data; name*=utf-8''%5Fmethod",
            "Content-Disposition: form-data; name*0=\"_me\"; name*1=\"thod\"",
            "Content-Disposition: form-data; name=\"=?utf-8?b?X21ldGhvZA==?=\"",
            "Content-Disposition: form-data; name=\"X-HTTP-Method-Override\"",
            "Content-Type: text/plain\rContent-Disposition: form-data; name=\"_method\"",
            "Content-ID: _method",
            "Content-Id: <_method>",
            // Rack 1 finds the header within another, and the name behind any line end.
            "X-A: Content-Disposition: form-data; name=\"_method\"",
            "X-A: Content-ID: _method",
            "Content-Disposition: form-data;\nname=\"_method\"",
            "Content-Disposition: form-data;\r\n\n name=\"_method\"",
            "\r\nX-A: Content-Disposition: form-data; name=_method",
            // PHP goes on with lines that have no colon, and knows no `\r` for a line end.
            "Content-Disposition: form-data; x=\"\r\ny\"; name=\"_method\"",
            "Content-Disposition: form-data; x=\ry:z; name=\"_method\"",
            "Content-Disposition: form-data; name=\"_method\0x\"",
            "Content-Disposition: form-data; name=\"_method\"\r\n\0",
            // busboy leaves white space out, and quotes in the midst.
            "Content-Disposition: form-data; na me=_me thod",
            "Content-Disposition: form-data; \"name\"=_me\"thod\"",
            "Content-Disposition: form-data; x=\"file\"name=_method",
            // Werkzeug takes anything for a language.
            "Content-Disposition: form-data; name*=utf-8'a;b=c'_method",
        ] {
            is_found(&form(header));
        }
        let long = form(&format!("Content-Disposition: {}; name=_method", "x".repeat(MAX_HEADERS)));
        assert!(matches!(whole(long), Err(Fault::Header(_))));
        assert!(whole("--b\r\nContent-Disposition: form-data; name=_method").is_err());
    }

    #[test]
    fn what_sdks_send_and_what_files_hold_passes() {
        for header in [
            "Content-Disposition: form-data; name=\"file\"; filename=\"_method\"",
            "Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%C3%A9.txt",
            "Content-Disposition: form-data; name=\"method\"",
            "Content-Disposition: form-data; name=\"options\"\r\nContent-Type: application/json",
            "Content-Type: application/json\r\nMIME-Version: 1.0",
            "Content-ID: <b29c5de2-0db4-490b-b421-6a51b598bd22+1>",
            "Content-Disposition: form-data; name*=utf-8''%C3%A9; filename=\"a.txt\"",
            "Content-Disposition: form-data; name=\"http_method\"",
        ] {
            assert_eq!(whole(form(header)), Ok(()), "{header}");
        }
        for file in [
            "<input name=\"_method\" value=\"delete\">",
            "text\r\nname=\"_method\"\r\n",
            "see Content-Disposition: form-data; name=\"_method\"",
            "\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\n",
            "-\r\n--\r\n--a\r\nX: name=_method",
            "contentless\ncontent\n",
        ] {
            let form = form(&format!("Content-Disposition: form-data; name=\"f\"\r\n\r\n{file}"));
            assert_eq!(whole(form), Ok(()), "{file}");
        }
    }

    #[test]
    fn a_part_begins_wherever_somebody_sees_a_boundary() {
        let asks = "\r\nContent-Disposition: form-data; name=_method\r\n\r\nDELETE--b--";
        for before in
            ["--b", "x--b", "--b--b", "--b\r\n\r\n--b", "--b--\r\n--b", "--b\r\nA: b\r\n--b\r\n"]
        {
            is_found(&format!("{before}{asks}"));
        }
        // Line ends that only some take for such.
        for form in [
            "--b\rContent-Disposition: form-data; name=_method\r\rDELETE\r--b--\r",
            "--b\r\nContent-Disposition: form-data; name=_method\n\nDELETE\r\n--b--",
        ] {
            is_found(form);
        }
        let feeds = form("Content-Disposition: form-data; name=a").replace('\r', "");
        assert!(matches!(whole(&feeds), Err(Fault::Header(_))));
        // Google's library for Python ends its lines so.
        let related = announced("multipart/related; boundary=\"===============12==\"");
        let parts = |named: &str| {
            let begin = "--===============12==\nContent-Type: application/json";
            format!("{begin}\n\n{{}}\n{begin}{named}\n\n{}", "a\nname=_method\n".repeat(2_000))
        };
        assert_eq!(check_whole(&related, parts("").as_bytes()), Ok(()));
        assert!(check_whole(&related, parts("; name=_method").as_bytes()).is_err());
    }

    #[test]
    fn a_boundary_is_the_same_to_everybody_or_none() {
        for (kind, plain) in [
            (
                "multipart/form-data; boundary=----WebKitFormBoundaryAbC",
                "----WebKitFormBoundaryAbC",
            ),
            ("multipart/form-data;boundary=\"a-b\"; charset=utf-8", "a-b"),
            ("Multipart/Form-Data; charset=utf-8; Boundary=a ", "a"),
            ("multipart/related; boundary=\"===============12==\"", "===============12=="),
        ] {
            assert_eq!(boundary(kind), Some(plain), "{kind}");
        }
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=a; boundary*=utf-8''b",
            "multipart/form-data; xboundary=a; boundary=b",
            "multipart/form-data; x=boundary; boundary=b",
            "multipart/form-data; boundary=\"aboundary=b\"",
            "multipart/form-data; boundary =a",
            "multipart/form-data boundary=a",
            "multipart/form-data; boundary=a,b",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=\'a\'",
            "multipart/form-data; boundary=a=b",
            "multipart/form-data; boundary=\"a\\b\"",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=\"a\"b",
        ] {
            assert_eq!(boundary(kind), None, "{kind}");
        }
    }

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

        #[test]
        fn cuts_make_no_difference(
            parts in prop::collection::vec(
                r#"(--b|-|\r\n--b\r\n|Content-Disposition:|Content-ID:|;name=|"?_method"|\r\n?|\n|[ \t:;a"])"#,
                0..20,
            ),
            cuts in prop::collection::vec(0..120_usize, 0..4),
        ) {
            let form = parts.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(form.len())).collect();
            cuts.extend([0, form.len()]);
            cuts.sort_unstable();
            let mut parted = fields();
            let bytes = form.as_bytes();
            let parted = cuts.windows(2).try_for_each(|cut| parted.push(&bytes[cut[0]..cut[1]]));
            prop_assert_eq!(parted, fields().push(bytes));
        }
    }
}
