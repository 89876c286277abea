//! What a gate outlives: a log that has no room left.

use crate::support::{Recorder, Serve, sites};

/// `SIGXFSZ` ends whoever does not care for it.
#[test]
fn a_log_that_may_not_grow_is_no_end_but_a_refusal() {
    let recorder = Recorder::start();
    // In units of 512 bytes: room for a database that is empty, and some rows.
    let mut gate = Serve::under("ulimit -f 1000", &sites(&recorder), &[]);
    let key = gate.agent("a", "allow_all").key;
    let headers = format!("X-Agent-Key: {key}\r\n");
    let long = "x".repeat(8_000);
    let get = || gate.request("GET", &format!("/proxy/github/user?q={long}"), &headers, "");
    let mut passed = 0;
    let refused = loop {
        match get() {
            answer if answer.status == 200 => passed += 1,
            answer => break answer,
        }
        assert!(passed < 1_000, "it grows for ever");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("recorded"), "{refused:?}");
    assert_eq!(recorder.requests().len(), passed);
    assert_eq!(gate.request("GET", "/health", "", "").status, 503, "and that is not well");
    assert!(gate.process().try_wait().unwrap().is_none());
}
