//! Permissions: whether others may read the log and its key, or write policies.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Finding, shown};
use crate::config::Home;
use crate::os::files::{may_write, mode, unwritable};

/// Other files of `serve` with secrets, in the data folder.
const SECRETS: [&str; 2] = ["master.key", "mcp-servers.json"];

/// Folder of the logins to remote servers, in the data folder.
const LOGINS: &str = "logins";

/// Maximum number of directory entries examined; ours contain a handful.
const MAX_ENTRIES: usize = 1_000;

/// Permission bits of a file's mode.
const READ_OR_WRITE_BY_OTHERS: u32 = 0o077;
const WRITE_BY_OTHERS: u32 = 0o022;

pub(super) fn check(home: &Home, database: &Path) -> Vec<Finding> {
    let mut secret = belonging_to(database);
    secret
        .extend(SECRETS.map(|name| home.data.join(name)).into_iter().filter(|path| path.is_file()));
    let logins = home.data.join(LOGINS);
    secret.extend(entries(&logins).into_iter().filter(|path| path.is_file()));
    let mut exposed: Vec<_> = secret.iter().filter_map(|path| private(path)).collect();
    exposed.extend(closed(&logins));
    let mut writable = vec![home.config.clone(), home.policies()];
    writable.extend(entries(&home.config));
    writable.extend(entries(&home.policies()));
    // If both are in the same folder, the stricter rule applies to the database.
    exposed.extend(
        writable.iter().filter(|path| !secret.contains(path)).filter_map(|path| ours(path)),
    );
    if exposed.is_empty() && !secret.is_empty() {
        exposed.push(Finding::good(
            "files",
            shown(database),
            "only you can read it and the files that belong to it",
        ));
    }
    exposed
}

/// The gate's folders and database, as far as they are not writable: then nothing can be
/// recorded, and so nothing is allowed.
pub(super) fn unwritable_places(home: &Home, database: &Path) -> Vec<Finding> {
    let fix = "make the user that runs agentgate its owner (chown, chmod u+rwx), or choose another: \
               AGENTGATE_HOME for both folders, --db for the database";
    let bad = |path: &Path, error: std::io::Error| {
        Finding::bad("files", shown(path), format!("cannot be written: {error}"), fix)
    };
    let mut folders: Vec<&Path> = database.parent().into_iter().chain([&*home.data]).collect();
    folders.dedup();
    let folders = folders.into_iter().filter_map(|path| Some(bad(path, unwritable(path)?)));
    let file = database.is_file().then(|| may_write(database).err()).flatten();
    folders.chain(file.map(|error| bad(database, error))).collect()
}

/// The database and the files that belong to it: key, lock, and SQLite's own.
fn belonging_to(database: &Path) -> Vec<PathBuf> {
    let Some((folder, stem)) = database.parent().zip(database.file_stem()) else {
        return Vec::new();
    };
    let stem = stem.to_string_lossy().into_owned();
    let named = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.strip_prefix(&stem).is_some_and(|rest| rest.starts_with('.')))
    };
    entries(folder).into_iter().filter(named).filter(|path| path.is_file()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.take(MAX_ENTRIES).flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// A finding if a file with secrets or arguments can be read or written by others.
fn private(path: &Path) -> Option<Finding> {
    let mode = mode(path).filter(|mode| mode & READ_OR_WRITE_BY_OTHERS != 0)?;
    let detail = format!("others can read or write it (mode {mode:o})");
    Some(Finding::bad("files", shown(path), detail, format!("chmod 600 '{}'", shown(path))))
}

/// A finding if a folder with secrets can be accessed by others.
fn closed(path: &Path) -> Option<Finding> {
    let mode = mode(path).filter(|mode| mode & READ_OR_WRITE_BY_OTHERS != 0)?;
    let detail = format!("others can look into it (mode {mode:o})");
    Some(Finding::bad("files", shown(path), detail, format!("chmod 700 '{}'", shown(path))))
}

/// A finding if a policy or configuration can be written by others, who could allow anything.
fn ours(path: &Path) -> Option<Finding> {
    let mode = mode(path).filter(|mode| mode & WRITE_BY_OTHERS != 0)?;
    let detail = format!("others can write it (mode {mode:o}), and so decide what is allowed");
    Some(Finding::bad("files", shown(path), detail, format!("chmod go-w '{}'", shown(path))))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, mode: u32) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_readable_key_and_a_writable_policy_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home { config: folder.path().join("c"), data: folder.path().join("d") };
        fs::create_dir_all(home.policies()).unwrap();
        fs::create_dir_all(&home.data).unwrap();
        for folder in [&home.config, &home.policies()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        write(&home.database(), 0o600);
        write(&home.data.join("agentgate.key"), 0o644);
        write(&home.data.join("master.key"), 0o640);
        write(&home.data.join("unrelated.txt"), 0o644);
        write(&home.policies().join("team.yaml"), 0o664);
        write(&home.policies().join("own.yaml"), 0o644);
        let logins = home.data.join(LOGINS);
        fs::create_dir(&logins).unwrap();
        fs::set_permissions(&logins, fs::Permissions::from_mode(0o750)).unwrap();
        write(&logins.join("0f.json"), 0o604);
        write(&logins.join("0f.lock"), 0o600);
        let found = check(&home, &home.database());
        let fixes: Vec<_> = found.iter().filter_map(|finding| finding.fix.as_deref()).collect();
        assert_eq!(fixes.len(), 5, "{found:?}");
        assert!(fixes[0].starts_with("chmod 600") && fixes[0].ends_with("agentgate.key'"));
        assert!(fixes[1].starts_with("chmod 600") && fixes[1].ends_with("master.key'"));
        assert!(fixes[2].starts_with("chmod 600") && fixes[2].ends_with("0f.json'"));
        assert!(fixes[3].starts_with("chmod 700") && fixes[3].ends_with("logins'"));
        assert!(fixes[4].starts_with("chmod go-w") && fixes[4].ends_with("team.yaml'"));
    }

    #[test]
    fn unwritable_folders_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write(&file, 0o600);
        let home = Home { config: folder.path().join("c"), data: file.join("below/it") };
        let elsewhere = folder.path().join("not/yet/there/agentgate.db");
        let found = unwritable_places(&home, &elsewhere);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].detail.starts_with("cannot be written: "), "{found:?}");
        assert!(found[0].fix.as_ref().is_some_and(|fix| fix.contains("AGENTGATE_HOME")));
        assert_eq!(unwritable_places(&home, &home.database()).len(), 1, "the same is said once");
        let home = Home { data: folder.path().join("d"), ..home };
        assert_eq!(unwritable_places(&home, &elsewhere), []);
    }

    #[test]
    fn nothing_there_is_nothing_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home { config: folder.path().join("c"), data: folder.path().join("d") };
        assert_eq!(check(&home, &home.database()), []);
    }
}
