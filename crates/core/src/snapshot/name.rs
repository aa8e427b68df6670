//! Where snapshot files lie, and which there are.
//!
//! `snapshots/<version, 20 digits>.fjs`. One that log-keeper's rebase made is readable for a range of versions, which its
//! name tells: `snapshots/<version>.from-<from, 20 digits>.fjs`. The listing is the truth; `snapshots/_latest.json` is a hint
//! for people and tools.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::change::Version;
use crate::ports::{ObjectStore, StoreError};
use crate::time::Timestamp;

/// The key of the hint below the state's location.
pub const LATEST_KEY: &str = "snapshots/_latest.json";

const FOLDER: &str = "snapshots/";
/// What all names begin with, as no log ever has 10^19 versions; and nothing else below the folder does.
const PREFIX: &str = "snapshots/0";
const ENDING: &str = ".fjs";
const FROM: &str = ".from-";

/// Which versions a snapshot file can be read at. Sorts by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// The version that it is the fold of the log to.
    pub version: Version,
    /// The first version of the range that a rebase file stands for: the number of the change file that it gets past.
    pub from: Option<Version>,
}

/// A snapshot file as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSnapshot {
    /// Which.
    pub name: SnapshotName,
    /// When the store took it; S3 gives whole seconds.
    pub modified: Timestamp,
    /// Bytes.
    pub size: u64,
}

/// What `snapshots/_latest.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    freshjoin: String,
    /// The newest snapshot file's version.
    pub version: Version,
    /// Its key below the state's location.
    pub key: String,
}

impl SnapshotName {
    /// The snapshot file of a version.
    #[must_use]
    pub const fn of(version: Version) -> Self {
        Self { version, from: None }
    }

    /// The rebase file of a range of versions.
    #[must_use]
    pub const fn rebase(from: Version, version: Version) -> Self {
        Self { version, from: Some(from) }
    }

    /// Its key below the state's location.
    #[must_use]
    pub fn key(&self) -> String {
        match self.from {
            None => format!("{FOLDER}{:020}{ENDING}", self.version),
            Some(from) => format!("{FOLDER}{:020}{FROM}{from:020}{ENDING}", self.version),
        }
    }

    /// The snapshot file that has this key; `None` for any other key.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let stem = key.strip_prefix(FOLDER)?.strip_suffix(ENDING)?;
        let name = match stem.split_once(FROM) {
            None => Self::of(number(stem)?),
            Some((version, from)) => Self::rebase(number(from)?, number(version)?),
        };
        (name.first() <= name.version).then_some(name)
    }

    /// The first version that it can be read at: its own, but for a rebase file.
    #[must_use]
    pub fn first(&self) -> Version {
        self.from.unwrap_or(self.version)
    }

    /// Whether it can be read at a version as it is.
    #[must_use]
    pub fn covers(&self, version: Version) -> bool {
        (self.first()..=self.version).contains(&version)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

impl Latest {
    /// Names this file.
    #[must_use]
    pub fn of(name: SnapshotName) -> Self {
        Self { freshjoin: "latest/1".into(), version: name.version, key: name.key() }
    }
}

fn number(digits: &str) -> Option<Version> {
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// The snapshot files that there are, in the order of their versions.
///
/// # Errors
/// [`StoreError`] for anything but a clean answer.
pub async fn list(state: &dyn ObjectStore) -> Result<Vec<ListedSnapshot>, StoreError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = state.list(PREFIX, after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        found.extend(page.iter().filter_map(|listed| {
            let name = SnapshotName::parse(&listed.key)?;
            Some(ListedSnapshot { name, modified: listed.modified, size: listed.size })
        }));
    }
    found.sort_unstable_by_key(|listed| listed.name);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Location;
    use crate::memory::{MemoryClock, MemoryStores};

    #[test]
    fn a_name_comes_back_from_its_key_and_nothing_else_does() {
        for name in [SnapshotName::of(0), SnapshotName::of(42), SnapshotName::rebase(3, 42), SnapshotName::rebase(7, 7)]
        {
            assert_eq!(SnapshotName::parse(&name.key()), Some(name), "{name}");
        }
        let key = "snapshots/00000000000000000042.from-00000000000000000003.fjs";
        assert_eq!(SnapshotName::rebase(3, 42).key(), key);
        for other in [
            "snapshots/_latest.json",
            "snapshots/00000000000000000042.jsonl",
            "snapshots/0000000000000000042.fjs",
            "snapshots/+0000000000000000042.fjs",
            "snapshots/00000000000000000042.from-00000000000000000043.fjs",
            "snapshots/00000000000000000042.from-.fjs",
            "changes/00000000000000000042.fjs",
        ] {
            assert_eq!(SnapshotName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_rebase_file_stands_for_a_range() {
        let covered = |name: SnapshotName| (0..9).filter(|version| name.covers(*version)).collect::<Vec<_>>();
        assert_eq!(covered(SnapshotName::of(4)), [4]);
        assert_eq!(covered(SnapshotName::rebase(3, 6)), [3, 4, 5, 6]);
    }

    #[tokio::test]
    async fn the_listing_has_every_snapshot_file_and_no_other_object() {
        let store = MemoryStores::new(&MemoryClock::default()).store(&Location::new("s3://state")).unwrap();
        let mut names: Vec<_> = (0..1_500).map(SnapshotName::of).collect();
        names.insert(8, SnapshotName::rebase(5, 7));
        for name in names.iter().rev() {
            store.insert(&name.key(), "x");
        }
        for key in ["snapshots/_base/T.jsonl", LATEST_KEY, "snapshots/00000000000000000001.part"] {
            store.insert(key, "x");
        }
        let found = list(&store).await.unwrap();
        assert_eq!(found.iter().map(|listed| listed.name).collect::<Vec<_>>(), names);
        assert!(found.iter().all(|listed| listed.size == 1));
    }
}
