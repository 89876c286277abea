//! A server that writes down every byte it gets, and a reader with all the bad habits
//! of parsers that goes through them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The Python that runs the helpers.
pub(crate) fn python() -> OsString {
    std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into())
}

/// A script of the tests over stdio, by its name.
pub(crate) fn helper(name: &str) -> OsString {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio/helpers").join(name).into()
}

/// The server that writes all it receives to `record`; see `helpers/recorder.py`.
pub(crate) fn recorder(record: &Path) -> Vec<OsString> {
    vec![python(), helper("recorder.py"), record.into()]
}

/// What the lenient reader makes of each of these.
pub(crate) fn read_leniently<'f>(received: impl IntoIterator<Item = &'f [u8]>) -> Vec<String> {
    let mut reader = Command::new(python())
        .arg(helper("lenient.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = String::new();
    for bytes in received {
        bytes.iter().for_each(|byte| write!(input, "{byte:02x}").unwrap());
        input.push('\n');
    }
    let mut stdin = reader.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = reader.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
