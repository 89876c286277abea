//! Forms with files (`multipart/form-data`, RFC 7578), which stream: no field of
//! one may ask upstream for another method.
//!
//! Readers of such forms forgive much, each in its own way. So this one looks for
//! no boundaries: wherever a line names a field, it is a field to some reader.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use memchr::memchr2;
use percent_encoding::percent_decode_str;

use super::inbound::Fault;
use crate::net::Body;
use crate::net::body::Unfit;
use crate::overrides;

/// The longest header that names a field, in bytes.
const MAX_HEADER: usize = 16 << 10;

/// The longest name of a field that is looked at, in characters: far beyond those
/// that ask for another method, in whatever encoding.
const MAX_NAME: usize = 128;

/// Headers that name a field; Rack takes the second where the first is not there.
const NAMING: [&[u8]; 2] = [b"content-disposition", b"content-id"];

/// Looks at the fields of a form as it comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Fields {
    at: At,
    /// The line as far as it came, where it may name a field.
    line: Vec<u8>,
    /// Whether it goes on with the next lines.
    is_folded: bool,
}

/// Where in a form the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// Where a line begins, as far as nothing tells whether it names a field.
    #[default]
    Start,
    /// In a line that names a field.
    Naming,
    /// Behind such a line, which may go on in the next; what ended it.
    Behind(u8),
    /// In any other line.
    Other,
}

impl Fields {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`Fault::Override`]; [`Fault::Header`] where a header cannot be read.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let mut rest = piece;
        while let Some((first, after)) = rest.split_first() {
            rest = match self.at {
                At::Start => {
                    self.start(*first);
                    after
                }
                At::Other => match memchr2(b'\r', b'\n', rest) {
                    Some(end) => {
                        self.at = At::Start;
                        rest.get(end + 1..).unwrap_or_default()
                    }
                    None => return Ok(()),
                },
                At::Naming => self.name(rest)?,
                // One line end, and the next line goes on with this one.
                At::Behind(b'\r') if *first == b'\n' => {
                    self.at = At::Behind(b'\n');
                    after
                }
                At::Behind(_) if matches!(first, b' ' | b'\t') => {
                    (self.at, self.is_folded) = (At::Naming, true);
                    rest
                }
                At::Behind(_) => {
                    self.end()?;
                    rest
                }
            };
        }
        Ok(())
    }

    /// The header is over. As a whole it is judged here, its first line was where
    /// that ended: not everybody folds.
    fn end(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.is_folded) {
            check(&self.line)?;
        }
        self.at = At::Start;
        self.line.clear();
        Ok(())
    }

    fn start(&mut self, byte: u8) {
        match byte {
            b'\r' | b'\n' => self.line.clear(),
            b' ' | b'\t' if self.line.is_empty() => {}
            _ => {
                self.line.push(byte.to_ascii_lowercase());
                let line = self.line.as_slice();
                if NAMING.contains(&line) {
                    self.at = At::Naming;
                } else if !NAMING.iter().any(|name| name.starts_with(line)) {
                    self.at = At::Other;
                    self.line.clear();
                }
            }
        }
    }

    /// Takes what belongs to the line, and gives the rest.
    fn name<'p>(&mut self, rest: &'p [u8]) -> Result<&'p [u8], Fault> {
        let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(end);
        if self.line.len() + text.len() > MAX_HEADER {
            let what = format!("a header of the form is longer than {MAX_HEADER} bytes");
            return Err(Fault::Header(what));
        }
        self.line.extend_from_slice(text);
        let Some((ended, after)) = behind.split_first() else { return Ok(behind) };
        if !self.is_folded {
            check(&self.line)?;
        }
        self.at = At::Behind(*ended);
        Ok(after)
    }
}

/// Refuses a form that is there as a whole.
///
/// # Errors
/// See [`Fields::push`].
pub(super) fn check_whole(form: &[u8]) -> Result<(), Fault> {
    let mut fields = Fields::default();
    fields.push(form)?;
    fields.push(b"\r\n-")
}

/// Refuses a header that names a field which asks for another method.
fn check(line: &[u8]) -> Result<(), Fault> {
    // Whatever is quoted is meant.
    let line = String::from_utf8_lossy(line).to_ascii_lowercase().replace('\\', "");
    if let Some(id) = line.strip_prefix("content-id") {
        return refuse(id.trim_start().trim_start_matches(':').trim().trim_matches(['<', '>']));
    }
    for (at, _) in line.match_indices("name") {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        // `filename`
        if before.is_some_and(|before| before.is_ascii_alphanumeric() || "-_".contains(before)) {
            continue;
        }
        let rest = line.get(at + "name".len()..).unwrap_or_default().trim_start();
        let (rest, is_extended) = match rest.strip_prefix('*') {
            Some(rest) => (rest.trim_start(), true),
            None => (rest, false),
        };
        // A name in pieces, or in an encoding (RFC 2231, RFC 2047): nobody's SDK
        // writes those, and few servers read them.
        if is_extended && !rest.starts_with('=') {
            return Err(Fault::Override("name*".to_owned()));
        }
        let Some(value) = rest.strip_prefix('=') else { continue };
        let name = name_in(value.trim_start());
        refuse(name)?;
        if is_extended {
            refuse(name.rsplit('\'').next().unwrap_or_default())?;
        }
        if name.starts_with("=?") {
            return Err(Fault::Override(name.to_owned()));
        }
    }
    Ok(())
}

/// The name that a value begins with, quoted or not, as far as it matters.
fn name_in(value: &str) -> &str {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let text = value.trim_start_matches(['"', '\'', ' ', '\t']);
    let end = text.char_indices().nth(MAX_NAME).map_or(text.len(), |(at, _)| at);
    let text = text.get(..end).unwrap_or_default();
    let name = match quote {
        Some(quote) => text.split(quote).next(),
        None => text.split([';', ',', ' ', '\t']).next(),
    };
    name.unwrap_or_default()
}

fn refuse(name: &str) -> Result<(), Fault> {
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    // `_method[]` is the same to some.
    let plain = decoded.trim_matches(['"', '\'', ';', ' ']);
    match overrides::is_parameter(plain) {
        true => Err(Fault::Override(plain.trim().to_owned())),
        false => Ok(()),
    }
}

/// A form that streams on, broken off with [`Unfit`] before a field that asks
/// for another method goes on.
pub(super) struct Checked {
    inner: Body,
    fields: Fields,
}

impl Checked {
    /// What follows on what `fields` have seen.
    pub(super) fn body(inner: Body, fields: Fields) -> Body {
        Body::new(Self { inner, fields })
    }
}

impl HttpBody for Checked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(piece) = frame.data_ref()
            && let Err(fault) = self.fields.push(piece)
        {
            let unfit = Unfit { code: fault.answer().1, what: fault.to_string() };
            return Poll::Ready(Some(Err(axum::Error::new(unfit))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(header: &str) -> String {
        format!("--b\r\n{header}\r\n\r\nDELETE\r\n--b--\r\n")
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
        ] {
            let form = form(header);
            assert!(matches!(check_whole(form.as_bytes()), Err(Fault::Override(_))), "{header}");
            let mut fields = Fields::default();
            let in_pieces = form.as_bytes().chunks(1).try_for_each(|byte| fields.push(byte));
            assert!(in_pieces.is_err(), "{header}");
        }
        let long = form(&format!("Content-Disposition: {}; name=_method", "x".repeat(MAX_HEADER)));
        assert!(matches!(check_whole(long.as_bytes()), Err(Fault::Header(_))));
        assert!(check_whole(b"Content-Disposition: form-data; name=_method").is_err());
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
        ] {
            assert_eq!(check_whole(form(header).as_bytes()), Ok(()), "{header}");
        }
        for file in [
            "<input name=\"_method\" value=\"delete\">",
            "text\r\nname=\"_method\"\r\n",
            "see Content-Disposition: form-data; name=\"_method\"",
            "contentless\ncontent\n",
        ] {
            let form = form(&format!("Content-Disposition: form-data; name=\"f\"\r\n\r\n{file}"));
            assert_eq!(check_whole(form.as_bytes()), Ok(()), "{file}");
        }
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(
            form in r#"(content-disposition|Content-ID:|; ?name=|"?_method"?|\r\n?|\n|[ \t:;a"])"#,
            more in prop::collection::vec(r#"(Content-Disposition:|;name=|"_method"|\r\n|\n |[a ])"#, 0..12),
            cut in 0..200_usize,
        ) {
            let form = form + &more.concat();
            let (one, other) = form.as_bytes().split_at(cut.min(form.len()));
            let mut fields = Fields::default();
            let parted = fields.push(one).and_then(|()| fields.push(other));
            let mut fields = Fields::default();
            prop_assert_eq!(parted, fields.push(form.as_bytes()));
        }
    }
}
