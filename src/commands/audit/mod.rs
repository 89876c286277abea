//! `agentgate audit …`: reads the log, and makes it shorter.

mod figures;
mod table;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Zoned;

use super::Done;
use crate::cli::{
    AuditAcceptArgs, AuditCommand, AuditExportArgs, AuditFilter, AuditListArgs, AuditPurgeArgs,
    AuditStatsArgs, AuditTailArgs, AuditVerifyArgs, DecideArgs, ExportFormat, StoreArgs,
};
use crate::config::{Settings, whole};
use crate::store::audit::RowId;
use crate::store::csv;
use crate::store::purge::{self, Proof, Purged};
use crate::store::read::{Filter, Reader};
use crate::store::row::Row;
use crate::store::time_argument;
use crate::store::verify::Verification;
use crate::store::{self, Options, StoreError};
use crate::terminal;

use table::Listing;

/// Interval of polling for `tail -f`.
const POLL: Duration = Duration::from_millis(200);

pub(super) fn run(command: &AuditCommand) -> anyhow::Result<Done> {
    match command {
        AuditCommand::List(args) => list(args),
        AuditCommand::Tail(args) => tail(args),
        AuditCommand::Stats(args) => stats(args),
        AuditCommand::Export(args) => export(args),
        AuditCommand::Purge(args) => purge(args),
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::AcceptLoss(args) => accept_loss(args),
    }
}

fn list(args: &AuditListArgs) -> anyhow::Result<Done> {
    let mut filter = filter(&args.filter)?;
    filter.before = args.before.as_deref().map(row_id).transpose()?;
    filter.after = args.after.as_deref().map(row_id).transpose()?;
    let reader = Reader::open(&database(&args.store)?)?;
    let mut out = Output::new(args.json);
    reader.rows(&filter, args.limit, |row| out.row(row))?;
    out.finish()?;
    Ok(Done::Success)
}

fn tail(args: &AuditTailArgs) -> anyhow::Result<Done> {
    let mut filter = filter(&args.filter)?;
    let path = database(&args.store)?;
    let mut reader = Reader::open(&path)?;
    let mut out = Output::new(args.json);
    let mut limit = args.limit;
    loop {
        // Read before the rows, so that a write in between triggers another reading.
        let version = reader.version()?;
        let head = reader.newest_id()?;
        if limit > 0 || filter.after.is_some() {
            reader.rows(&filter, limit, |row| out.row(row))?;
        }
        filter.after = out.newest.or(filter.after).or(head);
        out.flush()?;
        if !args.follow {
            out.finish()?;
            return Ok(Done::Success);
        }
        limit = 0;
        while reader.version()? == version && reader.is_current() {
            std::thread::sleep(POLL);
        }
        if !reader.is_current() {
            // A new log is shown from its beginning.
            (reader, filter.after, out.newest) = (reopened(&path), None, None);
            limit = u64::MAX;
        }
    }
}

/// Waits for the log that replaced the one being read.
fn reopened(path: &Path) -> Reader {
    loop {
        match Reader::open(path) {
            Ok(reader) => return reader,
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

fn stats(args: &AuditStatsArgs) -> anyhow::Result<Done> {
    for (given, option) in
        [(args.filter.text.is_some(), "--text"), (args.filter.outcome.is_some(), "--outcome")]
    {
        anyhow::ensure!(!given, "stats cannot be filtered by {option}; use list or export");
    }
    let filter = filter(&args.filter)?;
    anyhow::ensure!(!filter.failed, "stats only count what failed; use `list --outcome error`");
    let stats = Reader::open(&database(&args.store)?)?.stats(&filter)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        terminal::json_line(&mut out, &stats)?;
    } else {
        figures::write(&mut out, &stats)?;
    }
    Ok(Done::Success)
}

fn export(args: &AuditExportArgs) -> anyhow::Result<Done> {
    let filter = filter(&args.filter)?;
    let reader = Reader::open(&database(&args.store)?)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        ExportFormat::Json => {
            out.write_all(b"[")?;
            let mut separator: &[u8] = b"\n";
            reader.rows(&filter, 0, |row| -> anyhow::Result<()> {
                out.write_all(separator)?;
                separator = b",\n";
                Ok(terminal::write_json(&mut out, &row)?)
            })?;
            out.write_all(b"\n]\n")?;
        }
        ExportFormat::Jsonl => reader.rows(&filter, 0, |row| -> anyhow::Result<()> {
            Ok(terminal::json_line(&mut out, &row)?)
        })?,
        ExportFormat::Csv => {
            csv::header(&mut out)?;
            reader
                .rows(&filter, 0, |row| -> anyhow::Result<()> { Ok(csv::row(&mut out, &row)?) })?;
        }
    }
    out.flush()?;
    Ok(Done::Success)
}

fn purge(args: &AuditPurgeArgs) -> anyhow::Result<Done> {
    let path = database(&args.store)?;
    let before = time_argument::age(&args.older_than, &Zoned::now())?;
    let purged = if args.dry_run {
        purge::would_purge(&path, before)?
    } else {
        let mut progress = Progress::new();
        let proof = if args.unverified { Proof::Waived } else { Proof::Required };
        let purged = purge::purge(&path, (before, proof), &Options::default(), |gone| {
            progress.show(format_args!("{gone} entries removed"));
        })?;
        progress.clear();
        purged
    };
    let Purged { entries, decisions } = purged;
    let mut out = anstream::stdout().lock();
    if args.json {
        let line = serde_json::json!({
            "removed": decisions, "entries": entries,
            "before": format!("{before:.6}"), "dry_run": args.dry_run,
        });
        terminal::json_line(&mut out, &line)?;
    } else {
        let would = if args.dry_run { "would remove" } else { "removed" };
        writeln!(out, "{would} {decisions} rows ({entries} entries) older than {before:.0}")?;
    }
    Ok(Done::Success)
}

fn verify(args: &AuditVerifyArgs) -> anyhow::Result<Done> {
    let path = database(&args.store)?;
    let mut progress = Progress::new();
    let verified = Reader::open(&path).and_then(|reader| {
        reader.verify(args.head.as_deref(), |done, all| {
            progress.show(format_args!("{done} of {all} entries"));
        })
    });
    progress.clear();
    let found = match verified {
        Err(StoreError::Damaged { why, .. }) => Verification::damaged(why),
        verified => verified?,
    };
    let mut out = anstream::stdout().lock();
    if args.json {
        let line = serde_json::json!({
            "ok": found.broken.is_none(), "entries": found.entries, "rows": found.decisions,
            "head": found.head, "broken": found.broken.as_ref().map(ToString::to_string),
        });
        terminal::json_line(&mut out, &line)?;
    } else {
        match &found.broken {
            None => writeln!(
                out,
                "whole: {} entries, {} of them rows\nhead:  {}",
                found.entries, found.decisions, found.head
            )?,
            Some(broken) => writeln!(
                out,
                "BROKEN: {broken}\n{} entries before it hold; the last of them has hash {}",
                found.entries, found.head
            )?,
        }
    }
    Ok(if found.broken.is_none() { Done::Success } else { Done::DoesNotHold })
}

fn accept_loss(args: &AuditAcceptArgs) -> anyhow::Result<Done> {
    let lost = store::accept_loss(&database(&args.store)?, &Options::default())?;
    let mut out = anstream::stdout().lock();
    match lost {
        Some(lost) => writeln!(out, "the log continues; an entry records the loss, up to {lost}")?,
        None => writeln!(out, "nothing is missing at the end of the log")?,
    }
    Ok(Done::Success)
}

/// Path of the log. Needs no configuration if it is given.
fn database(args: &StoreArgs) -> anyhow::Result<PathBuf> {
    if let Some(named) = &args.db {
        return Ok(whole(named));
    }
    let config = std::env::var_os("AGENTGATE_CONFIG").map(PathBuf::from);
    let settings = Settings::resolve(&DecideArgs { config, ..DecideArgs::default() })?;
    Ok(settings.database(args))
}

fn filter(args: &AuditFilter) -> anyhow::Result<Filter> {
    let now = Zoned::now();
    let filter = Filter {
        agent: args.agent.clone(),
        server: args.server.clone(),
        tool: args.tool.clone(),
        outcome: args.outcome.clone(),
        since: args.since.as_deref().map(|text| time_argument::since(text, &now)).transpose()?,
        until: args.until.as_deref().map(|text| time_argument::until(text, &now)).transpose()?,
        text: args.text.clone(),
        ..Filter::default()
    };
    Ok(match &args.decision {
        None => filter,
        Some(name) => {
            filter.decided(name).with_context(|| format!("`{name}` is not a decision"))?
        }
    })
}

fn row_id(text: &str) -> anyhow::Result<RowId> {
    RowId::parse(text).with_context(|| format!("`{text}` is not a row's id"))
}

/// Writes rows to standard output.
struct Output {
    form: Form,
    newest: Option<RowId>,
}

enum Form {
    Json(BufWriter<io::StdoutLock<'static>>),
    Table(Listing<anstream::AutoStream<io::StdoutLock<'static>>>),
}

impl Output {
    fn new(json: bool) -> Self {
        let form = if json {
            Form::Json(BufWriter::new(io::stdout().lock()))
        } else {
            Form::Table(Listing::new(anstream::stdout().lock(), table::width()))
        };
        Self { form, newest: None }
    }

    fn row(&mut self, row: Row) -> anyhow::Result<()> {
        self.newest = Some(row.id);
        match &mut self.form {
            Form::Json(out) => terminal::json_line(out, &row)?,
            Form::Table(listing) => listing.row(row)?,
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.form {
            Form::Json(out) => out.flush(),
            Form::Table(listing) => listing.flush(),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.newest.is_none()
            && let Form::Table(listing) = &mut self.form
        {
            listing.write_message("no rows")?;
        }
        self.flush()
    }
}

/// A progress line that is overwritten, on terminals only.
struct Progress {
    watched: bool,
}

impl Progress {
    fn new() -> Self {
        Self { watched: io::stderr().is_terminal() }
    }

    fn show(&mut self, what: std::fmt::Arguments<'_>) {
        if self.watched {
            // Errors are ignored: it is only informative.
            let _ = write!(io::stderr(), "\r\x1b[K{what}");
        }
    }

    fn clear(&mut self) {
        self.show(format_args!(""));
    }
}
