//! Lambda function, scheduled and by hand: what keeps the log short and its readers told.
//!
//! Every task may be run at any time, by any number of keepers at once, and may die anywhere: each is repeated safely, and
//! what it leaves behind half done is finished, or found useless, by the next run. No reader or writer waits for it.
//!
//! On failure: one task that fails does not keep the others of a schedule from being tried. Then the invocation
//! fails with every cause, so that the function's error metric tells of it.

mod bootstrap;
mod event;
mod floor;
mod notes;
mod rebase;
mod rebroadcast;
mod reconcile;
mod snapshot;
mod summary;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use freshjoin_core::deadline::within;
use freshjoin_core::log::ChangeLog;
use freshjoin_core::pipeline::{Definition, DefinitionError};
use freshjoin_core::ports::{Clock, ObjectStore, Stores, Stream, Tables};
use freshjoin_core::reference::Sources;
use freshjoin_core::snapshot::FoldSources;
use freshjoin_core::time::Timestamp;

use notes::Notes;

pub use bootstrap::{BootstrapError, Bootstrapped, Standing};
pub use event::{EventError, Request};
pub use floor::{Expiry, FloorTaskError, Hold, UnreadableCursor};
pub use rebase::{RebaseError, Rebased};
pub use rebroadcast::{Rebroadcast, RebroadcastError};
pub use reconcile::{ReconcileError, Reconciled};
pub use snapshot::{Snapshot, SnapshotTaskError};
pub use summary::{Failure, KeeperError, Summary, TaskError};

/// So long before the function's deadline everything ends, so that an answer still gets out.
const RESERVE_MS: i64 = 1_000;

/// What the function is given to work with.
#[derive(Clone, Debug)]
pub struct KeeperDeps {
    /// The state.
    pub state: Arc<dyn ObjectStore>,
    /// Opens the buckets of reference objects.
    pub stores: Arc<dyn Stores>,
    /// The reference tables.
    pub tables: Arc<dyn Tables>,
    /// The stream whose cursors hold the floor, and where flags are broadcast.
    pub stream: Arc<dyn Stream>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Bytes that a reference object may have.
    pub content_limit: u64,
}

/// What the function works with.
#[derive(Debug)]
pub struct LogKeeper {
    deps: KeeperDeps,
    definition: Definition,
    log: ChangeLog,
    known: bootstrap::Known,
}

impl LogKeeper {
    /// Makes no call.
    ///
    /// # Errors
    /// [`DefinitionError`] for a definition that is refused.
    pub fn new(definition: &str, deps: KeeperDeps) -> Result<Self, DefinitionError> {
        let definition = Definition::parse(definition)?;
        let log = ChangeLog::new(Arc::clone(&deps.state), Arc::clone(&deps.clock));
        Ok(Self { deps, definition, log, known: bootstrap::Known::default() })
    }

    /// The pipeline whose references are looked after.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// For a look at references.
    fn sources(&self) -> Sources<'_> {
        let KeeperDeps { state, stores, tables, clock, content_limit, .. } = &self.deps;
        Sources {
            state: &**state,
            log: &self.log,
            tables: &**tables,
            stores: &**stores,
            limit: *content_limit,
            clock: &**clock,
        }
    }

    /// For a fold of the log.
    fn fold_sources(&self) -> FoldSources<'_> {
        FoldSources { state: &*self.deps.state, log: &self.log, limit: self.deps.content_limit }
    }
}

/// Runs what the event asks for, given as its JSON text. Answers a second before the deadline at the latest.
///
/// # Errors
/// [`KeeperError`]: the event asks for nothing that is known, or some task failed; the others were tried.
pub async fn handle(event: &str, keeper: &LogKeeper, deadline: Timestamp) -> Result<Summary, KeeperError> {
    let request = Request::read(event)?;
    let end = deadline.plus_millis(-RESERVE_MS);
    let mut summary = Summary::new(&request);
    let mut failures = Vec::new();
    let notes = within(&*keeper.deps.clock, end, Notes::load(&*keeper.deps.state)).await;
    let mut notes = notes.unwrap_or_default();
    match request {
        Request::Scheduled {} => {
            let due = rebroadcast::if_news(keeper, &mut notes, end);
            summary.rebroadcast = in_time(keeper, "rebroadcast", end, due, &mut failures).await.flatten();
            summary.snapshot =
                in_time(keeper, "snapshot", end, snapshot::if_due(keeper), &mut failures).await.flatten();
            let due = floor::keep(keeper, &mut notes);
            summary.expiry = in_time(keeper, "expiry", end, due, &mut failures).await;
            // The last, as a big table takes all the time that is left.
            let (done, errors) = bootstrap::bootstrap(keeper, end).await;
            // What was there before is no news.
            summary.bootstrap = done.into_iter().filter(|done| done.state != Standing::There).collect();
            failures.extend(errors.into_iter().map(|error| Failure { task: "bootstrap", error: error.into() }));
        }
        Request::Snapshot {} => {
            summary.snapshot =
                in_time(keeper, "snapshot", end, snapshot::at_head(keeper), &mut failures).await.flatten();
        }
        Request::Rebroadcast {} => {
            let work = rebroadcast::always(keeper, &mut notes, end);
            summary.rebroadcast = in_time(keeper, "rebroadcast", end, work, &mut failures).await.flatten();
        }
        Request::Bootstrap {} => {
            let (done, errors) = bootstrap::bootstrap(keeper, end).await;
            summary.bootstrap = done;
            failures.extend(errors.into_iter().map(|error| Failure { task: "bootstrap", error: error.into() }));
        }
        Request::Rebase {} => {
            summary.rebase = in_time(keeper, "rebase", end, rebase::rebase(keeper), &mut failures).await;
            if summary.rebase.is_some() {
                // Readers wait at a flag; the head's gets them on.
                let work = rebroadcast::always(keeper, &mut notes, end);
                summary.rebroadcast = in_time(keeper, "rebroadcast", end, work, &mut failures).await.flatten();
            }
        }
        Request::Reconcile { force, reference } => {
            let (done, errors) = reconcile::reconcile(keeper, &mut notes, reference.as_deref(), force, end).await;
            summary.reconcile = done;
            failures.extend(errors.into_iter().map(|error| Failure { task: "reconcile", error: error.into() }));
        }
    }
    if failures.is_empty() { Ok(summary) } else { Err(KeeperError::Tasks(failures)) }
}

/// A task's result, if it has one in time; else its failure is kept.
async fn in_time<T, E: Into<TaskError>>(
    keeper: &LogKeeper,
    task: &'static str,
    end: Timestamp,
    work: impl Future<Output = Result<T, E>>,
    failures: &mut Vec<Failure>,
) -> Option<T> {
    let error = match within(&*keeper.deps.clock, end, work).await {
        Ok(Ok(done)) => return Some(done),
        Ok(Err(error)) => error.into(),
        Err(out_of_time) => out_of_time.into(),
    };
    failures.push(Failure { task, error });
    None
}
