//! Command lines without the quotes that shells remove before they run them: `r'm' -rf`, `"rm" -rf`
//! and `r\m$IFS-rf` are `rm -rf`. What a shell computes (`$(…)`, variables, `{a,b}`, globs) is not
//! evaluated. Pure.

/// Variables that expand to white space.
const BLANKS: [&str; 2] = ["${IFS}", "$IFS"];
/// Variables that expand to nothing if a command line has no arguments.
const NOTHING: [&str; 4] = ["${@}", "${*}", "$@", "$*"];

/// `text` as a command line without quotes: for POSIX shells, and for `cmd` and PowerShell, whose
/// escape character does nothing before a letter.
pub(super) fn readings(text: &str) -> Vec<String> {
    let posix = text.contains(['\'', '"', '\\', '$']).then(|| unquoted(text)).flatten();
    let windows = has_signs(text).then(|| text.replace(['^', '`', '"'], ""));
    posix.into_iter().chain(windows).filter(|reading| reading != text).collect()
}

/// Removes quotes as POSIX shells do (Shell Command Language, 2.2) and expands `$IFS`. `None` if a
/// quote is not closed, which no shell runs.
fn unquoted(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '\\', '$']) {
        let (before, quoted) = rest.split_at(at);
        plain.push_str(before);
        rest = match quoted.split_at_checked(1)? {
            ("'", inner) => {
                let (inner, after) = inner.split_once('\'')?;
                plain.push_str(inner);
                after
            }
            ("\"", inner) => double_quoted(inner, &mut plain)?,
            ("\\", after) => {
                let mut letters = after.chars();
                plain.extend(letters.next().filter(|letter| *letter != '\n'));
                letters.as_str()
            }
            (_, after) => variable(quoted, after, &mut plain),
        };
    }
    plain.push_str(rest);
    Some(plain)
}

/// Appends the content of double quotes and returns the rest.
fn double_quoted<'t>(inner: &'t str, plain: &mut String) -> Option<&'t str> {
    let mut rest = inner;
    loop {
        let (before, quoted) = rest.split_at(rest.find(['"', '\\'])?);
        plain.push_str(before);
        let mut letters = quoted.chars();
        if letters.next() == Some('"') {
            return Some(letters.as_str());
        }
        match letters.next()? {
            '\n' => {}
            escaped @ ('$' | '`' | '"' | '\\') => plain.push(escaped),
            other => plain.extend(['\\', other]),
        }
        rest = letters.as_str();
    }
}

/// Appends the value of a variable and returns the rest. `$'` and `$"` start quotes.
fn variable<'t>(text: &'t str, after: &'t str, plain: &mut String) -> &'t str {
    if let Some(after) = BLANKS.iter().find_map(|blank| text.strip_prefix(blank)) {
        plain.push(' ');
        return after;
    }
    let is_argument = after.starts_with(|c: char| matches!(c, '1'..='9'));
    let argument = after.get(1..).filter(|_| is_argument);
    if let Some(after) = NOTHING.iter().find_map(|it| text.strip_prefix(it)).or(argument) {
        return after;
    }
    if !after.starts_with(['\'', '"']) {
        plain.push('$');
    }
    after
}

/// Whether there is an escape character of `cmd` or PowerShell within a word.
fn has_signs(text: &str) -> bool {
    let is_within = |(at, sign): (usize, &str)| {
        let (before, after) = (text.get(..at), text.get(at + sign.len()..));
        let is_word = |letter: char| letter.is_ascii_alphanumeric();
        before.is_some_and(|before| before.ends_with(is_word))
            && after.is_some_and(|after| after.starts_with(is_word))
    };
    text.match_indices(['^', '`']).any(is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real shell prints for `command`.
    #[cfg(unix)]
    fn run(command: &str) -> String {
        let shell = std::process::Command::new("sh").arg("-c").arg(command).output().unwrap();
        String::from_utf8(shell.stdout).unwrap()
    }

    #[test]
    #[cfg(unix)]
    fn commands_are_unquoted_as_by_a_shell() {
        for command in [
            "e'ch'o a b",
            "\"echo\" a b",
            "e\\cho a b",
            "ec\\\nho a b",
            "e\"c\\\nh\"o a b",
            "echo$IFS'a b'",
            "echo${IFS}a${IFS}b",
            "ec$@ho a b",
            "ec${*}ho a b",
            "ec$1ho a b",
            "''echo a\" \"b",
            "echo \"a\" 'b'",
        ] {
            assert_eq!(run(command).trim(), "a b", "{command:?}");
            let words = readings(command).into_iter();
            let mut words = words.map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
            assert!(words.any(|reading| reading == "echo a b"), "{command:?}");
        }
        for command in ["echo \"\\$a \\x \\\" \\\\\"", "echo 'a\\b'"] {
            // The built-in `echo` of some shells interprets escapes.
            let printed = run(&command.replace("echo", "printf '%s\\n'"));
            let expected = format!("echo {}", printed.trim_end());
            assert!(readings(command).contains(&expected), "{command:?}: {expected:?}");
        }
    }

    #[test]
    fn escape_characters_of_windows_within_words_are_removed() {
        assert!(readings("d^el /s x").contains(&"del /s x".to_owned()));
        assert!(readings("Remove-I`tem x").contains(&"Remove-Item x".to_owned()));
    }

    #[test]
    fn text_without_quotes_has_no_readings() {
        for text in ["rm -rf /", "it's", "costs $ 5", "see `main`", "^a$", "", "\"", "a \"b", "$x"]
        {
            assert_eq!(readings(text), Vec::<String>::new(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a'\"\\\\$@*{}IFS^`\n é]{0,16}") {
            readings(&text);
        }
    }
}
