//! Compiled keys of rules: each judges one aspect of an action.

use std::sync::Arc;

use super::condition::{Condition, Failure};
use super::document::Hint;
use super::glob::{Glob, PathGlob};
use super::lookalike::has_lookalike;
use super::matcher::{Matcher, Step};
use super::ternary::Ternary;
use super::texts::Texts;
use super::uri;
use crate::action::{Action, Body, Hints, HttpRequest, Provider};
use crate::intent::Intent;
use crate::json::{Json, Object};

/// Keys that must all match, sorted by cost, `when` last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clause {
    pub(crate) keys: Box<[Key]>,
}

/// A key. Any of its alternatives is enough.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    Tool(Box<[Glob]>),
    Server(Box<[Glob]>),
    Agent(Box<[Glob]>),
    /// Known providers; unknown names match nothing.
    Provider(Box<[Provider]>),
    Resource(Box<[PathGlob]>),
    Methods(Box<[Box<str>]>),
    Intent(Box<[Intent]>),
    Annotation(Hint, bool),
    Args(Matcher),
    Body(Matcher),
    Query(Matcher),
    Header(Matcher),
    Any(Box<[Clause]>),
    Not(Box<Clause>),
    When(Arc<Condition>),
}

/// The subject of a judgement: an action and its intent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) action: &'a Action,
    pub(crate) intent: Intent,
    /// Cache of the action's texts.
    pub(crate) texts: &'a Texts<'a>,
}

impl Clause {
    /// Whether all keys match. Stops at the first that does not, so that later ones neither fail
    /// nor cost.
    pub(crate) fn judge(&self, subject: Subject<'_>) -> Result<Ternary, Failure> {
        let mut truth = Ternary::True;
        for key in &self.keys {
            truth = truth.and(key.judge(subject)?);
            if truth == Ternary::False {
                break;
            }
        }
        Ok(truth)
    }

    /// Calls `visit` with every key, including nested ones.
    pub(crate) fn visit<'c>(&'c self, visit: &mut impl FnMut(&'c Key)) {
        for key in &self.keys {
            visit(key);
            match key {
                Key::Any(clauses) => clauses.iter().for_each(|clause| clause.visit(visit)),
                Key::Not(clause) => clause.visit(visit),
                _ => {}
            }
        }
    }

    /// Calls `visit` for every key that reads bodies, including nested ones, with its paths and the
    /// list of other spellings to fill in.
    pub(super) fn visit_bodies(
        &mut self,
        visit: &mut impl FnMut(&[Box<[Step]>], &mut Box<[Box<str>]>),
    ) {
        for key in &mut self.keys {
            match key {
                Key::Body(Matcher { steps, other_spellings, .. }) => {
                    visit(std::slice::from_ref(steps), other_spellings)
                }
                Key::When(condition) if !condition.members.is_empty() => {
                    let Condition { members, other_spellings, .. } = Arc::make_mut(condition);
                    visit(members, other_spellings);
                }
                Key::Any(clauses) => {
                    clauses.iter_mut().for_each(|clause| clause.visit_bodies(visit));
                }
                Key::Not(clause) => clause.visit_bodies(visit),
                _ => {}
            }
        }
    }
}

impl Key {
    pub(crate) fn judge(&self, subject: Subject<'_>) -> Result<Ternary, Failure> {
        let Subject { action, intent, texts } = subject;
        Ok(match self {
            Self::Tool(globs) => {
                action.target.call().is_some_and(|call| any(globs, &call.tool)).into()
            }
            Self::Server(globs) => {
                action.target.server().is_some_and(|server| any(globs, server)).into()
            }
            Self::Agent(globs) => any(globs, &action.agent.name).into(),
            Self::Provider(providers) => {
                let http = action.target.http();
                http.is_some_and(|http| providers.contains(&http.provider)).into()
            }
            Self::Resource(globs) => resource(globs, action),
            Self::Methods(methods) => {
                let method = action.target.method();
                methods.iter().any(|wanted| **wanted == *method).into()
            }
            Self::Intent(intents) => intents.contains(&intent).into(),
            Self::Annotation(hint, wanted) => {
                let call = action.target.call();
                call.is_some_and(|call| in_force(*hint, call.hints()) == *wanted).into()
            }
            Self::Args(matcher) => or_false(action.target.args(), |args| {
                match is_ambiguous_uri(matcher, action, args) {
                    true => Ternary::Unknown,
                    false => matcher.judge_object(args, texts),
                }
            }),
            Self::Body(matcher) => {
                or_false(action.target.http(), |http| body(matcher, http, texts))
            }
            Self::Query(matcher) => {
                or_false(action.target.http(), |http| query(matcher, http, texts))
            }
            Self::Header(matcher) => {
                or_false(action.target.http(), |http| matcher.judge_pairs(&http.headers, texts))
            }
            Self::Any(clauses) => {
                let mut truth = Ternary::False;
                for clause in clauses {
                    truth = truth.or(clause.judge(subject)?);
                    if truth == Ternary::True {
                        break;
                    }
                }
                truth
            }
            Self::Not(clause) => !clause.judge(subject)?,
            Self::When(condition) => condition.judge(action, intent, texts)?,
        })
    }

    /// The paths into bodies that the key reads.
    pub(super) fn body_paths(&self) -> &[Box<[Step]>] {
        match self {
            Self::Body(matcher) => std::slice::from_ref(&matcher.steps),
            Self::When(condition) => &condition.members,
            _ => &[],
        }
    }

    /// The key as written in policies, with its path.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tool(_) => "tool".to_owned(),
            Self::Server(_) => "server".to_owned(),
            Self::Agent(_) => "agent".to_owned(),
            Self::Provider(_) => "provider".to_owned(),
            Self::Resource(_) => "resource".to_owned(),
            Self::Methods(_) => "methods".to_owned(),
            Self::Intent(_) => "intent".to_owned(),
            Self::Annotation(hint, _) => format!("annotations.{}", hint.name()),
            Self::Args(matcher) => format!("args.{}", matcher.path),
            Self::Body(matcher) => format!("body.{}", matcher.path),
            Self::Query(matcher) => format!("query.{}", matcher.path),
            Self::Header(matcher) => format!("headers.{}", matcher.path),
            Self::Any(_) => "conditions.or".to_owned(),
            Self::Not(_) => "conditions.not".to_owned(),
            Self::When(_) => "when".to_owned(),
        }
    }

    /// The action's value for this key, for explanations; `None` if it has none.
    pub(crate) fn found(&self, subject: Subject<'_>) -> Option<String> {
        let Subject { action, intent, .. } = subject;
        let http = action.target.http();
        match self {
            Self::Tool(_) => action.target.call().map(|call| call.tool.clone()),
            Self::Server(_) => action.target.server().map(ToString::to_string),
            Self::Agent(_) => Some(action.agent.name.to_string()),
            Self::Provider(_) => http.map(|http| http.provider.as_str().to_owned()),
            Self::Resource(_) => http.map(|http| http.path.clone()),
            Self::Methods(_) => Some(action.target.method().to_owned()),
            Self::Intent(_) => Some(intent.as_str().to_owned()),
            Self::Annotation(hint, _) => {
                let call = action.target.call();
                call.map(|call| in_force(*hint, call.hints()).to_string())
            }
            Self::Args(matcher) => matcher.found_in_object(action.target.args()?),
            Self::Body(matcher) => match &http?.body {
                Body::Json(json) => matcher.found_in_value(json),
                _ => None,
            },
            Self::Query(matcher) => matcher.found_in_pairs(&http?.query),
            Self::Header(matcher) => matcher.found_in_pairs(&http?.headers),
            Self::Any(_) | Self::Not(_) | Self::When(_) => None,
        }
    }
}

impl Hint {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "readOnlyHint",
            Self::Destructive => "destructiveHint",
            Self::Idempotent => "idempotentHint",
            Self::OpenWorld => "openWorldHint",
        }
    }
}

fn in_force(hint: Hint, hints: Hints) -> bool {
    match hint {
        Hint::ReadOnly => hints.read_only,
        Hint::Destructive => hints.destructive && !hints.read_only,
        Hint::Idempotent => hints.idempotent,
        Hint::OpenWorld => hints.open_world,
    }
}

fn any(globs: &[Glob], name: &str) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}

/// False if there is nothing to judge.
fn or_false<T>(has: Option<T>, judge: impl FnOnce(T) -> Ternary) -> Ternary {
    has.map_or(Ternary::False, judge)
}

/// Whether the matcher reads the URI of a resource that servers may normalize to another one.
fn is_ambiguous_uri(matcher: &Matcher, action: &Action, args: &Object) -> bool {
    let uri = || args.get("uri").and_then(Json::as_str);
    matcher.begins_with("uri")
        && action.target.method().starts_with("resources/")
        && uri().is_some_and(|uri| !uri::is_plain(uri))
}

/// Whether the path matches in full or in its short form. Rules hold for both forms, so that
/// neither can evade them. If only another spelling of the path matches, the provider decides, so
/// the result is unknown.
fn resource(globs: &[PathGlob], action: &Action) -> Ternary {
    let Some(http) = action.target.http() else { return Ternary::False };
    let either_form = |path: &str, matches: fn(&PathGlob, &str) -> bool| {
        let any = |path: &str| globs.iter().any(|glob| matches(glob, path));
        any(path) || http.provider.short_form(path).is_some_and(any)
    };
    if either_form(&http.path, PathGlob::matches) {
        return Ternary::True;
    }
    let mut loose = http.provider.loose_forms(&http.path);
    match loose.any(|path| either_form(&path, PathGlob::matches_loosely)) {
        true => Ternary::Unknown,
        false => Ternary::False,
    }
}

/// Judges a query parameter. The result is unknown if some server may take another parameter for
/// it: `state[]`, ` state`, one after a `;`; for Microsoft, where `$` is optional, `expand` for
/// `$expand` in any case; for Google, whose parameters have two names (google/api/http.proto),
/// `send_updates` for `sendUpdates`; for Slack, one in the body.
fn query<'t>(matcher: &Matcher, http: &'t HttpRequest, texts: &Texts<'t>) -> Ternary {
    let key: &str = &matcher.path;
    let is_spelt = |name: &str| {
        let name = name.trim();
        match http.provider {
            Provider::Microsoft => {
                name.trim_start_matches('$').eq_ignore_ascii_case(key.trim_start_matches('$'))
            }
            Provider::Google => normalized_letters(name).eq(normalized_letters(key)),
            _ => name == key,
        }
    };
    let is_it = |name: &str| is_spelt(name) || name.split('[').next().is_some_and(is_spelt);
    let names_it = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| is_it(name));
    let has_lookalike = |(name, value): &(String, String)| {
        name != key && is_it(name) || value.split(';').skip(1).any(names_it)
    };
    let in_body = || match &http.body {
        Body::Empty => false,
        Body::Json(body) => body.as_object().is_none_or(|body| body.get(key).is_some()),
        Body::Text(form) => form_urlencoded::parse(form.as_bytes()).any(|(name, _)| is_it(&name)),
        Body::Opaque => true,
    };
    match http.query.iter().any(has_lookalike) || http.provider == Provider::Slack && in_body() {
        true => Ternary::Unknown,
        false => matcher.judge_pairs(&http.query, texts),
    }
}

/// The letters of `sendUpdates` and `send_updates`, in lower case.
fn normalized_letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
}

/// Judges the body. Slack also accepts parameters in the query, so the result is unknown if the
/// member is there.
fn body<'t>(matcher: &Matcher, http: &'t HttpRequest, texts: &Texts<'t>) -> Ternary {
    let is_it = |(name, _): &(String, String)| matcher.begins_with(name);
    if http.provider == Provider::Slack && http.query.iter().any(is_it) {
        return Ternary::Unknown;
    }
    match &http.body {
        Body::Empty => matcher.judge_missing(),
        // Some server may take another member for this one.
        Body::Json(json) if has_lookalike(json, &matcher.steps, &matcher.other_spellings) => {
            Ternary::Unknown
        }
        Body::Json(json) => matcher.judge_value(json, texts),
        // There is a body, but paths cannot be resolved in it.
        Body::Text(_) | Body::Opaque => Ternary::Unknown,
    }
}
