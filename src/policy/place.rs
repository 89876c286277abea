//! Paths that begin at a folder which only the server knows: where it works, or its home,
//! `~`. What policies say of other paths may be about these. Pure.

use crate::fold::loosen;

/// What a path that begins with `~` or `~somebody` has behind that.
pub(super) fn below_tilde(text: &str) -> Option<&str> {
    let below = text.trim_start().strip_prefix('~')?;
    below.get(below.find(['/', '\\']).unwrap_or(below.len())..)
}

/// Where a path below `~`, without dots, may lead that goes up from there.
pub(super) fn above(below: &str) -> Vec<String> {
    let Some(mut rest) = below.strip_prefix("../") else { return Vec::new() };
    while let Some(further) = rest.strip_prefix("../") {
        rest = further;
    }
    ["/", "/home/", "/Users/"].map(|root| format!("{root}{rest}")).into()
}

/// What `text` has behind the folder that it begins at, where only the server knows that.
pub(super) fn relative(text: &str) -> Option<&str> {
    let text = below_tilde(text).map_or(text.trim(), |below| below.trim_start_matches(['/', '\\']));
    let mut below = text;
    while let Some(further) = below.strip_prefix("./").or_else(|| below.strip_prefix("../")) {
        below = further;
    }
    let is_relative = !below.starts_with(['/', '\\']) && !below.contains(':');
    (is_relative && !below.is_empty()).then_some(below)
}

/// What is left of an absolute path, or the glob of one, behind each of the folders on its
/// way.
pub(super) fn tails(path: &str) -> impl Iterator<Item = &str> {
    let is_drive = matches!(path.as_bytes(), [_, b':', b'/' | b'\\', ..]);
    let is_rooted = is_drive || path.trim_start_matches('*').starts_with('/');
    let ends = path.match_indices(['/', '\\']).filter(move |_| is_rooted).map(|(at, _)| at + 1);
    let tails = ends.filter_map(|at| path.get(at..));
    // What is nothing but wildcards is left of any path.
    tails.filter(|tail| tail.contains(|c: char| !matches!(c, '*' | '?' | '/' | '\\' | '.')))
}

/// Whether somebody's home may begin with `path`, so that what is below `~` does.
pub(super) fn begins_homes(path: &str) -> bool {
    let is_home = |users: &&str| {
        let user = path.strip_prefix(users).map(|user| user.trim_end_matches(['/', '\\', '*']));
        user.is_some_and(|user| !user.contains(['/', '\\'])) || users.starts_with(path)
    };
    let is_of_root = |home: &&str| home.starts_with(path.trim_end_matches(['/', '*']));
    !path.is_empty()
        && (["/home/", "/Users/", "C:/Users/", "C:\\Users\\"].iter().any(is_home)
            || ["/root", "/var/root"].iter().any(is_of_root))
}

/// Whether a path from a folder that only the server knows may be `path`.
pub(super) fn may_be(text: &str, path: &str) -> bool {
    let relative = relative(text).map(loosen);
    relative.is_some_and(|relative| tails(path).any(|tail| relative == loosen(tail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_what_is_left_of_it() {
        let left = |path| tails(path).collect::<Vec<_>>();
        assert_eq!(left("/srv/a/b/"), ["srv/a/b/", "a/b/", "b/"]);
        assert_eq!(left("/srv/*/.env"), ["srv/*/.env", "*/.env", ".env"]);
        assert_eq!(left("**/.ssh/*"), [".ssh/*"]);
        assert_eq!(left("C:\\srv\\a"), ["srv\\a", "a"]);
        assert_eq!(left("src/a"), Vec::<&str>::new());
        for (text, below) in [
            ("a/b", Some("a/b")),
            ("../.././a/b", Some("a/b")),
            ("~/.ssh/id", Some(".ssh/id")),
            (" ~me/.ssh", Some(".ssh")),
            ("~", None),
            ("/a", None),
            ("c:/a", None),
            ("x://a", None),
        ] {
            assert_eq!(relative(text), below, "{text}");
        }
        assert!(may_be(".env", "/srv/.env") && may_be("../srv/.env", "/srv/.env"));
        assert!(may_be("~/.SSH/id", "/home/me/.ssh/id"));
        assert!(!may_be("env", "/srv/.env") && !may_be("x", "a/x") && !may_be("~/a", "/home/me/b"));
    }

    #[test]
    fn a_home_is_known_by_its_place() {
        for path in ["/", "/home", "/home/", "/home/me", "/Users/*", "C:\\Users\\me\\", "/root/"] {
            assert!(begins_homes(path), "{path}");
        }
        for path in ["/etc", "/home/me/a", "/rooted", "main", "a/home/me", ""] {
            assert!(!begins_homes(path), "{path}");
        }
        assert!(above("../me/.ssh").contains(&"/home/me/.ssh".to_owned()));
        assert!(above("../../etc/passwd").contains(&"/etc/passwd".to_owned()));
        assert_eq!(above("a/b"), Vec::<String>::new());
    }
}
