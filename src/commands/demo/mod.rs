//! `agentgate demo`: tours in the terminal that really run the gate, in a folder
//! that is gone afterwards. What is printed is what came back.

mod gated;
mod mcp;
mod rest;
mod server;
mod stage;

use std::io::{self, IsTerminal as _};

use self::gated::Folder;
use self::stage::Stage;
use super::Done;
use crate::cli::{DemoArgs, Tour};
use crate::os::StopRequests;

pub(super) use self::server::run as serve;

/// Requests per minute that [`HASTY`] allows.
const HASTY_LIMIT: usize = 5;

/// Policy of the agent that exceeds its rate limit, in both tours.
const HASTY: &str = "\
name: hasty
rules:
  - intent: [read, query]
    effect: allow
default_effect: deny
rate_limit: { enabled: true, requests_per_minute: 5, requests_per_hour: 100 }
";

/// `agentgate demo`: plays a tour.
pub(super) fn run(args: &DemoArgs) -> anyhow::Result<Done> {
    let interactive = !args.plain && io::stdout().is_terminal();
    let mut stage = Stage::new(anstream::stdout().lock(), interactive);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = Folder::create()?;
    let played = runtime.block_on(async {
        // So that the folder is removed and child processes are stopped when interrupted.
        let mut stop_requests = StopRequests::listen()?;
        let play = async {
            match args.tour {
                Tour::Mcp => mcp::play(&mut stage, &folder).await,
                Tour::Rest => rest::play(&mut stage, &folder).await,
            }
        };
        tokio::select! {
            played = play => played,
            _ = stop_requests.next() => Ok(Done::DoesNotHold),
        }
    });
    runtime.shutdown_background();
    played
}
