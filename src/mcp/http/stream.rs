//! Event streams on their way to the client: each message is looked at, each
//! event passes as it came, at once, and a slow client holds up the server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::sse::Parser;
use crate::mcp::relay::Relay;
use crate::net::Body;

/// Pieces that wait for the client.
const WAITING: usize = 16;

/// How long a stream is read on for its result when its client is gone.
const AFTERWARDS: Duration = Duration::from_secs(300);

/// What the end of a stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// A client that goes away has cancelled what it asked (2026-07-28).
    Cancels,
    /// The rest may come by another stream; a client that goes away has
    /// cancelled nothing.
    MayResume,
    /// What has not come will not come.
    IsOver,
}

/// Passes `body` on as events, from a task of its own. Where a client that goes
/// away has not cancelled what it asked, the result is still waited for, to be
/// recorded.
pub(super) fn pump(body: Body, relay: Arc<Relay>, max: usize, ends: Ends) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(WAITING);
    tokio::spawn(async move {
        let ended = events(body, &relay, max, ends == Ends::Cancels, &sender).await;
        if let Err(error) = ended {
            // The client sees a stream that broke, as it did.
            let _ = sender.send(Err(std::io::Error::other(error))).await;
        }
        if ends != Ends::MayResume {
            relay.over_and_out("no answer");
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

async fn events(
    mut body: Body,
    relay: &Relay,
    max: usize,
    cancels: bool,
    sender: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), String> {
    let mut parser = Parser::new(max);
    let mut gone_since: Option<tokio::time::Instant> = None;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed(), if gone_since.is_none() => {
                if cancels {
                    return Ok(());
                }
                gone_since = Some(tokio::time::Instant::now());
                continue;
            }
            () = afterwards(gone_since) => return Ok(()),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(data) = frame.into_data() else { continue };
        parser.feed(&data);
        while let Some(event) = parser.next_event().map_err(|error| error.to_string())? {
            let passed = match event.message() {
                None => Some(event.raw.clone()),
                Some(message) => {
                    let message = Bytes::copy_from_slice(message);
                    match relay.heard(&message) {
                        Some(same) if same == message => Some(event.raw.clone()),
                        Some(other) => Some(event.carrying(other.trim_ascii())),
                        None => None,
                    }
                }
            };
            if let Some(passed) = passed {
                // A client that is gone needs nothing more.
                let _ = sender.send(Ok(passed)).await;
            }
        }
    }
    let rest = parser.rest();
    if !rest.is_empty() {
        let _ = sender.send(Ok(rest)).await;
    }
    Ok(())
}

async fn afterwards(gone_since: Option<tokio::time::Instant>) {
    match gone_since {
        Some(since) => tokio::time::sleep_until(since + AFTERWARDS).await,
        None => std::future::pending().await,
    }
}
