//! Checks that the write-ahead log is still the one that was written.
//!
//! SQLite trusts the log's index in shared memory, which says where in the log each page is. It
//! verifies checksums only during recovery, after a crash, and then drops everything from the
//! first mismatch on. So frames that are overwritten in between would be read as valid, and
//! what is written after them lost. The file's header changes when the log is restarted, and a
//! committed frame never changes before that (<https://sqlite.org/walformat.html>). So the
//! last frame is checked with every commit, and all checksums periodically.

use std::fs::File;
use std::io;
use std::path::Path;

use super::schema::Wal;
use crate::os::files::read_at;

/// Lengths of the file's header and of a frame's header, in bytes.
const HEADER: usize = 32;
const FRAME: usize = 24;

/// The write-ahead log, and its end when last checked.
#[derive(Debug)]
pub(super) struct WalCheck {
    file: File,
    seen: Option<Seen>,
}

/// The file's header, and the header of its last committed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    header: [u8; HEADER],
    frames: i64,
    frame: [u8; FRAME],
}

impl WalCheck {
    pub(super) fn open(wal: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(wal)?, seen: None })
    }

    /// Whether the log still contains what was seen last and has only grown since, or was
    /// restarted by this program. Updates what was seen last. Requires that no other process
    /// has written.
    pub(super) fn advance(&mut self, wal: Wal, page_size: u64) -> bool {
        let now = self.read(wal.pages, page_size);
        let is_continued = match (self.seen, now) {
            (_, None) => wal.pages == 0,
            (None, Some(now)) => now.is_committed(),
            (Some(seen), Some(now)) if seen.header == now.header => {
                now.is_committed() && self.has(&seen, page_size)
            }
            (Some(seen), Some(now)) => now.is_committed() && now.starts_over_after(&seen),
        };
        if is_continued {
            self.seen = now;
        }
        is_continued
    }

    /// Accepts the current content as seen, after others have written. `false` if its last
    /// frame cannot be read or is not committed.
    pub(super) fn resync(&mut self, wal: Wal, page_size: u64) -> bool {
        let now = self.read(wal.pages, page_size);
        let is_consistent = now.map_or(wal.pages == 0, |now| now.is_committed());
        if is_consistent {
            self.seen = now;
        }
        is_consistent
    }

    /// A scan of the current frames, which does not block writers.
    pub(super) fn scan(&self, wal: Wal, page_size: u64) -> io::Result<WalScan> {
        let mut header = [0; HEADER];
        if wal.pages > 0 {
            read_at(&self.file, &mut header, 0)?;
        }
        Ok(WalScan { file: self.file.try_clone()?, header, frames: wal.pages, page_size })
    }

    /// Whether the frame that was seen is unchanged.
    fn has(&self, seen: &Seen, page_size: u64) -> bool {
        self.frame(seen.frames, page_size) == Some(seen.frame)
    }

    /// Reads the end of a log with `frames` frames; `None` if that fails.
    fn read(&self, frames: i64, page_size: u64) -> Option<Seen> {
        let frame = self.frame(frames, page_size)?;
        let mut header = [0; HEADER];
        read_at(&self.file, &mut header, 0).ok()?;
        Some(Seen { header, frames, frame })
    }

    /// Reads the header of frame `number`, counted from 1.
    fn frame(&self, number: i64, page_size: u64) -> Option<[u8; FRAME]> {
        let before = u64::try_from(number - 1).ok()?;
        let at = HEADER as u64 + before.saturating_mul(FRAME as u64 + page_size);
        let mut frame = [0; FRAME];
        read_at(&self.file, &mut frame, at).ok()?;
        Some(frame)
    }
}

/// The frames of the log at one moment.
#[derive(Debug)]
pub(super) struct WalScan {
    file: File,
    header: [u8; HEADER],
    frames: i64,
    page_size: u64,
}

impl WalScan {
    /// Whether the cumulative checksums of all frames match. `true` if the log was restarted
    /// meanwhile.
    pub(super) fn is_whole(&self) -> bool {
        self.holds().unwrap_or_default() || self.has_started_over()
    }

    fn holds(&self) -> Option<bool> {
        if self.frames <= 0 {
            return Some(true);
        }
        let is_big_endian = self.header.get(3)? & 1 == 1;
        let mut sum = checksum(is_big_endian, (0, 0), self.header.get(..24)?);
        let mut holds = self.header.get(24..)? == stored(sum);
        let size = FRAME + usize::try_from(self.page_size).ok()?;
        let mut frame = vec![0; size];
        for number in 0..u64::try_from(self.frames).ok()? {
            read_at(&self.file, &mut frame, HEADER as u64 + number * size as u64).ok()?;
            sum = checksum(is_big_endian, sum, frame.get(..8)?);
            sum = checksum(is_big_endian, sum, frame.get(FRAME..)?);
            holds &= frame.get(8..16) == self.header.get(16..24);
            holds &= frame.get(16..FRAME)? == stored(sum);
            if !holds {
                break;
            }
        }
        Some(holds)
    }

    fn has_started_over(&self) -> bool {
        let mut header = [0; HEADER];
        read_at(&self.file, &mut header, 0).is_ok() && header != self.header
    }
}

/// SQLite's checksum of `bytes`, continuing from the given sums. The length must be a multiple
/// of 8.
fn checksum(is_big_endian: bool, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let word = |word: [u8; 4]| match is_big_endian {
        true => u32::from_be_bytes(word),
        false => u32::from_le_bytes(word),
    };
    for pair in bytes.chunks_exact(8) {
        if let [a, b, c, d, e, f, g, h] = *pair {
            first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
            second = second.wrapping_add(word([e, f, g, h])).wrapping_add(first);
        }
    }
    (first, second)
}

/// A checksum as stored in the file.
fn stored((first, second): (u32, u32)) -> [u8; 8] {
    (u64::from(first) << 32 | u64::from(second)).to_be_bytes()
}

impl Seen {
    /// Whether the frame is of this generation of the log, and the last of a transaction.
    fn is_committed(&self) -> bool {
        self.frame.get(8..16) == self.header.get(16..24) && self.frame.get(4..8) != Some(&[0; 4])
    }

    /// Whether the log was restarted by the program that saw `before`: SQLite increments the
    /// first salt and chooses the second randomly.
    fn starts_over_after(&self, before: &Self) -> bool {
        let salt = |seen: &Self| seen.header.get(16..20)?.try_into().ok().map(u32::from_be_bytes);
        salt(before).is_some_and(|salt_before| salt(self) == Some(salt_before.wrapping_add(1)))
    }
}
