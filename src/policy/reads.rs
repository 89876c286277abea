//! Which arguments a CEL expression looks at, as far as it names them. Pure.

use cel::common::ast::operators::INDEX;
use cel::common::ast::{EntryExpr, Expr, LiteralValue};
use cel::parser::Expression;

use super::matcher::Step;

/// The ways below `args` that an expression goes by names and numbers alone.
pub(super) fn arguments(expression: &Expression) -> Vec<Box<[Step]>> {
    let mut ways = Vec::new();
    collect(expression, &mut ways);
    ways
}

fn collect(node: &Expression, ways: &mut Vec<Box<[Step]>>) {
    if let Some(way) = way(node) {
        return ways.push(way.into());
    }
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        Expr::Select(select) => collect(&select.operand, ways),
        Expr::Call(call) => {
            let parts = call.target.as_deref().into_iter().chain(&call.args);
            parts.for_each(|part| collect(part, ways));
        }
        Expr::List(list) => list.elements.iter().for_each(|element| collect(element, ways)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| {
            if let EntryExpr::MapEntry(entry) = &entry.expr {
                collect(&entry.key, ways);
                collect(&entry.value, ways);
            }
        }),
        Expr::Comprehension(inner) => {
            let parts = [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step];
            parts.into_iter().chain([&inner.result]).for_each(|part| collect(part, ways));
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
