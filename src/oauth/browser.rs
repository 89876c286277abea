//! Having a person see a page.

use std::time::Duration;

use url::Url;

/// How long a program that opens browsers may take to say that it cannot.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells `page` on standard error, and opens it in a browser where `open`. The
/// browser shares none of our streams. The caller vouches for the address:
/// systems run more than pages by such means.
pub(super) async fn show(server: &str, page: &Url, open: bool) {
    anstream::eprintln!("agentgate: to log in to {server}, open {page}");
    if !open {
        return;
    }
    let address = page.to_string();
    let opened =
        tokio::task::spawn_blocking(move || open::that_detached_with_timeout(address, PATIENCE));
    if let Ok(Err(error)) = opened.await {
        tracing::info!(%error, "no browser could be opened");
    }
}
