//! Paths that Windows, or programs on it, interpret as others. Pure.

use super::relative_path::is_drive;

/// Prefixes of device paths.
const DEVICES: [&str; 5] = ["\\\\?\\", "\\\\.\\", "//?/", "//./", "\\??\\"];
/// Folders in which programs ported from Unix show drives.
const DRIVES: [&str; 3] = ["/cygdrive/", "/mnt/", "/"];

/// Other spellings of a path.
pub(super) fn names(path: &str) -> Vec<String> {
    /// Maximum length of a path, in UTF-16 code units.
    const LONGEST: usize = 32 << 10;
    if path.len() > LONGEST || path.contains(char::is_control) {
        return Vec::new();
    }
    [of_device(path), of_drive(path), by_names(path)].into_iter().flatten().collect()
}

/// The path without a device prefix, or that of a drive's administrative share (`\\host\C$\…`).
pub(super) fn of_device(path: &str) -> Option<String> {
    let below = DEVICES.iter().find_map(|device| path.strip_prefix(device));
    let share = below.map_or(path, |below| match below.get(..4) {
        Some(start)
            if start.eq_ignore_ascii_case("UNC\\") || start.eq_ignore_ascii_case("UNC/") =>
        {
            below.get(3..).unwrap_or_default()
        }
        _ => below,
    });
    let is_share = share.len() < path.len() || share.starts_with("\\\\") || share.starts_with("//");
    let of_share = || {
        let (_, below) = share.trim_start_matches(['/', '\\']).split_once(['/', '\\'])?;
        let (drive, below) = below.split_once('$')?;
        let is_letter = drive.len() == 1 && drive.bytes().all(|byte| byte.is_ascii_alphabetic());
        (is_letter && below.starts_with(['/', '\\'])).then(|| format!("{drive}:{below}"))
    };
    is_share.then(of_share).flatten().or_else(|| below.map(ToOwned::to_owned))
}

/// The path on a drive that is shown as a folder: `/c/srv`, `/mnt/c/srv`.
pub(super) fn of_drive(path: &str) -> Option<String> {
    let below = DRIVES.iter().find_map(|drives| {
        let below = path.strip_prefix(drives)?;
        let is_letter = below.starts_with(|c: char| c.is_ascii_alphabetic());
        (is_letter && below.get(1..)?.starts_with('/')).then_some(below)
    })?;
    let (letter, below) = below.split_at_checked(1)?;
    Some(format!("{}:{below}", letter.to_ascii_uppercase()))
}

/// The path without what is ignored in names: trailing dots and spaces, and default streams
/// (`a.txt::$DATA`, `a:$I30:$INDEX_ALLOCATION`).
fn by_names(path: &str) -> Option<String> {
    let (drive, below) = path.split_at(if is_drive(path) { 2 } else { 0 });
    let is_separator = |c: char| matches!(c, '/' | '\\');
    // Trailing dots of a text without separators may end a sentence.
    let bare = if path.contains(is_separator) { bare } else { without_stream };
    let is_other = |name: &str| bare(name).len() < name.len();
    if !below.split(is_separator).any(is_other) {
        return None;
    }
    let parts = below.split_inclusive(is_separator).flat_map(|part| {
        let name = part.trim_end_matches(is_separator);
        [bare(name), part.get(name.len()..).unwrap_or_default()]
    });
    Some(drive.to_owned() + &parts.collect::<String>())
}

/// A name without trailing dots, spaces and default streams.
pub(super) fn bare(name: &str) -> &str {
    let short = without_stream(name).trim_end_matches(['.', ' ']);
    if short.is_empty() { name } else { short }
}

fn without_stream(name: &str) -> &str {
    match name.split_once(':') {
        Some((file, stream)) if stream.contains('$') && !file.is_empty() => file,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_many_paths() {
        for (path, name) in [
            ("\\\\?\\C:\\srv\\a", "C:\\srv\\a"),
            ("//./C:/srv/a", "C:/srv/a"),
            ("\\\\?\\UNC\\localhost\\C$\\srv", "C:\\srv"),
            ("\\\\127.0.0.1\\c$\\srv", "c:\\srv"),
            ("//localhost/C$/srv", "C:/srv"),
            ("/c/srv/a", "C:/srv/a"),
            ("/mnt/c/srv/a", "C:/srv/a"),
            ("C:\\srv.\\a", "C:\\srv\\a"),
            ("C:/srv /a. .", "C:/srv/a"),
            (".env::$DATA", ".env"),
            ("a/.env::$data", "a/.env"),
            ("C:/secrets:$I30:$INDEX_ALLOCATION/key", "C:/secrets/key"),
            ("secrets::$INDEX_ALLOCATION/", "secrets/"),
        ] {
            assert!(names(path).iter().any(|found| found == name), "{path:?}: {:?}", names(path));
        }
        for path in [
            "C:\\srv\\a",
            "/srv/a",
            "../a",
            "./a/..",
            "a:b",
            "https://a/b",
            "\\\\server\\share\\a",
            "//a/b",
            "/home/c/d",
            "...",
            "",
            "/c",
            "c:",
        ] {
            assert_eq!(names(path), Vec::<String>::new(), "{path:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(path in "[a./\\\\: $?C]{0,12}|\\PC{0,8}") {
            names(&path);
        }
    }
}
