//! Lambda function: a change file in the state becomes a flag in every open shard of the stream; a reference object that
//! was replaced or removed becomes a change file first.
//!
//! Notices come at least once, in no order, and several at a time; one flag of the newest version that they name
//! announces all of them. A notice is acknowledged only when every open shard has taken that flag or a later one.
//! Where the store or the stream fails, a queue's messages are reported as failed; any other trigger gets an error and
//! tries again. Notices of what else lies in the state mean nothing.

mod capture;
mod inject;
mod notice;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use freshjoin_core::broadcast::BroadcastError;
use freshjoin_core::chain::Chain;
use freshjoin_core::change::Version;
use freshjoin_core::deadline::OutOfTime;
use freshjoin_core::location::Location;
use freshjoin_core::log::{AppendError, ChangeLog, FloorError, ReadError};
use freshjoin_core::ports::{Clock, LocationError, ObjectStore, StoreError, Stores, Stream};
use freshjoin_core::reference::{ContentProblem, CopyError};
use freshjoin_core::response::BatchResponse;
use freshjoin_core::time::Timestamp;
use serde::Serialize;

pub use notice::NoticeError;

/// So long before the function's deadline everything ends, so that an answer still gets out.
const RESERVE_MS: i64 = 500;

/// What the function works with.
#[derive(Debug)]
pub struct FlagInjector {
    state: Location,
    store: Arc<dyn ObjectStore>,
    stores: Arc<dyn Stores>,
    log: ChangeLog,
    stream: Arc<dyn Stream>,
    clock: Arc<dyn Clock>,
    content_limit: u64,
}

/// What the function is given to work with.
#[derive(Clone, Debug)]
pub struct InjectorDeps {
    /// The state, as notices name it: `s3://bucket[/prefix]`.
    pub state: Location,
    /// Its store.
    pub store: Arc<dyn ObjectStore>,
    /// Opens the buckets of reference objects.
    pub stores: Arc<dyn Stores>,
    /// Where flags are broadcast.
    pub stream: Arc<dyn Stream>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Bytes that a reference object may have.
    pub content_limit: u64,
}

impl FlagInjector {
    /// Makes no call.
    #[must_use]
    pub fn new(deps: InjectorDeps) -> Self {
        let InjectorDeps { state, store, stores, stream, clock, content_limit } = deps;
        let log = ChangeLog::new(Arc::clone(&store), Arc::clone(&clock));
        Self { state, store, stores, log, stream, clock, content_limit }
    }
}

/// What is answered, by what invoked the function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum InjectorResponse {
    /// To SQS: the messages to deliver again.
    Queue(BatchResponse),
    /// To anything else, where all is done.
    Done {
        /// The version whose flag every open shard has now; `None` where no notice asked for one.
        flag: Option<Version>,
    },
}

/// Some notice was not honoured. Every one but [`Notice`](Self::Notice), [`Content`](Self::Content) and
/// [`TooLarge`](Self::TooLarge) may succeed when it comes again, and those two once the object is mended.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The text holds no notice.
    #[error(transparent)]
    Notice(#[from] NoticeError),
    /// A reference object that no reader could use; what was joined with before stays.
    #[error("the content of {object} cannot be used; put a sound object in its place")]
    Content {
        /// `s3://bucket/key`.
        object: String,
        /// Why.
        #[source]
        source: ContentProblem,
    },
    /// A reference object that this function cannot hold; what was joined with before stays.
    #[error(
        "{object} has {size} bytes, and this function holds {limit}, a quarter of its memory; give it more memory, or the \
         object less"
    )]
    TooLarge {
        /// `s3://bucket/key`.
        object: String,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// A reference object, or the state, could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket is no place that this function can open.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// A reference object's copy could not be written.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The log does not take the change.
    #[error("the change of a reference object cannot be appended to the log")]
    Append(#[source] AppendError),
    /// The notice came and the object is not there.
    #[error("change file {version} is not in the log although S3 gave notice of it")]
    Missing {
        /// Its number.
        version: Version,
    },
    /// The change file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What has expired is unknown.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// Some shard may lack the flag.
    #[error("the flag of version {version} has not reached every shard")]
    Broadcast {
        /// The version to announce.
        version: Version,
        /// Why.
        #[source]
        source: BroadcastError,
    },
    /// The flag cannot be written, which would be a bug.
    #[error("the flag cannot be written")]
    Encode(#[from] serde_json::Error),
    /// The store is too slow, or the function's timeout too short.
    #[error("the notices were not dealt with in time; if this stays so, raise the function's timeout")]
    OutOfTime(#[from] OutOfTime),
}

/// Deals with one event, given as its JSON text: S3's own, or one of SQS, SNS or EventBridge that carries such. Answers
/// half a second before the deadline at the latest.
///
/// # Errors
/// [`InjectError`], to be retried by the trigger. From SQS only if the event cannot be read at all: everything else
/// is answered by message.
pub async fn handle(event: &str, deps: &FlagInjector, deadline: Timestamp) -> Result<InjectorResponse, InjectError> {
    let end = deadline.plus_millis(-RESERVE_MS);
    match notice::read(event)? {
        notice::Event::Whole(notices) => {
            let done = inject::inject(deps, vec![notices], end).await;
            match done.failures.into_iter().next() {
                Some((error, _)) => Err(error),
                None => Ok(InjectorResponse::Done { flag: done.flag }),
            }
        }
        notice::Event::Queue(messages) => {
            let (mut ids, mut notices, mut failures) = (Vec::new(), Vec::new(), Vec::new());
            for (index, message) in messages.into_iter().enumerate() {
                ids.push(message.id);
                notices.push(message.notices.unwrap_or_else(|error| {
                    failures.push((InjectError::from(error), vec![index]));
                    Vec::new()
                }));
            }
            failures.extend(inject::inject(deps, notices, end).await.failures);
            let mut response = BatchResponse::default();
            for (error, indexes) in failures {
                tracing::error!(messages = indexes.len(), error = %Chain(&error), "notices not honoured; they will come again");
                for id in indexes.into_iter().filter_map(|index| ids.get(index)) {
                    response.fail(id.as_str());
                }
            }
            Ok(InjectorResponse::Queue(response))
        }
    }
}
