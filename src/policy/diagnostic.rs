//! Diagnostics of policy files: message, place, the line in question, and advice.

use std::fmt;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::terminal::needs_escape;

/// Maximum length of the part of a line that is shown, in characters.
const SHOWN_LINE: usize = 160;

/// Minimum similarity of words for "did you mean" (Jaro–Winkler).
const ALIKE: f64 = 0.8;

/// Minimum length, in bytes, of words for which an edit distance of 1 is enough.
const SHORTEST: usize = 3;

/// Maximum number of findings per file; one more says that there are others.
const MAX_FINDINGS: usize = 100;

/// A policy's text and its name in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file as the user wrote it, or a built-in policy's name in angle brackets.
    pub origin: Arc<str>,
    /// The text.
    pub text: Arc<str>,
}

/// A place in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Span {
    /// From 1; 0 if the place is unknown.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// In characters; at least 1 if the place is known.
    pub length: u32,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is not used.
    Error,
    /// The policy is used, but probably does not mean this.
    Warning,
}

/// A finding about a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its severity.
    pub severity: Severity,
    /// What is wrong: one sentence without a full stop.
    pub message: String,
    /// Advice.
    pub help: Option<String>,
    /// The file.
    pub origin: Arc<str>,
    /// The place in it.
    pub span: Span,
    /// The line's text; empty if the place is unknown.
    pub line_text: String,
}

/// Findings about policies, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Source {
    /// A source with a name and a text.
    #[must_use]
    pub fn new(origin: &str, text: &str) -> Self {
        Self { origin: origin.into(), text: text.into() }
    }

    /// Whether the value at a place is quoted.
    pub(super) fn is_quoted_at(&self, span: Span) -> bool {
        let at = |number: u32| usize::try_from(number.checked_sub(1)?).ok();
        let line = at(span.line).and_then(|line| self.text.lines().nth(line));
        let first = line.zip(at(span.column)).and_then(|(line, column)| line.chars().nth(column));
        matches!(first, Some('"' | '\''))
    }

    /// A finding at a place in this source.
    #[must_use]
    pub fn finding(&self, severity: Severity, span: Span, message: String) -> Diagnostic {
        let line = span.line.checked_sub(1).and_then(|line| usize::try_from(line).ok());
        let line_text = line.and_then(|line| self.text.lines().nth(line)).unwrap_or_default();
        Diagnostic {
            severity,
            message,
            help: None,
            origin: Arc::clone(&self.origin),
            span,
            line_text: line_text.trim_end().to_owned(),
        }
    }
}

impl Diagnostic {
    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Hides the line: it may contain secrets.
    #[must_use]
    pub(crate) fn without_line(mut self) -> Self {
        self.line_text = "…".to_owned();
        (self.span.column, self.span.length) = (1, 1);
        self
    }

    /// Hides the rest of the line after the place: it may be a secret.
    #[must_use]
    pub(crate) fn without_value(mut self) -> Self {
        let end = self.span.column.saturating_sub(1).saturating_add(self.span.length);
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        if let Some((at, _)) = self.line_text.char_indices().nth(end) {
            self.line_text.truncate(at);
            self.line_text.push_str(": …");
        }
        self
    }

    /// Adds "did you mean", if one of `known` is similar to `word`.
    #[must_use]
    pub fn did_you_mean<'k>(self, word: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        match nearest(word, known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    fn write(&self, formatter: &mut fmt::Formatter<'_>, paint: &Paint) -> fmt::Result {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", paint.error),
            Severity::Warning => ("warning", paint.warning),
        };
        let (bold, faint) = (paint.bold, paint.faint);
        write!(formatter, "{bold}{}", self.origin)?;
        if self.span.line > 0 {
            write!(formatter, ":{}:{}", self.span.line, self.span.column)?;
        }
        write!(formatter, ":{bold:#} {colour}{word}{colour:#}: {}", printable(&self.message))?;
        if self.span.line > 0 {
            let number = self.span.line.to_string();
            let (line, before, carets) = self.window();
            let margin = " ".repeat(number.len());
            write!(formatter, "\n {faint}{number} |{faint:#} {line}")?;
            let carets = "^".repeat(carets);
            write!(formatter, "\n {faint}{margin} |{faint:#} {before}{colour}{carets}{colour:#}")?;
        }
        if let Some(help) = &self.help {
            write!(formatter, "\n   help: {}", printable(help))?;
        }
        Ok(())
    }

    /// The part of the line to show, the white space before the carets, and the number of carets.
    fn window(&self) -> (String, String, usize) {
        let column = usize::try_from(self.span.column.saturating_sub(1)).unwrap_or_default();
        let skipped = column.saturating_sub(SHOWN_LINE / 2);
        let shown: String = self.line_text.chars().skip(skipped).take(SHOWN_LINE).collect();
        let before = (column - skipped).min(SHOWN_LINE);
        let left = shown.chars().count().saturating_sub(before).max(1);
        let length = usize::try_from(self.span.length).unwrap_or(1).clamp(1, left);
        (printable(&shown), " ".repeat(before), length)
    }
}

/// Replaces characters that would control the terminal.
fn printable(text: &str) -> String {
    let visible = |character: char| match character {
        '\t' => ' ',
        trick if needs_escape(trick) => '\u{fffd}',
        other => other,
    };
    text.chars().map(visible).collect()
}

/// The word of `known` that is most similar to `word`, if any is similar enough.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = word.to_lowercase();
    let likeness = |candidate: &str| match strsim::osa_distance(&folded, candidate) {
        // Jaro–Winkler scores short words low if two letters are swapped or one is missing.
        1 if folded.len() >= SHORTEST => 1.0,
        _ => strsim::jaro_winkler(&folded, candidate),
    };
    known
        .into_iter()
        .map(|candidate| (likeness(&candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Styles of a rendering; plain by default.
#[derive(Debug, Default)]
struct Paint {
    bold: Style,
    faint: Style,
    error: Style,
    warning: Style,
}

impl Paint {
    fn coloured() -> Self {
        Self {
            bold: Style::new().bold(),
            faint: Style::new().dimmed(),
            error: AnsiColor::Red.on_default().bold(),
            warning: AnsiColor::Yellow.on_default().bold(),
        }
    }
}

/// `file:line:column: error: message`, the line, carets, and advice.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(formatter, &Paint::default())
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        object.serialize_entry("severity", severity)?;
        object.serialize_entry("file", &*self.origin)?;
        object.serialize_entry("line", &self.span.line)?;
        object.serialize_entry("column", &self.span.column)?;
        object.serialize_entry("message", &self.message)?;
        if let Some(help) = &self.help {
            object.serialize_entry("help", help)?;
        }
        object.serialize_entry("text", &self.line_text)?;
        object.end()
    }
}

// === impl Diagnostics ===

impl Diagnostics {
    /// Adds a finding, up to a limit, so that hostile files cannot grow the list.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(diagnostic);
        } else if self.0.len() == MAX_FINDINGS {
            let message = "there are more findings than are shown".to_owned();
            self.0.push(Diagnostic { message, help: None, ..diagnostic });
        }
    }

    /// Adds all findings of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether there are no findings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is any error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The findings, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// A coloured rendering, for writers that strip colours where necessary.
    #[must_use]
    pub fn coloured(&self) -> impl fmt::Display + '_ {
        Coloured(self)
    }

    /// Sorts by place.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by_key(|finding| finding.span);
    }
}

struct Coloured<'d>(&'d Diagnostics);

impl fmt::Display for Coloured<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_all(formatter, &Paint::coloured())
    }
}

impl Diagnostics {
    fn write_all(&self, formatter: &mut fmt::Formatter<'_>, paint: &Paint) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            finding.write(formatter, paint)?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_all(formatter, &Paint::default())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_line_and_caret() {
        let source = Source::new("p.yaml", "name: x\nrules:\n  - tol: push\n");
        let span = Span { line: 3, column: 5, length: 3 };
        let finding = source
            .finding(Severity::Error, span, "unknown key `tol`".to_owned())
            .did_you_mean("tol", ["tool", "server"]);
        assert_eq!(
            finding.to_string(),
            "p.yaml:3:5: error: unknown key `tol`\n 3 |   - tol: push\n   |     ^^^\n   \
             help: did you mean `tool`?"
        );
    }

    #[test]
    fn typo_in_a_short_word_is_recognized() {
        for (word, meant) in [("gti", Some("git")), ("xyz", None), ("gits", Some("git"))] {
            assert_eq!(nearest(word, ["git", "sqlite"]), meant, "{word}");
        }
    }

    #[test]
    fn missing_folders_and_hostile_input_are_survived() {
        let source = Source::new("p", &format!("\u{1b}[2J{}", "x".repeat(10_000)));
        for (line, column, length) in [(1, 9_000, 5_000), (9, 9, 9), (0, 0, 0), (1, 0, 0)] {
            let span = Span { line, column, length };
            let shown = source.finding(Severity::Warning, span, "m".to_owned()).to_string();
            assert!(!shown.contains('\u{1b}') && shown.len() < 600, "{shown}");
        }
    }
}
