//! Uncertain results of expressions: those that depend on how a lenient server interprets the
//! request. Pure.

use super::Condition;
use crate::action::{Action, Body, HttpRequest, Target};
use crate::intent::Intent;
use crate::json::Json;
use crate::policy::alternate_spellings::{self, Spellings};
use crate::policy::cel_analysis::{self, Comparison, Root};
use crate::policy::lookalike::{has_lookalike, resolve_lookalikes};
use crate::policy::matcher::{self, Step};
use crate::policy::texts::Texts;

/// Budget for evaluating alternate spellings of the arguments, in bytes: [`BUDGET`] plus this many
/// times the cost of the arguments. Beyond it, the result is unknown.
const BUDGET_FACTOR: usize = 16;
const BUDGET: usize = 4 << 20;
/// Fixed cost of an evaluation.
const EVALUATION: usize = 1 << 10;
/// Maximum number of paths into a body with lookalikes.
const MAX_PATHS: usize = 8;
/// Maximum number of combinations of results of uncertain comparisons.
const MAX_COMBINATIONS: usize = 1 << 4;

impl Condition {
    /// Whether the result changes if lookalike members of the body are taken for those that the
    /// expression reads.
    pub(super) fn changes_with_lookalikes(
        &self,
        action: &Action,
        intent: Intent,
        holds: bool,
    ) -> bool {
        let Some(HttpRequest { body: Body::Json(body), .. }) = action.target.http() else {
            return false;
        };
        let paths = self.members.iter().map(|steps| &**steps);
        let lookalikes: Vec<&[Step]> =
            paths.filter(|steps| has_lookalike(body, steps, &self.other_spellings)).collect();
        let differs = |paths: &[&[Step]]| {
            let mut other = action.clone();
            let Target::Http(HttpRequest { body: Body::Json(body), .. }) = &mut other.target else {
                return true;
            };
            let read = paths
                .iter()
                .try_for_each(|steps| resolve_lookalikes(body, steps, &self.other_spellings));
            read.is_none()
                || self.holds(&other, intent) != Ok(holds)
                || self.changes_with_comparisons(&other, intent, holds, &Texts::default())
        };
        let is_uncertain = || {
            lookalikes.len() > MAX_PATHS
                || differs(&lookalikes)
                || lookalikes.iter().any(|path| differs(&[*path]))
        };
        !lookalikes.is_empty() && is_uncertain()
    }

    /// Whether the result changes with the alternate spellings of arguments.
    pub(super) fn changes_with_spellings<'t>(
        &self,
        action: &'t Action,
        intent: Intent,
        holds: bool,
        texts: &Texts<'t>,
    ) -> bool {
        let Some(args) = action.target.args() else { return false };
        let read = |(key, _): &(&str, &Json)| {
            self.arguments.iter().any(|steps| match steps.first() {
                Some(Step::Key(first)) => **first == **key,
                _ => true,
            })
        };
        let read: Vec<_> = args.iter().filter(read).collect();
        let mut budget = BUDGET + BUDGET_FACTOR * alternate_spellings::cost(read.iter().copied());
        let mut reread = None;
        // Comparisons take other names of a text into account themselves.
        let spellings = if self.only_compares { Spellings::Others } else { Spellings::All };
        alternate_spellings::arguments(&read, spellings, texts).any(|other| {
            budget = budget.saturating_sub(EVALUATION + alternate_spellings::cost(other.iter()));
            let reread = reread.get_or_insert_with(|| action.clone());
            if let Some(args) = reread.target.args_mut() {
                *args = other;
            }
            budget == 0 || self.holds(reread, intent) != Ok(holds)
        })
    }

    /// Whether the result changes with the results of uncertain comparisons.
    pub(super) fn changes_with_comparisons<'t>(
        &self,
        action: &'t Action,
        intent: Intent,
        holds: bool,
        texts: &Texts<'t>,
    ) -> bool {
        let uncertain = self.uncertain_comparisons(action, texts);
        if uncertain.is_empty() {
            return false;
        }
        let answers = 1_usize.checked_shl(uncertain.len().try_into().unwrap_or(u32::MAX));
        let Some(answers) = answers.filter(|answers| *answers <= MAX_COMBINATIONS) else {
            return true;
        };
        (0..answers).any(|number| {
            let answer = |at: usize| number >> at & 1 == 1;
            let known: Vec<_> =
                (0..).map(answer).zip(&uncertain).map(|(is, id)| (*id, is)).collect();
            let mut expression = self.expression.clone();
            cel_analysis::substitute(&mut expression, &known);
            self.answer(&expression, action, intent) != Ok(holds)
        })
    }

    /// The comparisons with a value that lenient servers may convert to the one compared with.
    /// Values that some comparison at this path names exactly are certain.
    fn uncertain_comparisons<'t>(&self, action: &'t Action, texts: &Texts<'t>) -> Vec<u64> {
        let named = |comparison: &Comparison, value: &Json| {
            let is_alike = |other: &&Comparison| {
                (other.root, &other.steps) == (comparison.root, &comparison.steps)
            };
            self.comparisons.iter().filter(is_alike).any(|other| other.check.names(value))
        };
        let is_uncertain = |comparison: &&Comparison| {
            let values = match (comparison.root, action.target.args(), action.target.http()) {
                (Root::Args, Some(args), _) => matcher::reached_in(args, &comparison.steps),
                (Root::Body, _, Some(HttpRequest { body: Body::Json(body), .. })) => {
                    matcher::reached(body, &comparison.steps)
                }
                _ => Vec::new(),
            };
            let is_unknown = |value: &&'t Json| comparison.check.is_uncertain_about(value, texts);
            values.into_iter().filter(is_unknown).any(|value| !named(comparison, value))
        };
        let mut ids: Vec<u64> =
            self.comparisons.iter().filter(is_uncertain).map(|comparison| comparison.id).collect();
        ids.dedup();
        ids
    }
}
