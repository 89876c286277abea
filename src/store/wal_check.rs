//! Checks that the write-ahead log is still the one that was written.
//!
//! Its index in shared memory says which pages are where in it, and SQLite believes that:
//! it looks at checksums only where a database is opened after a crash, and takes what is
//! before the first that does not hold. So what is overwritten meanwhile would be read for
//! good, and what is written after it be lost. The file's header changes when the log
//! starts over, and a frame that is committed never does before that
//! (<https://sqlite.org/walformat.html>). So the last one is looked at with every commit, and
//! the checksums of all now and then.

use std::fs::File;
use std::io;
use std::path::Path;

use super::schema::Wal;
use crate::os::files::read_at;

/// Bytes of the header of the file, and of that of a frame.
const HEADER: usize = 32;
const FRAME: usize = 24;

/// The file, and what was last in it.
#[derive(Debug)]
pub(super) struct WalCheck {
    file: File,
    seen: Option<Seen>,
}

/// The header of the file and that of its last committed frame.
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

    /// Whether all is there that was seen last, and what is `wal` now comes behind it; that is
    /// then what was seen last. Nobody but this program may have written since.
    pub(super) fn goes_on(&mut self, wal: Wal, page_size: u64) -> bool {
        let now = self.read(wal.pages, page_size);
        let goes_on = match (self.seen, now) {
            (_, None) => wal.pages == 0,
            (None, Some(now)) => now.is_committed(),
            (Some(seen), Some(now)) if seen.header == now.header => {
                now.is_committed() && self.has(&seen, page_size)
            }
            (Some(seen), Some(now)) => now.is_committed() && now.starts_over_after(&seen),
        };
        if goes_on {
            self.seen = now;
        }
        goes_on
    }

    /// Takes what there is for what was seen last: others have written it. `false` where it
    /// makes no sense.
    pub(super) fn learn(&mut self, wal: Wal, page_size: u64) -> bool {
        let now = self.read(wal.pages, page_size);
        let makes_sense = now.map_or(wal.pages == 0, |now| now.is_committed());
        if makes_sense {
            self.seen = now;
        }
        makes_sense
    }

    /// What is in the file, to be looked at while others write behind it.
    pub(super) fn walk(&self, wal: Wal, page_size: u64) -> io::Result<Walk> {
        let mut header = [0; HEADER];
        if wal.pages > 0 {
            read_at(&self.file, &mut header, 0)?;
        }
        Ok(Walk { file: self.file.try_clone()?, header, frames: wal.pages, page_size })
    }

    /// Whether a frame that was seen is there, in a file with the header that it had.
    fn has(&self, seen: &Seen, page_size: u64) -> bool {
        self.frame(seen.frames, page_size) == Some(seen.frame)
    }

    /// What is in the file, with so many frames; `None` where there are none, or they cannot
    /// be read.
    fn read(&self, frames: i64, page_size: u64) -> Option<Seen> {
        let frame = self.frame(frames, page_size)?;
        let mut header = [0; HEADER];
        read_at(&self.file, &mut header, 0).ok()?;
        Some(Seen { header, frames, frame })
    }

    /// The header of the frame of that number, counted from 1.
    fn frame(&self, number: i64, page_size: u64) -> Option<[u8; FRAME]> {
        let before = u64::try_from(number - 1).ok()?;
        let at = HEADER as u64 + before.saturating_mul(FRAME as u64 + page_size);
        let mut frame = [0; FRAME];
        read_at(&self.file, &mut frame, at).ok()?;
        Some(frame)
    }
}

/// The frames that a file has at one moment.
#[derive(Debug)]
pub(super) struct Walk {
    file: File,
    header: [u8; HEADER],
    frames: i64,
    page_size: u64,
}

impl Walk {
    /// Whether the frames are as they were written: each has the checksum of all before it.
    /// So they are where the log has started over meanwhile.
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

/// The checksum of `bytes` behind those of `sum`, which are whole pairs of words.
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

/// A checksum as it stands in the file.
fn stored((first, second): (u32, u32)) -> [u8; 8] {
    (u64::from(first) << 32 | u64::from(second)).to_be_bytes()
}

impl Seen {
    /// Whether the frame is of this file, and the last of a transaction.
    fn is_committed(&self) -> bool {
        self.frame.get(8..16) == self.header.get(16..24) && self.frame.get(4..8) != Some(&[0; 4])
    }

    /// Whether the program that saw `before` has made the log start over: it adds one to the
    /// first salt, and makes up the second.
    fn starts_over_after(&self, before: &Self) -> bool {
        let salt = |seen: &Self| seen.header.get(16..20)?.try_into().ok().map(u32::from_be_bytes);
        salt(before).is_some_and(|salt_before| salt(self) == Some(salt_before.wrapping_add(1)))
    }
}
