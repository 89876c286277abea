//! Property of bodies of signed chunks (`aws-chunked`): only what was signed passes. However the
//! body is altered and cut into frames, the data that pass are a prefix of what the client signed;
//! if the body is accepted, all of them pass, and with them the fields of the signed trailer.

#![no_main]

use agentgate::rest::sigv4::announced::Announced;
use agentgate::rest::sigv4::chunks::{Chain, Chunks};
use agentgate::rest::sigv4::signer::Signer;
use aws_credential_types::Credentials;
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::http::Headers;
use libfuzzer_sys::fuzz_target;

const TIME: &str = "2013-05-24T00:00:00Z";

/// Names of the trailer's fields.
const FIELDS: [&str; 3] = ["x-amz-checksum-crc32c", "x-amz-meta-a", "Content-MD5"];

type Trailer = Vec<(&'static str, String)>;

// Input: a byte each for the length of chunks, the length of frames, the number of alterations, and
// the number of fields in the trailer; three bytes per alteration (position, kind, byte); four bytes per field; then the data.
fuzz_target!(|input: &[u8]| {
    let [piece, frame, changes, fields, rest @ ..] = input else { return };
    let (changes, rest) = rest.split_at(rest.len().min(3 * usize::from(changes % 4)));
    let (fields, data) = rest.split_at(rest.len().min(4 * usize::from(fields % 4)));
    let trailer = trailer(fields);
    let pieces: Vec<&[u8]> = data.chunks(usize::from(*piece).max(1)).collect();
    let signed = signed(&pieces, &trailer);
    let mut body = signed.clone();
    for change in changes.chunks_exact(3) {
        alter(&mut body, (usize::from(change[0]), change[1], change[2]));
    }
    let announced = Announced { length: data.len() as u64, trailer: names(&trailer) };
    let mut chunks = Chunks::new(chain("secret"), chain("real"), announced, 1 << 10);
    let mut passed = Vec::new();
    for frame in body.chunks(usize::from(*frame).max(1)) {
        let Ok(bytes) = chunks.take(frame) else {
            assert_ne!(body, signed, "as it was signed, and refused");
            return assert_prefix(&passed, data);
        };
        passed.extend_from_slice(&bytes);
    }
    match chunks.finish() {
        Ok(bytes) => {
            passed.extend_from_slice(&bytes);
            assert_eq!(passed.len(), body.len());
            let (payload, end) = payload(&passed);
            assert_eq!(payload, data);
            assert_eq!(read_trailer(end), meant(&trailer));
        }
        Err(_) => {
            assert_prefix(&passed, data);
            assert_ne!(body, signed, "as it was signed, and refused");
        }
    }
});

fn assert_prefix(passed: &[u8], data: &[u8]) {
    assert!(data.starts_with(&payload(passed).0));
}

/// A trailer with four visible characters per field.
fn trailer(bytes: &[u8]) -> Trailer {
    let visible = |byte: &u8| char::from(b' ' + byte % 95);
    let values = bytes.chunks(4).map(|value| value.iter().map(visible).collect());
    FIELDS.into_iter().zip(values).collect()
}

/// The announced names: in lower case, and sorted.
fn names(trailer: &Trailer) -> Vec<String> {
    meant(trailer).into_iter().map(|(name, _)| name).collect()
}

/// What a trailer means: names ignore case, and values the space around them.
fn meant(trailer: &Trailer) -> Vec<(String, String)> {
    let pairs = trailer.iter().map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

fn chain(secret: &str) -> Chain {
    let time = TIME.parse().expect("a time");
    Chain::new(Signer::new(secret, time, ("s3", "us-east-1")), "seed".to_owned())
}

/// The body as signed by AWS's own library.
fn signed(pieces: &[&[u8]], trailer: &Trailer) -> Vec<u8> {
    let identity = Credentials::from_keys("id", "secret", None).into();
    let time: jiff::Timestamp = TIME.parse().expect("a time");
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(time.into())
        .settings(())
        .build()
        .expect("all of them");
    let (mut running, mut body) = ("seed".to_owned(), Vec::new());
    for piece in pieces.iter().copied().chain([&[][..]]) {
        let data = bytes::Bytes::copy_from_slice(piece);
        let output = v4::sign_chunk(&data, &running, &parameters).expect("a signature");
        running = output.signature().to_owned();
        body.extend(format!("{:x};chunk-signature={running}\r\n", piece.len()).into_bytes());
        body.extend_from_slice(piece);
        if !piece.is_empty() || trailer.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
    }
    if !trailer.is_empty() {
        let mut headers = Headers::new();
        for (name, value) in trailer {
            headers.insert(*name, value.clone());
            body.extend(format!("{name}:{value}\r\n").into_bytes());
        }
        let output = v4::sign_trailer(&headers, &running, &parameters).expect("a signature");
        let signature = output.signature();
        body.extend(format!("x-amz-trailer-signature:{signature}\r\n\r\n").into_bytes());
    }
    body
}

/// Changes, removes or inserts a byte, or truncates the body. The position counts from the end for
/// half of the kinds, where the trailer is.
fn alter(body: &mut Vec<u8>, (at, kind, byte): (usize, u8, u8)) {
    let last = body.len().saturating_sub(1);
    let at = if kind & 4 == 0 { at.min(last) } else { last.saturating_sub(at) };
    match kind % 4 {
        0 => body[at] ^= byte,
        1 => drop(body.remove(at)),
        2 => body.insert(at, byte),
        _ => body.truncate(at),
    }
    if body.is_empty() {
        body.push(byte);
    }
}

/// The data of a body, and what follows its last chunk, by a naive parser.
fn payload(body: &[u8]) -> (Vec<u8>, &[u8]) {
    let (mut data, mut rest) = (Vec::new(), body);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let head = String::from_utf8_lossy(&rest[..end]);
        let size = head.split(';').next().and_then(|size| usize::from_str_radix(size, 16).ok());
        rest = &rest[end + 1..];
        let size = size.unwrap_or_default();
        if size == 0 {
            break;
        }
        data.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    (data, rest)
}

/// The fields of a trailer, without its signature, by a naive parser.
fn read_trailer(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let mut fields: Vec<_> = fields.filter(|(name, _)| name != "x-amz-trailer-signature").collect();
    fields.sort();
    fields
}
