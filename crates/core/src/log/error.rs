//! Why the log could not be read or written, and what the caller must do about it.

use crate::change::{DecodeError, Version};
use crate::log::Floor;
use crate::ports::StoreError;

/// `floor.json` could not be read. Nothing is known about expiry then, so no missing file may be believed missing.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no floor: a person must look.
    #[error("floor.json cannot be read: {reason}")]
    Undecodable {
        /// What is wrong with it, and the mend.
        reason: String,
    },
    /// It only rises, and only onto what stays: a bug, and nothing was written.
    #[error("floor.json cannot go from {from:?} to {to:?}")]
    Sinking {
        /// What it says.
        from: Box<Floor>,
        /// What was to be written.
        to: Box<Floor>,
    },
    /// Serialization failed, which is a bug.
    #[error("floor.json could not be written: {0}")]
    Encode(#[from] serde_json::Error),
}

impl FloorError {
    /// Whether the same can succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

/// An append did not come to its end. The file may be in the log nevertheless; appending the same again finds out.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other writers were in the way each time: try again.
    #[error("change file {version} could not be written: another write was under way {attempts} times")]
    Busy {
        /// The number tried last.
        version: Version,
        /// How often.
        attempts: u32,
    },
    /// The floor overtook each attempt: try again.
    #[error("the floor rose past change file {version} while it was being appended")]
    Overtaken {
        /// The number written last.
        version: Version,
    },
    /// What is expired is unknown.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// What was to be appended would not be readable: nothing was written. Trying again gives the same.
    #[error("the changes cannot be appended, as no reader could decode them")]
    Undecodable(#[from] DecodeError),
    /// The last number is taken; somebody wrote a file under it.
    #[error("the log holds change file {}, after which there is no number; delete it", Version::MAX)]
    Full,
}

impl AppendError {
    /// Whether the same append can succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(_) | Self::Busy { .. } | Self::Overtaken { .. } => true,
            Self::Floor(error) => error.is_transient(),
            Self::Undecodable(_) | Self::Full => false,
        }
    }
}

/// The log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is expired is unknown.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// A change file that no freshjoin can read. Whoever meets it stops there, as skipping it would lose a change.
    #[error("change file {version} ({key}) is damaged; log-keeper's rebase task gets past it")]
    Poison {
        /// Its number.
        version: Version,
        /// Its key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A change file of a newer format.
    #[error("change file {version} ({key}) was written by a newer freshjoin; upgrade this one")]
    Newer {
        /// Its number.
        version: Version,
        /// Its key below the state's location.
        key: String,
        /// The format it has.
        #[source]
        source: DecodeError,
    },
    /// A change file above the floor is missing although a later one is there: somebody deleted it.
    #[error(
        "change file {version} ({key}) is missing although later ones exist; log-keeper's rebase task gets past it"
    )]
    Gap {
        /// The first that is missing.
        version: Version,
        /// Its key below the state's location.
        key: String,
    },
    /// The change file may have been expired: go on from a snapshot file.
    #[error(
        "change file {version} may have expired (the floor is {floor}); it is to be had only from a snapshot file: \
         put those back, or run log-keeper's rebase task"
    )]
    Expired {
        /// The first that was asked for.
        version: Version,
        /// The floor.
        floor: Version,
    },
}

impl ReadError {
    /// Whether the same read can succeed later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Floor(FloorError::Store(_)))
    }
}
