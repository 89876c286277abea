//! Static analysis of CEL expressions: which members of the arguments and the body they
//! read, and which of their parts depend on a single variable. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use cel::common::ast::operators::{
    EQUALS, GREATER, GREATER_EQUALS, IN, INDEX, LESS, LESS_EQUALS, NOT_EQUALS,
};
use cel::common::ast::{ComprehensionExpr as Comprehension, EntryExpr, Expr, LiteralValue};
use cel::parser::Expression;
use regex::Regex;

use super::condition::TYPES;
use super::matcher::{Check, Step};
use super::regexes::MATCHES;
use crate::json::{Json, Number};

/// The paths below `root` that an expression reads by literal keys and indices.
pub(super) fn paths(expression: &Expression, root: Root) -> Vec<Box<[Step]>> {
    let mut paths = Vec::new();
    collect(expression, root, &mut paths);
    paths
}

fn collect(node: &Expression, root: Root, paths: &mut Vec<Box<[Step]>>) {
    match path_from(node, &|name| (name == root.name()).then(|| (root, Vec::new()))) {
        Some((_, path)) => paths.push(path.into()),
        None => children(node).into_iter().for_each(|child| collect(child, root, paths)),
    }
}

/// The largest parts of an expression that depend on `variable` alone.
pub(super) fn parts_depending_on(node: &Expression, variable: &str, parts: &mut Vec<Expression>) {
    let references = node.references();
    if !references.has_variable(variable) {
        return;
    }
    let is_free = |name: &&str| *name != variable && !TYPES.contains(name) && !binds(node, name);
    match references.variables().iter().any(is_free) {
        true => {
            children(node).into_iter().for_each(|part| parts_depending_on(part, variable, parts))
        }
        false => parts.push(node.clone()),
    }
}

/// The string literals of an expression.
pub(super) fn texts(node: &Expression, found: &mut Vec<String>) {
    if let Expr::Literal(LiteralValue::String(text)) = &node.expr {
        found.push(text.inner().to_owned());
    }
    children(node).into_iter().for_each(|child| texts(child, found));
}

/// A comparison of a part of the request with a literal: `args.a == "b"`, `args.a in [1, 2]`,
/// `body.a.startsWith("b")`, `args.a.exists(each, each == "b")`.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    /// Id of its node.
    pub(super) id: u64,
    /// Where its path begins.
    pub(super) root: Root,
    pub(super) steps: Box<[Step]>,
    pub(super) check: Check,
}

/// The variable that a path begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Args,
    Body,
}

impl Root {
    const ALL: [Self; 2] = [Self::Args, Self::Body];

    fn name(self) -> &'static str {
        match self {
            Self::Args => "args",
            Self::Body => "body",
        }
    }
}

/// A path into the request.
type RootedPath = (Root, Vec<Step>);

/// Collects the comparisons of an expression, and whether it uses arguments otherwise.
#[derive(Debug)]
pub(super) struct Comparisons<'e> {
    regexes: &'e [Arc<Regex>],
    /// The variable of the enclosing comprehension, with the path of its elements.
    bound: Option<(&'e str, RootedPath)>,
    pub(super) found: Vec<Comparison>,
    /// Whether arguments are only compared with literals, or tested for presence. Another name of
    /// a text can then only add a match, which comparisons take into account.
    pub(super) is_all: bool,
}

impl<'e> Comparisons<'e> {
    pub(super) fn of(node: &'e Expression, regexes: &'e [Arc<Regex>]) -> Self {
        let mut comparisons = Self { regexes, bound: None, found: Vec::new(), is_all: true };
        comparisons.visit(node);
        comparisons
    }

    fn visit(&mut self, node: &'e Expression) {
        match &node.expr {
            Expr::Select(select) if select.test => return,
            Expr::Call(call) => {
                let operands: Vec<_> =
                    call.target.as_deref().into_iter().chain(&call.args).collect();
                if let [one, other] = operands.as_slice()
                    && self.compares(node.id, &call.func_name, one, other)
                {
                    return;
                }
            }
            Expr::Comprehension(inner) => {
                let range = match &inner.iter_range.expr {
                    Expr::Call(guarded) => guarded.args.first().and_then(|range| self.path(range)),
                    _ => None,
                };
                if let Some((root, mut steps)) = range {
                    steps.push(Step::Any);
                    self.bound = Some((&inner.iter_var, (root, steps)));
                    let parts =
                        [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result];
                    parts.into_iter().for_each(|part| self.visit(part));
                    self.bound = None;
                    return;
                }
            }
            _ => {}
        }
        match self.path(node) {
            Some((root, _)) => self.is_all &= root != Root::Args,
            None => children(node).into_iter().for_each(|child| self.visit(child)),
        }
    }

    /// Adds a comparison; false if the call is none.
    fn compares(&mut self, id: u64, function: &str, one: &Expression, other: &Expression) -> bool {
        let sides = [(one, other), (other, one)];
        let known = |(path, value)| Some((self.path(path)?, literal(value)?));
        let Some(((root, mut steps), value)) = sides.into_iter().find_map(known) else {
            return false;
        };
        let is_first = self.path(one).is_some();
        let check = match (function, value) {
            (EQUALS | NOT_EQUALS, value) => Check::equals(value),
            (IN, Json::Array(values)) if is_first => Check::any_of(values),
            (IN, value) if !is_first => {
                steps.push(Step::Any);
                Check::equals(value)
            }
            ("startsWith", Json::String(text)) if is_first => Check::prefix(&text),
            ("endsWith", Json::String(text)) if is_first => Check::suffix(&text),
            ("contains", Json::String(text)) if is_first => Check::contains(&text),
            (MATCHES, Json::String(pattern)) if is_first => {
                let regex = self.regexes.iter().find(|regex| regex.as_str() == pattern);
                let Some(regex) = regex else { return false };
                Check::regex(Regex::clone(regex))
            }
            (function, Json::Number(limit)) => match orderings(function, is_first) {
                Some(orderings) => Check::compares(orderings, limit),
                None => return false,
            },
            _ => return false,
        };
        self.found.push(Comparison { id, root, steps: steps.into(), check });
        true
    }

    fn path(&self, node: &Expression) -> Option<RootedPath> {
        path_from(node, &|name| match &self.bound {
            Some((bound, path)) if *bound == name => Some(path.clone()),
            _ => {
                let root = Root::ALL.into_iter().find(|root| root.name() == name)?;
                Some((root, Vec::new()))
            }
        })
    }
}

/// The orderings of the path's value to the literal for which a comparison is true.
fn orderings(function: &str, is_first: bool) -> Option<&'static [Ordering]> {
    use Ordering::{Equal, Greater, Less};
    Some(match (function, is_first) {
        (LESS, true) | (GREATER, false) => &[Less],
        (LESS_EQUALS, true) | (GREATER_EQUALS, false) => &[Less, Equal],
        (GREATER, true) | (LESS, false) => &[Greater],
        (GREATER_EQUALS, true) | (LESS_EQUALS, false) => &[Greater, Equal],
        _ => return None,
    })
}

fn literal(node: &Expression) -> Option<Json> {
    let number = |text: String| Number::new(&text).map(Json::Number);
    match &node.expr {
        Expr::Literal(literal) => match literal {
            LiteralValue::Null => Some(Json::Null),
            LiteralValue::Boolean(value) => Some(Json::Bool(*value.inner())),
            LiteralValue::String(text) => Some(Json::String(text.inner().to_owned())),
            LiteralValue::Int(value) => number(value.inner().to_string()),
            LiteralValue::UInt(value) => number(value.inner().to_string()),
            LiteralValue::Double(value) => number(value.inner().to_string()),
            LiteralValue::Bytes(_) => None,
        },
        Expr::List(list) => {
            list.elements.iter().map(literal).collect::<Option<_>>().map(Json::Array)
        }
        _ => None,
    }
}

/// Replaces calls by their known results.
pub(super) fn substitute(node: &mut Expression, known: &[(u64, bool)]) {
    if let (Expr::Call(_), Some((_, answer))) =
        (&node.expr, known.iter().find(|(id, _)| *id == node.id))
    {
        node.expr = Expr::Literal(LiteralValue::Boolean((*answer).into()));
        return;
    }
    match &mut node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        Expr::Select(select) => substitute(&mut select.operand, known),
        Expr::Call(call) => {
            let parts = call.target.as_deref_mut().into_iter().chain(&mut call.args);
            parts.for_each(|part| substitute(part, known));
        }
        Expr::List(list) => list.elements.iter_mut().for_each(|part| substitute(part, known)),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| {
            if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                substitute(&mut entry.key, known);
                substitute(&mut entry.value, known);
            }
        }),
        Expr::Comprehension(inner) => {
            let Comprehension { iter_range, accu_init, loop_cond, loop_step, result, .. } =
                &mut **inner;
            let parts = [iter_range, accu_init, loop_cond, loop_step, result];
            parts.into_iter().for_each(|part| substitute(part, known));
        }
    }
}

/// Whether a comprehension in the expression binds `name`.
pub(super) fn binds(node: &Expression, name: &str) -> bool {
    let here = match &node.expr {
        Expr::Comprehension(inner) => {
            inner.iter_var == name
                || inner.iter_var2.as_deref() == Some(name)
                || inner.accu_var == name
        }
        _ => false,
    };
    here || children(node).into_iter().any(|child| binds(child, name))
}

fn children(node: &Expression) -> Vec<&Expression> {
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => Vec::new(),
        Expr::Select(select) => vec![&*select.operand],
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => {
            let entries = map.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(_) => Vec::new(),
            });
            entries.flatten().collect()
        }
        Expr::Comprehension(inner) => {
            let Comprehension { iter_range, accu_init, loop_cond, loop_step, result, .. } =
                &**inner;
            vec![iter_range, accu_init, loop_cond, loop_step, result]
        }
    }
}

/// `args.a["b"][0]` as a path from what `root` says of its name; `None` for other expressions.
fn path_from(node: &Expression, root: &dyn Fn(&str) -> Option<RootedPath>) -> Option<RootedPath> {
    let (before, step) = match &node.expr {
        Expr::Ident(name) => return root(name),
        Expr::Select(select) => (&*select.operand, Step::Key(select.field.as_str().into())),
        Expr::Call(call) if call.func_name == INDEX => {
            let [before, index] = call.args.as_slice() else { return None };
            let step = match &index.expr {
                Expr::Literal(LiteralValue::String(key)) => Step::Key(key.inner().into()),
                Expr::Literal(LiteralValue::Int(index)) => {
                    Step::Index(usize::try_from(*index.inner()).ok()?)
                }
                _ => return None,
            };
            (before, step)
        }
        _ => return None,
    };
    let (root, mut steps) = path_from(before, root)?;
    steps.push(step);
    Some((root, steps))
}

#[cfg(test)]
mod tests {
    use cel::Env;

    use super::*;

    /// Otherwise one result would replace several nodes.
    #[test]
    fn nodes_of_calls_have_unique_ids() {
        fn calls(node: &Expression, ids: &mut Vec<u64>) {
            if matches!(node.expr, Expr::Call(_)) {
                ids.push(node.id);
            }
            children(node).into_iter().for_each(|child| calls(child, ids));
        }
        for text in [
            "args.a == 'x' && args.a == 'x' || !(args.b in ['y'])",
            "has(args.a) && args.a.exists(a, a == 'x' && a != 'y') && args.b.all(b, b == 'z')",
            "args.a.exists_one(a, a == 'x') || args.a.filter(a, a == 'x').map(a, a == 'y') != []",
        ] {
            let expression = Env::stdlib().parser().parse(text).unwrap();
            let mut ids = Vec::new();
            calls(&expression, &mut ids);
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count, "{text}");
        }
    }
}
