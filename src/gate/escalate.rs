//! Escalation of actions of uncertain intent to a person. Runs after the decision, which
//! neither waits for it nor depends on it.

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

/// Maximum number of escalations waiting to be written. Beyond it, new ones are dropped; an
/// identical question raises the escalation again.
const QUEUE_CAPACITY: usize = 256;

/// Interval at which queued escalations are batched into one write.
const BATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Queues actions of uncertain intent for review by a person.
#[derive(Debug)]
pub struct Escalator {
    queue: SyncSender<Raised>,
    dropped: Mutex<Option<Timestamp>>,
}

impl Escalator {
    /// Starts a thread that writes to `escalations` until this `Escalator` is dropped.
    ///
    /// # Errors
    /// If the thread cannot be spawned.
    pub fn new(escalations: Arc<Escalations>) -> std::io::Result<Self> {
        let (queue, raised) = sync_channel(QUEUE_CAPACITY);
        let write = move || write(&escalations, &raised);
        thread::Builder::new().name("escalations".to_owned()).spawn(write)?;
        Ok(Self { queue, dropped: Mutex::default() })
    }

    /// Queues `action`, recorded in the audit row `row`. Never blocks.
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
            self.warn_dropped(raised.at);
        }
    }

    /// Logs that escalations were dropped, at most once a minute.
    fn warn_dropped(&self, at: Timestamp) {
        let Ok(mut last) = self.dropped.try_lock() else { return };
        if last.is_none_or(|last| at.duration_since(last).as_secs() >= 60) {
            tracing::warn!("escalations are dropped: more are raised than can be written");
            *last = Some(at);
        }
    }
}

/// Writer thread: merges escalations of the same question, until the queue is closed.
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
        thread::sleep(BATCH_INTERVAL);
    }
}
