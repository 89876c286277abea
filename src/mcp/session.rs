//! A wrapped server from its start to its end: whoever leaves first, the other
//! side gets what is still due to it, and nothing is left running.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::relay::Relay;
use crate::os::{Child, Source, Stop, StopRequests, Streams};

/// How long a server may take to end by itself once its input has ended.
pub(super) const END_GRACE: Duration = Duration::from_secs(2);

/// How long answers may take once the client has said its last: scripts end their
/// input at once. A client that is gone is not waited for.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// How long the output of a server that is gone may be silent before it counts
/// as ended: something that escaped may hold it open for ever.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a client may take to read what is left for it, when this process
/// was told to stop.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often an ending session is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A client, as a session sees it.
pub struct Client<T, G> {
    /// What it says.
    pub says: Source,
    /// Hands on to it what it is told, as for [`Relay::run`].
    pub told: T,
    /// Ends when it waits for nothing any more.
    pub gone: G,
}

/// What ended the conversation.
enum End {
    /// The server closed its output.
    ServerSilent,
    /// The server has closed its input. Most are about to end, and may have said
    /// something before.
    ServerDeaf,
    /// The server is gone.
    ServerGone(u8),
    /// The client has said its last, or is gone.
    ClientEnded,
    /// This process was told to stop.
    Told(Stop),
}

/// Relays until one side ends, ends the other, and gives the server's exit code.
///
/// # Errors
/// If the operating system cannot tell what became of the server.
pub async fn run(
    relay: &Arc<Relay>,
    client: Client<impl Future<Output = io::Result<()>> + Send + 'static, impl Future<Output = ()>>,
    (mut child, streams): (Child, Streams),
    mut stop: StopRequests,
) -> io::Result<u8> {
    let Client { says, told, gone } = client;
    let mut conversation = Conversation::start(relay, (says, told), streams);
    let end = tokio::select! {
        () = conversation.ends() => End::ServerSilent,
        code = child.wait() => End::ServerGone(code?),
        () = relay.server_deaf() => End::ServerDeaf,
        () = relay.client_ended() => End::ClientEnded,
        how = stop.next() => End::Told(how),
    };
    let end = match end {
        End::ServerSilent | End::ClientEnded => tokio::select! {
            code = child.wait() => End::ServerGone(code?),
            how = stop.next() => End::Told(how),
            () = overdue(relay, gone) => End::Told(Stop::Terminate),
        },
        End::ServerDeaf => tokio::select! {
            code = child.wait() => End::ServerGone(code?),
            how = stop.next() => End::Told(how),
            () = sleep(END_GRACE) => {
                tracing::warn!("the server closed its input but keeps running; it is ended");
                End::Told(Stop::Terminate)
            }
        },
        other => other,
    };
    match end {
        End::Told(how) => {
            let code = child.stop(how).await?;
            // Nothing to be done for a client that does not read them.
            let _ = timeout(LAST_WORDS, conversation.ends()).await;
            Ok(code)
        }
        End::ServerGone(code) => {
            tokio::select! {
                () = conversation.ends() => {}
                () = silence(relay) => {}
                _ = stop.next() => {}
            }
            Ok(code)
        }
        End::ServerSilent | End::ServerDeaf | End::ClientEnded => child.stop(Stop::Terminate).await,
    }
}

/// Ends when the server has had its time to end by itself: more of it while it owes
/// answers to a client that is not `gone`. That is told of those that do not come.
pub(super) async fn overdue(relay: &Relay, gone: impl Future<Output = ()>) {
    sleep(END_GRACE).await;
    let answered = async {
        while !relay.is_idle() {
            sleep(LOOK).await;
        }
    };
    let answered = tokio::select! {
        answered = timeout(LAST_ANSWERS - END_GRACE, answered) => answered,
        () = gone => return,
    };
    if answered.is_err() {
        let why = unanswered_within(LAST_ANSWERS);
        tracing::warn!("{why}");
        relay.give_up(&why).await;
    }
}

/// Why what has no answer yet gets none, so long after the end of the input.
pub(super) fn unanswered_within(patience: Duration) -> String {
    format!("no answer came within {} s after the end of the input", patience.as_secs_f32())
}

/// Ends when a server that is gone has been silent for [`SILENCE`] and the client
/// has read everything.
async fn silence(relay: &Relay) {
    let mut since = Instant::now();
    while since.elapsed() < SILENCE {
        sleep(LOOK).await;
        if !relay.is_flushed() {
            since = Instant::now();
        }
    }
}

/// The relay at work, in a task of its own: what wakes it need not look at
/// signals and processes too.
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
