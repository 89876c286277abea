//! `when`: CEL expressions over actions, compiled at load, bounded in cost. An error denies.
//!
//! The interpreter has no cost limit, so expressions are restricted: comprehensions do not nest,
//! and fail if they range over more than [`MAX_ELEMENTS`].

mod time_zones;
mod uncertainty;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::Chars;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, EntryExpr, Expr};
use cel::parser::Expression;
use cel::{Context, Env, ExecutionError, Value};
use regex::Regex;

use self::values::{text, value};
use super::cel_analysis::{self, Comparison, Comparisons, Root};
use super::diagnostic::nearest;
use super::matcher::Step;
use super::regexes::{self, Regexes, SizeBudget};
use super::ternary::Ternary;
use super::texts::Texts;
use crate::action::{Action, McpRequest};
use crate::intent::Intent;

/// Maximum number of elements that a comprehension may range over.
pub(super) const MAX_ELEMENTS: usize = 10_000;
/// Maximum length of an expression, in bytes. With [`MAX_BRACKETS`], it keeps the parser, which
/// recurses with large frames, within half a stack of 2 MiB.
pub(super) const MAX_LENGTH: usize = 1_024;
/// Maximum nesting of brackets, and of `?:`.
const MAX_BRACKETS: u16 = 8;
/// Maximum depth of an expression; the interpreter recurses.
const MAX_DEPTH: u16 = 48;
/// Maximum length of an evaluation error in reasons, in characters.
const SHOWN_ERROR: usize = 200;
/// The variable of the request's method.
const METHOD: &str = "method";
/// The function that checks the range of a comprehension; no expression can spell its name.
const BOUNDED: &str = "@bounded";

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    expression: Expression,
    /// Keeps the regexes alive that [`regexes::matches`] looks up.
    #[expect(dead_code, reason = "only kept alive")]
    regexes: Box<[Arc<Regex>]>,
    /// The variables it uses; only these are converted.
    variables: Box<[Variable]>,
    /// The paths into arguments that it reads.
    pub(super) arguments: Vec<Box<[Step]>>,
    /// The paths into bodies that it reads.
    pub(super) members: Vec<Box<[Step]>>,
    /// Other spellings of their keys that rules read; they are not lookalikes.
    pub(super) other_spellings: Box<[Box<str>]>,
    /// Its comparisons of arguments and body members with literals.
    comparisons: Vec<Comparison>,
    /// Whether it uses arguments in such comparisons only.
    only_compares: bool,
    /// The parts of it that depend on the method alone.
    method_parts: Vec<Expression>,
}

/// Why a condition has no result.
pub(crate) type Failure = Arc<str>;

macro_rules! variables {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Variable { $($variant),+ }

        impl Variable {
            const ALL: &'static [(&'static str, Self)] = &[$(($name, Self::$variant)),+];
        }
    };
}

variables! {
    Agent = "agent", Server = "server", Provider = "provider", Tool = "tool", Args = "args",
    Annotations = "annotations", Method = "method", Path = "path", Query = "query",
    Headers = "headers", Body = "body", Intent = "intent", Time = "time", Session = "session",
}

/// Functions whose cost is linear in their input. `replace`, `join` and `format` can multiply it,
/// so they are missing.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "timestamp",
    "duration",
    "type",
    "dyn",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "min",
    "max",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "lowerAscii",
    "upperAscii",
    "trim",
    "indexOf",
    "lastIndexOf",
    "substring",
    "charAt",
    "split",
];

pub(super) const TYPES: &[&str] = &[
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "list",
    "map",
    "null_type",
    "type",
    "timestamp",
    "duration",
];

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // INVARIANT (functions): if the extension were refused, its functions would be unknown at run
    // time, which is an error and denies.
    let _ = environment.add_extension(cel::extensions::strings);
    Arc::new(environment)
});

/// The root context: functions only. Each evaluation adds an inner scope with variables.
static ROOT: LazyLock<Context<'static, 'static>> = LazyLock::new(|| {
    let mut root = Context::with_env(Arc::clone(&ENVIRONMENT));
    // INVARIANT (bounded): if the name were taken, no guarded range would resolve, which is an
    // error and denies.
    let _ = root.add_function(BOUNDED, bounded);
    let _ = root.add_function(regexes::MATCHES, regexes::matches);
    let _ = root.add_function(time_zones::IN_ZONE, time_zones::in_zone);
    root
});

fn bounded(range: Value) -> Result<Value, ExecutionError> {
    let elements = match &range {
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.map.len(),
        _ => 0,
    };
    if elements > MAX_ELEMENTS {
        let message = format!("{elements} elements are more than {MAX_ELEMENTS}");
        return Err(ExecutionError::function_error("comprehension", message));
    }
    Ok(range)
}

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    /// A message for its author.
    pub(super) fn compile(text: &str, budget: &mut SizeBudget) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("an expression may have at most {MAX_LENGTH} bytes"));
        }
        check_brackets(text)?;
        let mut expression = parse(text)?;
        let mut regexes = Regexes::new(budget);
        guard(&mut expression, 0, false, &mut regexes)?;
        let regexes = regexes.found();
        let references = expression.references();
        for function in references.functions() {
            let named = function.starts_with(|first: char| first.is_ascii_alphabetic());
            if named && !FUNCTIONS.contains(&function) {
                return Err(unknown("function", function, FUNCTIONS));
            }
        }
        let names: Vec<&str> = Variable::ALL.iter().map(|(name, _)| *name).collect();
        let mut variables = Vec::new();
        for variable in references.variables() {
            match Variable::ALL.iter().find(|(name, _)| *name == variable) {
                Some((_, known)) => variables.push(*known),
                None if TYPES.contains(&variable) || variable.starts_with('@') => {}
                // Variables of comprehensions are listed, too.
                None if cel_analysis::binds(&expression, variable) => {}
                None => return Err(unknown("variable", variable, &names)),
            }
        }
        let arguments = cel_analysis::paths(&expression, Root::Args);
        let mut method_parts = Vec::new();
        cel_analysis::parts_depending_on(&expression, METHOD, &mut method_parts);
        let Comparisons { found: comparisons, is_all: only_compares, .. } =
            Comparisons::of(&expression, &regexes);
        let of_bodies = comparisons.iter().filter(|comparison| comparison.root == Root::Body);
        let mut members = cel_analysis::paths(&expression, Root::Body);
        members.extend(of_bodies.map(|comparison| comparison.steps.clone()));
        let (variables, other_spellings) = (variables.into(), Box::default());
        Ok(Self {
            expression,
            regexes,
            variables,
            arguments,
            members,
            other_spellings,
            comparisons,
            only_compares,
            method_parts,
        })
    }

    /// Whether the parts that depend on the method alone give another result for `method` than for
    /// `tools/call`.
    pub(super) fn distinguishes(&self, method: &str) -> bool {
        let value = |part: &Expression, method: &str| {
            let mut scope = ROOT.new_inner_scope();
            scope.add_variable_from_value(METHOD, text(method));
            scope.resolve(part).ok()
        };
        let differs = |part: &Expression| value(part, method) != value(part, McpRequest::CALL);
        let any = || self.method_parts.iter().any(differs);
        catch_unwind(AssertUnwindSafe(any)).unwrap_or(true)
    }

    /// The string literals in the parts that depend on the method alone.
    pub(super) fn method_literals(&self) -> Vec<String> {
        let mut texts = Vec::new();
        self.method_parts.iter().for_each(|part| cel_analysis::texts(part, &mut texts));
        texts
    }

    /// Whether the expression is true for `action`.
    ///
    /// # Errors
    /// The evaluation failed, panicked, or gave something else than a boolean.
    pub(crate) fn holds(&self, action: &Action, intent: Intent) -> Result<bool, Failure> {
        self.answer(&self.expression, action, intent)
    }

    fn answer(
        &self,
        expression: &Expression,
        action: &Action,
        intent: Intent,
    ) -> Result<bool, Failure> {
        let evaluate = || self.evaluate(expression, action, intent);
        match catch_unwind(AssertUnwindSafe(evaluate)) {
            Ok(Ok(Value::Bool(holds))) => Ok(holds),
            Ok(Ok(other)) => {
                Err(format!("the result is not true or false but {}", other.type_of()).into())
            }
            Ok(Err(error)) => Err(error.chars().take(SHOWN_ERROR).collect::<String>().into()),
            Err(_) => Err("the evaluation panicked".into()),
        }
    }

    /// Like [`Self::holds`], but unknown if the result depends on how lenient servers interpret the
    /// request.
    ///
    /// # Errors
    /// As for [`Self::holds`].
    pub(crate) fn judge<'t>(
        &self,
        action: &'t Action,
        intent: Intent,
        texts: &Texts<'t>,
    ) -> Result<Ternary, Failure> {
        let holds = self.holds(action, intent)?;
        let is_uncertain = self.changes_with_lookalikes(action, intent, holds)
            || self.changes_with_comparisons(action, intent, holds, texts)
            || self.changes_with_spellings(action, intent, holds, texts);
        Ok(if is_uncertain { Ternary::Unknown } else { holds.into() })
    }

    fn evaluate(
        &self,
        expression: &Expression,
        action: &Action,
        intent: Intent,
    ) -> Result<Value, String> {
        let mut scope = ROOT.new_inner_scope();
        for variable in &self.variables {
            let name = Variable::ALL.iter().find(|(_, known)| known == variable);
            let value = value(*variable, action, intent)?;
            let (name, _) = name.ok_or("a variable without a name")?;
            scope.add_variable_from_value(*name, value);
        }
        scope.resolve(expression).map_err(|error| error.to_string())
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`; known are `{}`", known.join("`, `")),
    }
}

/// Limits the nesting of brackets before parsing: the parser recurses before it checks its own
/// limit. Finding brackets requires finding strings for certain, so triple quotes and rare escapes
/// are refused.
fn check_brackets(text: &str) -> Result<(), String> {
    let (mut depth, mut before, mut rest) = (0_u16, ' ', text.chars());
    while let Some(here) = rest.next() {
        match here {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '"' | '\'' if rest.as_str().starts_with(if here == '"' { "\"\"" } else { "''" }) => {
                return Err("a string in three quotes; one is enough".to_owned());
            }
            '"' | '\'' => skip_string(&mut rest, here, matches!(before, 'r' | 'R'))?,
            '/' if rest.as_str().starts_with('/') => {
                return Err("no comments in an expression; YAML has its own".to_owned());
            }
            _ => {}
        }
        if depth > MAX_BRACKETS {
            return Err(format!("brackets may nest at most {MAX_BRACKETS} deep"));
        }
        before = here;
    }
    Ok(())
}

fn skip_string(rest: &mut Chars<'_>, quote: char, raw: bool) -> Result<(), String> {
    loop {
        match rest.next() {
            Some(end) if end == quote => return Ok(()),
            None | Some('\n' | '\r') => return Err("a string without an end".to_owned()),
            Some('\\') if !raw => match rest.next() {
                Some('\\' | '"' | '\'' | '`' | '?' | 'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v') => {}
                other => {
                    let escape: String = other.into_iter().collect();
                    return Err(format!(
                        "unknown escape `\\{escape}`; a regex needs `\\\\{escape}`"
                    ));
                }
            },
            Some(_) => {}
        }
    }
}

/// Parser messages caused by operators of other languages, with advice.
const FOREIGN_OPERATORS: [(&str, &str); 3] = [
    ("mismatched input 'and'", "; write `&&`"),
    ("mismatched input 'or'", "; write `||`"),
    ("mismatched input 'is'", "; write `==`"),
];

fn parse(text: &str) -> Result<Expression, String> {
    let parse = || ENVIRONMENT.parser().max_recursion_depth(MAX_BRACKETS).parse(text);
    match catch_unwind(AssertUnwindSafe(parse)) {
        Ok(Ok(expression)) => Ok(expression),
        Ok(Err(_)) if assigns(text) => Err("one `=`; `==` compares".to_owned()),
        Ok(Err(errors)) => Err(match errors.errors.first() {
            Some(error) => {
                let advice = FOREIGN_OPERATORS.iter().find(|(word, _)| error.msg.contains(word));
                let advice = advice.map(|(_, advice)| *advice).unwrap_or_default();
                format!("{} (at character {}){advice}", brief(&error.msg), error.pos.1)
            }
            None => "not a CEL expression".to_owned(),
        }),
        Err(_) => Err("not a CEL expression".to_owned()),
    }
}

/// The parser's message, without its list of every token that would fit.
fn brief(message: &str) -> String {
    let message = message.trim();
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let (found, _) = message.split_once(" expecting ").unwrap_or((message, ""));
    let unexpected = ["mismatched input ", "extraneous input ", "no viable alternative at input "];
    match unexpected.iter().find_map(|prefix| found.strip_prefix(prefix)) {
        Some(token) if token.ends_with("<EOF>'") => "it ends too early".to_owned(),
        Some(token) => format!("unexpected `{}`", token.trim_matches('\'')),
        None => found.replace("'<EOF>'", "the end"),
    }
}

/// Whether there is a single `=` outside of strings.
fn assigns(text: &str) -> bool {
    let mut quote = None;
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(here) = rest.next() {
        match (quote, here) {
            (Some(_), '\\') => {
                rest.next();
            }
            (Some(open), _) if open == here => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(here),
            (None, '=') if !"=!<>".contains(before) && rest.peek() != Some(&'=') => return true,
            (None, _) => {}
        }
        before = here;
    }
    false
}

/// Walks the expression once: checks depth and nesting, compiles regexes, looks up time zones, and
/// wraps the range of every comprehension in [`BOUNDED`].
fn guard(
    node: &mut Expression,
    depth: u16,
    in_loop: bool,
    regexes: &mut Regexes<'_>,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("an expression may nest at most {MAX_DEPTH} deep"));
    }
    if let Expr::Call(call) = &mut node.expr {
        regexes.compile(call)?;
        time_zones::resolve(call, node.id)?;
    }
    let mut visit = |child: &mut Expression| guard(child, depth + 1, in_loop, regexes);
    match &mut node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
        Expr::Select(select) => visit(&mut select.operand),
        Expr::Call(call) => {
            call.target.as_deref_mut().map_or(Ok(()), &mut visit)?;
            call.args.iter_mut().try_for_each(visit)
        }
        Expr::List(list) => list.elements.iter_mut().try_for_each(visit),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => visit(&mut entry.key).and(visit(&mut entry.value)),
            EntryExpr::StructField(_) => Err("structs are not part of the language".to_owned()),
        }),
        Expr::Struct(_) => Err("structs are not part of the language".to_owned()),
        Expr::Comprehension(_) if in_loop => Err("comprehensions (`all`, `exists`, `map`, \
             `filter`, …) do not nest: the cost would not be bounded"
            .to_owned()),
        Expr::Comprehension(comprehension) => {
            visit(&mut comprehension.iter_range)?;
            let range = std::mem::take(&mut comprehension.iter_range);
            comprehension.iter_range = Expression {
                id: range.id,
                expr: Expr::Call(CallExpr {
                    func_name: BOUNDED.to_owned(),
                    target: None,
                    args: vec![range],
                }),
            };
            guard(&mut comprehension.loop_cond, depth + 1, true, regexes)?;
            guard(&mut comprehension.loop_step, depth + 1, true, regexes)?;
            guard(&mut comprehension.result, depth + 1, true, regexes)
        }
    }
}

#[cfg(test)]
mod tests;
