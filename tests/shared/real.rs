//! The real servers and SDKs: where `tests/run` installed them.

use std::path::{Path, PathBuf};

/// The folder that `tests/run` installs into: `AGENTGATE_REAL`, else
/// `real-servers` in the target folder. `None`, with a line that says so, where
/// there is nothing.
///
/// # Panics
/// Where nothing is installed but `AGENTGATE_REAL_REQUIRED` is set, as
/// `tests/run` sets it, so that its run cannot pass by skipping.
pub(crate) fn installed() -> Option<PathBuf> {
    let folder = std::env::var_os("AGENTGATE_REAL").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("real-servers"),
        PathBuf::from,
    );
    if folder.join("installed").exists() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("AGENTGATE_REAL_REQUIRED").is_none(),
        "the real servers are not installed in {}",
        folder.display()
    );
    skip("the real servers are not installed; run tests/run once");
    None
}

/// Says why a test does not run.
pub(crate) fn skip(why: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
