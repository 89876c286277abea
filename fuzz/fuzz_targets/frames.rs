//! Properties of line framing: the lines do not depend on how the stream is cut, and make up the
//! stream, except for those that are too long. The outline of such a line has no id other than the
//! line's.

#![no_main]

use agentgate::mcp::frames::{Frame, Frames};
use agentgate::mcp::scan::outline;
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::{Builder, Runtime};

const MAX: usize = 64;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

// Input: a byte for where the stream is cut, then the stream.
fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else { return };
    let (begin, rest) = stream.split_at(usize::from(*cut).min(stream.len()));
    let whole = RUNTIME.with(|runtime| runtime.block_on(read(stream, &[])));
    let parted = RUNTIME.with(|runtime| runtime.block_on(read(begin, rest)));
    assert_eq!(whole, parted);
    let lines = stream.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>();
    assert_eq!(whole.len(), lines.len());
    for (frame, line) in whole.iter().zip(lines) {
        match frame {
            Ok(passed) => assert_eq!(passed, line),
            Err(id) => {
                assert!(line.len() > MAX);
                assert_eq!(*id, outline(line).id);
                let value = serde_json::from_slice::<serde_json::Value>(line);
                if let (Some(id), Ok(value)) = (id, value) {
                    let id: serde_json::Value = serde_json::from_slice(id).expect("an id");
                    assert_eq!(value["id"], id);
                }
            }
        }
    }
});

/// The lines; for those that are too long, their ids.
async fn read(begin: &[u8], rest: &[u8]) -> Vec<Result<Vec<u8>, Option<Vec<u8>>>> {
    let mut frames = Frames::new(begin.chain(rest), MAX);
    let mut all = Vec::new();
    while let Some(frame) = frames.next().await.expect("bytes in memory") {
        all.push(match frame {
            Frame::Line(line) => Ok(line.to_vec()),
            Frame::Oversize(outline) => Err(outline.id),
            other => panic!("{other:?}"),
        });
    }
    all
}
