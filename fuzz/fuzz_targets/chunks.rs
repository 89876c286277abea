//! Of a body of signed chunks (`aws-chunked`) nothing passes that was not signed: the
//! data that come out are a beginning of what the client signed, however its bytes were
//! changed and cut on the way, and all of them where the body ends well.

#![no_main]

use agentgate::rest::sigv4::announced::Announced;
use agentgate::rest::sigv4::chunks::{Chain, Chunks};
use agentgate::rest::sigv4::signer::Signer;
use aws_credential_types::Credentials;
use aws_sigv4::sign::v4;
use libfuzzer_sys::fuzz_target;

const TIME: &str = "2013-05-24T00:00:00Z";

// Three bytes: how long a piece of the data is, how long a frame of the body, and how many
// changes there are. Of these, three bytes each: where, of what kind, and with which byte.
fuzz_target!(|input: &[u8]| {
    let [piece, frame, changes, rest @ ..] = input else { return };
    let (changes, data) = rest.split_at(rest.len().min(3 * usize::from(changes % 4)));
    let pieces: Vec<&[u8]> = data.chunks(usize::from(*piece).max(1)).collect();
    let signed = signed(&pieces);
    let mut body = signed.clone();
    for change in changes.chunks_exact(3) {
        altered(&mut body, (usize::from(change[0]), change[1], change[2]));
    }
    let announced = Announced { length: data.len() as u64, trailer: Vec::new() };
    let mut chunks = Chunks::new(chain("secret"), chain("real"), announced, 1 << 10);
    let mut passed = Vec::new();
    for frame in body.chunks(usize::from(*frame).max(1)) {
        let Ok(bytes) = chunks.take(frame) else {
            assert_ne!(body, signed, "as it was signed, and refused");
            return begins(&passed, data);
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
            begins(&passed, data);
            assert_ne!(body, signed, "as it was signed, and refused");
        }
    }
});

fn begins(passed: &[u8], data: &[u8]) {
    assert!(data.starts_with(&payload(passed)));
}

fn chain(secret: &str) -> Chain {
    let time = TIME.parse().expect("a time");
    Chain::new(Signer::new(secret, time, ("s3", "us-east-1")), "seed".to_owned())
}

/// The body as a client makes it, with AWS's own library.
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

/// Changes a byte, takes one away, puts one in, or ends the body.
fn altered(body: &mut Vec<u8>, (at, kind, byte): (usize, u8, u8)) {
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

/// The data of a body, read without any care.
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
