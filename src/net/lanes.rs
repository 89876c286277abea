//! Lanes: threads that each have connections of their own, from the client's
//! socket to the upstream's. A request never waits for another thread to wake
//! up, which costs more than all that is done for it.

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::places::Places;

/// Lanes at most; more processors than this serve other things.
pub const MAX_LANES: usize = 16;

/// How often a lane wakes for nothing. Whoever sets a timer that is due before all
/// others wakes the lane's driver, with a system call and for nothing where it is
/// the lane itself; the timers of requests are all due later than this one.
const TICK: Duration = Duration::from_secs(5);

/// How long the lanes may take to end.
const END: Duration = Duration::from_secs(1);

thread_local! {
    /// Which lane this thread is; 0 where it is none.
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// The lane of the present thread, from 1 to [`MAX_LANES`]; 0 outside of any.
#[must_use]
pub fn here() -> usize {
    LANE.get()
}

/// Threads to serve on; they end with this.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Handle>,
    next: AtomicUsize,
    places: Places,
    /// Dropped, it ends the threads.
    running: watch::Sender<()>,
    /// Closed once they have ended.
    ended: mpsc::Receiver<()>,
}

impl Lanes {
    /// One lane a processor.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (running, stopped) = watch::channel(());
        let (alive, ended) = mpsc::channel(1);
        let start = |number| lane(number, stopped.clone(), alive.clone());
        let lanes = (1..=count.min(MAX_LANES)).map(start).collect::<io::Result<_>>()?;
        let (next, places) = (AtomicUsize::new(0), Places::of_system());
        Ok(Self { lanes, next, places, running, ended })
    }

    /// The present runtime as the only lane.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn this_runtime() -> Self {
        let lanes = vec![Handle::current()];
        let (running, ended) = (watch::channel(()).0, mpsc::channel(1).1);
        let (next, places) = (AtomicUsize::new(0), Places::of_system());
        Self { lanes, next, places, running, ended }
    }

    /// Breaks off what is still running and waits until all of it is gone: what it leaves
    /// behind, such as the result of an answer that was broken off, has been said then.
    /// Work that holds its thread for more than a second is given up.
    pub async fn close(self) {
        let Self { running, mut ended, .. } = self;
        drop(running);
        // Nothing is ever sent.
        if timeout(END, ended.recv()).await.is_err() {
            tracing::warn!("a lane does not end; what it was doing is lost");
        }
    }

    /// The places of all who are served on these lanes.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Runs `work` on one lane, by turns.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(lane) = self.lanes.get(turn % self.lanes.len().max(1)) {
            lane.spawn(work);
        }
    }
}

fn lane(
    number: usize,
    mut stopped: watch::Receiver<()>,
    alive: mpsc::Sender<()>,
) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
        LANE.set(number);
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
    async fn what_was_running_is_gone_once_they_are_closed() {
        let lanes = Lanes::start().unwrap();
        let (held, mut count) = mpsc::channel::<()>(1);
        for _ in 0..lanes.lanes.len() * 4 {
            let held = held.clone();
            lanes.spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
        }
        drop(held);
        lanes.close().await;
        assert_eq!(count.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[tokio::test]
    async fn work_goes_to_each_lane_in_turn() {
        let lanes = Lanes::start().unwrap();
        let count = lanes.lanes.len();
        let mut seen = Vec::new();
        for _ in 0..count * 2 {
            let (answer, lane) = tokio::sync::oneshot::channel();
            lanes.spawn(async move {
                // Still there after having waited.
                tokio::task::yield_now().await;
                let _ = answer.send(here());
            });
            seen.push(lane.await.unwrap());
        }
        let expected: Vec<usize> = (1..=count).chain(1..=count).collect();
        assert_eq!(seen, expected);
        assert_eq!(here(), 0);
    }
}
