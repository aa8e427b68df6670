//! Lambda function: what changed in a DynamoDB table becomes change files.
//!
//! Every batch of the table's stream is one change file, with each key's newest change; rows that the stream does not
//! carry are read from the table. A batch is acknowledged only when its file is in the log; a batch that comes again finds
//! its file there, or appends one that alters nothing. Where the store or the table fails, the batch is reported as failed,
//! to be delivered again; where the event cannot be understood, nothing is acknowledged and the error says why, as leaving
//! out a change would leave the join wrong for good.

mod batch;
mod event;
mod rows;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use freshjoin_core::broadcast::{BroadcastError, BroadcastReport, broadcast};
use freshjoin_core::chain::Chain;
use freshjoin_core::deadline::{OutOfTime, within};
use freshjoin_core::log::{AppendError, Appended, ChangeLog};
use freshjoin_core::ports::{Clock, ObjectStore, Stream, TableError, Tables};
use freshjoin_core::response::BatchResponse;
use freshjoin_core::time::Timestamp;

use batch::Batch;
pub use event::EventError;

/// So long before the function's deadline everything ends, so that an answer still gets out.
const RESERVE_MS: i64 = 500;
/// So long a direct flag may hold up the next batch of the table's stream; the S3 notice brings the flag as well.
const DIRECT_FLAG_MS: i64 = 5_000;

/// What the function works with.
#[derive(Debug)]
pub struct ChangeCapture {
    log: ChangeLog,
    tables: Arc<dyn Tables>,
    clock: Arc<dyn Clock>,
    direct: Option<Arc<dyn Stream>>,
    failed_flags: AtomicU64,
}

/// The batch is not captured, and trying again alone may not help.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The event cannot be understood.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The log does not take the changes.
    #[error("the changes of table {table} cannot be appended to the log")]
    Append {
        /// The table's name.
        table: String,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// The store or the table is too slow, or the function's timeout too short.
    #[error("the batch was not captured in time; if this stays so, raise the function's timeout")]
    OutOfTime(#[from] OutOfTime),
}

/// Why changes are not in the log, as far as is known.
#[derive(Debug, thiserror::Error)]
enum PartError {
    #[error("the rows that the stream does not carry cannot be read")]
    Table(#[from] TableError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Why a direct flag was not broadcast.
#[derive(Debug, thiserror::Error)]
enum FlagError {
    #[error("the flag cannot be written")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
}

impl ChangeCapture {
    /// With the state's store, and the tables whose streams do not carry the rows; given a stream, each change file's flag
    /// is broadcast there at once. Makes no call.
    #[must_use]
    pub fn new(
        state: Arc<dyn ObjectStore>,
        tables: Arc<dyn Tables>,
        clock: Arc<dyn Clock>,
        direct: Option<Arc<dyn Stream>>,
    ) -> Self {
        let log = ChangeLog::new(state, clock.clone());
        Self { log, tables, clock, direct, failed_flags: AtomicU64::new(0) }
    }

    /// How many direct flags have failed since this environment began. None of them is lost: the S3 notice brings it.
    #[must_use]
    pub fn failed_flags(&self) -> u64 {
        self.failed_flags.load(Ordering::Relaxed)
    }

    /// Appends all that is left of a batch, or its first part where its rows would be too much at once.
    async fn append(&self, batch: &mut Batch) -> Result<Appended, PartError> {
        let changes = rows::take(&*self.tables, batch).await?;
        let count = changes.len();
        let appended = self.log.append(batch.origin.clone(), changes).await?;
        let Appended { version, already, .. } = appended;
        tracing::info!(table = batch.table, version, changes = count, already, "change file in the log");
        Ok(appended)
    }

    async fn announce(&self, stream: &dyn Stream, appended: &Appended, end: Timestamp) {
        let limit = end.min(self.clock.now().plus_millis(DIRECT_FLAG_MS));
        match self.flag(stream, appended, limit).await {
            Ok(report) => tracing::info!(version = appended.version, shards = report.shards.len(), "flag broadcast"),
            Err(error) => {
                let failed = self.failed_flags.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::warn!(
                    version = appended.version,
                    failed_flags = failed,
                    error = %Chain(&error),
                    "direct flag failed; the notice of the change file brings it"
                );
            }
        }
    }

    async fn flag(
        &self,
        stream: &dyn Stream,
        appended: &Appended,
        limit: Timestamp,
    ) -> Result<BroadcastReport, FlagError> {
        let data = Bytes::from(appended.flag().encode()?);
        Ok(broadcast(stream, &*self.clock, data, limit).await?)
    }
}

/// Captures one event of DynamoDB Streams, given as its JSON text. Answers half a second before the deadline at the
/// latest. An event without records writes nothing.
///
/// # Errors
/// [`CaptureError`] if nothing of the event may be acknowledged. A fault of the store or the table is no error: its
/// records are reported in the answer, to be delivered again.
pub async fn handle(event: &str, deps: &ChangeCapture, deadline: Timestamp) -> Result<BatchResponse, CaptureError> {
    let batches = batch::batches(event::read(event)?);
    let end = deadline.plus_millis(-RESERVE_MS);
    let mut response = BatchResponse::default();
    let mut newest: Option<Appended> = None;
    for mut batch in batches {
        let mut progress = false;
        while let Some(resume) = batch.resume() {
            match within(&*deps.clock, end, deps.append(&mut batch)).await {
                Ok(Ok(appended)) => {
                    progress = true;
                    if newest.as_ref().is_none_or(|newest| newest.version < appended.version) {
                        newest = Some(appended);
                    }
                    continue;
                }
                Ok(Err(PartError::Append(source))) if !source.is_transient() => {
                    return Err(CaptureError::Append { table: batch.table, source });
                }
                Ok(Err(error)) => {
                    tracing::error!(table = batch.table, from = %resume, error = %Chain(&error), "batch not captured; it will come again");
                }
                // A batch of many parts gets on with each delivery, or it would never end.
                Err(OutOfTime(_)) if progress => {
                    tracing::warn!(table = batch.table, from = %resume, "out of time; what is left will come again");
                }
                Err(out_of_time) => return Err(out_of_time.into()),
            }
            batch.from(&resume).for_each(|sequence| response.fail(sequence));
            break;
        }
    }
    // The flag of the newest version announces the others too, and a batch that came again may have lost its flag.
    if let (Some(stream), Some(newest)) = (&deps.direct, &newest) {
        deps.announce(&**stream, newest, end).await;
    }
    Ok(response)
}
