//! The demo tells the truth: it ends well only where every scene went as told.

#![cfg(test)]

use std::process::Command;

/// Plays a tour as one would whose own settings forbid everything; what it showed.
fn played(tour: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agentgate"))
        .arg("demo")
        .args(tour)
        .env("TMPDIR", folder.path())
        .env("TMP", folder.path())
        .env("AGENTGATE_POLICY", "deny_all")
        .env("AGENTGATE_LISTEN", "192.0.2.1:1")
        .env("POLICY_DIR", "/nonexistent")
        // A machine without root certificates.
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{complaints}");
    assert!(complaints.is_empty(), "{complaints}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left behind");
    shown
}

#[test]
fn the_tour_plays_plainly_and_leaves_nothing_behind() {
    let shown = played(&[]);
    assert_eq!(shown.lines().next(), played(&["mcp", "--plain"]).lines().next());
    for part in [
        "Buy tea",
        "notes-are-kept",
        "Notes are not deleted by agents",
        "Write a new note that says the old one is obsolete.",
        "Interns look, they do not touch",
        "note 4 written",
        "call 6",
        "agentgate audit verify",
    ] {
        assert!(shown.contains(part), "`{part}` is missing in\n{shown}");
    }
}

#[test]
fn the_tour_of_the_apis_shows_each_status_the_log_and_the_export() {
    let shown = played(&["rest"]);
    let line = |request: &str, status: &str| {
        let is_it = |line: &&str| line.contains(request) && line.trim_end().ends_with(status);
        shown.lines().filter(is_it).count()
    };
    assert_eq!(line("reader  GET /calendars/primary/events", "200"), 1, "{shown}");
    assert_eq!(line("reader  DELETE /calendars/primary/events/mock-event-1", "403"), 1, "{shown}");
    assert_eq!(line("reader  POST /calendars/primary/events", "403"), 1, "{shown}");
    assert_eq!(line("writer  POST /calendars/primary/events", "200"), 1, "{shown}");
    assert_eq!(line("hasty   GET /calendars/primary/events", "200"), 5, "{shown}");
    assert_eq!(line("hasty   GET /calendars/primary/events", "429"), 1, "{shown}");
    for part in [
        "Team meeting",
        "Events are not deleted by agents",
        "Ask whoever owns the event to cancel it.",
        "Retry-After: ",
        "reader  DELETE  delete  deny   403",
        "id,time,session,agent,",
    ] {
        assert!(shown.contains(part), "`{part}` is missing in\n{shown}");
    }
}
