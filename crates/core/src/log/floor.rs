//! The floor: the highest version whose change file may have been expired. It only rises, and is announced before it does.
//!
//! `floor.json` holds two numbers. Up to `version` nobody reads a change file any more: it may be gone, and another one may
//! stand under its number. `rising` is what the floor is about to become: whatever is written from the announcement on
//! counts only above it, so that who raises the floor needs to look only once more at what was written before.
//!
//! It also says which snapshot files above the floor stay while the others are given up, so that the floor never comes to
//! stand on one that somebody, however slow, is about to take away.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ChangeLog, FloorError};
use crate::change::Version;
use crate::ports::{ETag, Precondition, PutOutcome};
use crate::time::Timestamp;

/// Its key below the state's location.
pub const FLOOR_KEY: &str = "floor.json";
const FORMAT: &str = "floor/1";
/// For so long may a floor be believed when a change file is found missing: expiry waits far longer after raising it.
pub const FRESH: Duration = Duration::from_secs(3600);

/// Where the log begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The highest version whose change file may have been expired; 0 where none has.
    pub version: Version,
    /// What it is about to become; never less. An append must be above it, a pin or a base not below.
    pub rising: Version,
    /// Up to here change files have been given up; never more than `version`.
    pub expired: Version,
    /// Up to here the snapshot files above `version` have been thinned out. It only rises.
    pub thinned: Version,
    /// The versions of the snapshot files between `version` and `thinned` that stay. One that is not here never comes back.
    pub kept: Vec<Version>,
}

/// The floor as read, for replacing it.
#[derive(Clone, Debug)]
pub struct HeldFloor {
    /// What it says.
    pub floor: Floor,
    etag: Option<ETag>,
    writes: u64,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    freshjoin: String,
    version: Version,
    #[serde(default)]
    rising: Version,
    #[serde(default)]
    expired: Version,
    #[serde(default)]
    thinned: Version,
    #[serde(default)]
    kept: Vec<Version>,
    /// How often it has been written. Entity tags tell contents apart and not writes: without it, who was overtaken twice
    /// would not notice.
    #[serde(default)]
    writes: u64,
}

impl Floor {
    fn decode(bytes: &[u8]) -> Result<(Self, u64), FloorError> {
        let undecodable = |reason: String| FloorError::Undecodable { reason };
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|error| undecodable(format!("{error}; restore it, or delete it where nothing has expired yet")))?;
        if wire.freshjoin != FORMAT {
            return Err(undecodable(format!(
                "its format is {:?}, not {FORMAT:?}; upgrade this freshjoin",
                wire.freshjoin
            )));
        }
        let Wire { version, rising, expired, thinned, kept, writes, .. } = wire;
        let floor = Self { version, rising: rising.max(version), expired: expired.min(version), thinned, kept };
        Ok((floor, writes))
    }

    /// Whether the snapshot files of a version stay: nobody has given them up, nor will.
    #[must_use]
    pub fn keeps(&self, version: Version) -> bool {
        version >= self.version && (version == self.version || version > self.thinned || self.kept.contains(&version))
    }

    /// Whether this may follow another floor.
    fn follows(&self, earlier: &Self) -> bool {
        let Self { version, rising, expired, thinned, kept } = self;
        earlier.keeps(*version)
            && rising >= version
            && expired <= version
            && *thinned >= earlier.thinned
            && kept.iter().all(|kept| earlier.keeps(*kept))
    }
}

/// Whether what was seen then may be believed still.
pub(super) fn is_fresh(now: Timestamp, seen: Timestamp) -> bool {
    let fresh = i64::try_from(FRESH.as_millis()).unwrap_or(0);
    (0..fresh).contains(&now.millis().saturating_sub(seen.millis()))
}

impl ChangeLog {
    /// The floor now; 0 where nothing has ever expired.
    ///
    /// # Errors
    /// [`FloorError`] for anything but a clean answer.
    pub async fn floor(&self) -> Result<Floor, FloorError> {
        Ok(self.held_floor().await?.floor)
    }

    /// The floor now, for [replacing](Self::replace_floor) it.
    ///
    /// # Errors
    /// As [`floor`](Self::floor).
    pub async fn held_floor(&self) -> Result<HeldFloor, FloorError> {
        let asked = self.clock.now();
        let ((floor, writes), etag) = match self.store.get(FLOOR_KEY).await? {
            Some(object) => (Floor::decode(&object.bytes)?, Some(object.etag)),
            None => ((Floor::default(), 0), None),
        };
        let mut memory = self.memory();
        let highest = memory.floor.map_or(floor.version, |(known, _)| known.max(floor.version));
        memory.floor = Some((highest, asked));
        Ok(HeldFloor { floor, etag, writes })
    }

    /// Replaces the floor; `None` where somebody else has, or the store was busy with it. Only log-keeper does, who has
    /// made sure that nobody needs what is to lie under it.
    ///
    /// # Errors
    /// [`FloorError`], also where it would sink, or stand on a snapshot file that does not stay. It may have been replaced all the same.
    pub async fn replace_floor(&self, held: &HeldFloor, floor: Floor) -> Result<Option<HeldFloor>, FloorError> {
        if !floor.follows(&held.floor) {
            return Err(FloorError::Sinking { from: Box::new(held.floor.clone()), to: Box::new(floor) });
        }
        let Floor { version, rising, expired, thinned, kept } = floor.clone();
        let writes = held.writes.saturating_add(1);
        let wire = Wire { freshjoin: FORMAT.into(), version, rising, expired, thinned, kept, writes };
        let bytes = serde_json::to_vec(&wire)?;
        let precondition = held.etag.as_ref().map_or(Precondition::Absent, Precondition::Matches);
        match self.store.put(FLOOR_KEY, Bytes::from(bytes), precondition).await? {
            PutOutcome::Written(etag) => Ok(Some(HeldFloor { floor, etag: Some(etag), writes })),
            PutOutcome::PreconditionFailed | PutOutcome::Busy => Ok(None),
        }
    }

    /// The floor as read within the last hour: recent enough to believe that a file above it is missing.
    pub(super) async fn recent_floor(&self) -> Result<Version, FloorError> {
        let now = self.clock.now();
        let known = self.memory().floor;
        match known {
            Some((floor, asked)) if is_fresh(now, asked) => Ok(floor),
            _ => Ok(self.floor().await?.version),
        }
    }
}
