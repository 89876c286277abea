//! The demo tells the truth: it ends well only where every scene went as told.

#![cfg(test)]

use std::process::Command;

#[test]
fn the_tour_plays_plainly_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agentgate"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .env("TMP", folder.path())
        .env("AGENTGATE_POLICY", "deny_all")
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{complaints}");
    assert!(complaints.is_empty(), "{complaints}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
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
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left behind");
}
