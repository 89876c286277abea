//! The `under` operator: whether a file path is in a folder.
//!
//! Judged by the text alone, since the file system is the server's. Whatever could lead the server
//! to another file (`..` after a symbolic link, a backslash, a NUL, a relative path) cannot be
//! judged.

use std::borrow::Cow;

use super::relative_path::is_drive;
use super::{uri, windows};
use crate::fold::fold;

/// The folder of an `under` operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder(Box<str>);

/// The folder is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`under` needs an absolute path without `..`, such as `/srv/project`")]
pub(crate) struct NotAFolder;

impl Folder {
    pub(crate) fn new(path: &str) -> Result<Self, NotAFolder> {
        normalise(path).map(|path| Self(path.into())).ok_or(NotAFolder)
    }

    /// Whether `path` is the folder or in it; `None` if that cannot be judged.
    pub(crate) fn holds(&self, path: &str) -> Option<bool> {
        let written = normalise(path)?;
        let lies_below = is_below(&written, &self.0);
        // How file systems or servers may interpret the path instead.
        let decoded = uri::decodings(path).last();
        let other = normalise(decoded.as_deref().unwrap_or(path))?;
        // On Windows, programs ported from Unix treat a folder of one letter as a drive.
        let as_drive = is_drive(&self.0).then(|| windows::of_drive(&other)).flatten();
        let other = as_file_systems_see(as_drive.as_deref().unwrap_or(&other));
        (is_below(&other, &as_file_systems_see(&self.0)) == lies_below).then_some(lies_below)
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder.ends_with('/'))
}

/// A normalized path as seen by file systems that ignore case and Unicode normalization, by its
/// shortest name (macOS also has `/etc`, `/tmp` and `/var` in `/private`), and as seen by Windows,
/// which drops the ends of some names.
fn as_file_systems_see(path: &str) -> String {
    let names: Vec<&str> = path.split('/').map(name_on_windows).collect();
    let path = names.join("/");
    let path = fold(&path);
    let path = path.strip_prefix("/system/volumes/data").unwrap_or(&path);
    let short = path
        .strip_prefix("/private")
        .filter(|rest| ["/etc", "/tmp", "/var"].iter().any(|folder| is_below(rest, folder)));
    let path = short.unwrap_or(path);
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

/// The colon of a drive is not that of a stream.
fn name_on_windows(name: &str) -> &str {
    if name.len() == 2 { name } else { windows::bare(name) }
}

/// Whether segments lead to another file than they name: through open files of a Linux process; on
/// Windows by dropped trailing characters, short names (`~1`) or streams.
fn leads_elsewhere(is_windows: bool, names: &[&str]) -> bool {
    let of_process = |name: &&str| ["root", "cwd", "fd", "task", "map_files"].contains(name);
    let is_other_on_windows = |name: &&str| {
        let is_short =
            name.split('~').skip(1).any(|end| end.starts_with(|c: char| c.is_ascii_digit()));
        name.ends_with(['.', ' ']) || name.contains(':') || is_short
    };
    match names {
        ["proc", rest @ ..] => rest.iter().any(of_process),
        ["dev", "fd", ..] => true,
        names => is_windows && names.iter().any(is_other_on_windows),
    }
}

/// An absolute path without `.`, empty segments and trailing slash; the letter of a Windows drive
/// in upper case. `None` if that is not possible.
fn normalise(path: &str) -> Option<String> {
    // On systems with drives, names contain no backslashes.
    let has_drive =
        matches!(path.as_bytes(), [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
    let path = &*if has_drive { Cow::Owned(path.replace('\\', "/")) } else { Cow::Borrowed(path) };
    let is_odd = |character: char| character == '\\' || character.is_control();
    if path.contains(is_odd) || windows::of_device(path).is_some() {
        return None;
    }
    let (drive, rest) = match path.as_bytes() {
        [letter, b':', b'/', ..] if letter.is_ascii_alphabetic() => {
            (Some(letter.to_ascii_uppercase()), path.get(2..)?)
        }
        [b'/', ..] => (None, path),
        _ => return None,
    };
    let mut normal = String::with_capacity(path.len());
    if let Some(letter) = drive {
        normal.push(char::from(letter));
        normal.push(':');
    }
    let root = normal.len();
    for segment in rest.split('/') {
        match segment {
            "" | "." => {}
            ".." => return None,
            name => {
                normal.push('/');
                normal.push_str(name);
            }
        }
    }
    let names: Vec<&str> =
        normal.get(root..).unwrap_or_default().split('/').filter(|name| !name.is_empty()).collect();
    if leads_elsewhere(drive.is_some(), &names) {
        return None;
    }
    if normal.len() == root {
        normal.push('/');
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn judges_by_whole_segments() {
        let folder = Folder::new("/srv/project/").unwrap();
        for path in ["/srv/project", "/srv/project/a", "//srv/./project//a/b", "/srv/project/..a"] {
            assert_eq!(folder.holds(path), Some(true), "{path}");
        }
        for path in ["/srv/project2", "/srv", "/", "C:/srv/project/a", "/srv/100%25/a"] {
            assert_eq!(folder.holds(path), Some(false), "{path}");
        }
        assert_eq!(Folder::new("/").unwrap().holds("/etc"), Some(true));
        assert_eq!(Folder::new("/c").unwrap().holds("/c/srv"), Some(true));
        for folder in ["c:/srv", "C:\\srv\\"] {
            assert_eq!(Folder::new(folder).unwrap().holds("C:/srv/x"), Some(true));
            assert_eq!(Folder::new(folder).unwrap().holds("C:\\srv\\x"), Some(true));
        }
    }

    #[test]
    fn ambiguous_paths_are_not_judged() {
        let folder = Folder::new("/srv/project").unwrap();
        for path in [
            "/srv/project/../secret",
            "/srv/project/a/../b",
            "/srv/project/a\0.txt",
            "/srv/project\\..\\x",
            "srv/project/x",
            "./x",
            "~/x",
            "",
            "file:///srv/project/x",
            "/srv/project/\n",
            "/srv/project/%2e%2e/secret",
            "/srv/%70roject/a",
            "/srv/Project/a",
            "/srv/pro\u{200b}ject/a",
            "/private/../srv/project",
            "/proc/self/root/srv/project/a",
            "/proc/7/cwd/a",
            "/dev/fd/3",
            "C:/srv/a.",
            "C:\\srv\\..\\x",
            "C:srv\\x",
            "\\\\server\\srv",
            "C:/PROGRA~1/a",
            "C:/a/b.txt::$DATA",
            "//?/C:/srv/project/a",
            "//localhost/C$/srv/project/a",
            "/srv/%252e%252e/srv/project/a",
            "/srv/project::$INDEX_ALLOCATION/a",
            "/srv/project./a",
        ] {
            assert_eq!(folder.holds(path), None, "{path:?}");
        }
        let etc = Folder::new("/etc").unwrap();
        for path in ["/private/etc/passwd", "/System/Volumes/Data/private/etc", "/ETC/passwd"] {
            assert_eq!(etc.holds(path), None, "{path}");
        }
        let private = Folder::new("/private/tmp").unwrap();
        assert_eq!((private.holds("/tmp/a"), private.holds("/private/tmp/a")), (None, Some(true)));
        let drive = Folder::new("C:/srv").unwrap();
        for path in ["/c/srv/a", "/mnt/c/srv", "C:/SRV/a"] {
            assert_eq!(drive.holds(path), None, "{path}");
        }
        assert_eq!((drive.holds("/c/other"), drive.holds("C:/srv/a")), (Some(false), Some(true)));
        let accents = Folder::new("/srv/caf\u{e9}").unwrap();
        assert_eq!(accents.holds("/srv/cafe\u{301}/a"), None);
        assert_eq!(Folder::new("project"), Err(NotAFolder));
        assert_eq!(Folder::new("/a/../b"), Err(NotAFolder));
    }

    proptest! {
        /// Accepted paths begin with the folder, segment by segment, and contain no `..`.
        #[test]
        fn accepted_paths_are_in_the_folder(path in r"[/.\\ab\x00]{0,16}") {
            if Folder::new("/a/b").unwrap().holds(&path) == Some(true) {
                let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
                prop_assert_eq!((names.next(), names.next()), (Some("a"), Some("b")));
                prop_assert!(names.all(|name| name != ".."));
            }
        }
    }
}
