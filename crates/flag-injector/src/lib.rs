//! Lambda function: a change file in the state becomes a flag in every open shard of the stream.
//!
//! Notices come at least once, in no order, and several at a time; one flag of the newest version that they name
//! announces all of them. A notice is acknowledged only when every open shard has taken that flag or a later one.
//! Where the store or the stream fails, a queue's messages are reported as failed; any other trigger gets an error and
//! tries again. Notices of what else lies in the state mean nothing.

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
use freshjoin_core::log::{ChangeLog, FloorError, ReadError};
use freshjoin_core::ports::{Clock, ObjectStore, Stream};
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
    log: ChangeLog,
    stream: Arc<dyn Stream>,
    clock: Arc<dyn Clock>,
}

impl FlagInjector {
    /// With the state's location, by which notices name it (`s3://bucket[/prefix]`), its store, and the stream to
    /// broadcast in. Makes no call.
    #[must_use]
    pub fn new(state: Location, store: Arc<dyn ObjectStore>, stream: Arc<dyn Stream>, clock: Arc<dyn Clock>) -> Self {
        Self { state, log: ChangeLog::new(store, clock.clone()), stream, clock }
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

/// Some notice was not honoured. Every one but [`Notice`](Self::Notice) and [`Unsupported`](Self::Unsupported) may
/// succeed when it comes again.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The text holds no notice.
    #[error(transparent)]
    Notice(#[from] NoticeError),
    /// An object outside the state.
    #[error(
        "{object} is no change file, and reference objects on S3 are not supported in this version; \
         let the bucket notify only of what lies under changes/ in the state"
    )]
    Unsupported {
        /// `s3://bucket/key`.
        object: String,
    },
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
