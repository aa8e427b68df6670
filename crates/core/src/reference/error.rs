//! Why reference data could not be loaded, and what the caller must do about it.

use super::base::BaseError;
use super::objects::{ContentProblem, CopyError};
use super::row::RowError;
use crate::change::Version;
use crate::log::{FloorError, ReadError};
use crate::ports::{LocationError, StoreError, TableError};
use crate::snapshot::SnapshotError;

/// Reference data could not be loaded; nothing was taken for "no rows".
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table could not be read: try again, or mend its name or the permissions.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The floor could not be read.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The base cannot be read: a person must look.
    #[error("the base of {reference} ({key}) cannot be read; delete it to have the reference scanned anew")]
    Base {
        /// The reference.
        reference: String,
        /// The base's key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: BaseError,
    },
    /// A row that cannot be held: mend it in the table.
    #[error("a row of {reference} cannot be used: {row}")]
    Row {
        /// The reference.
        reference: String,
        /// The row or key.
        row: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// A change file's entry that cannot be applied.
    #[error("change file {version} has an entry for {reference} that cannot be applied")]
    Change {
        /// Its number.
        version: Version,
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// The reference's bucket is no place that this function can open.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// There is nothing to begin with.
    #[error("there is no object {reference}; put it there, or mend the reference's s3 in the definition")]
    NoObject {
        /// The object's URL, or the prefix under which there is no object of a known format.
        reference: String,
    },
    /// More than this function holds.
    #[error(
        "{reference} has {size} bytes, and this function holds {limit}, a quarter of its memory; give it more memory, or \
         the object less"
    )]
    TooLarge {
        /// The object's URL, or the prefix.
        reference: String,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// An object's content cannot be used: mend the object.
    #[error("the content of {object} cannot be used")]
    Content {
        /// The object's URL.
        object: String,
        /// Why.
        #[source]
        source: ContentProblem,
    },
    /// The copy that a change file or a base names cannot be had: a person must look.
    #[error("the copy of {object} ({key}) {problem}; put it back as it was, or write the object anew")]
    Copy {
        /// The object's URL.
        object: String,
        /// The copy's key below the state's location.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A copy could not be written: try again.
    #[error(transparent)]
    PutCopy(#[from] CopyError),
    /// The base cannot be written as JSON, which would be a bug.
    #[error("the base cannot be written")]
    Encode(#[from] serde_json::Error),
    /// The snapshot file that it must be loaded from is damaged: a person must look.
    #[error(
        "the snapshot file {key} cannot be read, and no older one will do; restore an earlier version of the object"
    )]
    Snapshot {
        /// Its key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: SnapshotError,
    },
    /// A range was decided at a version that the references' bases are newer than: somebody deleted a base.
    #[error(
        "version {version} is older than the references' bases ({bases}); put the deleted base back under snapshots/_base/"
    )]
    BelowBases {
        /// The version asked for.
        version: Version,
        /// What the newest base defines.
        bases: Version,
    },
    /// Whether the base counts is being decided: try again.
    #[error(
        "the base of {reference} is at version {version}, and the floor is about to rise to {rising}; trying again helps"
    )]
    Rising {
        /// The reference.
        reference: String,
        /// The base's version.
        version: Version,
        /// What the floor is about to become.
        rising: Version,
    },
    /// log-keeper scans the table: try again.
    #[error("log-keeper is scanning {reference} ({rows} rows up to now); its base will be there when that is done")]
    Scanning {
        /// The reference.
        reference: String,
        /// Rows scanned up to now.
        rows: u64,
    },
    /// A part of a long scan is not what was written: try again, which scans anew.
    #[error("a part of the scan of {reference} is missing or damaged: {part}")]
    Part {
        /// The reference.
        reference: String,
        /// The part's key below the state's location, and what is wrong with it.
        part: String,
    },
    /// Another write of the same base was under way each time: try again.
    #[error("the base of {reference} could not be written: another write was under way")]
    Busy {
        /// The reference.
        reference: String,
    },
}

impl LoadError {
    /// Whether the log cannot be followed from where it was tried, while it may be from a snapshot file further on.
    #[must_use]
    pub fn is_of_the_log(&self) -> bool {
        use ReadError::{Expired, Gap, Poison};
        matches!(self, Self::Log(Expired { .. } | Gap { .. } | Poison { .. }))
    }
}
