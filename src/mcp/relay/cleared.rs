//! What may go to the server: the one type that its queue takes.

use bytes::Bytes;

use crate::gate::{Permit, Receipt};
use crate::mcp::envelope::Content;
use crate::mcp::queue::Weight;

/// A line that may go to the server. A call comes by a permit and by nothing
/// else; there is no way from bytes alone.
#[derive(Debug)]
pub(super) struct Cleared(Bytes);

impl Cleared {
    /// The very line that was judged and recorded.
    pub(super) fn admitted(permit: Permit<Bytes>) -> (Self, Receipt) {
        let (line, receipt) = permit.redeem();
        (Self(line), receipt)
    }

    /// A line whose message the gate does not decide about; `None` for a call,
    /// about which it always does.
    pub(super) fn undecided(line: &Bytes, content: &Content<'_>) -> Option<Self> {
        match content {
            Content::Call(_) => None,
            Content::Other(_) | Content::Response => Some(Self(line.clone())),
        }
    }

    /// A line of white space.
    pub(super) fn blank(line: Bytes) -> Option<Self> {
        line.iter().all(u8::is_ascii_whitespace).then_some(Self(line))
    }

    /// What the gate itself asks or answers.
    pub(super) fn own(line: impl Into<Bytes>) -> Self {
        Self(line.into())
    }
}

impl From<Cleared> for Bytes {
    fn from(cleared: Cleared) -> Self {
        cleared.0
    }
}

impl Weight for Cleared {
    fn weight(&self) -> usize {
        self.0.len()
    }
}
