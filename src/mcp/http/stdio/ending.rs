//! The end of a conversation: whoever waits for an answer is told that none comes.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{FLUSH_TIMEOUT, PipedClient, UnderWay};
use crate::mcp::pending::Key;
use crate::net::body::Stopped;

impl PipedClient {
    /// Aborts requests in flight because this process ends, and waits a moment until they are
    /// answered with an error and recorded. Also answers what would come by the stream of
    /// HTTP+SSE.
    pub(super) async fn break_off(&self, answered: &mut Pin<&mut impl Future<Output = ()>>) {
        let words = &Stopped.to_string();
        let ended = async {
            // The stream would end with them, and another is not opened.
            if self.state().is_sse {
                self.state().listener.take().inspect(AbortHandle::abort);
                self.tell_unanswered_on_stream(words).await;
            }
            self.remote.break_off();
            if timeout(FLUSH_TIMEOUT, answered).await.is_err() {
                self.give_up(words).await;
            }
        };
        // A client that does not read must not block.
        let _ = timeout(FLUSH_TIMEOUT * 2, ended).await;
    }

    async fn tell_unanswered_on_stream(&self, words: &str) {
        let waiting = std::mem::take(&mut self.state().on_stream);
        for id in waiting {
            if self.settles(&id) {
                self.tell_failed(Some(id.as_bytes()), words).await;
            }
        }
    }

    /// Responds to all unanswered requests with an error.
    pub(super) async fn give_up(&self, words: &str) {
        let unanswered: HashSet<Key> = {
            let mut state = self.state();
            let on_stream = std::mem::take(&mut state.on_stream);
            let waits = |it: &UnderWay| !it.post.is_finished() && !it.is_settled && !it.listens;
            let under_way = state.posts.iter().filter(|(_, it)| waits(it));
            under_way.map(|(id, _)| id.clone()).chain(on_stream).collect()
        };
        tracing::warn!(requests = unanswered.len(), "{words}");
        for id in unanswered {
            self.tell_failed(Some(id.as_bytes()), words).await;
        }
    }

    /// Ends subscriptions.
    pub(super) fn end_listening(&self) {
        let state = self.state();
        let listening = state.posts.values().filter(|under_way| under_way.listens);
        listening.for_each(|under_way| under_way.post.abort());
    }

    /// Ends the session, within `timeout`.
    pub(super) async fn take_leave(&self, timeout: Duration) {
        let (listener, session) = {
            let mut state = self.state();
            (state.listener.take(), state.session.is_some())
        };
        if session {
            let nothing = Bytes::new();
            let farewell = self.exchange(Method::DELETE, &nothing, None);
            let _ = tokio::time::timeout(timeout, farewell).await;
        }
        listener.inspect(AbortHandle::abort);
    }
}
