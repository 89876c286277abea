//! `agentgate doctor`: looks at this machine's installation, says what is wrong
//! and how to mend it. It changes nothing.

mod clients;
mod files;
mod gated;
mod program;
mod state;

use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};

use super::Done;
use crate::cli::DoctorArgs;
use crate::config::{ConfigError, File, Home, whole};
use crate::policy::diagnostic::Diagnostic;
use crate::policy::lookup::Lookup;
use crate::terminal;

pub(super) use gated::is_gate;
pub(super) use program::own_path;

/// What to do about an invalid configuration.
const FIX: &str = "correct the file; until then no command that needs it starts";

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    health: Health,
    /// Name of the check.
    check: &'static str,
    /// What was checked: a path, or a server and its client.
    subject: String,
    /// The result.
    detail: String,
    /// What to do about it, if anything.
    fix: Option<String>,
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// Informative.
    Note,
    /// A problem: the exit code is 1.
    Bad,
}

/// `agentgate doctor`: runs every check, even if others fail.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<Done> {
    let mut findings = program::check();
    let home = Home::find()?;
    // If the configuration is invalid, the other checks use flags and environment only.
    let (found, file) = configuration(args, &home);
    findings.extend(found);
    findings.extend(state::credentials(&file));
    let flags = &args.decide;
    let lookup = Lookup {
        named: flags.policy_dir.clone().or_else(|| file.policy_dir.clone()),
        own: Some(home.policies()),
    };
    findings.extend(state::policies(&file, &flags.policies, &lookup, &home));
    let named = args.store.db.as_ref().or(file.db.as_ref());
    let database = named.map_or_else(|| home.database(), |named| whole(named));
    findings.push(state::log(&database));
    findings.extend(files::check(&home, &database));
    findings.extend(files::unwritable_places(&home, &database));
    findings.extend(clients::check(&lookup));
    let mut out = anstream::stdout().lock();
    for finding in &findings {
        if args.json { finding.write_json(&mut out)? } else { finding.write(&mut out)? }
    }
    let bad = findings.iter().filter(|finding| finding.health == Health::Bad).count();
    if !args.json {
        match bad {
            0 => writeln!(out, "\nNothing is wrong.")?,
            1 => writeln!(out, "\n1 thing is wrong.")?,
            _ => writeln!(out, "\n{bad} things are wrong.")?,
        }
    }
    Ok(if bad == 0 { Done::Success } else { Done::DoesNotHold })
}

fn configuration(args: &DoctorArgs, home: &Home) -> (Vec<Finding>, File) {
    let named = args.decide.config.as_deref();
    let own = home.config.join("config.yaml");
    let path = named.unwrap_or(&own);
    match File::load(named, home) {
        Ok(file) if named.is_none() && !own.exists() => {
            (vec![Finding::note("configuration", shown(path), "none; the defaults apply")], file)
        }
        Ok(file) => (vec![Finding::good("configuration", shown(path), "loads")], file),
        Err(ConfigError::Invalid(found)) => {
            (found.iter().map(|one| mistake(path, one)).collect(), File::default())
        }
        Err(error) => {
            let detail = terminal::escaped(&error.to_string());
            (vec![Finding::bad("configuration", shown(path), detail, FIX)], File::default())
        }
    }
}

/// A finding about the configuration file.
fn mistake(path: &Path, found: &Diagnostic) -> Finding {
    let place = format!("{}:{}:{}", shown(path), found.span.line, found.span.column);
    let fix = found.help.as_deref().map_or_else(|| FIX.to_owned(), terminal::escaped);
    Finding::bad("configuration", place, terminal::escaped(&found.message), fix)
}

/// A path with control characters escaped.
fn shown(path: &Path) -> String {
    terminal::escaped(&path.to_string_lossy())
}

// === impl Finding ===

impl Finding {
    fn good(check: &'static str, subject: String, detail: impl Into<String>) -> Self {
        Self { health: Health::Good, check, subject, detail: detail.into(), fix: None }
    }

    fn note(check: &'static str, subject: String, detail: impl Into<String>) -> Self {
        Self { health: Health::Note, ..Self::good(check, subject, detail) }
    }

    fn bad(
        check: &'static str,
        subject: String,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let fix = Some(fix.into());
        Self { health: Health::Bad, fix, ..Self::good(check, subject, detail) }
    }

    fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { health, check, subject, detail, fix } = self;
        let style = health.style();
        let word = health.as_str();
        writeln!(out, "{style}{word:<4}{style:#}  {check:<13}  {subject}: {detail}")?;
        if let Some(fix) = fix {
            writeln!(out, "{:21}fix: {fix}", "")?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let line = serde_json::json!({
            "health": self.health.as_str(),
            "check": self.check,
            "subject": self.subject,
            "detail": self.detail,
            "fix": self.fix,
        });
        terminal::json_line(out, &line)
    }
}

impl Health {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "bad",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Note => AnsiColor::Cyan.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_move_the_cursor() {
        assert_eq!(terminal::escaped("a\u{1b}[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d");
        assert_eq!(terminal::escaped("Ä–日本"), "Ä–日本");
    }

    #[test]
    fn a_finding_is_one_line_and_its_fix_another() {
        let mut out = Vec::new();
        Finding::bad("client", "x".into(), "not gated", "wrap it").write(&mut out).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "bad   client         x: not gated\n                     fix: wrap it\n");
    }
}
