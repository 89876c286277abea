//! Reads typed values from a YAML tree. Continues after errors, so that all are reported at once.

use super::diagnostic::{Diagnostic, Diagnostics, Severity, Source, Span, nearest};
use super::regexes::SizeBudget;
use super::yaml::{Node, Value};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// Reads one source and collects the errors in it.
#[derive(Debug)]
pub(crate) struct Reader<'s> {
    source: &'s Source,
    pub(crate) found: Diagnostics,
    /// Whether values may be secrets, which must not be shown.
    hides_values: bool,
    /// Budget for the regexes of the source.
    pub(super) regexes: SizeBudget,
}

/// The entries of a map; keys are known and unique.
#[derive(Debug)]
pub(crate) struct Fields<'n>(Vec<(&'n str, &'n Node)>);

impl<'n> Fields<'n> {
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }
}

impl<'s> Reader<'s> {
    pub(crate) fn new(source: &'s Source) -> Self {
        let (found, regexes) = (Diagnostics::default(), SizeBudget::default());
        Self { source, found, hides_values: false, regexes }
    }

    /// A reader that does not show the values of unknown keys.
    pub(crate) fn of_secrets(source: &'s Source) -> Self {
        Self { hides_values: true, ..Self::new(source) }
    }

    pub(crate) fn source(&self) -> &'s Source {
        self.source
    }

    /// Adds an error without advice.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) {
        let finding = self.finding(span, message);
        self.found.push(finding);
    }

    pub(crate) fn finding(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        self.source.finding(Severity::Error, span, message.into())
    }

    pub(crate) fn expected(&mut self, node: &Node, key: &str, what: &str) {
        self.error(node.span, format!("`{key}` needs {what}, not {}", node.kind()));
    }

    /// The entries of a map. Reports keys that are not text, and duplicates.
    pub(crate) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
    ) -> Vec<(At<&'n str>, &'n Node)> {
        let Value::Map(entries) = &node.value else {
            self.error(node.span, format!("{what} must be a map, not {}", node.kind()));
            return Vec::new();
        };
        let mut seen: Vec<(At<&str>, &Node)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let Value::String(name) = &key.value else {
                let advice = "write the key in quotes";
                let finding = self.finding(key.span, "a key must be text").help(advice);
                self.found.push(finding);
                continue;
            };
            match seen.iter().find(|(earlier, _)| earlier.value == name) {
                Some((earlier, _)) => {
                    let line = earlier.span.line;
                    let message = format!("duplicate key `{name}`, first given on line {line}");
                    self.error(key.span, message);
                }
                None => seen.push((At { value: name.as_str(), span: key.span }, value)),
            }
        }
        seen
    }

    /// The entries of a map that may only have the keys `known`.
    pub(crate) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&'static str],
    ) -> Fields<'n> {
        let mut fields = Vec::new();
        for (key, value) in self.entries(node, what) {
            if known.contains(&key.value) {
                fields.push((key.value, value));
            } else {
                let message = format!("unknown key `{}` in {what}", key.value);
                let finding = self.finding(key.span, message);
                let finding = if self.hides_values { finding.without_value() } else { finding };
                self.found.push(advise(finding, key.value, known));
            }
        }
        Fields(fields)
    }

    pub(crate) fn text(&mut self, node: &Node, key: &str) -> Option<At<String>> {
        match &node.value {
            Value::String(text) => Some(At { value: text.clone(), span: node.span }),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.expected(node, key, "text");
                None
            }
            Value::Bool(_) | Value::Number(_) => {
                let message = format!("`{key}` needs text, not {}", node.kind());
                let finding = self.finding(node.span, message).help("write it in quotes");
                self.found.push(finding);
                None
            }
        }
    }

    pub(crate) fn flag(&mut self, node: &Node, key: &str) -> Option<bool> {
        match node.value {
            Value::Bool(flag) => Some(flag),
            _ => {
                self.expected(node, key, "true or false");
                None
            }
        }
    }

    /// A positive integer.
    pub(crate) fn count(&mut self, node: &Node, key: &str) -> Option<u32> {
        let count = match &node.value {
            Value::Number(number) => number.as_str().parse().ok().filter(|count| *count > 0),
            _ => None,
        };
        if count.is_none() {
            self.error(node.span, format!("`{key}` needs a whole number of at least 1"));
        }
        count
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.error(node.span, format!("`{key}` is empty, so it would match nothing"));
                &[]
            }
            Value::List(items) => items,
            _ => {
                self.expected(node, key, "a list");
                &[]
            }
        }
    }

    /// A text or a list of texts.
    pub(crate) fn texts(&mut self, node: &Node, key: &str) -> Vec<At<String>> {
        match node.value {
            Value::List(_) => {
                let items = self.list(node, key);
                items.iter().filter_map(|item| self.text(item, key)).collect()
            }
            _ => self.text(node, key).into_iter().collect(),
        }
    }

    /// One of the words listed.
    pub(crate) fn word<T: Copy>(
        &mut self,
        node: &Node,
        key: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, key)?;
        self.word_of(&text, key, words)
    }

    pub(crate) fn word_of<T: Copy>(
        &mut self,
        text: &At<String>,
        key: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let known = words.iter().find(|(word, _)| *word == text.value);
        if known.is_none() {
            let names: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
            let finding = self.finding(text.span, format!("unknown {key} `{}`", text.value));
            self.found.push(advise(finding, &text.value, &names));
        }
        known.map(|(_, value)| *value)
    }
}

/// Words that other products use, and ours.
const SYNONYMS: &[(&str, &str)] = &[
    ("action", "effect"),
    ("decision", "effect"),
    ("path", "resource"),
    ("paths", "resource"),
    ("default", "default_effect"),
    ("default_action", "default_effect"),
    ("hours", "time_restrictions"),
    ("rate_limits", "rate_limit"),
    ("startswith", "prefix"),
    ("starts_with", "prefix"),
    ("endswith", "suffix"),
    ("ends_with", "suffix"),
    ("matches", "regex"),
    ("pattern", "regex"),
    ("one_of", "in"),
    ("permit", "allow"),
    ("accept", "allow"),
    ("block", "deny"),
    ("forbid", "deny"),
    ("reject", "deny"),
    ("approve", "ask"),
    ("confirm", "ask"),
    ("prompt", "ask"),
    ("dry-run", "observe"),
    ("dry_run", "observe"),
    ("monitor", "observe"),
    ("token", "credential"),
    ("api_key", "credential"),
    ("secret", "credential"),
    ("base_url", "upstream"),
];

/// The known word that was probably meant.
fn meant(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let folded = word.to_lowercase();
    let ours = SYNONYMS.iter().find(|(theirs, ours)| *theirs == folded && known.contains(ours));
    ours.map(|(_, ours)| *ours).or_else(|| nearest(word, known.iter().copied()))
}

/// Advises the known word that was probably meant, else lists all of them.
pub(crate) fn advise(finding: Diagnostic, word: &str, known: &[&'static str]) -> Diagnostic {
    advise_or(finding, word, known, || format!("known are `{}`", known.join("`, `")))
}

/// Advises the known word that was probably meant, else what `otherwise` returns.
pub(super) fn advise_or(
    finding: Diagnostic,
    word: &str,
    known: &[&'static str],
    otherwise: impl FnOnce() -> String,
) -> Diagnostic {
    finding.help(match meant(word, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => otherwise(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_products_are_recognized() {
        let known = ["effect", "resource", "default_effect", "default_reason", "observe"];
        for (word, ours) in [
            ("action", Some("effect")),
            ("default", Some("default_effect")),
            ("Path", Some("resource")),
            ("dry-run", Some("observe")),
            ("efect", Some("effect")),
            // The synonym is not among the known words.
            ("token", None),
        ] {
            assert_eq!(meant(word, &known), ours, "{word}");
        }
    }
}
