//! The spans of what the configuration file names and only its use can check, policies and
//! servers, so that mistakes are reported with their line all the same.

use std::collections::BTreeMap;

use crate::policy::diagnostic::{Diagnostic, Diagnostics, Severity, Source, Span};

/// Positions of policies and servers in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans {
    source: Option<Source>,
    policies: BTreeMap<String, Span>,
    servers: BTreeMap<String, Span>,
}

impl Spans {
    pub(super) fn of(source: &Source) -> Self {
        Self { source: Some(source.clone()), ..Self::default() }
    }

    /// Records the position of a policy's name; the first one counts.
    pub(super) fn policy(&mut self, name: &str, span: Span) {
        self.policies.entry(name.to_owned()).or_insert(span);
    }

    pub(super) fn server(&mut self, name: &str, span: Span) {
        self.servers.insert(name.to_owned(), span);
    }

    /// `found`, with findings about missing policies pointing to where the file names them.
    #[must_use]
    pub fn point_out(&self, found: &Diagnostics) -> Diagnostics {
        let mut placed = Diagnostics::default();
        for finding in found.iter() {
            placed.push(self.point_at_policy(finding).unwrap_or_else(|| finding.clone()));
        }
        placed
    }

    fn point_at_policy(&self, finding: &Diagnostic) -> Option<Diagnostic> {
        // Findings with a line concern the policy's own text.
        let span = self.policies.get(&*finding.origin).filter(|_| finding.span.line == 0)?;
        let message = format!("policy `{}`: {}", finding.origin, finding.message);
        let placed = self.source.as_ref()?.finding(finding.severity, *span, message);
        Some(Diagnostic { help: finding.help.clone(), ..placed })
    }

    /// A finding at the server's position in the file; `None` if the file does not contain it.
    #[must_use]
    pub fn at_server(&self, name: &str, message: String) -> Option<Diagnostic> {
        let span = *self.servers.get(name)?;
        Some(self.source.as_ref()?.finding(Severity::Error, span, message))
    }
}
