use proptest::prelude::*;
use regex::Regex;

use super::*;

fn name(glob: &str, text: &str) -> bool {
    Glob::new(glob).unwrap().matches(text)
}

fn path(glob: &str, text: &str) -> bool {
    PathGlob::new(glob).unwrap().matches(text)
}

#[test]
fn star_in_names_crosses_separators() {
    for (glob, yes, no) in [
        ("push_files", &["push_files"][..], &["push_file", "xpush_files", "Push_files"][..]),
        ("push_*", &["push_", "push_files", "push_a/b"], &["pus", "_push_"]),
        ("*_delete", &["_delete", "repo_delete"], &["delete", "repo_deleted"]),
        ("*secret*", &["secret", "a/secret.b"], &["secre"]),
        ("*", &["", "anything", "a/b"], &[]),
        ("r?ad", &["read", "röad"], &["rad", "reead"]),
        ("{get,list}_*", &["get_x", "list_"], &["put_x", "{get,list}_"]),
        ("{a,{b,c}d}", &["a", "bd", "cd"], &["ad", "b"]),
        ("a*b*c", &["abc", "axxbxxbc"], &["ab", "acb"]),
        ("?*", &["a", "ab"], &[""]),
    ] {
        for text in yes {
            assert!(name(glob, text), "{glob} should match {text}");
        }
        for text in no {
            assert!(!name(glob, text), "{glob} should not match {text}");
        }
    }
}

#[test]
fn paths_are_matched_by_segment() {
    for (glob, yes, no) in [
        ("/a/*/c", &["/a/b/c", "/a//c"][..], &["/a/c", "/a/b/b/c", "/a/b/c/"][..]),
        ("/a/**", &["/a", "/a/b", "/a/b/c"], &["/ab", "/"]),
        ("/a/**/z", &["/a/z", "/a/b/z", "/a/b/z/z"], &["/a", "/a/zz", "/az"]),
        ("/**", &["/", "/a", "/a/b"], &[]),
        ("**", &["/", "/a/b"], &[]),
        ("**/x", &["/x", "/a/b/x"], &["/a", "/xx"]),
        ("/v?/u*r", &["/v1/user", "/v2/ur"], &["/v1/u/r", "/v/user"]),
        ("/{a,b/c}/d", &["/a/d", "/b/c/d"], &["/b/d"]),
        ("/a", &["/a"], &["/a/", "/"]),
    ] {
        for text in yes {
            assert!(path(glob, text), "{glob} should match {text}");
        }
        for text in no {
            assert!(!path(glob, text), "{glob} should not match {text}");
        }
    }
}

#[test]
fn bad_globs_are_errors() {
    for glob in ["{a", "a}", "{a,{b}", "}{"] {
        assert!(matches!(Glob::new(glob), Err(GlobError::UnbalancedBraces(_))), "{glob}");
    }
    assert_eq!(Glob::new("[ab]"), Err(GlobError::CharacterClass));
    assert_eq!(Glob::new(""), Err(GlobError::Empty));
    assert_eq!(PathGlob::new("a/b"), Err(GlobError::NotRooted));
    assert_eq!(PathGlob::new("/a**"), Err(GlobError::PartialDoubleStar));
    assert_eq!(Glob::new(&"{a,b}".repeat(9)), Err(GlobError::TooManyAlternatives));
    assert_eq!(Glob::new(&"a".repeat(2_000)), Err(GlobError::TooLong));
}

#[test]
fn covering_is_never_claimed_falsely() {
    let covers = |wide, narrow| Glob::new(wide).unwrap().covers(&Glob::new(narrow).unwrap());
    assert!(covers("*", "a*b?"));
    assert!(covers("get_*", "{get_a,get_b*}"));
    assert!(covers("*_x", "a_x"));
    assert!(!covers("get_*", "g*"));
    assert!(!covers("a*b", "a*"));
    let covers =
        |wide, narrow| PathGlob::new(wide).unwrap().covers(&PathGlob::new(narrow).unwrap());
    assert!(covers("/a/**", "/a/*/b"));
    assert!(covers("/a/*", "/a/b*"));
    assert!(!covers("/a/*", "/a/**"));
    assert!(!covers("/a/*/b", "/a/**/b"));
}

/// The glob as a regular expression.
fn regex_of(glob: &str, by_segment: bool) -> Regex {
    let star = if by_segment { "[^/]*" } else { "(?s:.)*" };
    let any = if by_segment { "[^/]" } else { "(?s:.)" };
    let mut out = String::from("^");
    if by_segment {
        for segment in glob[1..].split('/') {
            if segment == "**" {
                out.push_str("(/[^/]*)*");
            } else {
                out.push('/');
                translate(segment, star, any, &mut out);
            }
        }
    } else {
        translate(glob, star, any, &mut out);
    }
    out.push('$');
    Regex::new(&out).unwrap()
}

fn translate(glob: &str, star: &str, any: &str, out: &mut String) {
    for character in glob.chars() {
        match character {
            '*' => out.push_str(star),
            '?' => out.push_str(any),
            '{' => out.push_str("(?:"),
            '}' => out.push(')'),
            ',' => out.push('|'),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
}

proptest! {
    #[test]
    fn names_agree_with_regex(
        glob in r"([ab_é?*]|\{[ab*?]{0,2},[ab]{0,2}\}){1,6}",
        text in "[ab_é]{0,8}",
    ) {
        prop_assert_eq!(name(&glob, &text), regex_of(&glob, false).is_match(&text));
    }

    #[test]
    fn paths_agree_with_regex(
        glob in r"(/(\*\*|[ab?]{0,2}|a\*b?|\*)){1,5}",
        text in "(/[ab]{0,2}){1,6}",
    ) {
        prop_assert_eq!(path(&glob, &text), regex_of(&glob, true).is_match(&text));
    }

    #[test]
    fn covering_glob_matches_what_the_covered_one_does(
        wide in r"[ab*?]{1,5}", narrow in r"[ab*?]{1,5}", text in "[ab]{0,6}",
    ) {
        let (wide, narrow) = (Glob::new(&wide).unwrap(), Glob::new(&narrow).unwrap());
        if wide.covers(&narrow) && narrow.matches(&text) {
            prop_assert!(wide.matches(&text));
        }
    }

    #[test]
    fn globs_never_panic(glob in ".{0,40}", text in ".{0,40}") {
        if let Ok(glob) = Glob::new(&glob) { let _ = glob.matches(&text); }
        if let Ok(glob) = PathGlob::new(&glob) { let _ = glob.matches(&text); }
    }
}
