//! What nobody could say for sure, brought before a person: raised behind the
//! decision's back, which neither waits for it nor is changed by it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use crate::action::{Action, Target};
use crate::intent::analyse;
use crate::store::StoreError;
use crate::store::audit::RowId;
use crate::store::escalations::{Escalations, Question, Raised};

/// Escalations that wait to be written; beyond it new ones are dropped, and are
/// raised again when the like comes again.
const WAITING: usize = 256;

/// How long what is raised is gathered before it is written.
const GATHERING: Duration = Duration::from_millis(250);

/// Raises what is unsure.
#[derive(Debug)]
pub struct Escalator {
    queue: SyncSender<Raised>,
    dropped: Mutex<Option<Timestamp>>,
}

impl Escalator {
    /// An escalator that writes to `escalations` on a thread of its own, as long
    /// as it is in use.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn new(escalations: Arc<Escalations>) -> std::io::Result<Self> {
        let (queue, raised) = sync_channel(WAITING);
        let write = move || write(&escalations, &raised);
        thread::Builder::new().name("escalations".to_owned()).spawn(write)?;
        Ok(Self { queue, dropped: Mutex::default() })
    }

    /// Raises `action`, which was recorded in the row `row`.
    pub(super) fn raise(&self, action: &Action, row: &RowId) {
        let analysis = analyse(action);
        let path = match &action.target {
            Target::Http(request) => request.path.clone(),
            Target::Tool(call) => format!("/mcp/tools/{}", call.tool),
            Target::Method(request) => request.subject().to_owned(),
            Target::Malformed(_) => return,
        };
        let provider = action.target.server_or_provider().to_owned();
        let method = action.target.method().to_owned();
        let raised = Raised {
            question: Question { provider, method, path },
            agent: action.agent.name.to_string(),
            intent: analysis.intent.as_str(),
            resource: analysis.resource,
            level: analysis.level.as_str(),
            confidence: analysis.confidence,
            why: analysis.why,
            request_id: row.as_str().to_owned(),
            at: action.at,
            times: 1,
        };
        if let Err(TrySendError::Full(raised)) = self.queue.try_send(raised) {
            self.complain(raised.at);
        }
    }

    /// Says once a minute that some were dropped.
    fn complain(&self, at: Timestamp) {
        let Ok(mut last) = self.dropped.try_lock() else { return };
        if last.is_none_or(|last| at.duration_since(last).as_secs() >= 60) {
            tracing::warn!("escalations are dropped: more are raised than can be written");
            *last = Some(at);
        }
    }
}

/// Writes what is raised, the like together, until nobody raises any more.
fn write(escalations: &Escalations, raised: &Receiver<Raised>) {
    let mut complaint: Option<StoreError> = None;
    while let Ok(first) = raised.recv() {
        let mut gathered: HashMap<Question, Raised> = HashMap::new();
        for one in std::iter::once(first).chain(raised.try_iter()) {
            match gathered.get_mut(&one.question) {
                Some(like) => {
                    like.times += 1;
                    like.at = like.at.max(one.at);
                }
                None => {
                    gathered.insert(one.question.clone(), one);
                }
            }
        }
        let mut gathered: Vec<Raised> = gathered.into_values().collect();
        gathered.sort_by_key(|one| one.at);
        let wrong = escalations.raise(&gathered).err();
        if wrong != complaint
            && let Some(error) = &wrong
        {
            tracing::error!(%error, "escalations could not be written");
        }
        complaint = wrong;
        thread::sleep(GATHERING);
    }
}
