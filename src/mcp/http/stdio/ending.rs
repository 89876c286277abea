//! The end of a conversation: each request that will not be answered gets an error.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;

use super::{End, FLUSH_TIMEOUT, InFlight, PipedClient, SESSION_END_TIMEOUT};
use crate::mcp::pending::Key;
use crate::mcp::session::unanswered_within;
use crate::net::body::Stopped;

impl PipedClient {
    /// Waits for the responses that are due, unless the client is `gone` or the server ends the
    /// conversation. Those that do not come in time are answered with an error. Returns what
    /// ended the conversation in the end: `end`, or `stop`.
    pub(super) async fn drain(
        &self,
        end: End,
        (ordered, posts): (&mut JoinHandle<()>, &mut JoinSet<()>),
        (gone, mut stop): (impl Future<Output = ()>, Pin<&mut impl Future<Output = ()>>),
    ) -> End {
        self.end_listening();
        let mut answered = std::pin::pin!(async {
            let _ = ordered.await;
            while posts.join_next().await.is_some() {}
            self.answered_on_stream().await;
        });
        let limit = if end == End::Stopped { self.drain_timeout } else { self.last_answers };
        tokio::select! {
            done = timeout(limit, &mut answered) => match (done, end) {
                (Ok(()), _) => {}
                (Err(_), End::Stopped) => self.abort_in_flight(&mut answered).await,
                (Err(_), _) => {
                    let error = unanswered_within(self.last_answers);
                    let _ = timeout(FLUSH_TIMEOUT, self.fail_all(&error)).await;
                }
            },
            () = gone => {}
            () = self.client_gone.notified() => {}
            () = self.server_gone.notified() => {}
            // Clients close the input, and send a signal if the process does not exit soon.
            () = &mut stop, if end != End::Stopped => {
                self.abort_in_flight(&mut answered).await;
                return End::Stopped;
            }
        }
        end
    }

    /// Ends the session, and waits until the client has been written what is left for it.
    pub(super) async fn close(&self, end: End, writing: JoinHandle<()>) {
        let limit = if end == End::Stopped { FLUSH_TIMEOUT } else { SESSION_END_TIMEOUT };
        self.end_session(limit).await;
        self.to_client.close();
        let _ = timeout(FLUSH_TIMEOUT, writing).await;
        self.remote.close().await;
    }

    /// Aborts requests in flight because this process ends, and waits a moment until they are
    /// answered with an error and recorded. Also answers what would come by the stream of
    /// HTTP+SSE.
    async fn abort_in_flight(&self, answered: &mut Pin<&mut impl Future<Output = ()>>) {
        let error = &Stopped.to_string();
        let ended = async {
            // The stream would end with them, and another is not opened.
            if self.state().is_sse {
                self.state().listener.take().inspect(AbortHandle::abort);
                self.fail_unanswered_on_stream(error).await;
            }
            self.remote.abort_in_flight();
            if timeout(FLUSH_TIMEOUT, answered).await.is_err() {
                self.fail_all(error).await;
            }
        };
        // A client that does not read must not block.
        let _ = timeout(FLUSH_TIMEOUT * 2, ended).await;
    }

    async fn fail_unanswered_on_stream(&self, error: &str) {
        let waiting = std::mem::take(&mut self.state().on_stream);
        for id in waiting {
            if self.mark_settled(&id) {
                self.send_error(Some(id.as_bytes()), error).await;
            }
        }
    }

    /// Responds to all unanswered requests with an error.
    async fn fail_all(&self, error: &str) {
        let unanswered: HashSet<Key> = {
            let mut state = self.state();
            let on_stream = std::mem::take(&mut state.on_stream);
            let waits = |it: &InFlight| !it.post.is_finished() && !it.is_settled && !it.listens;
            let in_flight = state.posts.iter().filter(|(_, it)| waits(it));
            in_flight.map(|(id, _)| id.clone()).chain(on_stream).collect()
        };
        tracing::warn!(requests = unanswered.len(), "{error}");
        for id in unanswered {
            self.send_error(Some(id.as_bytes()), error).await;
        }
    }

    /// Ends subscriptions.
    fn end_listening(&self) {
        let state = self.state();
        let listening = state.posts.values().filter(|in_flight| in_flight.listens);
        listening.for_each(|in_flight| in_flight.post.abort());
    }

    /// Ends the session, within `timeout`.
    async fn end_session(&self, timeout: Duration) {
        let (listener, session) = {
            let mut state = self.state();
            (state.listener.take(), state.session.is_some())
        };
        if session {
            let nothing = Bytes::new();
            let deletion = self.exchange(Method::DELETE, &nothing, None);
            let _ = tokio::time::timeout(timeout, deletion).await;
        }
        listener.inspect(AbortHandle::abort);
    }
}
