//! The `under` operator: whether a file path lies in a folder.
//!
//! Judged by the text alone, since the file system belongs to the server. So
//! whatever could make the server see another file than the text shows (a `..`
//! behind a symbolic link, a backslash, a NUL, a path relative to who knows
//! what) is not a path that can be judged.

/// A folder that paths are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder(Box<str>);

/// Why a text is no folder to hold paths against.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`under` needs an absolute path without `..`, such as `/srv/project`")]
pub(crate) struct NotAFolder;

impl Folder {
    pub(crate) fn new(path: &str) -> Result<Self, NotAFolder> {
        normalise(path).map(|path| Self(path.into())).ok_or(NotAFolder)
    }

    /// Whether `path` is the folder or lies below it; `None` where it cannot be
    /// judged.
    pub(crate) fn holds(&self, path: &str) -> Option<bool> {
        let path = normalise(path)?;
        let rest = path.strip_prefix(&*self.0);
        Some(
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || self.0.ends_with('/')
            }),
        )
    }
}

/// The absolute path without `.`, empty segments and trailing slash. A Windows
/// drive keeps its letter, in upper case. `None` where the text is not such a path.
fn normalise(path: &str) -> Option<String> {
    if path.contains(|character: char| character == '\\' || character.is_control()) {
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
        for path in ["/srv/project2", "/srv", "/", "/srv/Project/a", "C:/srv/project/a"] {
            assert_eq!(folder.holds(path), Some(false), "{path}");
        }
        assert_eq!(Folder::new("/").unwrap().holds("/etc"), Some(true));
        assert_eq!(Folder::new("c:/srv").unwrap().holds("C:/srv/x"), Some(true));
    }

    #[test]
    fn tricks_are_not_judged() {
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
        ] {
            assert_eq!(folder.holds(path), None, "{path:?}");
        }
        assert_eq!(Folder::new("project"), Err(NotAFolder));
        assert_eq!(Folder::new("/a/../b"), Err(NotAFolder));
    }

    proptest! {
        /// What passes begins with the folder, segment for segment, and climbs nowhere.
        #[test]
        fn what_is_held_lies_below(path in r"[/.\\ab\x00]{0,16}") {
            if Folder::new("/a/b").unwrap().holds(&path) == Some(true) {
                let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
                prop_assert_eq!((names.next(), names.next()), (Some("a"), Some("b")));
                prop_assert!(names.all(|name| name != ".."));
            }
        }
    }
}
