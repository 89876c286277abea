//! The spans of what the configuration file names and only its use can check, policies and
//! servers, so that mistakes are reported with their line all the same.

use std::collections::BTreeMap;

use crate::policy::diagnostic::{Diagnostic, Diagnostics, Severity, Source, Span};

/// The spans of policies and servers in the file.
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

    /// Remembers where a policy is named; the first place counts.
    pub(super) fn policy(&mut self, name: &str, span: Span) {
        self.policies.entry(name.to_owned()).or_insert(span);
    }

    pub(super) fn server(&mut self, name: &str, span: Span) {
        self.servers.insert(name.to_owned(), span);
    }

    /// `found`, where policies that cannot be had are told where the file names them.
    #[must_use]
    pub fn point_out(&self, found: &Diagnostics) -> Diagnostics {
        let mut placed = Diagnostics::default();
        for finding in found.iter() {
            placed.push(self.point_at_policy(finding).unwrap_or_else(|| finding.clone()));
        }
        placed
    }

    fn point_at_policy(&self, finding: &Diagnostic) -> Option<Diagnostic> {
        // Those with a line are about what stands in the policy itself.
        let span = self.policies.get(&*finding.origin).filter(|_| finding.span.line == 0)?;
        let message = format!("policy `{}`: {}", finding.origin, finding.message);
        let placed = self.source.as_ref()?.finding(finding.severity, *span, message);
        Some(Diagnostic { help: finding.help.clone(), ..placed })
    }

    /// What is wrong with a server, where the file has it; `None` if it does not.
    #[must_use]
    pub fn at_server(&self, name: &str, message: String) -> Option<Diagnostic> {
        let span = *self.servers.get(name)?;
        Some(self.source.as_ref()?.finding(Severity::Error, span, message))
    }
}
