//! Bodies that are signed chunk by chunk (`aws-chunked`): each chunk is verified
//! against the signature of the one before, and signed anew. The bytes stay the
//! same but for the signatures, and those are of one length.
//!
//! Source: Amazon S3 API Reference, "Signature calculations for the
//! Authorization header: transferring payload in multiple chunks" and "Signature
//! calculations for trailing headers".
//!
//! ```text
//! 10000;chunk-signature=…CRLF 65536 bytes CRLF
//! 0;chunk-signature=…CRLF
//! x-amz-checksum-crc32c:sOO8/Q==CRLF          where a trailer was announced
//! x-amz-trailer-signature:…CRLF
//! CRLF
//! ```

use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq as _;

use super::announced::Announced;
use super::signer::{Signer, hash};

/// What stands between a chunk's size and its signature.
const EXTENSION: &[u8] = b";chunk-signature=";

/// What stands before the signature of a trailer.
const TRAILER_SIGNATURE: &[u8] = b"x-amz-trailer-signature:";

/// Hexadecimal digits of a signature.
const SIGNATURE: usize = 64;

/// Hexadecimal digits of a chunk's size.
const MAX_SIZE: usize = 8;

/// The longest line before a chunk.
const MAX_HEAD: usize = MAX_SIZE + EXTENSION.len() + SIGNATURE + 2;

/// The longest trailer, in bytes.
pub const MAX_TRAILER: usize = 8 << 10;

const CHUNK_ALGORITHM: &str = "AWS4-HMAC-SHA256-PAYLOAD";
const TRAILER_ALGORITHM: &str = "AWS4-HMAC-SHA256-TRAILER";

/// Why a body of signed chunks is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not `size;chunk-signature=…`, or no line break behind the data.
    #[error("the body is not made of signed chunks (`aws-chunked`)")]
    Form,
    /// More than is held.
    #[error("a chunk of the body is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// It was changed, removed or reordered, or signed with another key.
    #[error("the signature of a chunk does not match")]
    Signature,
    /// More or less than was announced.
    #[error("the chunks do not contain as much as `x-amz-decoded-content-length` says")]
    Length,
    /// It ends before its last chunk does.
    #[error("the body ends before its last chunk")]
    Truncated,
    /// What follows the last chunk is not what was announced.
    #[error("what follows the last chunk is not what the request announced")]
    Trailer,
}

/// A chain of chunk signatures: each covers the one before.
#[derive(Debug)]
pub struct Chain {
    signer: Signer,
    previous: String,
}

impl Chain {
    /// A chain that begins at `seed`, the signature of the request's head.
    #[must_use]
    pub fn new(signer: Signer, seed: String) -> Self {
        Self { signer, previous: seed }
    }

    /// The signature of the next chunk, whose data have this hash.
    fn chunk(&mut self, data: &str) -> &str {
        let rest = format!("{}\n{}\n{data}", self.previous, hash(b""));
        self.previous = self.signer.sign(CHUNK_ALGORITHM, &rest);
        &self.previous
    }

    /// The signature of the trailer whose canonical form has this hash.
    fn trailer(&mut self, canonical: &str) -> &str {
        let rest = format!("{}\n{canonical}", self.previous);
        self.previous = self.signer.sign(TRAILER_ALGORITHM, &rest);
        &self.previous
    }
}

/// Verifies a body of signed chunks, and signs it again.
#[derive(Debug)]
pub struct Chunks {
    /// With the agent's secret.
    incoming: Chain,
    /// With the real credential.
    outgoing: Chain,
    /// Bytes of data still to come.
    left: u64,
    trailer: Vec<String>,
    max: usize,
    /// Received and not sent yet.
    held: BytesMut,
    /// How much of it, from its beginning, is verified and signed anew.
    verified: usize,
    /// The length of the last chunk, which waits for what follows it.
    last: Option<usize>,
}

impl Chunks {
    /// A reader of chunks of at most `max` bytes, which are held until they are
    /// verified.
    #[must_use]
    pub fn new(incoming: Chain, outgoing: Chain, announced: Announced, max: usize) -> Self {
        let Announced { length: left, trailer } = announced;
        let held = BytesMut::new();
        Self { incoming, outgoing, left, trailer, max, held, verified: 0, last: None }
    }

    /// Bytes received and not sent yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes more of the body, and gives those chunks that are whole and verified,
    /// once something follows them: whoever counts bytes must not take a body that
    /// ends without its last chunk for a whole one.
    ///
    /// # Errors
    /// [`ChunkError`]; nothing more is to be taken after one.
    pub fn take(&mut self, more: &[u8]) -> Result<Bytes, ChunkError> {
        self.held.extend_from_slice(more);
        while self.last.is_none()
            && let Some(length) = self.chunk_at(self.verified)?
        {
            self.verified += length;
        }
        if self.verified == self.held.len() {
            return Ok(Bytes::new());
        }
        let whole = self.held.split_to(std::mem::take(&mut self.verified)).freeze();
        match self.last.is_some_and(|last| self.held.len() > last + MAX_TRAILER) {
            true => Err(ChunkError::Trailer),
            false => Ok(whole),
        }
    }

    /// The length of the chunk at `at`, verified and signed anew; `None` if it
    /// is not whole yet, or the last.
    fn chunk_at(&mut self, at: usize) -> Result<Option<usize>, ChunkError> {
        let Some(rest) = self.held.get_mut(at..) else { return Ok(None) };
        let Some(Head { size, length }) = Head::read(rest)? else { return Ok(None) };
        if size > self.left || (size == 0 && self.left > 0) {
            return Err(ChunkError::Length);
        }
        let data = usize::try_from(size).ok().filter(|size| *size <= self.max);
        let Some(data) = data else { return Err(ChunkError::TooLarge { max: self.max }) };
        let whole = if data == 0 { length } else { length + data + 2 };
        let Some(chunk) = rest.get_mut(..whole) else { return Ok(None) };
        // INVARIANT (lengths): the chunk begins with its head.
        let Some((head, tail)) = chunk.split_at_mut_checked(length) else { return Ok(None) };
        let digest = match (data, tail.strip_suffix(b"\r\n")) {
            (0, _) => hash(b""),
            (_, Some(data)) => hash(data),
            (_, None) => return Err(ChunkError::Form),
        };
        let signature = head.len().checked_sub(SIGNATURE + 2).and_then(|at| head.get_mut(at..));
        exchange(signature, self.incoming.chunk(&digest), self.outgoing.chunk(&digest))?;
        self.left -= size;
        if data == 0 {
            self.last = Some(length);
            return Ok(None);
        }
        Ok(Some(whole))
    }

    /// The end of the body: its last chunk and its trailer, once both are
    /// verified.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn finish(mut self) -> Result<Bytes, ChunkError> {
        let Some(last) = self.last else { return Err(ChunkError::Truncated) };
        let rest = self.held.get_mut(last..).unwrap_or_default();
        if self.trailer.is_empty() {
            return match &*rest {
                b"\r\n" => Ok(self.held.freeze()),
                b"" | b"\r" => Err(ChunkError::Truncated),
                _ => Err(ChunkError::Trailer),
            };
        }
        if !rest.ends_with(b"\r\n\r\n") {
            return Err(ChunkError::Truncated);
        }
        let line = TRAILER_SIGNATURE.len() + SIGNATURE + 4;
        let fields = rest.len().checked_sub(line).ok_or(ChunkError::Trailer)?;
        let (fields, line) = rest.split_at_mut_checked(fields).ok_or(ChunkError::Trailer)?;
        let canonical = canonical(fields, &self.trailer).ok_or(ChunkError::Trailer)?;
        if !line.starts_with(TRAILER_SIGNATURE) {
            return Err(ChunkError::Trailer);
        }
        let signature = line.get_mut(TRAILER_SIGNATURE.len()..);
        let digest = hash(canonical.as_bytes());
        exchange(signature, self.incoming.trailer(&digest), self.outgoing.trailer(&digest))?;
        Ok(self.held.freeze())
    }
}

/// The line before a chunk.
struct Head {
    /// Bytes of data.
    size: u64,
    /// Bytes of the line.
    length: usize,
}

impl Head {
    /// Reads the line at the beginning of `rest`; `None` if it is not whole yet.
    fn read(rest: &[u8]) -> Result<Option<Self>, ChunkError> {
        let start = rest.get(..MAX_HEAD).unwrap_or(rest);
        let Some(end) = memchr::memchr(b'\n', start) else {
            return if rest.len() < MAX_HEAD { Ok(None) } else { Err(ChunkError::Form) };
        };
        let size = start.get(..end).and_then(Self::size).ok_or(ChunkError::Form)?;
        Ok(Some(Self { size, length: end + 1 }))
    }

    /// `size;chunk-signature=…CR`
    fn size(line: &[u8]) -> Option<u64> {
        let at = memchr::memchr(b';', line)?;
        let (size, extension) = line.split_at_checked(at)?;
        let signature = extension.strip_prefix(EXTENSION)?.strip_suffix(b"\r")?;
        let is_size =
            (1..=MAX_SIZE).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        if !is_size || signature.len() != SIGNATURE {
            return None;
        }
        u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
    }
}

/// Puts the signature that `outgoing` in the place of the one that has to be the one
/// that `incoming`. Line breaks may follow it.
fn exchange(place: Option<&mut [u8]>, incoming: &str, outgoing: &str) -> Result<(), ChunkError> {
    let place = place.and_then(|place| place.get_mut(..SIGNATURE)).ok_or(ChunkError::Form)?;
    if !bool::from(incoming.as_bytes().ct_eq(place)) {
        return Err(ChunkError::Signature);
    }
    for (byte, new) in place.iter_mut().zip(outgoing.bytes()) {
        *byte = new;
    }
    Ok(())
}

/// The canonical form of a trailer that has each of the fields `announced` once
/// and no other; `None` if it has not.
fn canonical(fields: &[u8], announced: &[String]) -> Option<String> {
    let fields = std::str::from_utf8(fields).ok()?.strip_suffix("\r\n")?;
    let mut lines: Vec<(String, &str)> = Vec::new();
    for line in fields.split("\r\n") {
        // AWS's documentation writes a line feed before the line break; some
        // clients do it.
        let line = line.strip_suffix('\n').unwrap_or(line);
        let (name, value) = line.split_once(':')?;
        if line.bytes().any(|byte| byte.is_ascii_control()) || !line.is_ascii() {
            return None;
        }
        lines.push((name.to_ascii_lowercase(), value.trim()));
    }
    lines.sort();
    let is_as_announced = lines.iter().map(|(name, _)| name).eq(announced);
    let lines = lines.iter().map(|(name, value)| format!("{name}:{value}\n"));
    is_as_announced.then(|| lines.collect())
}

#[cfg(test)]
mod tests;
