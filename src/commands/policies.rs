//! Policies by name, as every command that decides finds them.

use std::sync::Arc;

use crate::cli;
use crate::config::Settings;
use crate::policy::Mode;
use crate::policy::diagnostic::Diagnostics;
use crate::policy::live::{Lookup, Policies};

/// The policy of those who name none.
const DEFAULT: &str = "annotations";

/// Where the names are looked up.
pub(super) fn lookup(settings: &Settings) -> Lookup {
    Lookup { named: settings.policy_dir.clone(), own: Some(settings.home.policies()) }
}

/// The mode that overrides every policy's own.
pub(super) fn mode(settings: &Settings) -> Option<Mode> {
    settings.mode.map(|mode| match mode {
        cli::Mode::Enforce => Mode::Enforce,
        cli::Mode::Observe => Mode::Observe,
    })
}

/// Loads the named policies, or the default where none is named.
///
/// # Errors
/// All that is wrong with any of them.
pub(super) fn load(names: &[String], settings: &Settings) -> anyhow::Result<Arc<Policies>> {
    let default = [DEFAULT.to_owned()];
    let names = if names.is_empty() { &default[..] } else { names };
    let policies = Policies::load(names, &lookup(settings), mode(settings));
    policies.map(Arc::new).map_err(|found| told(&found, settings))
}

/// What is wrong with policies, and where the configuration names them.
pub(super) fn told(found: &Diagnostics, settings: &Settings) -> anyhow::Error {
    let found = settings.places().point_out(found);
    anyhow::anyhow!("the policy does not load\n{}", found.coloured())
}
