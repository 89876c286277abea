use super::super::signer;
use super::*;
use aws_credential_types::Credentials;
use aws_sigv4::sign::v4;
use proptest::prelude::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const REAL: &str = "the real secret";
const MAX: usize = 1 << 20;

fn chain(secret: &str, seed: &str) -> Chain {
    let time = signer::time("20130524T000000Z").unwrap();
    Chain::new(Signer::new(secret, time, ("s3", "us-east-1")), seed.to_owned())
}

fn reader(seed: &str, length: u64, trailer: &[&str], max: usize) -> Chunks {
    let trailer = trailer.iter().map(|name| (*name).to_owned()).collect();
    Chunks::new(chain(SECRET, seed), chain(REAL, "goes"), Announced { length, trailer }, max)
}

/// What passes of `body` when it comes in frames of these lengths, and then
/// the rest.
fn pass(mut chunks: Chunks, body: &[u8], frames: &[usize]) -> (Vec<u8>, Result<(), ChunkError>) {
    let (mut passed, mut rest) = (Vec::new(), body);
    for length in frames.iter().copied().chain([usize::MAX]) {
        let (frame, more) = rest.split_at(length.min(rest.len()));
        match chunks.take(frame) {
            Ok(bytes) => passed.extend_from_slice(&bytes),
            Err(bad) => return (passed, Err(bad)),
        }
        rest = more;
    }
    match chunks.finish() {
        Ok(bytes) => passed.extend_from_slice(&bytes),
        Err(bad) => return (passed, Err(bad)),
    }
    (passed, Ok(()))
}

/// The bytes without their signatures.
fn without_signatures(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    for mark in [EXTENSION, TRAILER_SIGNATURE] {
        let places: Vec<usize> = memchr::memmem::find_iter(&body, mark).collect();
        for at in places {
            body[at + mark.len()..][..SIGNATURE].fill(b'-');
        }
    }
    body
}

/// A body as a client makes it, with AWS's own library.
fn signed(secret: &str, seed: &str, pieces: &[Vec<u8>], trailer: &[(&str, &str)]) -> Vec<u8> {
    let identity = Credentials::from_keys("id", secret, None).into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(signer::time("20130524T000000Z").unwrap().into())
        .settings(())
        .build()
        .unwrap();
    let (mut running, mut body) = (seed.to_owned(), Vec::new());
    for piece in pieces.iter().filter(|piece| !piece.is_empty()).chain([&Vec::new()]) {
        let data = Bytes::from(piece.clone());
        running = v4::sign_chunk(&data, &running, &parameters).unwrap().signature().to_owned();
        body.extend(format!("{:x};chunk-signature={running}\r\n", piece.len()).into_bytes());
        body.extend_from_slice(piece);
        body.extend(if piece.is_empty() { &b""[..] } else { b"\r\n" });
    }
    if !trailer.is_empty() {
        let lines = |end| trailer.iter().map(move |(name, value)| format!("{name}:{value}{end}"));
        let canonical: String = lines("\n").collect();
        let signature = chain(secret, &running).trailer(&hash(canonical.as_bytes())).to_owned();
        let fields: String = lines("\r\n").collect();
        body.extend(format!("{fields}x-amz-trailer-signature:{signature}\r\n").into_bytes());
    }
    body.extend(b"\r\n");
    body
}

/// The data of a body and its trailer, read without any care.
fn payload(body: &[u8]) -> (Vec<u8>, String) {
    let (mut data, mut rest) = (Vec::new(), body);
    loop {
        let line = memchr::memchr(b'\n', rest).unwrap();
        let head = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(head.split(';').next().unwrap(), 16).unwrap();
        rest = &rest[line + 1..];
        if size == 0 {
            let lines = std::str::from_utf8(rest).unwrap().lines();
            let fields = lines.filter_map(|line| line.split_once(':'));
            let fields = fields.filter(|(name, _)| *name != "x-amz-trailer-signature");
            let fields = fields.map(|(n, v)| format!("{}:{}", n.to_lowercase(), v.trim()));
            return (data, fields.collect::<Vec<_>>().join("\n"));
        }
        data.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// Amazon S3 API Reference: 65 KiB of `a`, in two chunks.
fn example(signatures: [&str; 3], rest: &str) -> Vec<u8> {
    let [first, second, last] = signatures;
    let mut body = format!("10000;chunk-signature={first}\r\n").into_bytes();
    body.extend([b'a'; 65_536]);
    body.extend(format!("\r\n400;chunk-signature={second}\r\n").into_bytes());
    body.extend([b'a'; 1_024]);
    body.extend(format!("\r\n0;chunk-signature={last}\r\n{rest}\r\n").into_bytes());
    body
}

const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const SIGNATURES: [&str; 3] = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
];
const TRAILER_SEED: &str = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
const TRAILER_SIGNATURES: [&str; 3] = [
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
];
const CHECKSUM: &str = "x-amz-checksum-crc32c";

fn trailer(line_end: &str) -> String {
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    format!("{CHECKSUM}:sOO8/Q=={line_end}x-amz-trailer-signature:{signature}\r\n")
}

#[test]
fn the_examples_of_the_documentation_pass_and_are_signed_anew() {
    let plain = example(SIGNATURES, "");
    let (passed, end) = pass(reader(SEED, 66_560, &[], MAX), &plain, &[]);
    assert_eq!((end, passed.len()), (Ok(()), plain.len()));
    assert_eq!(without_signatures(&passed), without_signatures(&plain));
    assert_eq!(passed, signed(REAL, "goes", &[vec![b'a'; 65_536], vec![b'a'; 1_024]], &[]));
    // Also with the line feed that the documentation has, and MinIO's client.
    for line_end in ["\r\n", "\n\r\n"] {
        let body = example(TRAILER_SIGNATURES, &trailer(line_end));
        let chunks = reader(TRAILER_SEED, 66_560, &[CHECKSUM], MAX);
        let (passed, end) = pass(chunks, &body, &[]);
        assert_eq!((end, passed.len()), (Ok(()), body.len()));
        assert_eq!(without_signatures(&passed), without_signatures(&body));
        assert_ne!(passed, body);
    }
}

#[test]
fn undeclared_chunks_are_refused() {
    let plain = example(SIGNATURES, "");
    let with_trailer = example(TRAILER_SIGNATURES, &trailer("\r\n"));
    let end = |seed, length, trailer: &[&str], max, body: &[u8]| {
        pass(reader(seed, length, trailer, max), body, &[]).1.unwrap_err()
    };
    let plain_end = |body: &[u8]| end(SEED, 66_560, &[], MAX, body);
    let trailer_end = |names: &[&str], body: &[u8]| end(TRAILER_SEED, 66_560, names, MAX, body);
    assert_eq!(end(SEED, 66_561, &[], MAX, &plain), ChunkError::Length);
    assert_eq!(end(SEED, 66_559, &[], MAX, &plain), ChunkError::Length);
    assert_eq!(end(SEED, 66_560, &[], 65_535, &plain), ChunkError::TooLarge { max: 65_535 });
    assert_eq!(end(TRAILER_SEED, 66_560, &[], MAX, &plain), ChunkError::Signature);
    // Also between two chunks.
    let end_of_first = 65_536 + "10000;chunk-signature=\r\n\r\n".len() + SIGNATURE;
    assert_eq!(plain[end_of_first..][..4], *b"400;");
    for cut in [0, 1, 50, 65_626, end_of_first, 66_000, plain.len() - 2, plain.len() - 1] {
        let (passed, end) = pass(reader(SEED, 66_560, &[], MAX), &plain[..cut], &[cut]);
        assert_eq!(end, Err(ChunkError::Truncated), "{cut}");
        assert!(passed.len() <= cut.saturating_sub(1), "{cut}");
    }
    assert_eq!(plain_end(&[&plain[..], b"x"].concat()), ChunkError::Trailer);
    assert_eq!(trailer_end(&[], &with_trailer), ChunkError::Trailer);
    assert_eq!(end(SEED, 66_560, &[CHECKSUM], MAX, &plain), ChunkError::Truncated);
    assert_eq!(trailer_end(&["x-amz-checksum-crc32"], &with_trailer), ChunkError::Trailer);
    assert_eq!(trailer_end(&["x-amz-a", CHECKSUM], &with_trailer), ChunkError::Trailer);
    let flood = [&with_trailer[..], &[b'x'; MAX_TRAILER]].concat();
    assert_eq!(trailer_end(&[CHECKSUM], &flood), ChunkError::Trailer);
    let doubled = example(TRAILER_SIGNATURES, &trailer("\r\nx-amz-checksum-crc32c:1\r\n"));
    assert_eq!(trailer_end(&[CHECKSUM], &doubled), ChunkError::Trailer);
    let other = example(TRAILER_SIGNATURES, &trailer("\r\n").replace("sOO8", "sOO9"));
    assert_eq!(trailer_end(&[CHECKSUM], &other), ChunkError::Signature);
}

#[test]
fn a_head_of_a_chunk_is_written_in_one_way() {
    let signature = "0".repeat(64);
    let read = |head: &str| Head::read(head.as_bytes()).map(|head| head.map(|head| head.size));
    let good = format!("fF;chunk-signature={signature}\r\n");
    assert_eq!(read(&good), Ok(Some(255)));
    for end in 0..good.len() {
        assert_eq!(read(&good[..end]), Ok(None));
    }
    for size in ["", "+1", "-1", "0x1", " 1", "1 ", "g", "123456789", "1\t"] {
        assert_eq!(read(&format!("{size};chunk-signature={signature}\r\n")), Err(ChunkError::Form));
    }
    for rest in [
        format!(";chunk-signature={signature}\n"),
        format!(";chunk-signature={signature}0\r\n"),
        format!(";chunk-signature={}\r\n", &signature[1..]),
        format!(";Chunk-Signature={signature}\r\n"),
        format!(";a=b;chunk-signature={signature}\r\n"),
        "\r\n".to_owned(),
        "x".repeat(MAX_HEAD),
    ] {
        assert_eq!(read(&format!("1{rest}")), Err(ChunkError::Form), "{rest}");
    }
}

/// Pieces of a body, some of them empty, and whether a trailer follows.
fn bodies() -> impl Strategy<Value = (Vec<Vec<u8>>, bool)> {
    let piece = prop::collection::vec(any::<u8>(), 0..200);
    (prop::collection::vec(piece, 0..6), any::<bool>())
}

fn announced(pieces: &[Vec<u8>], has_trailer: bool) -> (u64, Vec<(&'static str, &'static str)>) {
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    let trailer = [("x-amz-checksum-crc32", "AAAA=="), ("x-amz-meta-note", "a: b")];
    (length, if has_trailer { trailer.to_vec() } else { Vec::new() })
}

proptest! {
    /// However it is cut into frames, a body comes out as the same one with
    /// another's signatures, and is one that another accepts.
    #[test]
    fn a_body_passes_however_it_is_cut(
        (pieces, has_trailer) in bodies(),
        frames in prop::collection::vec(0..150_usize, 0..40),
    ) {
        let (length, trailer) = announced(&pieces, has_trailer);
        let names: Vec<&str> = trailer.iter().map(|(name, _)| *name).collect();
        let body = signed(SECRET, SEED, &pieces, &trailer);
        let (passed, end) = pass(reader(SEED, length, &names, 200), &body, &frames);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(passed, signed(REAL, "goes", &pieces, &trailer));
    }

    /// Whatever byte is changed, left out or put in, nothing of the chunk that
    /// it is in passes, nor what comes after; or it says the same as before: the
    /// digits of a size have a case, and a value may stand among spaces.
    #[test]
    fn a_body_that_was_changed_does_not_pass(
        (pieces, has_trailer) in bodies(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        how in 0..3_u8,
        frame in 1..100_usize,
    ) {
        let (length, trailer) = announced(&pieces, has_trailer);
        let names: Vec<&str> = trailer.iter().map(|(name, _)| *name).collect();
        let body = signed(SECRET, SEED, &pieces, &trailer);
        let at = at.index(body.len());
        let mut changed = body.clone();
        match how {
            0 => changed[at] = byte,
            1 => drop(changed.remove(at)),
            _ => changed.insert(at, byte),
        }
        prop_assume!(changed != body);
        let frames = vec![frame; changed.len() / frame];
        let (passed, end) = pass(reader(SEED, length, &names, 200), &changed, &frames);
        if end.is_ok() {
            prop_assert_eq!(payload(&passed), payload(&body));
            return Ok(());
        }
        prop_assert!(passed.len() <= at, "{} of {at}", passed.len());
        prop_assert!(passed.len() < changed.len());
        prop_assert!(signed(REAL, "goes", &pieces, &trailer).starts_with(&passed));
    }
}
