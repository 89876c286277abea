//! `agentgate setup`: puts the gate in front of the servers in clients' configurations, and
//! takes it out again.

mod edits;

use std::fs;
use std::io::{self, Write};

use serde_json::json;

use super::Done;
use super::client_files::{ClientFile, ConfigLocations};
use super::doctor::own_path;
use crate::cli::SetupArgs;
use crate::os::files;
use crate::terminal;
use edits::{Change, Outcome};

/// The command for agentgate in files that several people may share: each finds their own.
const SHARED_PROGRAM: &str = "agentgate";

/// What became of a server, or of a whole file.
struct Line {
    /// Word for the outcome, also in JSON.
    outcome: &'static str,
    client: &'static str,
    server: Option<String>,
    file: String,
    /// What to know about it.
    detail: Option<String>,
}

/// `agentgate setup`: changes the files of all clients, as far as they exist.
///
/// # Errors
/// If the home folder is unknown, or a server was named that no client has.
pub(super) fn run(args: &SetupArgs) -> anyhow::Result<Done> {
    let own = own_path()?;
    let own = own.to_str().ok_or_else(|| {
        anyhow::anyhow!("{} cannot be written in JSON, because it is not UTF-8", own.display())
    })?;
    let locations = ConfigLocations::find()
        .ok_or_else(|| anyhow::anyhow!("the home folder is unknown; set HOME"))?;
    let mut lines = Vec::new();
    for file in locations.files() {
        if file.is_of_project == args.project && file.path.exists() {
            lines.extend(change(&file, args, own));
        }
    }
    let failed = lines.iter().any(|line| line.outcome == "failed");
    let is_unknown = |name: &&String| !lines.iter().any(|line| line.server.as_ref() == Some(*name));
    if let Some(unknown) = args.servers.iter().find(is_unknown).filter(|_| !failed) {
        anyhow::bail!("no client has a server `{}`", terminal::escaped(unknown));
    }
    let mut out = anstream::stdout().lock();
    for line in &lines {
        if args.json { line.write_json(&mut out)? } else { line.write(&mut out)? }
    }
    if !args.json {
        summarize(&mut out, &lines, args)?;
    }
    Ok(if failed { Done::DoesNotHold } else { Done::Success })
}

/// Changes one file.
fn change(file: &ClientFile, args: &SetupArgs, own: &str) -> Vec<Line> {
    let line = |outcome, server, detail: Option<String>| Line {
        outcome,
        client: file.client.name(),
        server,
        file: file.path.to_string_lossy().into_owned(),
        detail,
    };
    let failed = |why: String| vec![line("failed", None, Some(why))];
    let text = match file.read() {
        Ok(text) => text,
        Err(why) => return failed(why),
    };
    let change = match args.undo {
        true => Change::Undo { whoever_wrote_it: !args.servers.is_empty() },
        false if file.is_of_project => Change::Gate { program: SHARED_PROGRAM },
        false => Change::Gate { program: own },
    };
    let is_meant =
        |name: &str| args.servers.is_empty() || args.servers.iter().any(|meant| meant == name);
    let (changed, servers) = match edits::edit(&text, file.client, change, is_meant) {
        Ok(edited) => edited,
        Err(why) => return failed(format!("{why}; correct the file")),
    };
    if changed != text
        && !args.dry_run
        && let Err(why) = write(file, &text, &changed)
    {
        return failed(why);
    }
    let lines = servers.into_iter().map(|(name, outcome)| {
        let (word, detail) = described(outcome, args);
        line(word, Some(name), detail.map(str::to_owned))
    });
    lines.collect()
}

/// Replaces the file, unless the client has changed it meanwhile.
fn write(file: &ClientFile, before: &str, after: &str) -> Result<(), String> {
    if file.read()? != before {
        return Err("changed meanwhile: quit the client, and try again".to_owned());
    }
    // The file itself, where it is a link.
    let replaced = fs::canonicalize(&file.path)
        .and_then(|path| files::replace_in_kind(&path, after.as_bytes()));
    replaced.map_err(|error| format!("cannot be written: {error}"))
}

/// The word for an outcome, and what to know about it.
fn described(outcome: Outcome, args: &SetupArgs) -> (&'static str, Option<&'static str>) {
    match outcome {
        Outcome::Changed if args.undo => ("ungated", None),
        Outcome::Changed => ("gated", None),
        Outcome::AlreadySo if args.undo => ("unchanged", Some("is not gated")),
        Outcome::AlreadySo => ("unchanged", Some("is gated already")),
        Outcome::Remote if args.undo => ("unchanged", Some("is not gated")),
        Outcome::Remote => {
            ("unchanged", Some("is remote; `agentgate doctor` says how to gate it by hand"))
        }
        Outcome::Unclear if args.undo => (
            "unchanged",
            Some(
                "is not gated as `setup` does it; to take that gate out too, name the server, or edit the file",
            ),
        ),
        Outcome::Unclear => ("unchanged", Some("has an entry of an unknown form")),
    }
}

fn summarize(out: &mut impl Write, lines: &[Line], args: &SetupArgs) -> io::Result<()> {
    let changed = lines.iter().filter(|line| line.outcome.ends_with("gated")).count();
    if lines.is_empty() {
        let whose = if args.project { "of this folder " } else { "" };
        writeln!(out, "No MCP server {whose}in Claude Desktop, Claude Code, Cursor or VS Code.")
    } else if args.dry_run {
        writeln!(out, "\nNothing was changed; without --dry-run, {changed} would be.")
    } else if changed == 0 {
        writeln!(out, "\nNothing was changed.")
    } else if args.undo {
        writeln!(out, "\nRestart these clients.")
    } else {
        writeln!(out, "\nRestart these clients. `agentgate setup --undo` takes the gate out again.")
    }
}

// === impl Line ===

impl Line {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { outcome, client, file, .. } = self;
        write!(out, "{outcome:<9}  {client}")?;
        if let Some(server) = &self.server {
            write!(out, " `{}`", terminal::escaped(server))?;
        }
        write!(out, " in {}", terminal::escaped(file))?;
        match &self.detail {
            Some(detail) => writeln!(out, ": {}", terminal::escaped(detail)),
            None => writeln!(out),
        }
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { outcome, client, server, file, detail } = self;
        let line = json!({
            "outcome": outcome, "client": client, "server": server, "file": file, "detail": detail,
        });
        terminal::json_line(out, &line)
    }
}
