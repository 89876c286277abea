//! Regexes of policies, compiled at load. The size of each is bounded, and the total per file.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

use cel::common::ast::{CallExpr, Expr, LiteralValue};
use cel::{ExecutionError, Value};
use regex::{Error, Regex, RegexBuilder};

/// The function that `matches` with a precompiled regex is replaced by; no expression can spell its
/// name.
pub(super) const MATCHES: &str = "@matches";

/// Sizes of compiled regexes, in bytes: the smallest that suffices is charged. None may be larger
/// than the last.
const SIZES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Maximum total of the sizes charged per file, in bytes.
const MAX_TOTAL: usize = 32 << 20;

/// Regexes of live expressions, by pattern. The interpreter would compile them for every
/// evaluation.
static SHARED: LazyLock<RwLock<HashMap<String, Weak<Regex>>>> = LazyLock::new(RwLock::default);

/// The remaining budget of a file.
#[derive(Debug)]
pub(super) struct SizeBudget(usize);

impl Default for SizeBudget {
    fn default() -> Self {
        Self(MAX_TOTAL)
    }
}

impl SizeBudget {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// A message for its author.
    pub(super) fn regex(&mut self, pattern: &str) -> Result<Regex, String> {
        let bad = |why: &str| format!("bad regex `{pattern}`: {why}");
        for size in SIZES {
            if size > self.0 {
                return Err(bad("the regexes of this file are too large together"));
            }
            match RegexBuilder::new(pattern).size_limit(size).build() {
                Ok(regex) => {
                    self.0 -= size;
                    return Ok(regex);
                }
                Err(Error::CompiledTooBig(_)) => {}
                Err(error) => {
                    // The lines before the last one show the pattern.
                    let text = error.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    return Err(bad(last.trim_start_matches("error: ")));
                }
            }
        }
        // It took as long to compile as one of the largest size.
        let most = SIZES.iter().copied().max().unwrap_or_default();
        self.0 = self.0.saturating_sub(most);
        Err(bad(&format!("compiled, it is larger than {most} bytes")))
    }

    /// Like [`Self::regex`], but shared among expressions for as long as one of them keeps it.
    ///
    /// # Errors
    /// As for [`Self::regex`].
    pub(super) fn shared(&mut self, pattern: &str) -> Result<Arc<Regex>, String> {
        let mut shared = SHARED.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = shared.get(pattern).and_then(Weak::upgrade) {
            return Ok(regex);
        }
        let regex = Arc::new(self.regex(pattern)?);
        shared.retain(|_, regex| regex.strong_count() > 0);
        shared.insert(pattern.to_owned(), Arc::downgrade(&regex));
        Ok(regex)
    }
}

/// Compiles the regexes of an expression.
pub(super) struct Regexes<'r> {
    budget: &'r mut SizeBudget,
    found: Vec<Arc<Regex>>,
}

impl<'r> Regexes<'r> {
    pub(super) fn new(budget: &'r mut SizeBudget) -> Self {
        Self { budget, found: Vec::new() }
    }

    /// The compiled regexes.
    pub(super) fn found(self) -> Box<[Arc<Regex>]> {
        self.found.into()
    }

    /// Compiles the regex of a call of `matches`. It must be a literal: the cost of one from a
    /// request would be up to the sender.
    pub(super) fn compile(&mut self, call: &mut CallExpr) -> Result<(), String> {
        if call.func_name != "matches" {
            return Ok(());
        }
        let pattern = call.args.last().map(|pattern| &pattern.expr);
        let Some(Expr::Literal(LiteralValue::String(pattern))) = pattern else {
            return Err("the regex of `matches` has to be written out".to_owned());
        };
        self.found.push(self.budget.shared(pattern.inner())?);
        call.func_name = MATCHES.to_owned();
        call.args.splice(..0, call.target.take().map(|text| *text));
        Ok(())
    }
}

/// Implements [`MATCHES`].
pub(super) fn matches(text: Value, pattern: Value) -> Result<Value, ExecutionError> {
    let (Value::String(text), Value::String(pattern)) = (&text, &pattern) else {
        return Err(ExecutionError::function_error("matches", "it takes text"));
    };
    match live_regex(pattern) {
        Some(regex) => Ok(Value::Bool(regex.is_match(text))),
        None => Err(ExecutionError::function_error("matches", "its regex is not there")),
    }
}

/// A live regex by pattern.
fn live_regex(pattern: &str) -> Option<Arc<Regex>> {
    SHARED.read().unwrap_or_else(PoisonError::into_inner).get(pattern)?.upgrade()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_size_of_regexes_is_bounded() {
        let mut budget = SizeBudget::default();
        let large = r"\p{L}{20}";
        let fitting = (0..10_000).take_while(|_| budget.regex(large).is_ok()).count();
        assert!((32..200).contains(&fitting), "{fitting}");
        assert!(budget.regex(large).unwrap_err().contains("too large together"));
        let mut budget = SizeBudget::default();
        let small = (0..10_000).take_while(|_| budget.regex("^[a-z]+$").is_ok()).count();
        assert!((1_000..10_000).contains(&small), "{small}");
    }

    #[test]
    fn regexes_that_are_too_large_are_charged() {
        let mut budget = SizeBudget::default();
        let tried = (0..10_000).take_while(|_| {
            budget.regex("(a{1000}){1000}").unwrap_err().contains("it is larger than")
        });
        assert!(tried.count() < 100);
    }

    #[test]
    fn expressions_share_regexes_while_alive() {
        let pattern = "shared by two";
        let mut budget = SizeBudget::default();
        let (one, two) = (budget.shared(pattern).unwrap(), SizeBudget(0).shared(pattern).unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        drop(one);
        assert!(live_regex(pattern).is_some());
        drop(two);
        assert!(live_regex(pattern).is_none());
    }
}
