//! Paths relative to a folder that only the server knows: its working directory, or a home
//! directory (`~`). They may be absolute paths that policies name. Pure.

use crate::fold::{fold_text, is_much_longer};

/// Words that shells and many servers replace by the home directory, besides `~`.
const HOME: [&str; 3] = ["$home", "${home}", "%userprofile%"];

/// The rest of a path after `~`, `~user` or another word for a home directory.
pub(super) fn below_tilde(text: &str) -> Option<&str> {
    let text = text.trim_start();
    if let Some(below) = text.strip_prefix('~') {
        return below.get(below.find(['/', '\\']).unwrap_or(below.len())..);
    }
    let begins =
        |word: &&&str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let below = HOME.iter().find(begins).and_then(|word| text.get(word.len()..));
    below.filter(|below| below.is_empty() || below.starts_with(['/', '\\']))
}

/// Whether a path begins with a Windows drive.
pub(super) fn is_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

/// The rests of an absolute path that may be below a home directory. With domains, `/home` has a
/// folder for each.
pub(super) fn below_homes(path: &str) -> impl Iterator<Item = &str> {
    fn skip(path: &str) -> Option<&str> {
        path.split_once(['/', '\\']).map(|(_, below)| below)
    }
    let path = path.trim_start();
    let drive = matches!(path.as_bytes(), [_, b':', ..]).then(|| path.get(2..)).flatten();
    let path = drive.unwrap_or(path);
    let climbed = Some(path.trim_start_matches("../")).filter(|rest| rest.len() < path.len());
    let path = climbed.or_else(|| path.strip_prefix(['/', '\\'])).unwrap_or_default();
    let begins = |start: &str| {
        let folder = path.get(..start.len()).filter(|it| it.eq_ignore_ascii_case(start));
        folder.and_then(|_| path.get(start.len()..))
    };
    let some = ["home/", "users/", "users\\"].into_iter().find_map(begins).and_then(skip);
    let of_root = ["root/", "var/root/"].into_iter().find_map(begins);
    let of_domain = begins("home/").and(some).and_then(skip);
    [some, of_root, of_domain].into_iter().flatten()
}

/// Absolute paths that `~/` + `below` may lead to if it goes up by `..`. `below` has no other dot
/// segments.
pub(super) fn above_home(below: &str) -> Vec<String> {
    let Some(mut rest) = below.strip_prefix("../") else { return Vec::new() };
    while let Some(further) = rest.strip_prefix("../") {
        rest = further;
    }
    ["/", "/home/", "/Users/"].map(|root| format!("{root}{rest}")).into()
}

/// The rest of a path after `/proc/<pid>/cwd`, the working directory of a process on Linux.
fn below_proc_cwd(path: &str) -> Option<&str> {
    let (_, below) = path.trim_start().strip_prefix("/proc/")?.split_once('/')?;
    below.strip_prefix("cwd").filter(|below| below.starts_with('/'))
}

/// The rest of `text` after its base folder, if only the server knows that.
pub(super) fn relative(text: &str) -> Option<&str> {
    let text = match below_tilde(text).or_else(|| below_proc_cwd(text)) {
        Some(below) => below.trim_start_matches(['/', '\\']),
        None => text.trim(),
    };
    let mut below = text;
    while let Some(further) = below.strip_prefix("./").or_else(|| below.strip_prefix("../")) {
        below = further;
    }
    let is_relative = !below.starts_with(['/', '\\']) && !below.contains(':');
    (is_relative && !below.is_empty()).then_some(below)
}

/// The suffixes of an absolute path, or of a glob of such paths, after each of its folders.
pub(super) fn tails(path: &str) -> impl Iterator<Item = &str> {
    let is_drive = matches!(path.as_bytes(), [_, b':', b'/' | b'\\', ..]);
    let is_rooted = is_drive || path.trim_start_matches('*').starts_with(['/', '~']);
    let ends = path.match_indices(['/', '\\']).filter(move |_| is_rooted).map(|(at, _)| at + 1);
    let tails = ends.filter_map(|at| path.get(at..));
    // Suffixes of wildcards only would match any path.
    tails.filter(|tail| tail.contains(|c: char| !matches!(c, '*' | '?' | '/' | '\\' | '.')))
}

/// Whether `path` is the beginning of a home directory's path, so that anything below `~` may begin
/// with it.
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

/// Whether `text`, relative to a folder that only the server knows, may be `path`; or the absolute
/// `text` may be `path`, which is below `~`.
pub(super) fn may_be(text: &str, path: &str) -> bool {
    let may_be_it = |text: &&str| !is_much_longer(text, path.len());
    let is_of_home = |below: &str| {
        let below = fold_text(below.trim_start_matches(['/', '\\']));
        below_homes(text).filter(may_be_it).any(|other| fold_text(other) == below)
    };
    let relative = relative(text).filter(may_be_it).map(fold_text);
    relative.is_some_and(|relative| tails(path).any(|tail| relative == fold_text(tail)))
        || below_tilde(path).is_some_and(is_of_home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_match_suffixes() {
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
            ("/proc/self/cwd/a/b", Some("a/b")),
            ("/proc/a", None),
            ("/a", None),
            ("c:/a", None),
            ("x://a", None),
        ] {
            assert_eq!(relative(text), below, "{text}");
        }
        assert!(may_be(".env", "/srv/.env") && may_be("../srv/.env", "/srv/.env"));
        assert!(may_be("~/.SSH/id", "/home/me/.ssh/id"));
        for text in [
            "/home/me/.SSH/id",
            "/Users/me/.ssh/id",
            "/root/.ssh/id",
            "/home/example.org/me/.ssh/id",
            "C:/Users/me/.ssh/id",
            "$HOME/.ssh/id",
            "${HOME}/.ssh/id",
            "../../home/me/.ssh/id",
            ".ssh/id",
        ] {
            assert!(may_be(text, "~/.ssh/id"), "{text}");
        }
        for text in ["/srv/.ssh/id", "/home/.ssh/id", "/home/a/b/c/.ssh/id", "$HOMES/.ssh/id"] {
            assert!(!may_be(text, "~/.ssh/id"), "{text}");
        }
        assert!(may_be("%UserProfile%\\.ssh", "C:\\Users\\me\\.ssh"));
        assert!(!may_be("env", "/srv/.env") && !may_be("x", "a/x") && !may_be("~/a", "/home/me/b"));
    }

    #[test]
    fn home_directories_are_recognized() {
        for path in ["/", "/home", "/home/", "/home/me", "/Users/*", "C:\\Users\\me\\", "/root/"] {
            assert!(begins_homes(path), "{path}");
        }
        for path in ["/etc", "/home/me/a", "/rooted", "main", "a/home/me", ""] {
            assert!(!begins_homes(path), "{path}");
        }
        assert!(above_home("../me/.ssh").contains(&"/home/me/.ssh".to_owned()));
        assert!(above_home("../../etc/passwd").contains(&"/etc/passwd".to_owned()));
        assert_eq!(above_home("a/b"), Vec::<String>::new());
    }
}
