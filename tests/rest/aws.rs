//! AWS signatures at the gate: what an agent signs is verified, what goes on is
//! signed with the real credential, and S3 would take it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::aws::{CHUNKS, CHUNKS_AND_TRAILER, Signer, accepted, header};
use crate::support::{Agent, Answer, Recorder, Serve, TIMEOUT, eventually};

const TRAILER: &str = "x-amz-checksum-crc32:AAAAAA==";

fn url(gate: &Serve, path: &str) -> String {
    format!("http://{}/proxy/aws/s3/{path}", gate.address)
}

fn is_in_log(gate: &Serve, text: &str) -> bool {
    json!(gate.log()).to_string().contains(text)
}

/// An upload in signed chunks.
struct Upload<'u> {
    chunks: &'u [&'u [u8]],
    trailer: Option<&'u str>,
    /// What `x-amz-decoded-content-length` says, where it is not so.
    length: Option<usize>,
}

impl Upload<'_> {
    /// The head without its end, and the body.
    fn signed(&self, gate: &Serve, agent: &Agent) -> (String, Vec<u8>) {
        let length: usize = self.chunks.iter().map(|chunk| chunk.len()).sum();
        let length = self.length.unwrap_or(length).to_string();
        let mut headers = vec![("x-amz-decoded-content-length", length.as_str())];
        let payload = match self.trailer {
            None => CHUNKS,
            Some(_) => {
                headers.push(("x-amz-trailer", "x-amz-checksum-crc32"));
                CHUNKS_AND_TRAILER
            }
        };
        let signer = Signer::new(&agent.aws);
        let (head, seed) = signer.head(("PUT", &url(gate, "bucket/a%20b")), &headers, payload);
        (head, signer.chunked(&seed, self.chunks, self.trailer))
    }
}

/// Sends a `PUT` whose length is `length`, or that comes in chunks of HTTP's.
fn put(gate: &Serve, head: &str, body: &[u8], length: Option<usize>) -> Answer {
    let framing = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    let mut request = format!(
        "PUT /proxy/aws/s3/bucket/a%20b HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{head}{framing}\r\n\r\n",
        gate.address
    )
    .into_bytes();
    match length {
        Some(_) => request.extend_from_slice(body),
        None => {
            for piece in body.chunks(1_000) {
                request.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                request.extend_from_slice(piece);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        }
    }
    gate.raw(&request)
}

#[test]
fn a_body_in_signed_chunks_arrives_signed_anew() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let large: Vec<u8> = (0..64 << 10).map(|at| (at % 251) as u8).collect();
    let many = vec![&large[..]; 48];
    for (chunks, trailer) in [
        (&[&b"hello"[..]][..], None),
        (&[], None),
        (&[&large, &large, b"rest"], Some(TRAILER)),
        (&many, None),
    ] {
        let upload = Upload { chunks, trailer, length: None };
        let (head, body) = upload.signed(&gate, &agent);
        for length in [Some(body.len()), None] {
            recorder.forget();
            let answer = put(&gate, &head, &body, length);
            assert_eq!(answer.status, 200, "{answer:?}");
            let [arrived] = <[Value; 1]>::try_from(recorder.requests()).unwrap();
            assert_eq!(accepted(&arrived), chunks.concat());
            let announced = length.map(|length| length.to_string());
            assert_eq!(header(&arrived, "content-length"), announced.as_deref());
            assert!(!arrived.to_string().contains(&agent.aws[0]));
        }
    }
    assert!(gate.log().iter().all(|row| row["outcome"] == "forwarded"));
}

/// What a chunk's signature does not vouch for never arrives as a whole, and what
/// comes behind it does not arrive at all.
#[test]
fn a_body_whose_chunks_do_not_fit_breaks_off() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let other = gate.agent("b", "allow_all");
    let (first, second) = (vec![b'1'; 9_000], vec![b'2'; 9_000]);
    let chunks = [&first[..], &second[..]];
    let plain = Upload { chunks: &chunks, trailer: None, length: None };
    let with_trailer = Upload { trailer: Some(TRAILER), ..plain };
    let (head, body) = plain.signed(&gate, &agent);
    let start = memchr::memmem::find(&body, b"\r\n2328;").unwrap() + 2;
    let end = memchr::memmem::find(&body, b"\r\n0;").unwrap() + 2;
    let changed = |at: usize| {
        let mut body = body.clone();
        body[at] ^= 1;
        body
    };
    let others = Signer::new(&other.aws).chunked("0", &chunks, None);
    let huge = vec![b'x'; (1 << 20) + 1];
    let too_large = Upload { chunks: &[&huge], trailer: None, length: None };
    let longer = Upload { length: Some(18_001), ..plain };
    let shorter = Upload { length: Some(17_999), ..plain };
    let (trailer_head, trailer_body) = with_trailer.signed(&gate, &agent);
    let text = |body: &[u8], from: &[u8], to: &[u8]| {
        let at = memchr::memmem::find(body, from).unwrap();
        [&body[..at], to, &body[at + from.len()..]].concat()
    };
    let cases = [
        ("a byte of the data", (head.clone(), changed(start + 5_000))),
        ("a byte of a signature", (head.clone(), changed(start + 30))),
        ("one left out", (head.clone(), [&body[..start], &body[end..]].concat())),
        ("one twice", (head.clone(), [&body[..end], &body[start..]].concat())),
        (
            "another order",
            (head.clone(), [&body[start..end], &body[..start], &body[end..]].concat()),
        ),
        ("no last one", (head.clone(), body[..end].to_vec())),
        ("no end", (head.clone(), body[..body.len() - 2].to_vec())),
        ("more behind it", (head.clone(), [&body[..], b"0\r\n\r\n"].concat())),
        ("no chunks", (head.clone(), b"hello".to_vec())),
        ("another's secret", (head.clone(), others)),
        ("too large a chunk", too_large.signed(&gate, &agent)),
        ("more announced", longer.signed(&gate, &agent)),
        ("less announced", shorter.signed(&gate, &agent)),
        ("no trailer", (trailer_head.clone(), with_trailer_cut(&trailer_body))),
        ("a changed trailer", (trailer_head.clone(), text(&trailer_body, b"AAAAAA", b"AAAAAB"))),
        ("another trailer", (trailer_head, text(&trailer_body, b"-crc32:", b"-crc31:"))),
        ("a trailer nobody announced", (head, trailer_body)),
    ];
    for (what, (head, body)) in &cases {
        for length in [Some(body.len()), None] {
            let rows = gate.log().len();
            let answer = put(&gate, head, body, length);
            assert_eq!(answer.status, 400, "{what}: {answer:?}");
            assert!(answer.body.contains("invalid_body"), "{what}: {answer:?}");
            eventually("the outcome is recorded", || gate.log()[0]["outcome"] == "error");
            assert_eq!(gate.log().len(), rows + 1, "{what}");
        }
    }
    for request in recorder.requests() {
        let body = STANDARD.decode(request["body"].as_str().unwrap()).unwrap();
        assert!(request["whole"] == false && body.len() <= end, "{request}");
    }
}

/// An upstream has what was verified by then, and sees that it is not all.
#[test]
fn verified_chunks_are_forwarded_at_once_and_aborted_bodies_stay_incomplete() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = format!("providers:\n  aws: {{upstream: 'http://127.0.0.1:{port}'}}\n");
    let gate = Serve::start(&site, &[]);
    let agent = gate.agent("a", "allow_all");
    let (first, second) = (vec![b'1'; 9_000], vec![b'2'; 9_000]);
    let upload = Upload { chunks: &[&first, &second], trailer: None, length: None };
    for counted in [true, false] {
        let (head, mut body) = upload.signed(&gate, &agent);
        let half = memchr::memchr(b'2', &body[9_200..]).unwrap() + 9_200 + 4_500;
        body[half + 100] ^= 1;
        let framing = match counted {
            true => format!("Content-Length: {}\r\n\r\n", body.len()),
            false => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()),
        };
        let start = "PUT /proxy/aws/s3/bucket/a%20b HTTP/1.1";
        let host = gate.address;
        let mut client = TcpStream::connect(host).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(client, "{start}\r\nHost: {host}\r\nConnection: close\r\n{head}{framing}").unwrap();
        client.write_all(&body[..half]).unwrap();
        let mut upstream = listener.accept().unwrap().0;
        upstream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut arrived = Vec::new();
        let ones = |arrived: &[u8]| arrived.iter().filter(|byte| **byte == b'1').count();
        while ones(&arrived) < first.len() {
            let mut more = [0; 4_096];
            let count = upstream.read(&mut more).unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&arrived));
            arrived.extend_from_slice(&more[..count]);
        }
        client.write_all(&body[half..]).unwrap();
        client.write_all(if counted { b"" } else { b"\r\n0\r\n\r\n" }).unwrap();
        let _ = upstream.read_to_end(&mut arrived);
        let text = String::from_utf8_lossy(&arrived);
        let (head, sent) = text.split_once("\r\n\r\n").unwrap();
        assert!(sent.len() < body.len() && !sent.contains("22222"), "{text}");
        assert!(!sent.ends_with("0\r\n\r\n"), "{text}");
        let length = format!("content-length: {}", body.len());
        assert_eq!(head.to_ascii_lowercase().contains(&length), counted, "{head}");
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("a chunk does not match"),
            "{answer}"
        );
        eventually("the outcome is recorded", || gate.log()[0]["outcome"] == "error");
        assert!(is_in_log(&gate, "a chunk does not match"));
    }
}

fn with_trailer_cut(body: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find(body, b"x-amz-checksum").unwrap();
    [&body[..at], b"\r\n"].concat()
}

/// By its path alone this would delete the bucket `k`.
#[test]
fn services_resolve_as_in_botocore_by_all_their_names() {
    let Some(python) = crate::sdks::python() else { return };
    let recorder = Recorder::start();
    let place = format!("'http://127.0.0.1:{}'", recorder.port);
    // Nothing else leads anywhere.
    let site = format!("providers: {{aws: {{hosts: {{api.ecr: {place}}}}}}}");
    let gate = Serve::start(&site, &[]);
    let agent = gate.agent("registry", "aws_readonly");
    let base = format!("http://{}/proxy/aws", gate.address);
    let said = crate::sdks::run(&python, "ecr", &base, &agent);
    assert!(said.contains("AccessDeniedException"), "{said}");
    let arrived = recorder.requests();
    assert_eq!(arrived.len(), 1, "{arrived:?}");
    assert!(arrived[0].to_string().contains("/eu-west-1/ecr/aws4_request"), "{arrived:?}");
}

#[test]
fn compressed_body_is_refused_with_advice() {
    let Some(python) = crate::sdks::python() else { return };
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("meter", "allow_all");
    let base = format!("http://{}/proxy/aws", gate.address);
    let said = crate::sdks::run(&python, "cloudwatch_large", &base, &agent);
    assert!(said.contains("AWS_DISABLE_REQUEST_COMPRESSION") && said.contains("415"), "{said}");
    assert_eq!(recorder.requests().len(), 1, "{said}");
}

#[test]
fn a_bucket_in_the_hosts_name_is_refused() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let host = format!("bucket.localhost:{}", gate.address.port());
    let url = format!("http://{host}/proxy/aws/s3/k");
    let (head, _) = Signer::new(&agent.aws).head(("DELETE", &url), &[], "UNSIGNED-PAYLOAD");
    let start = format!("DELETE /proxy/aws/s3/k HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let answer = gate.raw(format!("{start}{head}\r\n").as_bytes());
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("address it by path"), "{answer:?}");
    assert!(recorder.requests().is_empty());
}

#[test]
fn invalid_s3_signatures_are_refused_with_the_reason() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("a", "allow_all");
    let url = url(&gate, "bucket/a%20b");
    let signer = Signer::new(&agent.aws);
    let length = ("x-amz-decoded-content-length", "5");
    let ecdsa = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
    let unsigned = "UNSIGNED-PAYLOAD";
    for (payload, headers, more, reason) in [
        (unsigned, &[][..], "x-amz-acl: public-read\r\n", "`x-amz-acl` is not signed"),
        (unsigned, &[], "x-amz-copy-source: /b/k\r\n", "`x-amz-copy-source` is not signed"),
        (unsigned, &[], "X-Amz-Meta-A: 1\r\n", "`x-amz-meta-a` is not signed"),
        (CHUNKS, &[], "", "x-amz-decoded-content-length"),
        (CHUNKS, &[length], "x-amz-trailer: x-amz-a\r\n", "`x-amz-trailer` is not signed"),
        (CHUNKS, &[length, ("x-amz-trailer", "x-amz-a")], "", "do not agree"),
        (CHUNKS_AND_TRAILER, &[length], "", "do not agree"),
        (ecdsa, &[length], "", "in chunks with AWS4-HMAC-SHA256"),
        ("STREAMING-AWS4-HMAC-SHA256-EVENTS", &[length], "", "in chunks with AWS4-HMAC-SHA256"),
        ("2cf24dba", &[], "", ""),
    ] {
        let (head, _) = signer.head(("PUT", &url), headers, payload);
        let answer = put(&gate, &format!("{head}{more}"), b"hello", Some(5));
        if reason.is_empty() {
            // What nothing reads is for S3 to compare.
            assert_eq!(answer.status, 200, "{answer:?}");
            continue;
        }
        assert_eq!(answer.status, 403, "{payload} {more}: {answer:?}");
        assert!(answer.body.contains("signature_refused"), "{answer:?}");
        assert!(answer.body.contains(reason), "{payload} {more}: {answer:?}");
        assert_eq!(
            (&gate.log()[0]["agent"], &gate.log()[0]["decision"]),
            (&json!("a"), &json!("deny"))
        );
    }
    assert_eq!(recorder.requests().len(), 1);
    // A key beside the signature has to be the same agent's.
    let (head, _) = signer.head(("PUT", &url), &[], "UNSIGNED-PAYLOAD");
    let other = gate.agent("b", "allow_all");
    for (key, status) in [(&other.key, 401), (&agent.key, 200)] {
        let with_key = format!("X-Agent-Key: {key}\r\n{head}");
        assert_eq!(put(&gate, &with_key, b"hello", Some(5)).status, status);
    }
    recorder.forget();
    // Chunks that somebody else signs cannot be verified.
    let (head, seed) = signer.head(("PUT", &url), &[length], CHUNKS);
    let body = signer.chunked(&seed, &[b"hello"], None);
    let head = head.replace(&agent.aws[0], "AKIANOBODYSNOBODYS00");
    let with_key = format!("X-Agent-Key: {}\r\n{head}", agent.key);
    let answer = put(&gate, &with_key, &body, Some(body.len()));
    assert!(answer.status == 403 && answer.body.contains("that the gate issued"), "{answer:?}");
    assert_eq!(put(&gate, &head, &body, Some(body.len())).status, 401);
    assert_eq!(recorder.requests(), Vec::<Value>::new());
}

#[test]
fn a_presigned_url_is_a_request_of_its_agents() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let policy = "name: p\nrules:\n  - {intent: [read, update], effect: allow}\nrate_limit: {requests_per_minute: 6}\n";
    let policy = json!({ "name": "p", "yaml": policy }).to_string();
    assert_eq!(gate.admin("POST", "/policies", &policy).status, 200);
    let agent = gate.agent("a", "p");
    let signer = Signer::new(&agent.aws);
    let day = Duration::from_secs(86_400);
    let at = |path: &str| url(&gate, path);
    let target = signer.presigned(("GET", &at("bucket/a%20b?versionId=v%3D1&acl")), &[], day);
    assert_eq!(gate.request("GET", &target, "", "").status, 200);
    let key = format!("X-Agent-Key: {}\r\n", agent.key);
    assert_eq!(gate.request("GET", &target, &key, "").status, 200);
    let acl = [("x-amz-acl", "private")];
    let target = signer.presigned(("PUT", &at("bucket/k")), &acl, day);
    let sent = gate.request("PUT", &target, "x-amz-acl: private\r\nX-Custom: 1\r\n", "hello");
    assert_eq!(sent.status, 200, "{sent:?}");
    // Some clients put headers into the query.
    let hoisted = "bucket/k?x-amz-acl=private&x-amz-meta-a=b%20c&x-id=PutObject";
    let target = signer.presigned(("PUT", &at(hoisted)), &[], day);
    assert_eq!(gate.request("PUT", &target, "", "hello").status, 200);
    // What is not allowed, and what is too much.
    let target = signer.presigned(("DELETE", &at("bucket/k")), &[], day);
    assert_eq!(gate.request("DELETE", &target, "", "").status, 403);
    let target = signer.presigned(("GET", &at("bucket?list-type=2")), &[], day);
    let statuses = [(); 3].map(|()| gate.request("GET", &target, "", "").status);
    assert_eq!(statuses[2], 429, "{statuses:?}");
    let arrived = recorder.requests();
    let targets: Vec<_> = arrived.iter().map(|request| &request["target"]).collect();
    let read = "/bucket/a%20b?versionId=v%3D1&acl";
    assert_eq!(targets[..4], [read, read, "/bucket/k", "/bucket/k?x-id=PutObject"]);
    let bodies: Vec<Vec<u8>> = arrived.iter().map(accepted).collect();
    for put in 2..4 {
        assert_eq!(bodies[put], b"hello");
        assert_eq!(header(&arrived[put], "x-amz-acl"), Some("private"));
    }
    assert_eq!(header(&arrived[3], "x-amz-meta-a"), Some("b c"));
    let signature = target.split("X-Amz-Signature=").nth(1).unwrap();
    for private in ["X-Amz-", &agent.aws[0], signature] {
        assert!(!json!(arrived).to_string().contains(private) && !is_in_log(&gate, private));
        assert!(!gate.said().contains(private), "{}", gate.said());
    }
    assert!(gate.log().iter().all(|row| row["agent"] == "a"));
}

#[test]
fn a_presigned_url_is_good_for_one_request_of_one_agent_for_a_while() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let (agent, other) = (gate.agent("a", "allow_all"), gate.agent("b", "allow_all"));
    let signer = Signer::new(&agent.aws);
    let hour = Duration::from_secs(3_600);
    let place = url(&gate, "bucket/k");
    let good = signer.presigned(("GET", &place), &[], hour);
    let aged = |seconds: u64, expires: u64| {
        let at = SystemTime::now() - Duration::from_secs(seconds);
        Signer { at, ..Signer::new(&agent.aws) }.presigned(
            ("GET", &place),
            &[],
            Duration::from_secs(expires),
        )
    };
    let early = Signer { at: SystemTime::now() + hour, ..Signer::new(&agent.aws) };
    let early = early.presigned(("GET", &place), &[], hour);
    let signed = signer.head(("GET", &place), &[], "UNSIGNED-PAYLOAD").0;
    let forged = Signer { secret: &other.aws[1], ..Signer::new(&agent.aws) };
    let forged = forged.presigned(("GET", &place), &[], hour);
    let others_key = format!("X-Agent-Key: {}\r\n", other.key);
    let bearer = format!("Authorization: Bearer {}\r\n", agent.key);
    for (method, target, headers, status) in [
        ("GET", good.clone(), "", 200),
        ("GET", aged(3_000, 3_600), "", 200),
        ("GET", aged(3_700, 3_600), "", 403),
        ("GET", aged(700_000, 604_800), "", 403),
        ("GET", aged(0, 604_801), "", 401),
        ("GET", aged(0, 0), "", 401),
        ("GET", early, "", 401),
        ("GET", forged, "", 401),
        ("PUT", good.clone(), "", 401),
        ("HEAD", good.clone(), "", 401),
        ("GET", good.replace("bucket/k", "bucket/l"), "", 401),
        ("GET", format!("{good}&versionId=1"), "", 401),
        ("GET", format!("{good}&X-Amz-Expires=3600"), "", 401),
        ("GET", good.replace("X-Amz-Expires", "X-Amz-expires"), "", 401),
        ("GET", good.replace("/s3/bucket", "/lambda/bucket"), "", 401),
        ("GET", good.clone(), "Host: gate.example\r\n", 401),
        ("GET", good.clone(), others_key.as_str(), 401),
        ("GET", good.clone(), "X-Agent-Key: ag_wrong\r\n", 401),
        ("GET", good.clone(), bearer.as_str(), 401),
        ("GET", good.clone(), signed.as_str(), 401),
        ("GET", good.clone(), "x-amz-server-side-encryption-customer-key: x\r\n", 403),
        ("GET", good.clone(), "x_amz_acl: x\r\n", 400),
        ("GET", good.clone(), "X-HTTP-Method-Override: DELETE\r\n", 400),
    ] {
        let answer = gate.request(method, &target, headers, "");
        assert_eq!(answer.status, status, "{method} {target} {headers}: {answer:?}");
        assert!(answer.head.contains("x-agentgate-decision"), "{answer:?}");
    }
    assert_eq!(recorder.requests().len(), 2);
    assert!(!is_in_log(&gate, "X-Amz-"));
    // It dies with the pair that signed it.
    let agents: Value = serde_json::from_str(&gate.admin("GET", "/agents", "").body).unwrap();
    let of_a = agents.as_array().unwrap().iter().find(|agent| agent["name"] == "a").unwrap();
    let rotate = format!("/agents/{}/rotate-key", of_a["agent_id"].as_str().unwrap());
    assert_eq!(gate.admin("POST", &rotate, "").status, 200);
    assert_eq!(gate.request("GET", &good, "", "").status, 401);
}

#[test]
fn a_body_too_large_to_be_verified_is_too_large() {
    let recorder = Recorder::start();
    let gate = Serve::in_front_of(&recorder);
    let agent = gate.agent("writer", "allow_all");
    // As most services are signed: nothing but the body says what it is.
    let (head, _) = Signer::new(&agent.aws).head(("POST", &url(&gate, "")), &[], "");
    let declares = |line: &&str| !line.starts_with("x-amz-content-sha256");
    let head: String = head.lines().filter(declares).map(|line| format!("{line}\r\n")).collect();
    let ask = |length: usize, body: &str| {
        let ask = format!(
            "POST /proxy/aws/s3/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{head}\
             Content-Length: {length}\r\n\r\n{body}",
            gate.address
        );
        gate.raw(ask.as_bytes()).status
    };
    assert_eq!(ask(1 << 30, ""), 413);
    assert_eq!(ask(2, "{}"), 401);
    assert!(!is_in_log(&gate, "writer"), "nothing proves that it was its agent");
    assert!(recorder.requests().is_empty());
}
