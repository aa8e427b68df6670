//! What log-keeper remembers from one invocation to the next, in `snapshots/_keeper.json`.
//!
//! Only ever a hint that saves work: without it, or with another keeper's, flags are announced once more and objects given up
//! once more. It is written after what it tells of, never before.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshjoin_core::change::Version;
use freshjoin_core::ports::{ObjectStore, Precondition, StoreError};
use freshjoin_core::time::Timestamp;
use serde::{Deserialize, Serialize};

const KEY: &str = "snapshots/_keeper.json";
const FORMAT: &str = "keeper/1";

/// The notes as read, and as they will be written.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) known: Known,
    written: Known,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    freshjoin: String,
    /// What was announced last.
    pub(crate) announced: Option<Announced>,
    /// Snapshot files that have been given up and were still listed, by key, with the time at which the store took them.
    #[serde(default)]
    pub(crate) given_up: BTreeMap<String, Timestamp>,
}

/// A flag that reached every shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announced {
    /// Its version.
    pub(crate) version: Version,
    /// Tells the stream from another of the same name.
    pub(crate) stream_created: Timestamp,
    /// The shards that took it.
    pub(crate) shards: BTreeSet<String>,
}

impl Notes {
    /// What there is. Whatever cannot be read is not there.
    pub(crate) async fn load(state: &dyn ObjectStore) -> Self {
        let known = match state.get(KEY).await {
            Ok(Some(object)) => serde_json::from_slice(&object.bytes).unwrap_or_default(),
            Ok(None) => Known::default(),
            Err(error) => {
                tracing::warn!(%error, "the keeper's notes cannot be read; it does without");
                Known::default()
            }
        };
        let known = if known.freshjoin == FORMAT { known } else { Known::default() };
        Self { written: known.clone(), known }
    }

    /// Writes them, if there is news.
    ///
    /// # Errors
    /// [`StoreError`]: the next run does without.
    pub(crate) async fn save(&mut self, state: &dyn ObjectStore) -> Result<(), StoreError> {
        self.known.freshjoin = FORMAT.into();
        if self.known == self.written {
            return Ok(());
        }
        // Strings, numbers and sets of them: this does not fail.
        let bytes = Bytes::from(serde_json::to_vec(&self.known).unwrap_or_default());
        let _written = state.put(KEY, bytes, Precondition::None).await?;
        self.written = self.known.clone();
        Ok(())
    }
}
