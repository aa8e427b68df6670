//! The change log: change files numbered from 1 without a gap, each written once, never altered.
//!
//! Everything is safe to repeat and to give up at any point, by dropping its future or by a crash: an append that was
//! cut short has either written its file or not, and the next attempt finds out which. Versions rise by one because a
//! writer moves past a number only after a GET has shown that its file exists. What cannot be read is an error, and
//! never "no change".

mod append;
mod error;
mod floor;
mod head;
mod read;
mod written;

#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::change::{ChangeFile, Flag, Version, change_key};
use crate::ports::{Clock, ObjectStore, StoreError};
use crate::time::Timestamp;

pub use error::{AppendError, FloorError, ReadError};
pub use floor::{FLOOR_KEY, FRESH, Floor, HeldFloor};

/// The log below one state location. Clones share what they remember of it, which is only ever a hint.
#[derive(Clone, Debug)]
pub struct ChangeLog {
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The newest change file that was seen or written by this process, and when.
    newest: Option<(Existing, Timestamp)>,
    /// The highest floor that was read, and when.
    floor: Option<(Version, Timestamp)>,
}

/// A change file that exists, with the id it carries if it can be decoded.
#[derive(Clone, Debug)]
struct Existing {
    version: Version,
    id: Option<String>,
    bytes: Bytes,
}

/// A change file that is in the log for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub version: Version,
    /// As they stand in the store.
    pub bytes: Bytes,
    /// Whether the log already held it: a redelivery, or an earlier attempt whose answer was lost.
    pub already: bool,
}

impl Appended {
    /// The flag that announces it.
    #[must_use]
    pub fn flag(&self) -> Flag {
        Flag::of(self.version, &self.bytes)
    }
}

/// The version whose change file has this key (below the state's location); `None` for any other key.
#[must_use]
pub fn version_of(key: &str) -> Option<Version> {
    let digits = key.strip_prefix(PREFIX)?.strip_suffix(".json")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|version| *version > 0)
}

const PREFIX: &str = "changes/";

impl ChangeLog {
    /// The log in this store. Makes no call.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, memory: Arc::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, existing: &Existing) {
        let now = self.clock.now();
        let mut memory = self.memory();
        if memory.newest.as_ref().is_none_or(|(newest, _)| newest.version <= existing.version) {
            memory.newest = Some((existing.clone(), now));
        }
    }

    /// What is under a number, decodable or not.
    async fn existing(&self, version: Version) -> Result<Option<Existing>, StoreError> {
        let Some(object) = self.store.get(&change_key(version)).await? else { return Ok(None) };
        let id = ChangeFile::decode(version, &object.bytes).ok().map(|file| file.id);
        let existing = Existing { version, id, bytes: object.bytes };
        self.remember(&existing);
        Ok(Some(existing))
    }
}
