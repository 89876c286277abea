//! A bridge between a relay and a child that speaks over pipes: each line is translated on
//! its way. All requests share one stream, so a response is matched by its id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::mcp::answer;
use crate::mcp::bridge::down::{self, Down, Finding, FromServer, Probe};
use crate::mcp::bridge::{self, FromClient, raw, up::Up};
use crate::mcp::frames::{Frame, Frames};
use crate::mcp::pending::MAX_PENDING;
use crate::mcp::queue::Queue;
use crate::mcp::relay::Relay;
use crate::mcp::reply;
use crate::mcp::session::END_GRACE;
use crate::os::{Source, Streams};

/// Capacity of the pipe between relay and bridge, in bytes.
const PIPE: usize = 256 << 10;

/// Timeout for the gate's handshake with a child: `npx` alone takes seconds to start.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of requests in flight to a child; further ones are refused.
const MAX_REQUESTS: usize = MAX_PENDING;

/// Maximum length of a method's name, in bytes; no translated method is longer.
const MAX_METHOD: usize = 128;

/// Direction of a bridge.
#[derive(Debug, Clone)]
pub(super) enum Bridge {
    /// For clients that start with `initialize`, in front of a stateless child. Ends if the
    /// child turns out to support a handshake.
    Up,
    /// For stateless clients, in front of a child that needs `initialize`. The flag is set if
    /// the child turns out not to need it; no client's message has reached it then.
    Down(Arc<AtomicBool>),
}

/// Tells when a child is ready for messages: after the handshake if it is bridged, or never if
/// it turns out to need no bridge.
#[derive(Debug)]
pub(super) struct Ready(watch::Receiver<bool>);

impl Ready {
    /// For a child that is ready from the start.
    pub(super) fn at_once() -> Self {
        Self(watch::channel(true).1)
    }

    /// Waits until the child is ready; `false` if it never will be.
    pub(super) async fn is_ready(&self) -> bool {
        self.0.clone().wait_for(|made| *made).await.is_ok()
    }

    /// Whether that is still undecided.
    pub(super) fn is_open(&self) -> bool {
        !*self.0.borrow() && self.0.has_changed().is_ok()
    }
}

/// State of the translation for one child.
enum Translator {
    Up(Option<Up>),
    Down(Down),
}

/// A running bridge.
struct Translation {
    translator: Mutex<Translator>,
    /// Methods of requests in flight, by id.
    requests: Mutex<HashMap<Vec<u8>, String>>,
    to_child: Queue<Bytes>,
    to_relay: tokio::sync::Mutex<WriteHalf<DuplexStream>>,
    /// The relay that records refusals of the bridge.
    relay: Weak<Relay>,
    /// Maximum length of a message, in bytes.
    max: usize,
}

/// The bridge's end of the pipe to the relay.
struct RelayEnd {
    frames: Frames<ReadHalf<DuplexStream>>,
    output: WriteHalf<DuplexStream>,
    /// The relay that records refusals of the bridge.
    relay: Weak<Relay>,
}

/// The streams of a child.
struct ChildEnd<'q> {
    frames: Frames<Source>,
    input: &'q Queue<Bytes>,
}

impl Bridge {
    /// Inserts the bridge: returns the streams for the child's relay, and when the child is
    /// ready.
    pub(super) fn across(
        &self,
        child: Streams,
        max: usize,
        relay: Weak<Relay>,
    ) -> (Streams, Ready) {
        let (made, ready) = watch::channel(false);
        let (relays, ours) = tokio::io::duplex(PIPE);
        let (from_relay, to_relay) = tokio::io::split(ours);
        let bridge = self.clone();
        tokio::spawn(async move {
            let to_child = Queue::new();
            let (writing, input_closed) = (to_child.clone().drain(child.input), Notify::new());
            let writing = async {
                if writing.await.is_err() {
                    input_closed.notify_one();
                }
            };
            let child = ChildEnd { frames: Frames::new(child.output, max), input: &to_child };
            let frames = Frames::new(from_relay, max);
            let relay = RelayEnd { frames, output: to_relay, relay };
            let crossing = async {
                tokio::select! {
                    () = bridge.cross(relay, child, made, max) => {}
                    () = input_closed_for_grace(&input_closed) => {}
                }
                to_child.close();
            };
            tokio::join!(crossing, writing);
        });
        let (output, input) = tokio::io::split(relays);
        (Streams { input: Box::new(input), output: Box::new(output) }, Ready(ready))
    }

    async fn cross(
        &self,
        relay: RelayEnd,
        mut child: ChildEnd<'_>,
        made: watch::Sender<bool>,
        max: usize,
    ) {
        let translator = match self {
            Self::Up => {
                let accepted = timeout(HANDSHAKE_TIMEOUT, child.accepts_handshake()).await;
                if matches!(accepted, Ok(Ok(true) | Err(Exited))) {
                    return;
                }
                Translator::Up(None)
            }
            Self::Down(is_native) => {
                let made = timeout(HANDSHAKE_TIMEOUT, child.handshake()).await;
                match made.unwrap_or(Ok(None)) {
                    Ok(Some(down)) => Translator::Down(down),
                    Ok(None) => return is_native.store(true, Ordering::Relaxed),
                    Err(Exited) => return,
                }
            }
        };
        made.send_replace(true);
        let translation = Translation {
            translator: Mutex::new(translator),
            requests: Mutex::default(),
            to_child: child.input.clone(),
            to_relay: tokio::sync::Mutex::new(relay.output),
            relay: relay.relay,
            max,
        };
        tokio::join!(translation.inward(relay.frames), translation.outward(child.frames));
    }
}

/// Completes when a child that has closed its input should have exited, which the relay does
/// not notice.
async fn input_closed_for_grace(input_closed: &Notify) {
    input_closed.notified().await;
    sleep(END_GRACE).await;
}

/// The child exited before responding, which shows nothing about its era.
#[derive(Debug, PartialEq, Eq)]
struct Exited;

impl ChildEnd<'_> {
    async fn send(&mut self, message: &[u8]) -> Result<(), Exited> {
        self.input.push(line(message)).await.map_err(|_| Exited)
    }

    /// The next readable line.
    async fn next_line(&mut self) -> Result<Bytes, Exited> {
        loop {
            if let Frame::Line(line) = self.frames.next().await.ok().flatten().ok_or(Exited)? {
                return Ok(line);
            }
        }
    }

    /// Whether the child supports a handshake with the gate: then it did not refuse the
    /// client's because of its era.
    async fn accepts_handshake(&mut self) -> Result<bool, Exited> {
        self.send(&Probe::Initialize.message()).await?;
        loop {
            let answer = self.next_line().await?;
            if Probe::answered_by(&answer) == Some(Probe::Initialize) {
                return Ok(down::accepts_handshake(&answer));
            }
        }
    }

    /// Performs the gate's handshake. `None` if the child speaks the stateless era, or supports
    /// no handshake.
    async fn handshake(&mut self) -> Result<Option<Down>, Exited> {
        for probe in Probe::ALL {
            self.send(&probe.message()).await?;
        }
        loop {
            let answer = self.next_line().await?;
            match Probe::answered_by(&answer).map(|probe| probe.evaluate(&answer)) {
                Some(Finding::NoBridge) => return Ok(None),
                Some(Finding::Handshake(down)) => {
                    self.send(down::INITIALIZED.as_bytes()).await?;
                    return Ok(Some(down));
                }
                Some(Finding::Nothing) | None => {}
            }
        }
    }
}

impl Translation {
    /// Forwards from the relay to the child. Either's end ends the other.
    async fn inward(&self, mut frames: Frames<ReadHalf<DuplexStream>>) {
        while let Ok(Some(frame)) = frames.next().await {
            let Frame::Line(message) = frame else { continue };
            let message = message.slice_ref(message.trim_ascii());
            let pushed = match self.translate_from_client(&message) {
                FromClient::Forward(message) => self.to_child.push(line(&message)).await.is_ok(),
                // Over pipes, both eras cancel with the same notification.
                FromClient::Cancel(_) => self.to_child.push(line(&message)).await.is_ok(),
                FromClient::Answer(answer) => self.send_to_relay(&answer).await,
                FromClient::Drop => true,
            };
            if !pushed {
                break;
            }
        }
        self.to_child.close();
    }

    fn translate_from_client(&self, message: &Bytes) -> FromClient {
        let method = raw(message, &["method"]).and_then(answer::string);
        let id = raw(message, &["id"]);
        if let (Some(id), Some(_)) = (id, &method)
            && self.is_full(id)
        {
            return FromClient::Answer(reply::too_many(Some(id), MAX_REQUESTS).into());
        }
        let step = match &mut *self.translator() {
            Translator::Down(down) => down.translate_from_client(message),
            Translator::Up(Some(up)) => up.translate_from_client(message),
            Translator::Up(opening) => match Up::open(message) {
                Some((up, discover)) => {
                    *opening = Some(up);
                    FromClient::Forward(discover)
                }
                None => FromClient::Forward(message.clone()),
            },
        };
        match (&step, id, method) {
            (FromClient::Forward(_), Some(id), Some(method)) => {
                let method = Some(method).filter(|method| method.len() <= MAX_METHOD);
                self.requests().insert(id.to_vec(), method.unwrap_or_default());
            }
            // It may never be answered.
            (FromClient::Cancel(id), ..) => drop(self.requests().remove(id)),
            _ => {}
        }
        step
    }

    /// Whether another request with this id would exceed the limit.
    fn is_full(&self, id: &[u8]) -> bool {
        let requests = self.requests();
        requests.len() >= MAX_REQUESTS && !requests.contains_key(id)
    }

    /// Forwards from the child to the relay.
    async fn outward(&self, mut frames: Frames<Source>) {
        while let Ok(Some(frame)) = frames.next().await {
            let message = match frame {
                Frame::Line(message) => message.slice_ref(message.trim_ascii()),
                Frame::Oversize(outline) if outline.is_response => {
                    reply::too_large(outline.id.as_deref(), self.max).into()
                }
                Frame::Oversize(_) | Frame::Crowded(_) => continue,
            };
            let refused = bridge::refused(&message);
            if let Some(relay) = self.relay.upgrade().filter(|_| !refused.is_empty()) {
                relay.record_not_bridged(&refused).await;
            }
            let delivered = match self.translate_from_server(&message) {
                FromServer::Forward(message) => self.send_to_relay(&message).await,
                FromServer::Drop => true,
                FromServer::Answer(reply) => {
                    // Without waiting: a child that is writing may not be reading.
                    if self.to_child.try_push(line(&reply)).is_err() {
                        tracing::warn!("a child reads nothing: an answer to it is dropped");
                    }
                    true
                }
            };
            if !delivered {
                break;
            }
        }
        let _ = self.to_relay.lock().await.shutdown().await;
    }

    fn translate_from_server(&self, message: &Bytes) -> FromServer {
        let answers = raw(message, &["method"]).is_none();
        let id = raw(message, &["id"]).filter(|_| answers);
        let method = id.and_then(|id| self.requests().remove(id)).unwrap_or_default();
        match &*self.translator() {
            Translator::Down(_) => Down::translate_from_server(&method, message),
            Translator::Up(Some(up)) if method == "initialize" => {
                FromServer::Forward(up.opened(message).unwrap_or_else(|| message.clone()))
            }
            Translator::Up(_) => FromServer::Forward(Up::translate_from_server(&method, message)),
        }
    }

    async fn send_to_relay(&self, message: &[u8]) -> bool {
        let mut to_relay = self.to_relay.lock().await;
        to_relay.write_all(&line(message)).await.is_ok()
    }

    fn translator(&self) -> MutexGuard<'_, Translator> {
        self.translator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<Vec<u8>, String>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(message: &[u8]) -> Bytes {
    [message, b"\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

    /// A bridge and the two ends of its child.
    fn bridged() -> (Streams, BufReader<DuplexStream>, DuplexStream) {
        let (input, childs) = tokio::io::duplex(PIPE);
        let (output, output_of_child) = tokio::io::duplex(PIPE);
        let child = Streams { input: Box::new(input), output: Box::new(output) };
        (Bridge::Up.across(child, 1 << 10, Weak::new()).0, BufReader::new(childs), output_of_child)
    }

    fn request(id: usize) -> Bytes {
        line(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}").as_bytes())
    }

    /// Whether a child that answers the handshake so turns out to want no bridge.
    async fn is_native_after(answer: &str) -> bool {
        let (input, _childs) = tokio::io::duplex(PIPE);
        let (output, mut output_of_child) = tokio::io::duplex(PIPE);
        let child = Streams { input: Box::new(input), output: Box::new(output) };
        let is_native = Arc::new(AtomicBool::new(false));
        let (_relays, ready) =
            Bridge::Down(Arc::clone(&is_native)).across(child, 1 << 10, Weak::new());
        output_of_child.write_all(answer.as_bytes()).await.unwrap();
        drop(output_of_child);
        assert!(!ready.is_ready().await, "it takes no message");
        is_native.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn exit_during_the_handshake_does_not_reveal_the_era() {
        let id = Probe::Initialize.id();
        let refused = format!("{{\"id\":{id},\"error\":{{\"code\":-32601}}}}\n");
        assert!(is_native_after(&refused).await);
        assert!(!is_native_after("starting\n").await);
    }

    #[tokio::test]
    async fn requests_in_flight_per_child_are_limited() {
        let (mut relays, mut child, mut output_of_child) = bridged();
        let mut line = String::new();
        child.read_line(&mut line).await.unwrap();
        assert!(line.contains("\"initialize\""), "{line}");
        let id = Probe::Initialize.id();
        let refused = format!("{{\"id\":{id},\"error\":{{\"code\":-32601}}}}\n");
        output_of_child.write_all(refused.as_bytes()).await.unwrap();
        let sending = async {
            for id in 0..=MAX_REQUESTS {
                relays.input.write_all(&request(id)).await.unwrap();
            }
        };
        let taking = async {
            let mut line = String::new();
            for _ in 0..MAX_REQUESTS {
                line.clear();
                child.read_line(&mut line).await.unwrap();
            }
        };
        tokio::join!(sending, taking);
        let mut answers = BufReader::new(relays.output).lines();
        let refused = answers.next_line().await.unwrap().unwrap();
        assert!(refused.contains("\"error\"") && refused.contains(&format!("{MAX_REQUESTS}")));
        // An answer makes room for another request.
        output_of_child.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n").await.unwrap();
        assert!(answers.next_line().await.unwrap().unwrap().contains("result"));
        relays.input.write_all(&request(MAX_REQUESTS)).await.unwrap();
        let mut line = String::new();
        child.read_line(&mut line).await.unwrap();
        assert!(line.contains(&format!("\"id\":{MAX_REQUESTS}")), "{line}");
    }

    #[tokio::test(start_paused = true)]
    async fn child_that_closes_its_input_but_does_not_exit_is_ended() {
        let (mut relays, closed, _it_lives) = bridged();
        drop(closed);
        relays.input.write_all(b"{\"id\":1,\"method\":\"ping\"}\n").await.unwrap();
        let mut output_of_child = Vec::new();
        let ended =
            timeout(HANDSHAKE_TIMEOUT, relays.output.read_to_end(&mut output_of_child)).await;
        assert!(ended.is_ok() && output_of_child.is_empty());
    }
}
