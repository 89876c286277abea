//! Binds the configured address.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Binds `at`. The error message refers to `setting` for choosing another address.
pub(super) async fn bind(at: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(at).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("; stop what is using port {}, or choose another ({setting})", at.port())
            }
            io::ErrorKind::PermissionDenied => {
                format!("; ports below 1024 need root: choose another ({setting})")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("; this machine has no address {}: choose another ({setting})", at.ip())
            }
            _ => String::new(),
        };
        anyhow::anyhow!("cannot listen on {at}: {error}{advice}")
    })
}
