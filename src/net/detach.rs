//! Futures that run to their end even when dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A future that continues in a task of its own if it is dropped before completion. Spawning
/// from the start would cost every request what only few need.
pub(crate) struct DetachOnDrop<T: Send + 'static> {
    /// `None` once it has completed or panicked.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: Send + 'static> DetachOnDrop<T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)) }
    }
}

impl<T: Send + 'static> Future for DetachOnDrop<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken, so that a future that panics is not polled again.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for DetachOnDrop<T> {
    fn drop(&mut self) {
        // Outside of a runtime it is dropped.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn dropped_future_continues() {
        let (resume, resumed) = oneshot::channel();
        let (done, seen) = oneshot::channel();
        let mut work = DetachOnDrop::new(async move {
            resumed.await.unwrap();
            done.send("done").unwrap();
        });
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut work).await.is_err());
        drop(work);
        resume.send(()).unwrap();
        assert_eq!(seen.await, Ok("done"));
    }

    #[tokio::test]
    async fn awaited_future_returns_its_output() {
        assert_eq!(DetachOnDrop::new(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn panicking_future_is_finished() {
        let work = tokio::spawn(DetachOnDrop::<()>::new(async { panic!("on purpose") }));
        assert!(work.await.unwrap_err().is_panic());
    }
}
