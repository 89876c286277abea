//! Output of the demo: headings, calls and verdicts, with colours and pauses on a terminal.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::gated::Answer;

/// Pause between scenes on a terminal.
const SCENE_PAUSE: Duration = Duration::from_millis(450);

/// Maximum width of prose, in columns.
const WIDTH: usize = 72;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// Formats the demo's output.
pub(super) struct Stage<W: Write> {
    out: W,
    interactive: bool,
    scene: u32,
}

impl<W: Write> Stage<W> {
    /// `interactive`: with colours and pauses.
    pub(super) fn new(out: W, interactive: bool) -> Self {
        Self { out, interactive, scene: 0 }
    }

    /// Starts a scene.
    pub(super) async fn scene(&mut self, title: &str) -> io::Result<()> {
        self.pause_on_terminal().await?;
        self.scene += 1;
        let line = format!("{}. {title}", self.scene);
        let line = self.styled(BOLD, &line);
        writeln!(self.out, "\n{line}")
    }

    /// Writes prose.
    pub(super) fn narrate(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "   {text}")
    }

    /// Writes an empty line.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// Writes something verbatim, such as a policy or table.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        for line in text.trim_end().lines() {
            let line = self.styled(DIM, line);
            writeln!(self.out, "     {line}")?;
        }
        Ok(())
    }

    /// Writes a command that the user can try.
    pub(super) fn command(&mut self, command: &str) -> io::Result<()> {
        let command = self.styled(BOLD, command);
        writeln!(self.out, "   $ {command}")
    }

    /// Writes a call and its response.
    pub(super) fn call(&mut self, agent: &str, call: &str, answer: &Answer) -> io::Result<()> {
        self.verdict(agent, call, answer)?;
        if answer.decision.is_none() {
            return self.beneath("", &answer.text);
        }
        Ok(())
    }

    /// Writes a call, whether it was allowed and, if not, the reason.
    pub(super) fn verdict(&mut self, agent: &str, call: &str, answer: &Answer) -> io::Result<()> {
        let verdict = self.verdict_of(answer);
        writeln!(self.out, "   {agent:<7} {call:<28} {verdict}")?;
        let field = |key| answer.decision.as_ref().and_then(|d| d.get(key)).and_then(Value::as_str);
        if let Some(reason) = field("reason") {
            self.beneath("why", reason)?;
        }
        if let Some(rule) = field("rule") {
            self.beneath("rule", rule)?;
        }
        field("suggestion").map_or(Ok(()), |suggestion| self.beneath("instead", suggestion))
    }

    /// Writes the text that the model receives.
    pub(super) fn model_reads(&mut self, text: &str) -> io::Result<()> {
        self.narrate("What the model reads, so that it can go on by itself:")?;
        self.show(&wrapped(text))
    }

    fn verdict_of(&self, answer: &Answer) -> String {
        let decision = answer.decision.as_ref().and_then(|d| d.get("decision"));
        match decision.and_then(Value::as_str) {
            None => self.styled(GREEN, "allowed"),
            Some("ask") => self.styled(YELLOW, "a person has to say"),
            Some(_) => self.styled(RED, "refused"),
        }
    }

    /// Writes a request and the status of its response.
    pub(super) fn exchange(&mut self, agent: &str, request: &str, status: u16) -> io::Result<()> {
        let style = match status {
            200..=299 => GREEN,
            429 => YELLOW,
            _ => RED,
        };
        let status = self.styled(style, &status.to_string());
        writeln!(self.out, "   {agent:<7} {request:<52} {status}")
    }

    /// Writes lines below a call, the first one with a label.
    pub(super) fn beneath(&mut self, label: &str, text: &str) -> io::Result<()> {
        let labels = std::iter::once(label).chain(std::iter::repeat(""));
        for (label, line) in labels.zip(text.lines()) {
            let label = self.styled(DIM, &format!("{label:<8}"));
            writeln!(self.out, "           {label}{line}")?;
        }
        Ok(())
    }

    async fn pause_on_terminal(&mut self) -> io::Result<()> {
        self.out.flush()?;
        if self.interactive {
            tokio::time::sleep(SCENE_PAUSE).await;
        }
        Ok(())
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.interactive { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Wraps `text` between words to lines of at most [`WIDTH`] characters.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 {
            let fits = width + 1 + length <= WIDTH;
            out.push(if fits { ' ' } else { '\n' });
            width = if fits { width + 1 } else { 0 };
        }
        out.push_str(word);
        width += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        let text = "word ".repeat(40);
        let lines = wrapped(&text);
        assert!(lines.lines().all(|line| line.len() <= WIDTH && !line.ends_with(' ')), "{lines}");
        assert_eq!(lines.split_whitespace().count(), 40);
        assert_eq!(wrapped(&"x".repeat(100)), "x".repeat(100));
    }

    #[test]
    fn plain_output_has_reasons_and_no_escape_sequences() {
        let mut out = Vec::new();
        let mut stage = Stage::new(&mut out, false);
        let decision = serde_json::json!({
            "decision": "deny", "rule": "keep", "reason": "notes stay", "suggestion": "rename it",
        });
        let answer = Answer { text: "refused".into(), decision: Some(decision) };
        stage.call("intern", "delete_note {}", &answer).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains('\u{1b}'));
        for part in ["refused", "notes stay", "keep", "rename it"] {
            assert!(out.contains(part), "{out}");
        }
    }
}
