//! Why a batch could not be finished.

use crate::encode::EncodeError;
use crate::location::Location;
use crate::log::{FloorError, ReadError};
use crate::pipeline::DefinitionError;
use crate::ports::{LocationError, StoreError, StreamError};
use crate::reference::LoadError;

use super::cursor::CursorError;

/// A batch that is not finished. What was committed stays so; the rest is to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The store failed: deliver again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream failed: deliver again.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The reference could not be loaded.
    #[error("the reference data could not be loaded: {0}")]
    Load(#[from] LoadError),
    /// The change log could not be read.
    #[error("the change log could not be read: {0}")]
    Log(#[from] ReadError),
    /// The floor could not be read.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// A cursor that cannot be read: a person must look, as starting over would write everything twice.
    #[error("the cursor {key} cannot be read; restore an earlier version of the object")]
    Cursor {
        /// Its key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: CursorError,
    },
    /// The pending range's records have left the stream.
    #[error(
        "the pending range {first} to {last} of {shard} is no longer whole in the stream ({found} of {expected} records); \
         abandon it by hand: its remaining results are lost"
    )]
    RangeGone {
        /// The shard.
        shard: String,
        /// The range's first record.
        first: String,
        /// The range's last record.
        last: String,
        /// Records found.
        found: u64,
        /// Records of the range.
        expected: u64,
    },
    /// The definition that a pending range was begun with is not there.
    #[error("the pending range's definition {key} is missing; put it back")]
    DefinitionGone {
        /// Its key below the state's location.
        key: String,
    },
    /// A definition that is not what its key says.
    #[error("the definition {key} was altered; put back the text whose SHA-256 its name is")]
    DefinitionAltered {
        /// Its key below the state's location.
        key: String,
    },
    /// The definition that a pending range was begun with cannot be used.
    #[error("the pending range's definition {key} cannot be used: {source}")]
    Definition {
        /// Its key below the state's location.
        key: String,
        /// Why.
        source: DefinitionError,
    },
    /// The output cannot be opened.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The output prefix is another pipeline's or stream's.
    #[error("{output} holds the output of {owner}; give this pipeline an output prefix of its own")]
    OutputTaken {
        /// The output prefix.
        output: Location,
        /// Whose it is.
        owner: String,
    },
    /// The shard is not in the stream.
    #[error("shard {0} is not in the stream; check that FRESHJOIN_STREAM names the stream of the event source mapping")]
    UnknownShard(String),
    /// Other environments were in the way each time: deliver again.
    #[error("the cursor of {0} was changed by other environments each time; trying again helps")]
    Contended(String),
    /// An object could not be made of its rows, which is a bug.
    #[error(transparent)]
    Object(#[from] EncodeError),
    /// Serialization failed, which is a bug.
    #[error("a document could not be written: {0}")]
    Encode(#[from] serde_json::Error),
}
