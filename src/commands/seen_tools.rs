//! A cache of the tools that each server listed when it was last wrapped or inspected, in
//! the data folder, one file a server: `check --seen` tests the globs of policies against
//! them. Best effort: failures to write or read it are ignored.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Home;
use crate::os::files::is_device;
use crate::policy::Seen;

/// Maximum size of a file, in bytes: 10,000 tools with long names.
const MAX_FILE: u64 = 2 << 20;

/// Maximum number of servers read.
const MAX_SERVERS: usize = 1_000;

/// Maximum length of a file name, in bytes.
const MAX_NAME: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
struct Server {
    server: String,
    tools: Vec<String>,
}

/// Stores the tools that `server` listed, if any.
pub(super) fn save(home: &Home, server: &str, mut tools: Vec<String>) {
    if tools.is_empty() {
        return;
    }
    tools.sort_unstable();
    let server = Server { server: server.to_owned(), tools };
    if let Err(error) = write(&folder(home), &server) {
        tracing::debug!(%error, "the tools that were listed are not kept");
    }
}

/// The tools of all servers.
pub(super) fn load(home: &Home) -> Seen {
    let files = fs::read_dir(folder(home)).into_iter().flatten().flatten();
    let servers = files.take(MAX_SERVERS).filter_map(|file| read(&file.path()).ok());
    let pairs = |Server { server, tools }: Server| {
        tools.into_iter().map(move |tool| (server.clone(), tool)).collect::<Vec<_>>()
    };
    Seen::new(servers.flat_map(pairs).collect())
}

fn folder(home: &Home) -> PathBuf {
    home.data.join("seen")
}

/// Writes to a temporary file and renames it, so that readers see a complete file.
fn write(folder: &Path, server: &Server) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(file_name(&server.server));
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    fs::File::create(&draft)?.write_all(&serde_json::to_vec(server)?)?;
    fs::rename(&draft, &path)
}

fn read(path: &Path) -> io::Result<Server> {
    if fs::metadata(path)?.len() > MAX_FILE || path.extension().is_none_or(|it| it != "json") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The server's name, with characters escaped that could leave the folder or are special to a
/// file system.
fn file_name(server: &str) -> String {
    let escaped = server.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02x}"),
    });
    let mut name: String = escaped.collect();
    name.truncate(MAX_NAME);
    if is_device(&name) {
        // No other escape starts like this.
        name.insert(0, '%');
    }
    name + ".json"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(folder: &tempfile::TempDir) -> Home {
        Home { config: folder.path().to_owned(), data: folder.path().join("data") }
    }

    #[test]
    fn last_listed_tools_are_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        assert_eq!(load(&home), Seen::default());
        save(&home, "git", vec!["old".to_owned()]);
        save(&home, "git", vec!["git_push".to_owned(), "git_log".to_owned()]);
        save(&home, "empty", Vec::new());
        let pair = |tool: &str| ("git".to_owned(), tool.to_owned());
        assert_eq!(load(&home), Seen::new(vec![pair("git_log"), pair("git_push")]));
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        for name in ["../../up", "/etc/passwd", "..", "a\0b", "Über", &"x".repeat(999)] {
            assert!(!file_name(name).contains(['/', '\\', '\0']), "{name}");
            save(&home, name, vec!["tool".to_owned()]);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the data folder");
        assert_eq!(fs::read_dir(home.data.join("seen")).unwrap().count(), 6);
    }

    #[test]
    fn no_name_is_a_device_of_windows() {
        assert_eq!(file_name("con"), "%con.json");
        assert_eq!(file_name("com1"), "%com1.json");
        assert_eq!(file_name("console"), "console.json");
    }

    #[test]
    fn foreign_entries_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        save(&home, "git", vec!["git_log".to_owned()]);
        fs::write(home.data.join("seen/broken.json"), "{").unwrap();
        fs::write(home.data.join("seen/other.txt"), "x").unwrap();
        assert_eq!(load(&home), Seen::new(vec![("git".to_owned(), "git_log".to_owned())]));
    }
}
