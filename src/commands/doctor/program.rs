//! Which `agentgate` a client would start.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use super::{Finding, shown};

pub(super) fn check() -> Vec<Finding> {
    let Ok(own) = env::current_exe() else { return Vec::new() };
    let version = env!("CARGO_PKG_VERSION");
    let mut found = vec![Finding::good("program", shown(&own), format!("version {version}"))];
    found.extend(match on_path("agentgate") {
        None => Some(Finding::note("program", "agentgate".to_owned(), "is not on PATH").with_fix(
            format!("write its path in clients, {}, or add its folder to PATH", shown(&own)),
        )),
        Some(first) if !same(&first, &own) => Some(Finding::note(
            "program",
            shown(&first),
            "another agentgate comes first on PATH; clients that give no path start that one",
        )),
        Some(_) => None,
    });
    found
}

/// The path of this program as clients are to write it: that on PATH, if it leads here. A link
/// there outlives an update, and what it points to may not.
///
/// # Errors
/// If the system does not say which program runs.
pub(in crate::commands) fn own_path() -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    let on_path = on_path("agentgate").filter(|path| path.is_absolute() && same(path, &own));
    Ok(on_path.unwrap_or(own))
}

/// The first program called `name` in PATH.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let names = [name.to_owned(), format!("{name}{}", env::consts::EXE_SUFFIX)];
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)).collect::<Vec<_>>())
        .find(|path| path.is_file())
}

fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
