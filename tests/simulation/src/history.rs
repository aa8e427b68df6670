//! What happened to the state, watched write by write: what may never change, and the steps that a cursor may take.
//!
//! Holds I8 (the log is contiguous, immutable, one id per number), that what a change file names is in the state before it,
//! and the cursor's own rules: a range that was decided is committed before the next one is, whole, at versions that
//! never decrease.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshjoin_core::batch::{Cursor, Intent};
use freshjoin_core::change::{Change, ChangeFile, ObjectOp, Version, change_key};
use freshjoin_core::ports::Object;
use freshjoin_core::sequence::SequenceNumber;
use freshjoin_core::snapshot::SnapshotName;
use freshjoin_core::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::archive::ShardKey;
use crate::bucket::Objects;
use crate::definitions::{PIPELINE, hex};
use crate::events::STREAM;
use crate::keeper::Kept;

/// What log-keeper writes anew each time.
const MUTABLE: [&str; 3] = ["snapshots/_latest.json", "snapshots/_keeper.json", "snapshots/_scan/"];

/// An invariant that does not hold.
#[derive(Debug)]
pub struct Violation(pub String);

/// Fails unless it holds.
macro_rules! holds {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::history::Violation(format!($($what)+)));
        }
    };
}
pub(crate) use holds;

/// A range that was decided.
#[derive(Clone, Debug)]
pub struct Range {
    pub intent: Intent,
    /// The version in force before it; `None` for a shard's first.
    pub before: Option<Version>,
    /// The head of the log when it was decided.
    pub head: Version,
}

/// One shard's cursor.
#[derive(Clone, Debug)]
pub struct ShardHistory {
    pub cursor: Cursor,
    /// All that were decided, oldest first; all but the one that the cursor has pending are committed.
    pub ranges: Vec<Range>,
    /// What it started at.
    pub pin: Version,
    /// The first records of those that were given up by a person.
    pub given_up: Vec<SequenceNumber>,
}

/// The state so far.
#[derive(Debug, Default)]
pub struct History {
    pub files: BTreeMap<Version, (Bytes, ChangeFile)>,
    /// When the store took each of them.
    pub written: BTreeMap<Version, Timestamp>,
    /// Definitions, bases, and copies of reference objects.
    pub fixed: BTreeMap<String, Bytes>,
    pub shards: BTreeMap<ShardKey, ShardHistory>,
    /// The shards that the order stream has now.
    pub open: BTreeSet<ShardKey>,
    /// First pins that landed long after they were sent.
    pub late_pins: BTreeMap<ShardKey, Version>,
    /// What log-keeper has done.
    pub kept: Kept,
}

impl History {
    pub fn head(&self) -> Version {
        self.files.keys().next_back().copied().unwrap_or(0)
    }

    /// Takes note of an object of the state that may have been written.
    pub fn observe(&mut self, key: &str, object: &Object, objects: &Objects, now: Timestamp) -> Result<(), Violation> {
        let bytes = &object.bytes;
        if key == "floor.json" {
            return self.floor(bytes, now);
        }
        if key.starts_with("snapshots/_base/") {
            return self.base(key, bytes);
        }
        if let Some(name) = SnapshotName::parse(key) {
            return self.snapshot(name, object, objects, now);
        }
        if MUTABLE.iter().any(|mutable| key.starts_with(mutable)) {
            return Ok(());
        }
        if key.starts_with("changes/") {
            return self.file(key, object);
        }
        if key.starts_with("cursors/") {
            return self.cursor(key, bytes);
        }
        if let Some(name) = key.strip_prefix("objects/") {
            holds!(hex(&Sha256::digest(bytes)) == name, "I8: {key} is not what its name says");
        }
        if ["snapshots/", "pipelines/", "objects/"].iter().any(|folder| key.starts_with(folder)) {
            let known = self.fixed.entry(key.into()).or_insert_with(|| bytes.clone());
            holds!(known == bytes, "{key} was altered");
            return Ok(());
        }
        holds!(key.starts_with("dead-letters/"), "unexpected object {key}");
        Ok(())
    }

    /// A person gave up what was pending.
    pub fn give_up(&mut self, key: &ShardKey, cursor: Cursor) {
        let known = self.shards.get_mut(key).expect("it has a cursor");
        known.given_up.extend(known.cursor.pending.as_ref().map(|intent| intent.first.clone()));
        known.cursor = cursor;
    }

    /// Whether all is still there that was there once.
    pub fn complete(&self, objects: &BTreeMap<String, Bytes>) -> Result<(), Violation> {
        for key in self.fixed.keys() {
            holds!(objects.contains_key(key), "{key} was deleted");
        }
        for version in self.files.keys() {
            let key = change_key(*version);
            let there = objects.contains_key(&key) || self.kept.gone.contains(&key);
            holds!(there, "I8: change file {version} was deleted");
        }
        Ok(())
    }

    /// Whether an object was taken note of, such as it was written.
    pub fn has_seen(&self, key: &str) -> bool {
        let shard = || key.rsplit('/').next().and_then(|file| file.strip_suffix(".json"));
        if key.starts_with("cursors/") {
            return shard().is_some_and(|id| self.shards.keys().any(|key| key.id == id))
                && key == cursor_key(shard().unwrap_or_default());
        }
        self.fixed.contains_key(key)
            || freshjoin_core::log::version_of(key).is_some_and(|version| self.files.contains_key(&version))
    }

    fn file(&mut self, key: &str, object: &Object) -> Result<(), Violation> {
        let bytes = &object.bytes;
        let version = freshjoin_core::log::version_of(key);
        let version = version.ok_or_else(|| Violation(format!("I8: {key} is no change file's key")))?;
        if let Some((known, _)) = self.files.get(&version) {
            let floor = self.kept.floor;
            if known != bytes && self.kept.gone.contains(key) && version <= floor.version {
                // It does not count: whoever wrote it finds the floor above it.
                self.kept.strays.insert(version);
                return Ok(());
            }
            holds!(known == bytes, "I8: change file {version} was altered, the floor is {floor:?}");
            return Ok(());
        }
        holds!(version == self.head() + 1, "I8: a gap: change file {version} follows {}", self.head());
        let file = ChangeFile::decode(version, bytes)
            .map_err(|error| Violation(format!("I8: change file {version} cannot be read: {error}")))?;
        for change in &file.changes {
            if let Change::Object(change) = change
                && change.op == ObjectOp::Replace
            {
                let copy = format!("objects/{}", change.sha256);
                holds!(self.fixed.contains_key(&copy), "I8: change file {version} names {copy}, which is not there");
            }
        }
        self.files.insert(version, (bytes.clone(), file));
        self.written.insert(version, object.modified);
        Ok(())
    }

    fn cursor(&mut self, key: &str, bytes: &Bytes) -> Result<(), Violation> {
        let shard = key.rsplit('/').next().and_then(|file| file.strip_suffix(".json")).unwrap_or(key);
        let cursor = Cursor::decode(bytes).map_err(|error| Violation(format!("{key} cannot be read: {error}")))?;
        let head = self.head();
        let id = ShardKey { stream: cursor.stream_created, id: shard.into() };
        let older = self.shards.range(..&id).any(|(known, _)| known.id == shard);
        let newer = self.shards.keys().any(|known| known.id == shard && known.stream > id.stream);
        holds!(!newer, "{shard}: the cursor of a stream that is gone has come back");
        let Some(known) = self.shards.get_mut(&id) else {
            holds!(older || cursor.committed_through.is_none(), "{shard}: its first cursor has something committed");
            holds!(cursor.committed_through.is_none(), "{shard}: what another stream committed is carried on");
            holds!(cursor.pending.is_none(), "{shard}: its first cursor is not only a pin");
            let pin = cursor.version;
            self.shards.insert(id, ShardHistory { cursor, ranges: Vec::new(), pin, given_up: Vec::new() });
            return Ok(());
        };
        if known.cursor == cursor {
            return Ok(());
        }
        holds!(cursor.version >= known.cursor.version, "I2: {shard}: the cursor's version falls");
        match (&known.cursor.pending, &cursor.pending) {
            (Some(pending), None) => {
                holds!(cursor.committed_through.as_ref() == Some(&pending.last), "{shard}: not the pending range");
                holds!(cursor.version == last_version(pending), "{shard}: not the pending range's version");
            }
            (None, Some(intent)) => {
                let through = known.cursor.committed_through.clone();
                holds!(cursor.committed_through == through, "{shard}: something was committed without an intent");
                let after = through.is_none_or(|through| SequenceNumber::from(intent.first.as_str()) > through);
                holds!(after, "I3: {shard}: {} is decided a second time", intent.first);
                let before = (!known.ranges.is_empty()).then_some(known.cursor.version);
                known.ranges.push(Range { intent: intent.clone(), before, head });
                known.cursor = cursor;
                // Of a shard that is gone nothing is left to be read.
                return if self.open.contains(&id) { self.above_floor(&id) } else { Ok(()) };
            }
            // A pin that the floor has passed is moved up.
            (None, None) if known.ranges.is_empty() && cursor.committed_through.is_none() => known.pin = cursor.version,
            (was, is) => {
                return Err(Violation(format!("I3: {shard}: the pending range {was:?} was given up for {is:?}")));
            }
        }
        known.cursor = cursor;
        Ok(())
    }
}

/// The key of a shard's cursor, of the one stream and pipeline.
pub fn cursor_key(shard: &str) -> String {
    freshjoin_core::batch::cursor_key(PIPELINE, STREAM, shard)
}

fn last_version(intent: &Intent) -> Version {
    intent.steps.last().map_or(0, |step| step.version)
}
