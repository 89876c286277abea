//! Paths into JSON in policies.

use crate::json::{Json, Object};

/// Maximum number of steps of a path.
const MAX_STEPS: usize = 32;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum Step {
    Key(Box<str>),
    Index(usize),
    /// `[any]`: any element.
    Any,
    /// `[all]`: every element.
    All,
}

/// Parses a path: `repo.owner`, `files[0].path`, `files[any].path`, `a["b.c"]`.
pub(super) fn steps(path: &str) -> Result<Box<[Step]>, String> {
    let mut steps = Vec::new();
    let mut rest = path;
    let mut first = true;
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (step, after) = bracketed(path, bracket)?;
            steps.push(step);
            rest = after;
        } else {
            let key = match rest.strip_prefix('.') {
                Some(key) if !first => key,
                None if first => rest,
                _ => return Err(format!("`{path}` is not a path; write `repo.owner`")),
            };
            let end = key.find(['.', '[']).unwrap_or(key.len());
            let (name, after) = key.split_at(end);
            if name.is_empty() {
                return Err(format!("`{path}` has an empty step"));
            }
            steps.push(Step::Key(name.into()));
            rest = after;
        }
        first = false;
    }
    if steps.is_empty() || steps.len() > MAX_STEPS {
        return Err(format!("a path has between 1 and {MAX_STEPS} steps"));
    }
    Ok(steps.into())
}

fn bracketed<'p>(path: &str, bracket: &'p str) -> Result<(Step, &'p str), String> {
    if let Some((key, after)) =
        bracket.strip_prefix('"').and_then(|quoted| quoted.split_once("\"]"))
    {
        return Ok((Step::Key(key.into()), after));
    }
    let (inside, after) =
        bracket.split_once(']').ok_or_else(|| format!("`{path}` lacks a closing `]`"))?;
    let step = match inside {
        "any" => Step::Any,
        "all" => Step::All,
        "*" => {
            return Err(format!(
                "`[*]` does not say whether one element is enough: write `{}` or `{}`",
                path.replace("[*]", "[any]"),
                path.replace("[*]", "[all]"),
            ));
        }
        index => Step::Index(
            index.parse().map_err(|_| format!("`[{index}]` is neither a number, any nor all"))?,
        ),
    };
    Ok((step, after))
}

/// The values at a path; several if it has `any` or `all`.
pub(in crate::policy) fn reached<'j>(value: &'j Json, steps: &[Step]) -> Vec<&'j Json> {
    let Some((step, rest)) = steps.split_first() else { return vec![value] };
    match (step, value) {
        (Step::Key(key), Json::Object(object)) => {
            object.get(key).map(|value| reached(value, rest)).unwrap_or_default()
        }
        (Step::Index(index), Json::Array(items)) => {
            items.get(*index).map(|value| reached(value, rest)).unwrap_or_default()
        }
        (Step::Any | Step::All, Json::Array(items)) => {
            items.iter().flat_map(|value| reached(value, rest)).collect()
        }
        _ => Vec::new(),
    }
}
/// The values at a path in an object.
pub(in crate::policy) fn reached_in<'j>(object: &'j Object, steps: &[Step]) -> Vec<&'j Json> {
    let Some((Step::Key(key), rest)) = steps.split_first() else { return Vec::new() };
    object.get(key).map(|value| reached(value, rest)).unwrap_or_default()
}
