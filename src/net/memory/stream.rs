//! Memory for messages of a stream, one after the other.

use bytes::Bytes;

use super::{Reservation, SMALL, SenderBudget};

/// Reservation for messages that arrive in pieces and are handed out whole. Without a budget,
/// nothing is counted.
#[derive(Debug)]
pub(crate) struct StreamReservation(Option<(SenderBudget, Reservation)>);

impl StreamReservation {
    /// An empty reservation.
    pub(crate) fn new(budget: Option<&SenderBudget>) -> Self {
        Self(budget.map(|budget| (budget.clone(), budget.reservation())))
    }

    /// Reserves `bytes` for the current message; see [`Reservation::reserve`].
    pub(crate) async fn reserve(&mut self, bytes: usize, max: usize) -> bool {
        match &mut self.0 {
            Some((_, reservation)) => reservation.reserve(bytes, max).await,
            None => true,
        }
    }

    /// Completes once the current message has to be dropped; see [`Reservation::revoked`].
    pub(crate) async fn revoked(&self) {
        match &self.0 {
            Some((_, reservation)) => reservation.revoked().await,
            None => std::future::pending().await,
        }
    }

    /// Attaches the reservation to `whole` if that is large, and starts a new one.
    pub(crate) fn attach(&mut self, whole: Bytes) -> Bytes {
        match &mut self.0 {
            Some((budget, reservation)) if whole.len() > SMALL => {
                std::mem::replace(reservation, budget.reservation()).attach(whole)
            }
            _ => whole,
        }
    }

    /// Releases the reservation for the current message.
    pub(crate) fn release(&mut self) {
        if let Some((_, reservation)) = &mut self.0 {
            reservation.release();
        }
    }
}
