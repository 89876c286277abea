//! What a CEL expression looks at: arguments, as far as it names them, and the parts of
//! it that hang on a single variable. Pure.

use cel::common::ast::operators::{EQUALS, IN, INDEX, NOT_EQUALS};
use cel::common::ast::{ComprehensionExpr as Comprehension, EntryExpr, Expr, LiteralValue};
use cel::parser::Expression;

use super::condition::TYPES;
use super::matcher::Step;
use crate::json::{Json, Number};

/// The ways below `args` that an expression goes by names and numbers alone.
pub(super) fn arguments(expression: &Expression) -> Vec<Box<[Step]>> {
    let mut ways = Vec::new();
    collect(expression, &mut ways);
    ways
}

fn collect(node: &Expression, ways: &mut Vec<Box<[Step]>>) {
    match way(node) {
        Some(way) => ways.push(way.into()),
        None => children(node).into_iter().for_each(|child| collect(child, ways)),
    }
}

/// The largest parts of an expression that hang on `variable` and on nothing else.
pub(super) fn parts_about(node: &Expression, variable: &str, parts: &mut Vec<Expression>) {
    let references = node.references();
    if !references.has_variable(variable) {
        return;
    }
    let is_free = |name: &&str| *name != variable && !TYPES.contains(name) && !binds(node, name);
    match references.variables().iter().any(is_free) {
        true => children(node).into_iter().for_each(|part| parts_about(part, variable, parts)),
        false => parts.push(node.clone()),
    }
}

/// What an expression holds arguments against, written out: `args.a == "b"`,
/// `args.a in [1, 2]`.
pub(super) fn comparisons(node: &Expression, found: &mut Vec<(Box<[Step]>, Json)>) {
    if let Expr::Call(call) = &node.expr
        && let [one, other] = call.args.as_slice()
    {
        let sides = [(one, other), (other, one)];
        let known = |(argument, value)| Some((way(argument)?, literal(value)?));
        match (call.func_name.as_str(), sides.into_iter().find_map(known)) {
            (EQUALS | NOT_EQUALS, Some((way, value))) => found.push((way.into(), value)),
            (IN, Some((way, Json::Array(values)))) => {
                let each = values.into_iter().map(|value| (way.as_slice().into(), value));
                found.extend(each);
            }
            _ => {}
        }
    }
    children(node).into_iter().for_each(|child| comparisons(child, found));
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

/// Whether some comprehension in the expression binds `name`.
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

/// `args.a["b"][0]` as steps; `None` for what is no such way.
fn way(node: &Expression) -> Option<Vec<Step>> {
    let (before, step) = match &node.expr {
        Expr::Ident(name) => return (name == "args").then(Vec::new),
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
    let mut way = way(before)?;
    way.push(step);
    Some(way)
}
