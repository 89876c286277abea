//! Alternate spellings of a text that is a URI, a path or a list: what servers may interpret it as.
//! If a rule's answer is not the same for all of them, it is unknown. Pure.

use super::relative_path::is_drive;
use super::texts::Texts;
use super::{coercion, relative_path, shell, uri, windows};
use crate::fold::{fold_keeping_case, is_disguised};
use crate::json::{Json, Object};

/// Maximum length of a text that may be a name, in bytes.
pub(super) const LONGEST_NAME: usize = 4 << 10;

/// Alternate spellings of a text.
#[derive(Debug, Default)]
pub(super) struct AlternateSpellings {
    /// Texts with another meaning that some server may take it for: another file, another site, one
    /// element of a list.
    pub(super) others: Vec<String>,
    /// Other names of the same thing.
    pub(super) names: Vec<String>,
}

impl AlternateSpellings {
    pub(super) fn of(text: &str) -> Self {
        match is_plain(text) {
            true => Self::default(),
            false => Self::found(text),
        }
    }

    fn found(text: &str) -> Self {
        let mut found = Self::default();
        if uri::is_uri(text) {
            found = Self { others: uri::others(text), names: uri::names(text) };
            if let Some((origin, path)) = uri::split_after_host(text) {
                found.add_collapsed(&path, origin + &collapsed(&path));
            }
        }
        found.add_paths(text);
        found.add_server_forms(text);
        found.others.extend(coercion::elements(text));
        found.others.extend(coercion::addresses(text));
        // Some readers stop at a NUL.
        found.others.extend(text.split_once('\0').map(|(shown, _)| shown.to_owned()));
        found.names.extend(visible(text));
        found.names.extend(shell::readings(text));
        found.names.extend(without_trailing_dots(text));
        for readings in [&mut found.others, &mut found.names] {
            readings.retain(|reading| reading != text && !reading.is_empty());
            readings.sort_unstable();
            readings.dedup();
        }
        found
    }

    /// Adds what servers on Windows, and servers that build URLs from the text, make of it.
    fn add_server_forms(&mut self, text: &str) {
        let bare = text.trim();
        if uri::is_uri(bare) && !is_drive(bare) {
            return;
        }
        for name in uri::as_part(text).into_iter().chain(windows::names(bare)) {
            self.add_paths(&name);
            self.names.push(name);
        }
    }

    /// Adds the path that file servers make of the text: without surrounding white space and
    /// quotes, without empty and dot segments, with either kind of slash.
    fn add_paths(&mut self, text: &str) {
        let bare = text.trim();
        let bare = bare.strip_prefix(['"', '\'']).unwrap_or(bare);
        let bare = bare.strip_suffix(['"', '\'']).unwrap_or(bare);
        let has_drive = is_drive(bare);
        let has_folder = memchr::memchr2(b'/', b'\\', bare.as_bytes()).is_some();
        if !has_folder || (uri::is_uri(bare) && !has_drive) {
            return;
        }
        let (drive, below) = bare.split_at(if has_drive { 2 } else { 0 });
        let below = below.replace('\\', "/");
        if has_drive && !below.starts_with('/') {
            return;
        }
        if let Some(below) = relative_path::below_tilde(&below) {
            self.others
                .extend(relative_path::above_home(&collapsed(below.trim_start_matches('/'))));
        }
        let path = collapsed(&below);
        self.names.extend(macos_short_name(&path).map(ToOwned::to_owned));
        self.others.extend(proc_root_target(&path).map(ToOwned::to_owned));
        let path = format!("{drive}{path}");
        let backwards = path.replace('/', "\\");
        // A file may be requested like a folder.
        self.names.extend(path.strip_suffix('/').map(ToOwned::to_owned));
        match (bare.contains('/'), bare.contains('\\')) {
            (true, true) if has_drive => {
                self.add_collapsed(&below, path);
                self.add_collapsed(&below, backwards);
            }
            (true, false) if has_drive => {
                self.add_collapsed(&below, path);
                self.names.push(backwards);
            }
            // On systems without drives, a slash is not a backslash.
            (true, _) => self.add_collapsed(&below, path),
            (false, _) => {
                self.add_collapsed(&below, backwards);
                self.names.push(path);
            }
        }
    }

    /// Adds `collapsed`: as another meaning if `path` has dot segments (symbolic links), else as
    /// another name.
    fn add_collapsed(&mut self, path: &str, collapsed: String) {
        match path.split('/').any(|name| matches!(name, "." | "..")) {
            true => self.others.push(collapsed),
            false => self.names.push(collapsed),
        }
    }
}

/// Whether a text surely has no alternate spelling, so that the expensive search is skipped: a
/// name, or a path of names that no system aliases.
fn is_plain(text: &str) -> bool {
    /// Maximum length of a text that is checked, in bytes.
    const LONGEST: usize = 256;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let names = || text.strip_prefix('/').unwrap_or(text).split('/');
    let leads_on = |name: &str| {
        matches!(name, "" | "private" | "System" | "proc" | "mnt" | "cygdrive") || name.len() == 1
    };
    text.len() <= LONGEST
        && text.bytes().all(|byte| is_name(byte) || matches!(byte, b'/' | b'.'))
        && !names().next().is_some_and(leads_on)
        && names().all(|name| !name.ends_with('.') && name.bytes().any(is_name))
}

/// `text` without invisible characters, and, if it is short, without surrounding white space and
/// quotes. Keeps case.
fn visible(text: &str) -> Option<String> {
    let seen =
        (text.len() <= LONGEST_NAME || is_disguised(text)).then(|| fold_keeping_case(text))?;
    let bare = seen.trim_matches(['"', '\'']);
    (bare != text).then(|| bare.to_owned())
}

/// A name without trailing dots, which are optional in host names and dropped from file names by
/// Windows. `None` for texts with white space, which are no names.
fn without_trailing_dots(text: &str) -> Option<String> {
    let shown = text.trim();
    let short = shown.trim_end_matches(['.', ' ']);
    let is_name = text.len() <= LONGEST_NAME
        && short.ends_with(|c: char| c.is_alphanumeric())
        && !short.contains(char::is_whitespace);
    (is_name && short.len() < shown.len()).then(|| short.to_owned())
}

/// The shorter of two names of a path on macOS.
fn macos_short_name(path: &str) -> Option<&str> {
    let below =
        ["/private", "/System/Volumes/Data"].into_iter().find_map(|root| path.strip_prefix(root));
    below.filter(|below| below.starts_with('/'))
}

/// The path that `/proc/<pid>/root/…` of Linux leads to.
fn proc_root_target(path: &str) -> Option<&str> {
    let (_, below) = path.strip_prefix("/proc/")?.split_once('/')?;
    below.strip_prefix("root").filter(|below| below.starts_with('/'))
}

/// `path` without empty segments, `.` and `..`. Keeps a trailing `/`, and `://`.
fn collapsed(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    let mut rest = Some(path);
    while let Some(here) = rest {
        let end = here.find('/').unwrap_or(here.len());
        // The `scheme:/` of a URI within a text is one segment.
        let end = if here.get(end.saturating_sub(1)..).is_some_and(|here| here.starts_with("://")) {
            end + 1
        } else {
            end
        };
        let (name, after) = here.split_at(end);
        rest = after.strip_prefix('/');
        match (name, names.last()) {
            ("" | ".", _) => {}
            ("..", None) if is_absolute => {}
            ("..", Some(last)) if *last != ".." => {
                names.pop();
            }
            (name, _) => names.push(name),
        }
    }
    if names.is_empty() {
        return if is_absolute { "/" } else { "." }.to_owned();
    }
    let is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let (start, end) = (if is_absolute { "/" } else { "" }, if is_folder { "/" } else { "" });
    format!("{start}{}{end}", names.join("/"))
}

/// Which alternate spellings of a text to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spellings {
    /// Those with another meaning.
    Others,
    /// Other names of the same thing, too.
    All,
}

/// Variants of `args`: in the n-th, every text is replaced by its n-th alternate spelling.
pub(super) fn arguments<'t>(
    args: &[(&'t str, &'t Json)],
    spellings: Spellings,
    texts: &Texts<'t>,
) -> impl Iterator<Item = Object> {
    let mut readings = Vec::new();
    args.iter().for_each(|(_, value)| gather(value, spellings, texts, &mut readings));
    let most = readings.iter().map(Vec::len).max().unwrap_or_default();
    (0..most).map(move |number| {
        let mut next = readings.iter();
        object(args.iter().copied(), &mut |_| next.next()?.get(number).cloned())
    })
}

/// Collects the alternate spellings of every text in a value, in the order in which [`object`]
/// visits them.
fn gather<'t>(
    json: &'t Json,
    spellings: Spellings,
    texts: &Texts<'t>,
    found: &mut Vec<Vec<String>>,
) {
    match json {
        Json::String(text) => found.push(texts.with(text, |read| {
            let others = read.others().iter().map(|other| other.written().to_owned());
            let mut all: Vec<String> = others.collect();
            if spellings == Spellings::All {
                let names = read.names().iter().map(|name| name.written().to_owned());
                all.extend(names.chain(read.text.readings_of_whitespace().map(ToOwned::to_owned)));
            }
            all
        })),
        Json::Array(items) => {
            items.iter().for_each(|item| gather(item, spellings, texts, found));
        }
        Json::Object(members) => {
            members.iter().for_each(|(_, member)| gather(member, spellings, texts, found));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Approximate cost of evaluating these arguments, in bytes.
pub(super) fn cost<'j>(args: impl Iterator<Item = (&'j str, &'j Json)>) -> usize {
    args.map(|(key, member)| key.len() + cost_of(member)).sum()
}

fn cost_of(json: &Json) -> usize {
    /// Fixed cost of a value.
    const ONE: usize = 32;
    ONE + match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(cost_of).sum(),
        Json::Object(members) => cost(members.iter()),
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
    }
}

fn object<'j>(
    members: impl Iterator<Item = (&'j str, &'j Json)>,
    read: &mut dyn FnMut(&str) -> Option<String>,
) -> Object {
    let members = members.map(|(key, member)| (key.to_owned(), value(member, read)));
    // INVARIANT (unique keys): they are those of an object.
    Object::from_members(members.collect()).unwrap_or_default()
}

fn value(json: &Json, read: &mut dyn FnMut(&str) -> Option<String>) -> Json {
    match json {
        Json::String(text) => Json::String(read(text).unwrap_or_else(|| text.clone())),
        Json::Array(items) => Json::Array(items.iter().map(|item| value(item, read)).collect()),
        Json::Object(members) => Json::Object(object(members.iter(), read)),
        Json::Null | Json::Bool(_) | Json::Number(_) => json.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(text: &str) -> Vec<String> {
        AlternateSpellings::of(text).others
    }

    fn names(text: &str) -> Vec<String> {
        AlternateSpellings::of(text).names
    }

    #[test]
    fn path_with_dot_segments_may_be_another() {
        for (path, read) in [
            ("/./etc//passwd", "/etc/passwd"),
            ("/srv/../etc/passwd", "/etc/passwd"),
            ("/srv/../../etc/", "/etc/"),
            ("/srv/a\n/../../etc/passwd", "/etc/passwd"),
            ("\"/srv/../etc/passwd\"", "/etc/passwd"),
            ("/proc/self/root/etc/passwd", "/etc/passwd"),
            ("C:\\srv\\..\\etc", "C:\\etc"),
            ("C://srv/../etc", "C:/etc"),
            ("c:\\srv/..\\etc", "c:\\etc"),
            ("/..", "/"),
            ("./secrets/a", "secrets/a"),
            ("src/../secrets/a", "secrets/a"),
            ("src/../../secrets/a", "../secrets/a"),
            ("src\\..\\secrets", "secrets"),
            ("x/y://../../secrets/a", "secrets/a"),
            ("src/..", "."),
        ] {
            assert!(others(path).iter().any(|found| found == read), "{path:?}: {:?}", others(path));
        }
        let padded = format!("/srv/{}../etc/passwd", "./".repeat(40_000));
        assert_eq!(others(&padded), ["/etc/passwd"]);
        for text in
            ["/etc/passwd", "//etc//passwd", "C:\\srv\\a", "a: /b//c", "..", "", "// a\n// b"]
        {
            assert_eq!(others(text), Vec::<String>::new(), "{text:?}");
        }
    }

    #[test]
    fn a_path_has_several_names() {
        for (path, name) in [
            ("//etc/passwd", "/etc/passwd"),
            ("\"/etc/passwd\"", "/etc/passwd"),
            (" '/etc/passwd", "/etc/passwd"),
            ("/private/etc/passwd", "/etc/passwd"),
            ("C:\\srv\\a", "C:/srv/a"),
            ("C:/srv/a", "C:\\srv\\a"),
            ("secrets//a", "secrets/a"),
            ("secrets\\a", "secrets/a"),
            ("see https://a//b", "see https://a/b"),
            ("a.pem.", "a.pem"),
            ("evil.example. .", "evil.example"),
            (" main\n", "main"),
            ("ma\u{200b}in\0x", "main"),
        ] {
            assert!(names(path).iter().any(|found| found == name), "{path:?}: {:?}", names(path));
        }
        assert_eq!(names("/etc/passwd/."), ["/etc/passwd"]);
        for text in ["/etc/passwd", "/", "main", "Main", "and/or", "", "Mend it.", ".."] {
            assert_eq!(names(text), Vec::<String>::new(), "{text:?}");
        }
    }

    #[test]
    fn arguments_are_replaced_by_their_alternate_spellings() {
        let read = |args: &str| {
            let args = crate::json::parse(args.as_bytes()).unwrap();
            let members: Vec<_> = args.as_object().unwrap().iter().collect();
            arguments(&members, Spellings::Others, &Texts::default())
                .map(|args| args.canonical())
                .collect::<Vec<_>>()
        };
        assert_eq!(read(r#"{"a":"plain","b":1}"#), Vec::<String>::new());
        assert_eq!(
            read(r#"{"a":[{"b":"[\"x\",\"y\"]"}],"c":"./d","e":"f"}"#),
            [r#"{"a":[{"b":"x"}],"c":"d","e":"f"}"#, r#"{"a":[{"b":"y"}],"c":"./d","e":"f"}"#],
        );
    }

    proptest::proptest! {
        /// The check that skips the search is right.
        #[test]
        fn plain_text_has_no_alternate_spelling(path in "/?([a-cpP.~:@ /-]|private|System|proc|root){0,10}") {
            let found = AlternateSpellings::found(&path);
            let is_found = !found.others.is_empty() || !found.names.is_empty();
            proptest::prop_assert!(!(is_plain(&path) && is_found), "{:?}", found);
        }

        /// Collapsing is idempotent.
        #[test]
        fn collapsing_is_idempotent(path in "/?[/.ab:]{0,16}") {
            let once = collapsed(&path);
            proptest::prop_assert_eq!(&collapsed(&once), &once);
            proptest::prop_assert!(others(&once).is_empty() || once.contains(".."), "{}", once);
        }
    }
}
