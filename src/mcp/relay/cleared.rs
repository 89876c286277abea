//! The only type that the queue to the server accepts: lines that may be sent.

use bytes::Bytes;

use crate::gate::{Permit, Receipt};
use crate::mcp::envelope::Content;
use crate::mcp::queue::Weight;

/// A line that may be sent to the server. A call can only be obtained from a permit; there is
/// no constructor from plain bytes.
#[derive(Debug)]
pub(super) struct Cleared {
    line: Bytes,
    /// Whether it is of the gate itself.
    own: bool,
}

impl Cleared {
    /// The line that was judged and recorded.
    pub(super) fn admitted(permit: Permit<Bytes>) -> (Self, Receipt) {
        let (line, receipt) = permit.redeem();
        (Self { line, own: false }, receipt)
    }

    /// A line with a message that is not subject to a decision; `None` for a call, which always
    /// is.
    pub(super) fn undecided(line: &Bytes, content: &Content<'_>) -> Option<Self> {
        match content {
            Content::Call(_) => None,
            Content::Other(_) | Content::Response { .. } => {
                Some(Self { line: line.clone(), own: false })
            }
        }
    }

    /// A line of white space.
    pub(super) fn blank(line: Bytes) -> Option<Self> {
        line.iter().all(u8::is_ascii_whitespace).then_some(Self { line, own: false })
    }

    /// A request or response of the gate itself.
    pub(super) fn own(line: impl Into<Bytes>) -> Self {
        Self { line: line.into(), own: true }
    }

    /// Whether it is of the gate itself.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }
}

impl From<Cleared> for Bytes {
    fn from(cleared: Cleared) -> Self {
        cleared.line
    }
}

impl Weight for Cleared {
    fn weight(&self) -> usize {
        self.line.len()
    }
}
