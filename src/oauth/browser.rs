//! Showing the login page to the user.

use std::time::Duration;

use url::Url;

/// How long the program that opens browsers has to report a failure.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Prints `page` to standard error and, if `open`, opens it in a browser, which inherits none
/// of our streams. The caller must have checked the URL: the system's opener runs more than web
/// pages.
pub(super) async fn show(server: &str, page: &Url, open: bool) {
    anstream::eprintln!("agentgate: to log in to {server}, open {page}");
    if !open {
        return;
    }
    let address = page.to_string();
    let opened = tokio::task::spawn_blocking(move || {
        open::that_detached_with_timeout(address, LAUNCH_TIMEOUT)
    });
    if let Ok(Err(error)) = opened.await {
        tracing::info!(%error, "no browser could be opened");
    }
}
