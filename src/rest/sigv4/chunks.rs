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

/// Separates a chunk's size and signature.
const EXTENSION: &[u8] = b";chunk-signature=";

/// Precedes the signature of a trailer.
const TRAILER_SIGNATURE: &[u8] = b"x-amz-trailer-signature:";

/// Length of a signature, in hexadecimal digits.
const SIGNATURE: usize = 64;

/// Maximum length of a chunk's size, in hexadecimal digits.
const MAX_SIZE: usize = 8;

/// Maximum length of the line before a chunk.
const MAX_HEAD: usize = MAX_SIZE + EXTENSION.len() + SIGNATURE + 2;

/// Maximum length of a trailer, in bytes.
pub const MAX_TRAILER: usize = 8 << 10;

const CHUNK_ALGORITHM: &str = "AWS4-HMAC-SHA256-PAYLOAD";
const TRAILER_ALGORITHM: &str = "AWS4-HMAC-SHA256-TRAILER";

/// Error in a body of signed chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not of the form `size;chunk-signature=…`, or no line break after the data.
    #[error("the body is not made of signed chunks (`aws-chunked`)")]
    Form,
    /// A chunk exceeds the limit.
    #[error("a chunk of the body is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The content was changed, removed or reordered, or signed with another key.
    #[error("the signature of a chunk does not match")]
    Signature,
    /// The length differs from the declared one.
    #[error("the chunks do not contain as much as `x-amz-decoded-content-length` says")]
    Length,
    /// The body ends before its last chunk.
    #[error("the body ends before its last chunk")]
    Truncated,
    /// The trailer differs from the declared one.
    #[error("what follows the last chunk is not what the request announced")]
    Trailer,
}

/// A chain of chunk signatures: each covers the previous one.
#[derive(Debug)]
pub struct Chain {
    signer: Signer,
    previous: String,
}

impl Chain {
    /// A chain that starts with `seed`, the signature of the request's head.
    #[must_use]
    pub fn new(signer: Signer, seed: String) -> Self {
        Self { signer, previous: seed }
    }

    /// The signature of the next chunk, with the hash `data`.
    fn chunk(&mut self, data: &str) -> &str {
        let rest = format!("{}\n{}\n{data}", self.previous, hash(b""));
        self.previous = self.signer.sign(CHUNK_ALGORITHM, &rest);
        &self.previous
    }

    /// The signature of the trailer, whose canonical form has the hash `canonical`.
    fn trailer(&mut self, canonical: &str) -> &str {
        let rest = format!("{}\n{canonical}", self.previous);
        self.previous = self.signer.sign(TRAILER_ALGORITHM, &rest);
        &self.previous
    }
}

/// Verifies and re-signs a body of signed chunks.
#[derive(Debug)]
pub struct Chunks {
    /// Chain with the agent's secret.
    incoming: Chain,
    /// Chain with the real credential.
    outgoing: Chain,
    /// Data still to arrive, in bytes.
    left: u64,
    trailer: Vec<String>,
    max: usize,
    /// Received but not yet sent.
    held: BytesMut,
    /// Length of the prefix of `held` that is verified and re-signed.
    verified: usize,
    /// Length of the last chunk, which waits for what follows it.
    last: Option<usize>,
}

impl Chunks {
    /// Chunks of at most `max` bytes are held until they are verified.
    #[must_use]
    pub fn new(incoming: Chain, outgoing: Chain, announced: Announced, max: usize) -> Self {
        let Announced { length: left, trailer } = announced;
        let held = BytesMut::new();
        Self { incoming, outgoing, left, trailer, max, held, verified: 0, last: None }
    }

    /// Number of bytes received but not yet sent.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Adds input; returns chunks that are complete and verified, once something follows them:
    /// a body that ends without its last chunk must not look complete.
    ///
    /// # Errors
    /// [`ChunkError`]; the body cannot be read further.
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

    /// Verifies and re-signs the chunk at `at`; returns its length. `None` if it is incomplete,
    /// or the last.
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
        // INVARIANT (lengths): the chunk starts with its head.
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

    /// Ends the body: verifies the last chunk and the trailer.
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
    /// Size of the data, in bytes.
    size: u64,
    /// Length of the line, in bytes.
    length: usize,
}

impl Head {
    /// Parses the line at the start of `rest`; `None` if it is incomplete.
    fn read(rest: &[u8]) -> Result<Option<Self>, ChunkError> {
        let start = rest.get(..MAX_HEAD).unwrap_or(rest);
        let Some(end) = memchr::memchr(b'\n', start) else {
            return if rest.len() < MAX_HEAD { Ok(None) } else { Err(ChunkError::Form) };
        };
        let size = start.get(..end).and_then(Self::size).ok_or(ChunkError::Form)?;
        Ok(Some(Self { size, length: end + 1 }))
    }

    /// The size in `size;chunk-signature=…\r`.
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

/// Replaces the signature, which must be `incoming`, by `outgoing`. Line breaks may follow it.
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

/// The canonical form of a trailer; `None` unless it has exactly the fields `announced`.
fn canonical(fields: &[u8], announced: &[String]) -> Option<String> {
    let fields = std::str::from_utf8(fields).ok()?.strip_suffix("\r\n")?;
    let mut lines: Vec<(String, &str)> = Vec::new();
    for line in fields.split("\r\n") {
        // AWS's documentation has a line feed before the line break, which some clients copy.
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
