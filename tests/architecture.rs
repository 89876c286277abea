//! Checks the rules of ARCHITECTURE.md by reading the sources: dependencies point down, pure
//! modules are pure, files are short, and the README mentions every command.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the ground up. A module may use itself and what stands
/// before it, so that no circle can close. A verdict names the intent it was
/// given for: that is why `intent` stands below `verdict`.
const ORDER: &[&str] = &[
    "os",
    "net",
    "terminal",
    "oauth",
    "keys",
    "json",
    "fold",
    "overrides",
    "segment",
    "action",
    "head",
    "path",
    "request",
    "intent",
    "verdict",
    "decision_headers",
    "policy",
    "rate",
    "store",
    "gate",
    "mcp",
    "rest",
    "hosted",
    "admin",
    "telemetry",
    "cli",
    "config",
    "commands",
    "main",
];

/// What decides, and nothing else: benches, fuzz targets and property tests
/// live on these. Paths below `src`; a folder stands for all that is in it.
const PURE: &[&str] = &[
    "json.rs",
    "fold.rs",
    "overrides.rs",
    "segment.rs",
    "head.rs",
    "path.rs",
    "rate.rs",
    "intent",
    "policy",
    "gate/pipeline.rs",
    "gate/lookalike.rs",
    "mcp/bridge",
    "mcp/envelope.rs",
    "mcp/server_requests.rs",
    "mcp/round_trips.rs",
];

/// The files below [`PURE`] whose very job is I/O.
const IMPURE: &[&str] = &["policy/catalog.rs", "policy/live.rs", "policy/lookup.rs"];

/// What a pure module does not name: I/O, the clock, the environment, waiting.
const IMPURITIES: &[&str] = &[
    "tokio",
    "futures",
    "async",
    "await",
    "rusqlite",
    "rustix",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
];

/// What a pure module names all the same, each with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("policy/condition.rs", "std::thread", "the CEL parser needs a larger stack, once at load")];

/// The longest a source file may be, in lines, its unit tests not counted.
const LONGEST: usize = 500;

/// Files that are longer with good reason, each with the reason.
const LONGER: &[(&str, &str)] = &[(
    "intent/providers/aws_table.rs",
    "made by a script, a row a line so that changes can be read",
)];

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for source in sources() {
        let own = rank(&source.top).unwrap_or_else(|| {
            panic!("{} is not in ORDER: say where it stands", source.path.display())
        });
        for used in source.modules_used() {
            match rank(&used) {
                Some(other) if other <= own => {}
                Some(_) => wrong.push(format!("{} uses {used}", source.path.display())),
                None => wrong.push(format!("{} uses {used}, unknown", source.path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point up:\n{}", wrong.join("\n"));
}

#[test]
fn the_page_tells_the_order_and_has_every_module_on_its_map() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let order = page.split_once("The order, from the").unwrap().1.split_once(".\n").unwrap().0;
    let told: Vec<_> = order.split('`').skip(1).step_by(2).collect();
    let order: Vec<_> = ORDER.iter().rev().copied().collect();
    assert_eq!(told, order);
    let map = page.split_once("\n## The map\n").unwrap().1.split_once("\n## ").unwrap().0;
    let is_on_map = |module: &str| {
        [format!("{module}.rs"), format!("{module}/")].iter().any(|name| map.contains(name))
    };
    let missing: Vec<_> = ORDER.iter().filter(|module| !is_on_map(module)).collect();
    assert!(missing.is_empty(), "not on the map: {missing:?}");
}

#[test]
fn pure_modules_stay_pure() {
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(Source::is_pure) {
        for path in source.paths() {
            let named = IMPURITIES.iter().filter(|impurity| names(&path, impurity));
            for impurity in named.filter(|impurity| !is_excepted(&source.path, impurity)) {
                wrong.push(format!("{} names {impurity} ({path})", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not pure:\n{}", wrong.join("\n"));
}

fn is_excepted(source: &Path, impurity: &str) -> bool {
    EXCEPTIONS.iter().any(|(path, name, _)| Path::new(path) == source && *name == impurity)
}

#[test]
fn files_stay_short() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.lines > LONGEST)
        .filter(|source| LONGER.iter().all(|(path, _)| Path::new(path) != source.path))
        .map(|source| format!("{}: {} lines", source.path.display(), source.lines))
        .collect();
    assert!(wrong.is_empty(), "longer than {LONGEST} lines:\n{}", wrong.join("\n"));
}

#[test]
fn the_readme_knows_every_command() {
    use clap::CommandFactory as _;
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut missing = Vec::new();
    for command in agentgate::cli::Cli::command().get_subcommands().filter(|it| !it.is_hide_set()) {
        let name = format!("agentgate {}", command.get_name());
        let below: Vec<_> = command.get_subcommands().map(|it| format!("{name} {it}")).collect();
        let wanted = if below.is_empty() { vec![name] } else { below };
        missing.extend(wanted.into_iter().filter(|name| !readme.contains(name.as_str())));
    }
    assert!(missing.is_empty(), "not in README.md: {missing:?}");
}

/// The rules themselves are tested on small sources, so that a reader of paths
/// that reads nothing cannot pass.
#[test]
fn the_reader_of_sources_sees_what_it_must() {
    let text = "use crate::{action::{Action, Agent}, json};\nuse std::{fs, io::Write};\n\
                // crate::store in a comment\nfn f() { let _ = (\"crate::gate\", crate::cli::X); }\n\
                use super::{super::config, mod_sibling};\nlet t = jiff::Timestamp::now();\n\
                #[cfg(test)]\nmod tests { use crate::mcp; }\n";
    let source = Source::new(PathBuf::from("policy/compile.rs"), text);
    assert_eq!(source.modules_used(), ["action", "cli", "config", "json"]);
    let paths = source.paths();
    for impurity in ["std::fs", "std::io", "Timestamp::now"] {
        assert!(paths.iter().any(|path| names(path, impurity)), "{impurity} in {paths:?}");
    }
    assert!(!names("std::iostream", "std::io"));
}

#[test]
fn code_after_test_modules_is_checked_and_tests_are_not() {
    let text = "use crate::json;\n#[cfg(test)]\nmod fixture;\n#[cfg(test)]\nuse crate::mcp;\n\
                struct S<'a> {\n    #[cfg(test)]\n    seen: crate::rest::Seen<(u8, u8)>,\n    a: &'a str,\n}\n\
                #[cfg(test)]\n#[expect(dead_code, reason = \"}\")]\nfn f(a: [u8; 2]) {\n    let _ = ('{', '\\'', crate::admin::X);\n}\n\
                fn g() { let _ = ('}', \"{\n\", '\"'); crate::gate::h() }\n\
                #[cfg(test)]\nmod tests { use crate::hosted; }\n";
    let source = Source::new(PathBuf::from("policy/compile.rs"), text);
    assert_eq!(source.modules_used(), ["gate", "json"], "{}", source.code);
    // Those of tests are no lines of the file's, but for the marks.
    assert!((8..=12).contains(&source.lines), "{}:\n{}", source.lines, source.code);
}

/// One file of `src`, without its comments, its literals and its tests.
struct Source {
    path: PathBuf,
    top: String,
    lines: usize,
    code: String,
}

impl Source {
    fn new(path: PathBuf, text: &str) -> Self {
        let first = path.components().next().unwrap();
        let top = Path::new(&first).file_stem().unwrap().to_str().unwrap().to_owned();
        let code = without_tests(&blanked(text));
        Self { path, top, lines: code.lines().count(), code }
    }

    fn is_pure(&self) -> bool {
        PURE.iter().any(|pure| self.path.starts_with(pure))
            && IMPURE.iter().all(|impure| Path::new(impure) != self.path)
    }

    /// Every path the code names, `use` trees written out: `a::b::c`.
    fn paths(&self) -> Vec<String> {
        let mut rest = self.code.as_str();
        let mut paths = Vec::new();
        while let Some(start) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
            rest = tree(&rest[start..], "", &mut paths);
        }
        paths
    }

    /// The top modules of this crate that the code names, but its own.
    fn modules_used(&self) -> Vec<String> {
        let depth = self.path.components().count() - usize::from(self.path.ends_with("mod.rs"));
        let to_root = format!("{}::", vec!["super"; depth].join("::"));
        let mut used: Vec<_> = self
            .paths()
            .iter()
            .filter_map(|path| path.strip_prefix("crate::").or_else(|| path.strip_prefix(&to_root)))
            .map(|path| path.split("::").next().unwrap_or(path).to_owned())
            .filter(|module| *module != self.top && module.starts_with(char::is_lowercase))
            .collect();
        used.sort();
        used.dedup();
        used
    }
}

/// Reads the path at the start of `text` into `paths`, groups written out, and
/// returns what follows it.
fn tree<'t>(text: &'t str, before: &str, paths: &mut Vec<String>) -> &'t str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") };
    let Some(below) = rest.strip_prefix("::") else {
        paths.push(path);
        return rest;
    };
    let Some(mut group) = below.strip_prefix('{') else {
        return match below.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            true => tree(below, &path, paths),
            // A glob, or generic arguments: the path itself is what is named.
            false => {
                paths.push(path);
                below
            }
        };
    };
    loop {
        group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '*');
        if let Some(after) = group.strip_prefix('}') {
            return after;
        }
        let left = group.len();
        group = tree(group, &path, paths);
        group = group.trim_start();
        if let Some(renamed) = group.strip_prefix("as ") {
            group = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        }
        assert!(group.len() < left, "cannot read the group at {group:.40}");
    }
}

/// Whether `path` contains the segments of `wanted`, whole and in a row.
fn names(path: &str, wanted: &str) -> bool {
    format!("::{path}::").contains(&format!("::{wanted}::"))
}

/// `code` without the items that are there for tests only, wherever they stand.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, after)) = rest.split_once(MARK) {
        out.push_str(before.trim_end_matches([' ', '\t']));
        rest = &after[item(after)..];
    }
    out + rest
}

/// The length of the item, member or field that `code` begins with, its other attributes
/// and its end included.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            // The end of what it stands in.
            '}' | ')' | ']' if depth == 0 => return at,
            '}' | ')' | ']' => {
                depth -= 1;
                // A block is an end of its own.
                if c == '}' && depth == 0 {
                    return at + 1;
                }
            }
            ';' | ',' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// `text` with comments and the contents of literals blanked, line for line.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{hashes}");
            let open = hashes.len() + 2;
            rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
        } else if c == '"' {
            quoted(rest)
        } else if rest.starts_with("'\\") {
            rest[3..].find('\'').map_or(rest.len(), |at| at + 4)
        } else if let Some(one) = character(rest) {
            one
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let (skipped, after) = rest.split_at(skip);
        out.extend(skipped.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    out
}

/// The length of the plain character literal that starts here; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let after = text.strip_prefix('\'')?;
    let c = after.chars().next()?;
    after[c.len_utf8()..].starts_with('\'').then_some(c.len_utf8() + 2)
}

/// The hashes of the raw string that starts here.
fn raw_string(text: &str) -> Option<&str> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then(|| &after[..hashes])
}

/// The length of the string literal that starts here, in bytes.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

fn rank(module: &str) -> Option<usize> {
    // `lib.rs` names every module: it is the map, not a user.
    if module == "lib" {
        return Some(ORDER.len());
    }
    ORDER.iter().position(|name| *name == module)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(&src).unwrap().to_owned(), text);
            }
        }
    }
    assert!(found.len() > 10, "only {} sources found", found.len());
    found.into_iter().map(|(path, text)| Source::new(path, &text)).collect()
}
