//! What may go to the server: the one type that its queue takes.

use bytes::Bytes;

use crate::gate::{Permit, Receipt};
use crate::mcp::envelope::Content;
use crate::mcp::queue::Weight;

/// A line that may go to the server. A call comes by a permit and by nothing
/// else; there is no way from bytes alone.
#[derive(Debug)]
pub(super) struct Cleared {
    line: Bytes,
    /// It is the gate's own.
    own: bool,
}

impl Cleared {
    /// The very line that was judged and recorded.
    pub(super) fn admitted(permit: Permit<Bytes>) -> (Self, Receipt) {
        let (line, receipt) = permit.redeem();
        (Self { line, own: false }, receipt)
    }

    /// A line whose message the gate does not decide about; `None` for a call,
    /// about which it always does.
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

    /// What the gate itself asks or answers.
    pub(super) fn own(line: impl Into<Bytes>) -> Self {
        Self { line: line.into(), own: true }
    }

    /// Whether the gate itself asks or answers.
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
