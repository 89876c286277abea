//! Lookup of policies by name (built-in, bundled, or a file in a policy folder) or by path, and
//! reading of their files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics, Severity, Source, Span, nearest};
use super::yaml::MAX_FILE;
use super::{BUNDLED, PolicyFile, annotations, bundled};

/// Where names are looked up, in this order: built-in policies, `named`, `own`, bundled policies.
/// Never in the working directory, which an agent may be able to write to.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// `--policy-dir`
    pub named: Option<PathBuf>,
    /// The folder `policies` in the configuration folder.
    pub own: Option<PathBuf>,
}

/// Where a policy was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Part of the program, by name.
    Built(&'static str),
    /// A file.
    File(PathBuf),
}

impl Lookup {
    /// Finds a policy. `named` is a path if it contains a separator or ends in `.yaml` or `.yml`,
    /// else a name.
    ///
    /// # Errors
    /// If there is no policy of that name.
    pub fn find(&self, named: &str) -> Result<Found, Diagnostic> {
        if is_path(named) {
            return Ok(Found::File(PathBuf::from(named)));
        }
        if let Some(name) = annotations::built_in_names().find(|name| *name == named) {
            return Ok(Found::Built(name));
        }
        // Other characters could lead out of the folder.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !named.is_empty() && named.bytes().all(fits) {
            for folder in [&self.named, &self.own].into_iter().flatten() {
                for extension in ["yaml", "yml"] {
                    let path = folder.join(format!("{named}.{extension}"));
                    if path.is_file() {
                        return Ok(Found::File(path));
                    }
                }
            }
        }
        let bundled = BUNDLED.iter().find(|(name, _)| *name == named);
        bundled.map(|(name, _)| Found::Built(name)).ok_or_else(|| self.unknown(named))
    }

    /// The policy files in all folders; sorted within each.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.folders().flat_map(files_in).collect()
    }

    /// The folders searched.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        [&self.named, &self.own].into_iter().flatten().map(PathBuf::as_path)
    }

    fn unknown(&self, named: &str) -> Diagnostic {
        let known = || annotations::built_in_names().chain(BUNDLED.iter().map(|(name, _)| *name));
        let extensions = ["yaml", "yml"];
        let here = extensions.map(|extension| format!("./{named}.{extension}"));
        let advice = match (here.iter().find(|path| is_file(path)), nearest(named, known())) {
            (Some(path), _) => format!("write {path} for the file in this folder"),
            (None, Some(near)) => format!("did you mean `{near}`? A file is named by its path"),
            (None, None) => {
                let names: Vec<&str> = known().collect();
                format!("built in are {}; a file is named by its path", names.join(", "))
            }
        };
        let folders: Vec<String> = [&self.named, &self.own]
            .into_iter()
            .flatten()
            .map(|folder| folder.display().to_string())
            .collect();
        let place = match folders.is_empty() {
            true => String::new(),
            false => format!(", nor a file for it in {}", folders.join(" or ")),
        };
        file_error(named, format!("there is no policy of that name{place}")).help(advice)
    }
}

/// The policy files in a folder, sorted; empty if it cannot be read.
#[must_use]
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| is_yaml(path) && path.is_file());
    files.sort();
    files
}

/// Whether `named` is a path rather than a name.
pub(crate) fn is_path(named: &str) -> bool {
    is_yaml(Path::new(named)) || named.contains(['/', std::path::MAIN_SEPARATOR])
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Only for advice: files in the working directory are only used if given as a path.
fn is_file(path: &str) -> bool {
    Path::new(path).is_file()
}

fn file_error(origin: &str, message: String) -> Diagnostic {
    Source::new(origin, "").finding(Severity::Error, Span::default(), message)
}

impl Found {
    /// Reads the policy's text.
    ///
    /// # Errors
    /// If it cannot be read, or is not UTF-8.
    pub fn read(&self) -> Result<Source, Diagnostic> {
        match self {
            Self::Built(name) => {
                let text = annotations::built_in_text(name).or_else(|| bundled(name));
                let unknown = || file_error(name, "there is no policy of that name".to_owned());
                Ok(Source::new(&format!("<{name}>"), text.ok_or_else(unknown)?))
            }
            Self::File(path) => {
                let origin = path.display().to_string();
                Ok(Source::new(&origin, &read(path, &origin)?))
            }
        }
    }

    /// Reads and compiles the policy.
    ///
    /// # Errors
    /// If it cannot be read, or all errors found in it.
    pub fn load(&self) -> Result<PolicyFile, Diagnostics> {
        if let Self::Built(name) = self
            && let Some(file) = annotations::built_in(name)
        {
            return Ok(file);
        }
        PolicyFile::load(self.read()?)
    }
}

/// Reads a regular file, up to one byte more than [`MAX_FILE`].
pub(super) fn read(path: &Path, origin: &str) -> Result<String, Diagnostic> {
    let bytes = || {
        // Opening a named pipe would block.
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
        // Read at once: every gate looks at its policies twice a second.
        let len = usize::try_from(metadata.len().min(most)).unwrap_or_default();
        let mut bytes = Vec::with_capacity(len.saturating_add(1));
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = bytes().map_err(|error| {
        let unreadable = file_error(origin, format!("cannot be read: {error}"));
        match std::env::current_dir() {
            Ok(folder) if path.is_relative() => {
                unreadable.help(format!("the path is relative to {}", folder.display()))
            }
            _ => unreadable,
        }
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // The last character may be cut off; the file is too large anyway.
        Err(error) if error.as_bytes().len() > MAX_FILE => {
            Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
        }
        Err(error) => Err(not_utf8(origin, error.as_bytes(), error.utf8_error().valid_up_to())),
    }
}

/// The error for a file that is not UTF-8 from byte `at` on.
fn not_utf8(origin: &str, bytes: &[u8], at: usize) -> Diagnostic {
    let (before, rest) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
    let before = String::from_utf8_lossy(before);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let place = Span {
        line: small(before.matches('\n').count()).saturating_add(1),
        column: small(line.chars().count()).saturating_add(1),
        length: 1,
    };
    let byte = rest.first().copied().unwrap_or_default();
    let message = format!("not UTF-8: the byte 0x{byte:02x} at offset {at}");
    let source = Source::new(origin, &String::from_utf8_lossy(bytes));
    let advice = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it looks like UTF-16; save it as UTF-8",
        _ => "save it as UTF-8",
    };
    source.finding(Severity::Error, place, message).help(advice)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_looked_up_in_order_and_never_in_the_working_directory() {
        let (named, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(own.path().join("mine.yaml"), "name: mine\n").unwrap();
        fs::write(own.path().join("read_only.yaml"), "name: own\n").unwrap();
        fs::write(named.path().join("read_only.yml"), "name: named\n").unwrap();
        fs::write(own.path().join("deny_all.yaml"), "name: fake\n").unwrap();
        let lookup =
            Lookup { named: Some(named.path().to_owned()), own: Some(own.path().to_owned()) };
        let file = |folder: &tempfile::TempDir, name: &str| Found::File(folder.path().join(name));
        assert_eq!(lookup.find("mine"), Ok(file(&own, "mine.yaml")));
        assert_eq!(lookup.find("read_only"), Ok(file(&named, "read_only.yml")));
        assert_eq!(lookup.find("deny_all"), Ok(Found::Built("deny_all")));
        assert_eq!(lookup.find("default"), Ok(Found::Built("default")));
        assert_eq!(lookup.find("Cargo.yaml"), Ok(Found::File("Cargo.yaml".into())));
        for name in ["Cargo", "", "..", "a b", "deny_al"] {
            assert!(lookup.find(name).is_err(), "{name}");
        }
        let message = lookup.find("deny_al").unwrap_err().to_string();
        assert!(message.contains("did you mean `deny_all`?"), "{message}");
    }

    #[test]
    fn every_bundled_policy_loads() {
        for (name, _) in BUNDLED {
            let loaded = Found::Built(name).load();
            assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
        }
    }

    #[test]
    fn invalid_utf_8_is_reported_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        for (bytes, expected) in [
            (
                &b"name: p\ndescription: caf\xe9\n"[..],
                ":2:17: error: not UTF-8: the byte 0xe9 at offset 24",
            ),
            (&b"\xff\xfen\0a\0"[..], "looks like UTF-16"),
        ] {
            fs::write(&path, bytes).unwrap();
            let found = Found::File(path.clone()).load().unwrap_err().to_string();
            assert!(found.contains(expected), "{found}");
        }
        let large = [&b"#".repeat(MAX_FILE)[..], "ä".as_bytes()].concat();
        fs::write(&path, large).unwrap();
        let found = Found::File(path.clone()).load().unwrap_err().to_string();
        assert!(found.contains("at most"), "{found}");
    }
}
