//! Property of bodies of signed chunks (`aws-chunked`): only signed data pass. However the body is
//! altered and cut into frames, the data that pass are a prefix of what the client signed, and all
//! of them if the body is accepted.

#![no_main]

use agentgate::rest::sigv4::announced::Announced;
use agentgate::rest::sigv4::chunks::{Chain, Chunks};
use agentgate::rest::sigv4::signer::Signer;
use aws_credential_types::Credentials;
use aws_sigv4::sign::v4;
use libfuzzer_sys::fuzz_target;

const TIME: &str = "2013-05-24T00:00:00Z";

// Input: a byte each for the length of chunks, the length of frames, and the number of alterations;
// three bytes per alteration (position, kind, byte); then the data.
fuzz_target!(|input: &[u8]| {
    let [piece, frame, changes, rest @ ..] = input else { return };
    let (changes, data) = rest.split_at(rest.len().min(3 * usize::from(changes % 4)));
    let pieces: Vec<&[u8]> = data.chunks(usize::from(*piece).max(1)).collect();
    let signed = signed(&pieces);
    let mut body = signed.clone();
    for change in changes.chunks_exact(3) {
        alter(&mut body, (usize::from(change[0]), change[1], change[2]));
    }
    let announced = Announced { length: data.len() as u64, trailer: Vec::new() };
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
            assert_eq!(payload(&passed), data);
        }
        Err(_) => {
            assert_prefix(&passed, data);
            assert_ne!(body, signed, "as it was signed, and refused");
        }
    }
});

fn assert_prefix(passed: &[u8], data: &[u8]) {
    assert!(data.starts_with(&payload(passed)));
}

fn chain(secret: &str) -> Chain {
    let time = TIME.parse().expect("a time");
    Chain::new(Signer::new(secret, time, ("s3", "us-east-1")), "seed".to_owned())
}

/// The body as signed by AWS's own library.
fn signed(pieces: &[&[u8]]) -> Vec<u8> {
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
        body.extend_from_slice(b"\r\n");
    }
    body
}

/// Changes, removes or inserts a byte, or truncates the body.
fn alter(body: &mut Vec<u8>, (at, kind, byte): (usize, u8, u8)) {
    let at = at.min(body.len().saturating_sub(1));
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

/// The data of a body, by a naive parser.
fn payload(body: &[u8]) -> Vec<u8> {
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
    data
}
