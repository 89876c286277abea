//! Names taken apart into words: `jira_getIssue2`, `list-files`, `BatchGetItem`.

use super::lexicon;

/// Iterates over the words of a name. A word is a run of ASCII letters and the digits after it;
/// anything else separates words. A run with capitals inside is split where a word starts
/// (`getIssue`, `HTTPServer`), unless the lexicon contains the whole run (`LookUp`).
#[derive(Debug, Clone)]
pub(super) struct Words<'n> {
    rest: &'n str,
}

pub(super) fn words(name: &str) -> Words<'_> {
    Words { rest: name }
}

impl<'n> Iterator for Words<'n> {
    type Item = &'n str;

    fn next(&mut self) -> Option<&'n str> {
        let start = self.rest.bytes().position(|b| b.is_ascii_alphabetic());
        let rest = start.and_then(|start| self.rest.get(start..)).unwrap_or_default();
        if rest.is_empty() {
            self.rest = rest;
            return None;
        }
        let letters = first_word(rest);
        let digits = rest.bytes().skip(letters).take_while(u8::is_ascii_digit).count();
        let (word, rest) = rest.split_at_checked(letters + digits)?;
        self.rest = rest;
        Some(word)
    }
}

/// Length of the word that starts here, in letters.
fn first_word(rest: &str) -> usize {
    let run = rest.bytes().position(|b| !b.is_ascii_alphabetic()).unwrap_or(rest.len());
    let Some(letters) = rest.get(..run) else { return run };
    match first_hump(letters.as_bytes()) {
        Some(hump) if !lexicon::knows(letters) => hump,
        _ => run,
    }
}

/// End of the first word of a camel-case run, if it is before the run's end.
fn first_hump(run: &[u8]) -> Option<usize> {
    let second_capital = run.iter().skip(1).position(u8::is_ascii_uppercase)? + 1;
    let ends_word = |three: &[u8]| match three {
        [a, b, ..] if a.is_ascii_lowercase() && b.is_ascii_uppercase() => true,
        [a, b, c] => a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_lowercase(),
        _ => false,
    };
    (second_capital..run.len())
        .find(|&at| run.get(at - 1..run.len().min(at + 2)).is_some_and(ends_word))
}

/// `word` in lower case and, if it is a regular English plural, in the singular.
pub(super) fn singular(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    let Some(stem) = word.strip_suffix('s') else { return word };
    if word.len() <= 3 || ["s", "u", "i"].iter().any(|ending| stem.ends_with(ending)) {
        return word;
    }
    if let Some(stem) = stem.strip_suffix("ie") {
        return format!("{stem}y");
    }
    let sibilant = ["ses", "xes", "ches", "shes", "zes"].iter().any(|end| word.ends_with(end));
    match stem.strip_suffix('e') {
        // `boxes` and `branches`; but `releases` and `databases` keep their e.
        Some(bare) if sibilant && !bare.ends_with("as") && !bare.ends_with("ns") => bare.to_owned(),
        _ => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(name: &str) -> Vec<&str> {
        words(name).collect()
    }

    #[test]
    fn names_come_apart_at_separators_humps_and_digits() {
        assert_eq!(split("get_pull-request.files"), ["get", "pull", "request", "files"]);
        assert_eq!(split("getHTTPServer"), ["get", "HTTP", "Server"]);
        assert_eq!(split("s3_listObjectsV2"), ["s3", "list", "Objects", "V2"]);
        assert_eq!(split("delete2files"), ["delete2", "files"]);
        assert_eq!(split("DELETE_FILE"), ["DELETE", "FILE"]);
        assert_eq!(split("__ "), [""; 0]);
    }

    #[test]
    fn a_run_that_is_known_whole_stays_whole() {
        assert_eq!(split("LookUp_user"), ["LookUp", "user"]);
        assert_eq!(split("get_dElEtE"), ["get", "dElEtE"]);
    }

    #[test]
    fn plurals_become_singular() {
        for (plural, one) in [
            ("Issues", "issue"),
            ("repositories", "repository"),
            ("branches", "branch"),
            ("releases", "release"),
            ("status", "status"),
            ("access", "access"),
            ("boxes", "box"),
            ("dns", "dns"),
        ] {
            assert_eq!(singular(plural), one);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_letter_is_lost(name in "\\PC{0,40}") {
            let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
            let mut split: String = words(&name).collect();
            split.retain(|c| c.is_ascii_alphabetic());
            proptest::prop_assert_eq!(split, letters);
        }
    }
}
