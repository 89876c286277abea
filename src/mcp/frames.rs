//! Reads lines: a stream of bytes is split at `\n` and nowhere else.

use std::io;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::scan::{Outline, Scan};
use crate::net::memory::{SMALL, SenderBudget, StreamReservation};

/// Read size in bytes: the capacity of a pipe on Linux.
const CHUNK: usize = 64 << 10;

/// Maximum capacity, in bytes, that the read buffer keeps after a large line.
const MAX_RETAINED: usize = 256 << 10;

/// Reads lines from a peer.
#[derive(Debug)]
pub struct Frames<R> {
    source: R,
    buffer: BytesMut,
    /// Length of the prefix of `buffer` known to contain no line end.
    searched: usize,
    /// Maximum length of a line without its end, in bytes.
    max: usize,
    /// State while a line that is too large is skipped.
    skipping: Option<Scan>,
    /// Memory reservation for `buffer`.
    counted: StreamReservation,
    /// Whether the line is skipped because the memory budget is exhausted.
    crowded: bool,
}

/// One line.
#[derive(Debug)]
pub enum Frame {
    /// The line with its end, unchanged. Only the last line of a stream may lack the end.
    Line(Bytes),
    /// A line over the size limit, which was skipped.
    Oversize(Outline),
    /// A line that was skipped because the memory budget was exhausted.
    Crowded(Outline),
}

/// Turns a message into a line: line ends within JSON are white space, and are replaced.
#[must_use]
pub fn line(message: &[u8]) -> Bytes {
    let mut line = message.trim_ascii().to_vec();
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    line.into()
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads lines of at most `max` bytes from `source`.
    pub fn new(source: R, max: usize) -> Self {
        let (buffer, counted) = (BytesMut::new(), StreamReservation::new(None));
        Self { source, buffer, searched: 0, max, skipping: None, counted, crowded: false }
    }

    /// Counts large lines in `budget` from reading until they are dropped. While memory is
    /// short, the source is not read.
    pub(crate) fn counted(mut self, budget: Option<&SenderBudget>) -> Self {
        self.counted = StreamReservation::new(budget);
        self
    }

    /// Reads the next line; `None` at the end of the stream. Cancel safe.
    ///
    /// # Errors
    /// Errors of the source.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered() {
                return Ok(Some(frame));
            }
            self.reserve_memory().await;
            self.resize_buffer();
            let read = tokio::select! {
                biased;
                read = self.source.read_buf(&mut self.buffer) => read?,
                () = self.counted.revoked() => {
                    self.skip_for_memory();
                    continue;
                }
            };
            if read == 0 {
                return Ok(self.last());
            }
        }
    }

    fn buffered(&mut self) -> Option<Frame> {
        let unsearched = self.buffer.get(self.searched..)?;
        let Some(found) = memchr(b'\n', unsearched) else {
            self.searched = self.buffer.len();
            if self.searched > self.max || self.skipping.is_some() {
                self.skipping.get_or_insert_default().feed(&self.buffer);
                self.forget();
            }
            return None;
        };
        let line = self.buffer.split_to(self.searched + found + 1);
        self.searched = 0;
        Some(self.frame(line))
    }

    fn last(&mut self) -> Option<Frame> {
        if self.buffer.is_empty() && self.skipping.is_none() {
            return None;
        }
        let line = self.buffer.split();
        self.searched = 0;
        Some(self.frame(line))
    }

    fn frame(&mut self, line: BytesMut) -> Frame {
        if self.skipping.is_none() && line.len() <= self.max.saturating_add(1) {
            return Frame::Line(self.counted.attach(line.freeze()));
        }
        let mut scan = self.skipping.take().unwrap_or_default();
        scan.feed(&line);
        match std::mem::take(&mut self.crowded) {
            true => Frame::Crowded(scan.finish()),
            false => Frame::Oversize(scan.finish()),
        }
    }

    /// Waits until the buffer may grow. If that takes too long, starts to skip the line.
    async fn reserve_memory(&mut self) {
        let bytes = self.buffer.len();
        if bytes < SMALL || self.skipping.is_some() {
            self.counted.release();
            return;
        }
        if !self.counted.reserve(bytes + CHUNK, self.max).await {
            self.skip_for_memory();
        }
    }

    /// Starts to skip the current line, as memory is short.
    fn skip_for_memory(&mut self) {
        self.crowded = true;
        self.skipping.get_or_insert_default().feed(&self.buffer);
        self.forget();
    }

    fn forget(&mut self) {
        self.buffer.clear();
        self.searched = 0;
        self.counted.release();
    }

    fn resize_buffer(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > MAX_RETAINED {
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < CHUNK / 4 {
            self.buffer.reserve(CHUNK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::memory::{BUDGET, MAX_WAIT, MemoryBudget};
    use proptest::prelude::*;

    fn all(source: &[u8], max: usize) -> Vec<Frame> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut frames = Frames::new(source, max);
            let mut out = Vec::new();
            while let Some(frame) = frames.next().await.unwrap() {
                out.push(frame);
            }
            out
        })
    }

    fn line(frame: &Frame) -> &[u8] {
        match frame {
            Frame::Line(line) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_end_at_line_feeds_only() {
        let frames = all("a\r\nb\u{2028}c\u{85}d\re\n\n last".as_bytes(), 100);
        let lines: Vec<_> = frames.iter().map(line).collect();
        let expected: [&[u8]; 4] = [b"a\r\n", "b\u{2028}c\u{85}d\re\n".as_bytes(), b"\n", b" last"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn oversize_line_is_skipped_and_its_id_reported() {
        let big =
            format!("{{\"id\":5,\"method\":\"x\",\"params\":\"{}\"}}\n{{}}\n", "a".repeat(300_000));
        for max in [100, 100_000, 300_000] {
            let frames = all(big.as_bytes(), max);
            let [Frame::Oversize(outline), next] = frames.as_slice() else {
                panic!("{}", frames.len())
            };
            assert_eq!(outline.id.as_deref(), Some(&b"5"[..]));
            assert!(outline.has_method);
            assert_eq!(line(next), b"{}\n");
        }
        assert_eq!(line(&all(big.as_bytes(), big.len())[0]).len(), big.len() - 3);
    }

    #[test]
    fn the_limit_itself_passes() {
        assert_eq!(line(&all(b"abcd\n", 4)[0]), b"abcd\n");
        assert!(matches!(all(b"abcde\n", 4)[..], [Frame::Oversize(_)]));
        assert!(matches!(all(b"abcdef", 4)[..], [Frame::Oversize(_)]));
    }

    /// What comes of a small line, a large one with this id, and another small one.
    async fn crowded(budget: &MemoryBudget, max: usize) -> Vec<Frame> {
        let large = format!("{{\"id\":5,\"result\":\"{}\"}}", "a".repeat(4 * SMALL));
        let source = format!("one\n{large}\nthree\n");
        let mut frames =
            Frames::new(source.as_bytes(), max).counted(Some(&budget.for_sender(&"me".into())));
        let mut out = Vec::new();
        while let Some(frame) = frames.next().await.unwrap() {
            out.push(frame);
        }
        out
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_for_which_memory_is_short_is_skipped() {
        let budget = MemoryBudget::default();
        let taken = budget.all();
        let frames = crowded(&budget, 1 << 20).await;
        let [one, Frame::Crowded(outline), three] = frames.as_slice() else { panic!("{frames:?}") };
        assert_eq!((line(one), line(three)), (&b"one\n"[..], &b"three\n"[..]));
        assert!(outline.is_response && outline.id.as_deref() == Some(&b"5"[..]));
        drop((frames, taken));
        let _all_is_given_back = budget.all();
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_waits_for_memory_and_keeps_it() {
        let budget = MemoryBudget::default();
        let taken = budget.all();
        let soon = async {
            tokio::time::sleep(MAX_WAIT / 2).await;
            drop(taken);
        };
        let (mut frames, ()) = tokio::join!(crowded(&budget, 1 << 20), soon);
        let [_, Frame::Line(large), _] = frames.as_slice() else { panic!("{frames:?}") };
        let large = large.clone();
        frames.clear();
        assert!(!budget.reservation(&"other".into()).try_reserve(BUDGET, 0), "it is held");
        drop(large);
        let _all_is_given_back = budget.all();
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[a\\r\\n]{0,40}") {
            let frames = all(text.as_bytes(), 100);
            let joined: Vec<u8> = frames.iter().flat_map(|frame| line(frame).to_vec()).collect();
            prop_assert_eq!(joined, text.as_bytes());
        }
    }
}
