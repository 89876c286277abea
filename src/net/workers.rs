//! Worker threads. Each has a single-threaded runtime and connections of its own, from the
//! client's socket to the upstream's: handing a request to another thread would cost more
//! than everything else that is done for it.

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::connection_limit::ConnectionLimit;

/// Maximum number of workers.
pub const MAX_WORKERS: usize = 16;

/// Interval at which an idle worker wakes. Setting a timer that is due before all others wakes
/// the worker's driver by a system call, unnecessarily if the worker itself sets it; with this
/// tick pending, timers of requests are always due later.
const TICK: Duration = Duration::from_secs(5);

/// How long shutting down the workers may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    /// Number of this thread's worker; 0 outside of any.
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

/// Number of this thread's worker, from 1 to [`MAX_WORKERS`]; 0 outside of any.
#[must_use]
pub fn current() -> usize {
    WORKER.get()
}

/// The worker threads; they end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Handle>,
    next: AtomicUsize,
    limit: ConnectionLimit,
    /// Dropping it ends the threads.
    running: watch::Sender<()>,
    /// Closed once they have ended.
    ended: mpsc::Receiver<()>,
}

impl Workers {
    /// Starts one worker per processor.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (running, stopped) = watch::channel(());
        let (alive, ended) = mpsc::channel(1);
        let start = |number| worker(number, stopped.clone(), alive.clone());
        let workers = (1..=count.min(MAX_WORKERS)).map(start).collect::<io::Result<_>>()?;
        let (next, limit) = (AtomicUsize::new(0), ConnectionLimit::of_system());
        Ok(Self { workers, next, limit, running, ended })
    }

    /// Uses the current runtime as the only worker.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn this_runtime() -> Self {
        let workers = vec![Handle::current()];
        let (running, ended) = (watch::channel(()).0, mpsc::channel(1).1);
        let (next, limit) = (AtomicUsize::new(0), ConnectionLimit::of_system());
        Self { workers, next, limit, running, ended }
    }

    /// Aborts all tasks and waits until they have been dropped, so that what they report on
    /// drop has been reported. A task that blocks its thread for more than a second is
    /// abandoned.
    pub async fn close(self) {
        let Self { running, mut ended, .. } = self;
        drop(running);
        // Nothing is ever sent.
        if timeout(SHUTDOWN_TIMEOUT, ended.recv()).await.is_err() {
            tracing::warn!("a worker does not end; what it was doing is lost");
        }
    }

    /// The connection limit of these workers.
    pub(super) fn connection_limit(&self) -> &ConnectionLimit {
        &self.limit
    }

    /// Spawns `work` on the next worker, round robin.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(worker) = self.workers.get(turn % self.workers.len().max(1)) {
            worker.spawn(work);
        }
    }
}

fn worker(
    number: usize,
    mut stopped: watch::Receiver<()>,
    alive: mpsc::Sender<()>,
) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        WORKER.set(number);
        // Nothing is ever sent: the channel closes.
        runtime.block_on(async { while timeout(TICK, stopped.changed()).await.is_err() {} });
        runtime.shutdown_background();
        drop(alive);
    })?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closing_workers_drops_their_tasks() {
        let workers = Workers::start().unwrap();
        let (held, mut count) = mpsc::channel::<()>(1);
        for _ in 0..workers.workers.len() * 4 {
            let held = held.clone();
            workers.spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
        }
        drop(held);
        workers.close().await;
        assert_eq!(count.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[tokio::test]
    async fn tasks_are_distributed_round_robin() {
        let workers = Workers::start().unwrap();
        let count = workers.workers.len();
        let mut seen = Vec::new();
        for _ in 0..count * 2 {
            let (answer, worker) = tokio::sync::oneshot::channel();
            workers.spawn(async move {
                // Still there after having waited.
                tokio::task::yield_now().await;
                let _ = answer.send(current());
            });
            seen.push(worker.await.unwrap());
        }
        let expected: Vec<usize> = (1..=count).chain(1..=count).collect();
        assert_eq!(seen, expected);
        assert_eq!(current(), 0);
    }
}
