//! The floor and what is given up under it, watched write by write and held against rules of the model's own.
//!
//! The floor never sinks; it stands on a snapshot file that is there; no range was ever decided below it; what lies under
//! it is old enough; every base below it is in the snapshot file that it stands on; and nothing else is ever given up.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshjoin_core::change::Version;
use freshjoin_core::snapshot::{SnapshotFile, SnapshotName};
use freshjoin_core::time::Timestamp;
use serde_json::Value;

use crate::archive::ShardKey;
use crate::history::{History, Violation, holds};

const HOUR: i64 = 3_600_000;
/// A day of the streams' retention, and another one.
const AGE: i64 = 48 * HOUR;

/// What `floor.json` says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    pub version: Version,
    pub rising: Version,
    pub expired: Version,
}

/// What log-keeper has done so far.
#[derive(Debug, Default)]
pub struct Kept {
    pub floor: Floor,
    /// Whatever the floor was ever about to become.
    pub announced: BTreeSet<Version>,
    /// The snapshot files that are there, with the time at which they were seen.
    pub snapshots: BTreeMap<SnapshotName, (Bytes, Timestamp)>,
    /// Snapshot files that landed when there were newer ones: thinned out at once, perhaps.
    pub late: BTreeSet<SnapshotName>,
    /// Bases that landed while the floor was announced above them, by key: nobody can use them.
    pub overtaken: BTreeSet<String>,
    /// What has been given up and is there, since when.
    pub given_up: BTreeMap<String, Timestamp>,
    /// What has vanished.
    pub gone: BTreeSet<String>,
    /// Change files that were written under numbers whose own are gone.
    pub strays: BTreeSet<Version>,
}

impl History {
    /// Takes note of the floor.
    pub fn floor(&mut self, bytes: &Bytes, now: Timestamp) -> Result<(), Violation> {
        let wire: Value = serde_json::from_slice(bytes).map_err(|error| Violation(format!("floor.json: {error}")))?;
        let number = |name: &str| wire[name].as_u64().unwrap_or_default();
        let version = number("version");
        let floor = Floor { version, rising: number("rising").max(version), expired: number("expired") };
        let before = self.kept.floor;
        holds!(version >= before.version, "I8: the floor sinks from {before:?} to {floor:?}");
        holds!(floor.expired >= before.expired && floor.expired <= version, "I8: expired: {before:?}, {floor:?}");
        self.kept.announced.insert(floor.rising);
        self.kept.floor = floor;
        // What was announced and did not come lets those count again that it had passed.
        let fixed = &self.fixed;
        let version_of = |key: &String| fixed.get(key).and_then(|base| base_header(base)).map(|(_, version)| version);
        self.kept.overtaken.retain(|key| version_of(key).is_some_and(|version| version < floor.rising));
        if version > before.version { self.raised(now) } else { Ok(()) }
    }

    /// The floor has risen.
    fn raised(&self, now: Timestamp) -> Result<(), Violation> {
        let floor = self.kept.floor.version;
        let name = SnapshotName::of(floor);
        let on = self.kept.snapshots.iter().find(|(name, _)| name.version == floor);
        let Some((found, (bytes, _))) = on else {
            return Err(Violation(format!("I9: the floor is {floor} and {name} is not there")));
        };
        holds!(!self.kept.given_up.contains_key(&found.key()), "I9: the floor is {floor} and {found} is given up");
        for key in &self.open {
            self.above_floor(key)?;
        }
        let next = self.written.get(&(floor + 1)).map(|written| now.millis() - written.millis());
        let old = next.is_some_and(|age| age > AGE);
        holds!(old, "I9: the floor is {floor} and the next change file is {next:?} ms old");
        let file =
            SnapshotFile::decode(*found, bytes.clone()).map_err(|error| Violation(format!("{found}: {error}")))?;
        for (key, base) in self.fixed.iter().filter(|(key, _)| key.starts_with("snapshots/_base/")) {
            let Some((reference, version)) = base_header(base) else { continue };
            // One that defines the floor's own version is a beginning itself.
            let uncovered = version < floor && file.base_of(&reference).is_none() && !self.kept.overtaken.contains(key);
            holds!(!uncovered, "I9: the floor is {floor} and {found} does not hold {key} of version {version}");
        }
        Ok(())
    }

    /// What a shard's cursor needs is not below the floor, once a range was decided by it.
    pub fn above_floor(&self, key: &ShardKey) -> Result<(), Violation> {
        let Some(known) = self.shards.get(key).filter(|known| !known.ranges.is_empty()) else { return Ok(()) };
        let cursor = &known.cursor;
        let first = cursor.pending.as_ref().and_then(|intent| intent.steps.first()).map(|step| step.version);
        let needs = first.unwrap_or(cursor.version).min(cursor.version);
        let floor = self.kept.floor;
        holds!(needs >= floor.version, "I9: {key:?} needs version {needs}, the floor is {floor:?}");
        Ok(())
    }

    /// A base was seen for the first time, or in the place of another.
    pub fn base(&mut self, key: &str, bytes: &Bytes) -> Result<(), Violation> {
        let Some((reference, version)) = base_header(bytes) else {
            return Err(Violation(format!("{key} has no header")));
        };
        let Floor { version: floor, rising, .. } = self.kept.floor;
        if let Some(before) = self.fixed.get(key).filter(|before| *before != bytes) {
            let was = base_header(before).map_or(0, |(_, version)| version);
            let held = self.kept.snapshots.iter().any(|(name, (bytes, _))| {
                let file = SnapshotFile::decode(*name, bytes.clone()).ok();
                file.is_some_and(|file| file.base_of(&reference).is_some_and(|base| base.version == was))
            });
            let useless = was < floor && !held && self.kept.overtaken.contains(key);
            holds!(useless, "{key} of version {was} was replaced by one of {version}, the floor is {floor}");
        }
        if version < rising {
            self.kept.overtaken.insert(key.to_owned());
        } else {
            self.kept.overtaken.remove(key);
        }
        self.fixed.insert(key.to_owned(), bytes.clone());
        Ok(())
    }

    /// Takes note of what has been given up by now, all of which must be useless.
    pub fn given_up(&mut self, keys: BTreeSet<String>, now: Timestamp) -> Result<Vec<&'static str>, Violation> {
        self.kept.given_up.retain(|key, _| keys.contains(key));
        let mut events = Vec::new();
        for key in keys {
            if self.kept.given_up.contains_key(&key) {
                continue;
            }
            events.push(self.useless(&key, now)?);
            self.kept.given_up.insert(key, now);
        }
        Ok(events)
    }

    fn useless(&self, key: &str, now: Timestamp) -> Result<&'static str, Violation> {
        let floor = self.kept.floor.version;
        if let Some(version) = freshjoin_core::log::version_of(key) {
            holds!(version <= floor, "I9: change file {version} is given up, the floor is {floor}");
            return Ok("a change file that is given up");
        }
        if key.starts_with("snapshots/_scan/") {
            return Ok("a scan's part that is given up");
        }
        let Some(name) = SnapshotName::parse(key) else {
            return Err(Violation(format!("I9: {key} is given up")));
        };
        let newest = self.kept.snapshots.keys().next_back();
        holds!(newest != Some(&name), "I9: {key}, the newest snapshot file, is given up");
        holds!(name.version != floor, "I9: {key} is given up, on which the floor stands");
        let seen = self.kept.snapshots.get(&name).map(|(_, seen)| now.millis() - seen.millis());
        let young = name.version > floor && !self.kept.late.contains(&name) && seen.is_some_and(|age| age < HOUR);
        holds!(!young, "I9: {key} is given up {seen:?} ms after it was written, the floor is {floor}");
        let covers = name.from.is_some() && name.version > floor;
        holds!(!covers, "I9: {key} is given up, which alone gets past change file {:?}", name.from);
        Ok("a snapshot file that is given up")
    }

    /// It is no longer there, nor need it be.
    pub fn vanished(&mut self, key: &str) {
        self.kept.given_up.remove(key);
        self.kept.gone.insert(key.to_owned());
        self.fixed.remove(key);
        if let Some(name) = SnapshotName::parse(key) {
            self.kept.snapshots.remove(&name);
        }
    }
}

/// The reference that a base is of, and its version.
pub fn base_header(bytes: &[u8]) -> Option<(String, Version)> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let header: Value = serde_json::from_slice(line).ok()?;
    Some((header["reference"].as_str()?.to_owned(), header["version"].as_u64()?))
}
