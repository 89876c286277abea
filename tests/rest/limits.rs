//! What clients are told of rate limits, so that they need not run into them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Recorder, Serve, eventually};

const CLIENTS: usize = 32;

/// A gate in front of `recorder`, and the key of an agent with this policy.
fn limited(recorder: &Recorder, policy: &str) -> (Serve, String) {
    let gate = Serve::in_front_of(recorder);
    let put = json!({"name": "limited", "yaml": format!("name: limited\n{policy}")}).to_string();
    let put = gate.admin("POST", "/policies", &put);
    assert_eq!(put.status, 200, "{put:?}");
    let agent = gate.agent("a", "limited");
    (gate, format!("X-Agent-Key: {}\r\n", agent.key))
}

/// `RateLimit-Limit`, `-Remaining` and `-Reset`.
fn told(answer: &Answer) -> Option<[u64; 3]> {
    let value = |name: &str| answer.header(name)?.parse().ok();
    let told =
        [value("ratelimit-limit")?, value("ratelimit-remaining")?, value("ratelimit-reset")?];
    Some(told)
}

#[test]
fn remaining_quota_is_exact_under_concurrency() {
    let recorder = Recorder::start();
    let (gate, key) = limited(
        &recorder,
        "rules: [{intent: read, effect: allow}]\n\
         rate_limit: {requests_per_minute: 50, requests_per_hour: 1000}\n",
    );
    let (asked, ready) = (AtomicU32::new(0), Barrier::new(CLIENTS));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let client = || {
            ready.wait();
            let mut answers = Vec::new();
            while asked.fetch_add(1, Ordering::Relaxed) < 80 {
                answers.push(gate.request("GET", "/proxy/github/user", &key, ""));
            }
            answers
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let mut left: Vec<u64> = Vec::new();
    for answer in &answers {
        let [limit, remaining, reset] = told(answer).unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!((limit, answer.header("ratelimit-policy")), (50, Some("50;w=60")));
        assert!((1..=60).contains(&reset), "{answer:?}");
        match answer.status {
            200 => left.push(remaining),
            429 => assert_eq!(remaining, 0, "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    left.sort_unstable();
    assert_eq!(left, (0..50).collect::<Vec<_>>(), "each once");
    assert_eq!((answers.len(), recorder.requests().len()), (80, 50));
}

#[test]
fn quota_headers_describe_the_limit_nearest_to_exhaustion() {
    let recorder = Recorder::start();
    let (gate, key) = limited(
        &recorder,
        "rules: [{intent: read, effect: allow}]\n\
         rate_limit: {requests_per_minute: 60, requests_per_hour: 3}\n",
    );
    let get = |target: &str| told(&gate.request("GET", target, &key, ""));
    let [limit, remaining, reset] = get("/proxy/github/user").unwrap();
    assert_eq!((limit, remaining), (3, 2));
    assert!((3_500..=3_600).contains(&reset), "{reset}");
    // What the policy refuses was counted, too.
    let refused = gate.request("DELETE", "/proxy/github/repos/a/b", &key, "");
    assert_eq!((refused.status, told(&refused).map(|told| told[1])), (403, Some(1)));
    assert_eq!(get("/proxy/github/user").map(|told| told[1]), Some(0));
    let full = gate.request("GET", "/proxy/github/user", &key, "");
    assert_eq!((full.status, full.header("ratelimit-policy")), (429, Some("3;w=3600")));
}

#[test]
fn no_quota_headers_without_a_limit() {
    let recorder = Recorder::start();
    let allow = "rules: [{intent: read, effect: allow}]\n";
    let observed = format!("{allow}mode: observe\nrate_limit: {{requests_per_minute: 1}}\n");
    for policy in [allow, &observed] {
        let (gate, key) = limited(&recorder, policy);
        for _ in 0..3 {
            let answer = gate.request("GET", "/proxy/github/user", &key, "");
            assert_eq!((answer.status, answer.head.contains("ratelimit")), (200, false));
        }
    }
}

/// Two limits under one name are none: the provider's own word stays as it came.
#[test]
fn rate_limit_headers_of_the_provider_are_kept() {
    let recorder = Recorder::start();
    let (gate, key) = limited(
        &recorder,
        "rules: [{intent: read, effect: allow}]\nrate_limit: {requests_per_minute: 50}\n",
    );
    let own = gate.request("GET", "/proxy/microsoft/v1.0/me/events", &key, "");
    assert_eq!((own.status, own.header("ratelimit-limit")), (200, Some("10000")));
    assert_eq!(own.header("ratelimit-remaining"), Some("9999"));
    assert!(!own.head.contains("ratelimit-reset") && !own.head.contains("ratelimit-policy"));
    let other = gate.request("GET", "/proxy/github/rate_limit", &key, "");
    assert_eq!(other.header("x-ratelimit-remaining"), Some("4999"));
    assert_eq!(told(&other).map(|told| told[1]), Some(48));
}

#[test]
fn a_batch_counts_as_the_requests_that_it_carries() {
    let recorder = Recorder::start();
    let (gate, key) = limited(
        &recorder,
        "rules: [{intent: read, effect: allow}]\nrate_limit: {requests_per_minute: 5}\n",
    );
    let headers = format!("{key}Content-Type: application/json\r\n");
    let batch = |count: usize| {
        let one = |id| json!({"id": format!("{id}"), "method": "GET", "url": "/me/events"});
        let body = json!({"requests": (0..count).map(one).collect::<Vec<_>>()}).to_string();
        gate.request("POST", "/proxy/microsoft/v1.0/$batch", &headers, &body)
    };
    let single = || gate.request("GET", "/proxy/github/user", &key, "");
    let never = batch(6);
    assert_eq!((never.status, told(&never).map(|told| told[1])), (429, Some(5)));
    assert_eq!(never.header("retry-after"), None, "SDKs would try again for ever: {never:?}");
    let said: Value = serde_json::from_str(&never.body).unwrap();
    assert_eq!((&said["error"], &said["retry_after"]), (&json!("rate_limited"), &Value::Null));
    assert!(said["detail"].as_str().unwrap().contains("can never pass"), "{said}");
    assert_eq!(batch(3).status, 200);
    let full = batch(3);
    assert_eq!((full.status, told(&full).map(|told| told[1])), (429, Some(2)));
    let after: u64 = full.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after) && told(&full).unwrap()[2] == after, "{full:?}");
    let said: Value = serde_json::from_str(&full.body).unwrap();
    assert!(said["detail"].as_str().unwrap().starts_with("2 of 5 requests"), "{said}");
    assert_eq!(told(&single()).map(|told| told[1]), Some(1));
    assert_eq!([single().status, single().status], [200, 429]);
    assert_eq!(recorder.requests().len(), 3);
}

#[test]
fn an_upstream_that_fails_has_cost_a_request_all_the_same() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let configuration = format!("providers:\n  github: {{upstream: 'http://{gone}'}}\n");
    let gate = Serve::start(&configuration, &[]);
    let policy =
        "name: l\nrules: [{intent: read, effect: allow}]\nrate_limit: {requests_per_minute: 9}\n";
    let put = json!({"name": "l", "yaml": policy}).to_string();
    assert_eq!(gate.admin("POST", "/policies", &put).status, 200);
    let key = format!("X-Agent-Key: {}\r\n", gate.agent("a", "l").key);
    let answer = gate.request("GET", "/proxy/github/user", &key, "");
    assert_eq!((answer.status, told(&answer).map(|told| told[1])), (502, Some(8)));
}

/// Bodies are held in memory until they are judged: an agent that lets many of them
/// wait takes half of the room, and no more.
#[test]
fn bodies_of_one_agent_leave_memory_for_others() {
    const MIB: usize = 1 << 20;
    let gate = Serve::start("max_body: 64MiB\n", &["--test-mode"]);
    let (greedy, other) = (gate.agent("greedy", "allow_all"), gate.agent("other", "allow_all"));
    let begin = |mib: usize| {
        let mut stream = TcpStream::connect(gate.address).unwrap();
        let head = format!(
            "POST /proxy/github/repos/a/b/issues HTTP/1.1\r\nHost: gate\r\nX-Agent-Key: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            greedy.key,
            64 * MIB
        );
        stream.write_all(head.as_bytes()).unwrap();
        (0..mib).for_each(|_| stream.write_all(&[b' '; MIB]).unwrap());
        stream
    };
    // Whichever of them comes last is refused.
    let mut waiting = [begin(62), begin(62), begin(5)];
    let full = |row: &Value| row["reason"].as_str().unwrap().contains("no room at the moment");
    eventually("one is refused", || gate.log().first().is_some_and(full));
    let row = gate.log().remove(0);
    assert_eq!((row["agent"].as_str(), row["decision"].as_str()), (Some("greedy"), Some("deny")));
    let mut answers = waiting.iter_mut().map(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).map(|()| answer)
    });
    assert!(answers.any(|answer| answer.is_ok_and(|answer| answer == *b"HTTP/1.1 503")));

    let body = format!("{{\"title\":\"{}\"}}", "x".repeat(MIB));
    let post = |key: &str| {
        let headers = format!("X-Agent-Key: {key}\r\nContent-Type: application/json\r\n");
        gate.request("POST", "/proxy/github/repos/a/b/issues", &headers, &body).status
    };
    assert_eq!(post(&other.key), 201);
    drop(waiting);
    eventually("there is room again", || post(&greedy.key) == 201);
}
