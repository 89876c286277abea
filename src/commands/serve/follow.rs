//! Follows the configuration file while the gate serves.

use std::time::Duration;

use anstream::adapter::strip_str;

use super::serving::Serving;
use crate::cli::ServeArgs;
use crate::config::Home;
use crate::config::serve::{Changes, Legacy, Plan};
use crate::os::{Stop, StopRequests};

/// Interval of polling the file.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Warning about a file that became empty or disappeared.
const BLANK: &str =
    "the configuration file is gone or empty; write `{}` into it to configure nothing";

/// Applies changes of the configuration file until told to stop. A change is applied once two
/// readings agree, so that a half-written file is not; `SIGHUP` applies it at once.
pub(super) async fn follow(
    args: &ServeArgs,
    plan: Plan,
    serving: &Serving,
    mut stop_requests: StopRequests,
) {
    let (started, last) = (plan.clone(), plan);
    let mut follower = Follower { started, last, pending: None, last_error: None };
    loop {
        let at_once = tokio::select! {
            how = stop_requests.next() => match how {
                Stop::HangUp => true,
                Stop::Terminate | Stop::Interrupt => return,
            },
            () = tokio::time::sleep(POLL_INTERVAL) => false,
        };
        let read = Home::find().and_then(|home| Plan::read(args, home, &Legacy::from_env()));
        match read {
            Ok(plan) => follower.apply(plan, serving, at_once),
            Err(error) => follower.report(&error.to_string(), at_once),
        }
    }
}

struct Follower {
    /// The configuration at the start.
    started: Plan,
    /// The configuration applied last.
    last: Plan,
    /// Another one that was read once.
    pending: Option<Plan>,
    /// The last error logged, so that it is not repeated.
    last_error: Option<String>,
}

impl Follower {
    fn apply(&mut self, plan: Plan, serving: &Serving, at_once: bool) {
        let pending = self.pending.take();
        let changes = self.last.changes(&plan);
        if changes == Changes::default() {
            if self.last_error.take().is_some() || at_once {
                tracing::info!("the configuration loads and is unchanged");
            }
            return;
        }
        // More likely it is being written.
        if plan.is_of_blank_file() && !self.last.is_of_blank_file() {
            return self.report(BLANK, at_once);
        }
        let is_same = |pending: Plan| pending.changes(&plan) == Changes::default();
        if !at_once && !pending.is_some_and(is_same) {
            self.pending = Some(plan);
            return;
        }
        match serving.apply(&plan) {
            Ok(()) => self.applied(plan, &changes),
            Err(error) => {
                let error = format!("{error:#}");
                // Without colours, which are for terminals.
                self.report(&strip_str(&error).to_string(), at_once);
            }
        }
    }

    fn applied(&mut self, plan: Plan, changes: &Changes) {
        if !changes.live.is_empty() {
            tracing::info!("the changed configuration is in force: {}", changes.live.join(", "));
        }
        for missing in plan.missing_credentials() {
            tracing::warn!("{missing}; until then its requests get 503");
        }
        let owed = self.started.changes(&plan).restart;
        if !changes.restart.is_empty() && owed.is_empty() {
            tracing::info!("no change needs a restart any more");
        } else if !changes.restart.is_empty() {
            tracing::warn!("these changes need a restart: {}", owed.join(", "));
        }
        self.last_error = None;
        self.last = plan;
    }

    fn report(&mut self, error: &str, again: bool) {
        self.pending = None;
        if again || self.last_error.as_deref() != Some(error) {
            tracing::error!(
                "the changed configuration is not used; the last good one stays in force: {error}"
            );
            self.last_error = Some(error.to_owned());
        }
    }
}
