//! What can be wrong with a snapshot file, and with what is to be written into one.

use crate::ports::StoreError;
use crate::reference::RowError;

/// Bytes that are no sound snapshot file. Nothing is used of them: another snapshot file, or the bases and the log, may hold
/// the same.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another document.
    #[error("it is no snapshot file")]
    Foreign,
    /// Written by a newer freshjoin.
    #[error("format {0:?} is newer than this freshjoin reads; upgrade it")]
    Newer(String),
    /// Cut short, or altered.
    #[error("it is cut short or altered: its checksum is not that of its bytes")]
    Corrupt,
    /// It is not what its key says.
    #[error("it says {found}, its key says {expected}")]
    Misplaced {
        /// The key it says it has.
        found: String,
        /// The key it was read from.
        expected: String,
    },
    /// Its checksum is right and its contents are not: written by a faulty program.
    #[error("its {part} is not of a snapshot file's form")]
    Malformed {
        /// Which part of it.
        part: &'static str,
    },
    /// A row that cannot be held.
    #[error("the row of {key} in {reference} cannot be used: {source}")]
    Row {
        /// The reference.
        reference: String,
        /// The row's primary key, as JSON.
        key: String,
        /// Why.
        #[source]
        source: RowError,
    },
}

/// A snapshot file could not be read from the state.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no sound snapshot file.
    #[error("snapshot file {key} cannot be read")]
    Unsound {
        /// Its key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: SnapshotError,
    },
}

/// A snapshot file could not be made of what was given. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An entry came before another one of its section that sorts below it, or twice: a bug of the caller.
    #[error("the entry of {key} in {reference} is out of order")]
    Unordered {
        /// The reference.
        reference: String,
        /// The entry's primary key, as JSON.
        key: String,
    },
    /// More than the format can say: a section's directory or a block of 4 GiB.
    #[error("a part of it is too large")]
    TooLarge,
    /// The compressor failed.
    #[error("it cannot be compressed")]
    Pack(#[from] std::io::Error),
    /// Its directory cannot be written as JSON, which would be a bug.
    #[error("its directory cannot be written")]
    Encode(#[from] serde_json::Error),
}
