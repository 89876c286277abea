//! The life of a wrapped server: whichever side ends first, the other gets what is still due to it,
//! and no process is left running.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::relay::Relay;
use crate::os::{Child, Source, Stop, StopRequests, Streams};

/// How long a server may take to exit after its input has been closed.
pub(super) const END_GRACE: Duration = Duration::from_secs(2);

/// How long to wait for responses after the end of the client's input, which scripts close at
/// once. Not if the client is gone.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// How long the output of a server that has exited must be silent to count as ended: an escaped
/// child process may hold it open forever.
const OUTPUT_SILENCE: Duration = Duration::from_secs(1);

/// How long a client may take to read what is left for it when this process is stopped.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Interval of polling while a session ends.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The client's side of a session.
pub struct Client<W, G> {
    /// The client's input.
    pub input: Source,
    /// Future that writes to the client, as for [`Relay::run`].
    pub writer: W,
    /// Completes when the client no longer waits for anything.
    pub gone: G,
}

/// What ended the session.
enum End {
    /// The server closed its output.
    ServerOutputClosed,
    /// The server closed its input. Most exit soon, and may have sent something before.
    ServerInputClosed,
    /// The server exited with this code.
    ServerExited(u8),
    /// The client's input ended.
    ClientEnded,
    /// This process was told to stop.
    Stopped(Stop),
}

/// Relays until one side ends, ends the other, and returns the server's exit code.
///
/// # Errors
/// If the state of the server's process cannot be determined.
pub async fn run(
    relay: &Arc<Relay>,
    client: Client<impl Future<Output = io::Result<()>> + Send + 'static, impl Future<Output = ()>>,
    (mut child, streams): (Child, Streams),
    mut stop: StopRequests,
) -> io::Result<u8> {
    let Client { input, writer, gone } = client;
    let mut conversation = Conversation::start(relay, (input, writer), streams);
    let end = tokio::select! {
        () = conversation.ends() => End::ServerOutputClosed,
        code = child.wait() => End::ServerExited(code?),
        () = relay.server_input_closed() => End::ServerInputClosed,
        () = relay.client_ended() => End::ClientEnded,
        how = stop.next() => End::Stopped(how),
    };
    let end = match end {
        End::ServerOutputClosed | End::ClientEnded => tokio::select! {
            code = child.wait() => End::ServerExited(code?),
            how = stop.next() => End::Stopped(how),
            () = overdue(relay, gone) => End::Stopped(Stop::Terminate),
        },
        End::ServerInputClosed => tokio::select! {
            code = child.wait() => End::ServerExited(code?),
            how = stop.next() => End::Stopped(how),
            () = sleep(END_GRACE) => {
                tracing::warn!("the server closed its input but keeps running; it is ended");
                End::Stopped(Stop::Terminate)
            }
        },
        other => other,
    };
    match end {
        End::Stopped(how) => {
            let code = child.stop(how).await?;
            // If the client does not read, there is nothing else to do.
            let _ = timeout(FLUSH_TIMEOUT, conversation.ends()).await;
            Ok(code)
        }
        End::ServerExited(code) => {
            tokio::select! {
                () = conversation.ends() => {}
                () = silence(relay) => {}
                _ = stop.next() => {}
            }
            Ok(code)
        }
        End::ServerOutputClosed | End::ServerInputClosed | End::ClientEnded => {
            child.stop(Stop::Terminate).await
        }
    }
}

/// Completes when the server should have exited: after [`END_GRACE`], or later while responses
/// to a client that is not `gone` are due. Those that do not come in time, or are waited for in
/// vain, are answered with an error.
pub(super) async fn overdue(relay: &Relay, gone: impl Future<Output = ()>) {
    sleep(END_GRACE).await;
    let settled = async {
        while !relay.is_idle() && !relay.awaits_in_vain() {
            sleep(POLL_INTERVAL).await;
        }
    };
    let why = tokio::select! {
        settled = timeout(LAST_ANSWERS - END_GRACE, settled) => match settled {
            Ok(()) if relay.is_idle() => return,
            Ok(()) => NO_LIST.to_owned(),
            Err(_) => unanswered_within(LAST_ANSWERS),
        },
        () = gone => return,
    };
    tracing::warn!("{why}");
    relay.fail_all(&why).await;
}

/// The error for requests that a server does not answer for the gate either.
const NO_LIST: &str = "the server does not list its tools, and the input has ended";

/// The error for requests that were not answered in time after the end of the input.
pub(super) fn unanswered_within(time: Duration) -> String {
    format!("no answer came within {} s after the end of the input", time.as_secs_f32())
}

/// Completes when a server that has exited has been silent for [`OUTPUT_SILENCE`] and the
/// client has read everything.
async fn silence(relay: &Relay) {
    let mut since = Instant::now();
    while since.elapsed() < OUTPUT_SILENCE {
        sleep(POLL_INTERVAL).await;
        if !relay.is_flushed() {
            since = Instant::now();
        }
    }
}

/// The running relay, as a task of its own, so that its wake-ups do not poll signals and
/// processes, too.
struct Conversation {
    relaying: JoinHandle<()>,
}

impl Conversation {
    fn start(
        relay: &Arc<Relay>,
        client: (Source, impl Future<Output = io::Result<()>> + Send + 'static),
        server: Streams,
    ) -> Self {
        let relay = Arc::clone(relay);
        let relaying = tokio::spawn(async move {
            if let Err(error) = relay.run(client, (server.output, server.input)).await {
                tracing::debug!(%error, "the conversation broke");
            }
        });
        Self { relaying }
    }

    /// Waits for its end.
    async fn ends(&mut self) {
        if !self.relaying.is_finished()
            && let Err(error) = (&mut self.relaying).await
        {
            tracing::error!(%error, "the relay failed");
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}
