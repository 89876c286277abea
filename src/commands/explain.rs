//! `agentgate explain`: what would be decided about a request, and why.

use std::io::{self, Read as _, Write};

use anstyle::{AnsiColor, Style};

use super::{Done, policies};
use crate::action::Agent;
use crate::cli::ExplainArgs;
use crate::config::Settings;
use crate::gate::pipeline::{self, Facts};
use crate::intent::{self, Analysis};
use crate::policy::{Explanation, NearMiss};
use crate::request::{self, UnknownKeys};
use crate::terminal;
use crate::verdict::{Decision, HintsReason, Reason};

/// Maximum size of a request on standard input, in bytes.
const MAX_REQUEST: u64 = 64 << 20;

/// `agentgate explain`: explains the decision about a request, without sending or recording it.
///
/// # Errors
/// If the request is invalid, or the policy cannot be loaded.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<Done> {
    let settings = Settings::resolve(&args.decide)?;
    let text = match args.request.as_str() {
        "-" => {
            let mut text = Vec::new();
            io::stdin().lock().take(MAX_REQUEST).read_to_end(&mut text)?;
            text
        }
        request => request.as_bytes().to_owned(),
    };
    let action = request::parse_text(&text, UnknownKeys::Refuse);
    let is_object = text.trim_ascii_start().starts_with(b"{");
    let mut action = action.map_err(|error| match is_object {
        true => error.into(),
        false => anyhow::anyhow!("{error}; write '{{…}}', or - to read it from standard input"),
    })?;
    if action.agent == Agent::default() {
        action.agent = settings.agent.clone();
    }
    let names = settings.policies_for(action.target.server_or_provider(), &args.decide);
    let names = policies::names_or_default(names, action.transport);
    let policy = policies::load(&names, &settings)?.current();
    let analysis = intent::analyse(&action);
    let verdict = pipeline::decide(&action, &policy, &Facts::default());
    let explanation = policy.explain(&action, analysis.intent, verdict);
    let mut output = anstream::stdout().lock();
    if args.json {
        terminal::json_line(&mut output, &explanation)?;
    } else {
        write_text(&mut output, &explanation, &analysis)?;
    }
    Ok(match explanation.verdict.decision {
        Decision::Allow => Done::Success,
        Decision::Deny => Done::Denied,
        Decision::Ask => Done::Asked,
    })
}

fn write_text(
    output: &mut impl Write,
    explanation: &Explanation,
    analysis: &Analysis,
) -> io::Result<()> {
    let verdict = &explanation.verdict;
    let colour = colour(verdict.decision);
    let place = match &explanation.place {
        Some(place) => format!(" at {}:{}", place.file, place.line),
        None => String::new(),
    };
    writeln!(
        output,
        "{colour}{}{colour:#} by `{}` of policy `{}`{place}",
        verdict.decision.as_str(),
        verdict.rule,
        verdict.policy,
    )?;
    writeln!(output, "  reason      {}", verdict.reason)?;
    if verdict.reason == Reason::Annotations(HintsReason::NoAnnotations) {
        let where_from = "as `declared` in `agentgate inspect --json` has them";
        writeln!(
            output,
            "  hints       the request has no `annotations`; add the server's, {where_from}"
        )?;
    }
    if let Some(suggestion) = &verdict.suggestion {
        writeln!(output, "  suggestion  {suggestion}")?;
    }
    writeln!(output, "  intent      {} ({})", analysis.intent.as_str(), analysis.level.as_str())?;
    writeln!(output, "  stage       {}", verdict.stage.as_str())?;
    if verdict.observed {
        writeln!(output, "  mode        observe: the request is recorded and let through")?;
    }
    if !explanation.near_misses.is_empty() {
        writeln!(output, "near misses, each by one key:")?;
    }
    for near in &explanation.near_misses {
        write_near_miss(output, near)?;
    }
    Ok(())
}

fn write_near_miss(output: &mut impl Write, near: &NearMiss) -> io::Result<()> {
    let NearMiss { rule, place, effect, key, found, .. } = near;
    let found = match found {
        Some(found) => format!("is {found}"),
        None if key == "when" => "is false".to_owned(),
        None if key.starts_with("conditions.") => "does not hold".to_owned(),
        None => "is missing".to_owned(),
    };
    writeln!(
        output,
        "  {} by `{rule}` at {}:{}: `{key}` {found}",
        effect.as_str(),
        place.file,
        place.line
    )
}

fn colour(decision: Decision) -> Style {
    match decision {
        Decision::Allow => AnsiColor::Green.on_default().bold(),
        Decision::Deny => AnsiColor::Red.on_default().bold(),
        Decision::Ask => AnsiColor::Yellow.on_default().bold(),
    }
}
