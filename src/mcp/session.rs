//! A wrapped server from its start to its end: whoever leaves first, the other
//! side gets what is still due to it, and nothing is left running.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::relay::Relay;
use crate::os::{Child, Sink, Source, Stop, StopRequests, Streams};

/// How long a server may take to end by itself once its input has ended.
const END_GRACE: Duration = Duration::from_secs(2);

/// The same while it owes answers to a client that still reads: `npx` alone
/// takes seconds to start, and a script that pipes its calls in ends at once.
const ANSWER_GRACE: Duration = Duration::from_secs(8);

/// How long the output of a server that is gone may be silent before it counts
/// as ended: something that escaped may hold it open for ever.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a client may take to read what is left for it, when this process
/// was told to stop.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often an ending session is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What ended the conversation.
enum End {
    /// The server closed its output.
    ServerSilent,
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
/// Where the operating system cannot tell what became of the server.
pub async fn run(
    relay: &Relay,
    client: (Source, Sink),
    (mut child, streams): (Child, Streams),
    mut told: StopRequests,
) -> io::Result<u8> {
    let mut conversation = Conversation::new(relay, client, streams);
    let end = tokio::select! {
        () = conversation.ends() => End::ServerSilent,
        code = child.wait() => End::ServerGone(code?),
        () = relay.client_ended() => End::ClientEnded,
        how = told.next() => End::Told(how),
    };
    let end = match end {
        End::ServerSilent | End::ClientEnded => tokio::select! {
            code = conversation.beside(child.wait()) => End::ServerGone(code?),
            how = told.next() => End::Told(how),
            () = overdue(relay) => End::Told(Stop::Terminate),
        },
        other => other,
    };
    match end {
        End::Told(how) => {
            let code = conversation.beside(child.stop(how)).await?;
            // Nothing to be done for a client that does not read them.
            let _ = timeout(LAST_WORDS, conversation.ends()).await;
            Ok(code)
        }
        End::ServerGone(code) => {
            tokio::select! {
                () = conversation.ends() => {}
                () = silence(relay) => {}
                _ = told.next() => {}
            }
            Ok(code)
        }
        End::ServerSilent | End::ClientEnded => child.stop(Stop::Terminate).await,
    }
}

/// Ends when the server has had its time to end by itself.
async fn overdue(relay: &Relay) {
    let began = Instant::now();
    sleep_until(began + END_GRACE).await;
    while !relay.is_idle() && began.elapsed() < ANSWER_GRACE {
        sleep(LOOK).await;
    }
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

/// The relay at work, to be polled beside whatever else is waited for.
struct Conversation<'r> {
    relaying: Pin<Box<dyn Future<Output = ()> + 'r>>,
    over: bool,
}

impl<'r> Conversation<'r> {
    fn new(relay: &'r Relay, client: (Source, Sink), server: Streams) -> Self {
        let relaying = async move {
            if let Err(error) = relay.run(client, (server.output, server.input)).await {
                tracing::debug!(%error, "the conversation broke");
            }
        };
        Self { relaying: Box::pin(relaying), over: false }
    }

    /// Goes on to its end.
    async fn ends(&mut self) {
        if !self.over {
            self.relaying.as_mut().await;
            self.over = true;
        }
    }

    /// Goes on while `other` is waited for.
    async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        tokio::select! {
            biased;
            done = &mut other => done,
            () = self.ends() => other.await,
        }
    }
}
