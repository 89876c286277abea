//! How else a text may be read than as it is written: a URI, a path, or a list in some
//! other spelling of it. What the rules say of each has to be the same to be certain. Pure.

use super::{coercion, uri};
use crate::json::{Json, Object};

/// Longest path that some system takes, in bytes.
const LONGEST_PATH: usize = 32 << 10;
/// Most readings of one text that arguments are judged in.
const MOST: usize = 64;

/// The readings of `text` besides itself.
pub(super) fn readings(text: &str) -> Vec<String> {
    let mut readings = uri::readings(text);
    readings.extend(paths(text));
    readings.extend(coercion::elements(text));
    readings
}

/// The path that file servers make of one: without what stands around it, without empty
/// segments and dots. None where it is no path, or written so.
fn paths(text: &str) -> Vec<String> {
    if text.len() > LONGEST_PATH {
        return Vec::new();
    }
    let bare = text.trim();
    let bare = bare.strip_prefix(['"', '\'']).unwrap_or(bare);
    let bare = bare.strip_suffix(['"', '\'']).unwrap_or(bare);
    let drive = bare.get(..2).filter(|drive| is_drive(drive));
    let below = drive.map_or(bare, |_| bare.get(2..).unwrap_or_default());
    let collapsed = match (drive, below.chars().next()) {
        (Some(drive), Some('/' | '\\')) => {
            format!("{drive}{}", collapsed(&below.replace('\\', "/")))
        }
        (None, Some('/')) => collapsed(below),
        _ => return Vec::new(),
    };
    let backwards = drive.map(|_| collapsed.replace('/', "\\"));
    let both = std::iter::once(collapsed).chain(backwards);
    both.filter(|path| path != text).collect()
}

fn is_drive(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

/// An absolute path without empty segments, `.` and `..`; a `/` at its end stays.
fn collapsed(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    let is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let end = if is_folder && !names.is_empty() { "/" } else { "" };
    format!("/{}{end}", names.join("/"))
}

/// Whether some text in it has other readings.
pub(super) fn is_read_otherwise(json: &Json) -> bool {
    match json {
        Json::String(text) => !readings(text).is_empty(),
        Json::Array(items) => items.iter().any(is_read_otherwise),
        Json::Object(members) => members.iter().any(|(_, member)| is_read_otherwise(member)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

/// Arguments in which every text is one of its readings: what differs, differs at once.
/// Nothing where all are read as they are written; `None` where there is too much to judge.
pub(super) fn arguments(args: &Object) -> Option<Vec<Object>> {
    let mut found = Vec::new();
    for number in 0.. {
        let mut is_other = false;
        let other = object(args, &mut |text| {
            let reading = readings(text).into_iter().nth(number);
            is_other |= reading.is_some();
            reading
        });
        if is_other && number >= MOST {
            return None;
        }
        if !is_other {
            break;
        }
        found.push(other);
    }
    Some(found)
}

fn object(object: &Object, read: &mut impl FnMut(&str) -> Option<String>) -> Object {
    let members = object.iter().map(|(key, member)| (key.to_owned(), value(member, read)));
    // INVARIANT (keys): they are those of an object.
    Object::from_members(members.collect()).unwrap_or_default()
}

fn value(json: &Json, read: &mut impl FnMut(&str) -> Option<String>) -> Json {
    match json {
        Json::String(text) => Json::String(read(text).unwrap_or_else(|| text.clone())),
        Json::Array(items) => Json::Array(items.iter().map(|item| value(item, read)).collect()),
        Json::Object(members) => Json::Object(object(members, read)),
        Json::Null | Json::Bool(_) | Json::Number(_) => json.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_file_servers_do() {
        for (path, read) in [
            ("//etc/passwd", "/etc/passwd"),
            ("/./etc//passwd", "/etc/passwd"),
            ("/srv/../etc/passwd", "/etc/passwd"),
            ("/srv/../../etc/", "/etc/"),
            ("\"/etc/passwd\"", "/etc/passwd"),
            (" '/etc/passwd", "/etc/passwd"),
            ("/srv/a\n/../../etc/passwd", "/etc/passwd"),
            ("c:\\srv\\..\\etc", "c:/etc"),
            ("/..", "/"),
        ] {
            let found = readings(path);
            assert!(found.iter().any(|found| found == read), "{path:?}: {found:?}");
        }
        for path in ["/etc/passwd", "/etc/", "/", "etc/../a", "a: /b//c", "..", ""] {
            assert_eq!(readings(path), Vec::<String>::new(), "{path:?}");
        }
        assert_eq!(readings("C:\\srv\\..\\etc"), ["C:/etc", "C:\\etc"]);
    }

    #[test]
    fn arguments_are_read_in_every_way_up_to_a_limit() {
        let args = |text: &str| {
            let text = Json::String(text.to_owned());
            Object::from_members(vec![("a".to_owned(), text)]).unwrap()
        };
        let list = |count: usize| format!("[{}\"x\"]", "\"x\",".repeat(count - 1));
        assert_eq!(arguments(&args("plain")).map(|others| others.len()), Some(0));
        assert_eq!(arguments(&args(&list(MOST))).map(|others| others.len()), Some(MOST));
        assert_eq!(arguments(&args(&list(MOST + 1))), None);
    }

    proptest::proptest! {
        /// A path that is read otherwise is read as one that is not.
        #[test]
        fn what_is_collapsed_stays(path in "/[/.ab]{0,16}") {
            let once = collapsed(&path);
            proptest::prop_assert_eq!(&collapsed(&once), &once);
            proptest::prop_assert!(paths(&once).is_empty());
        }
    }
}
