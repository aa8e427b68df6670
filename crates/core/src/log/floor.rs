//! The floor: the highest version whose change file may have been expired. It only rises.

use std::time::Duration;

use serde::Deserialize;

use super::{ChangeLog, FloorError};
use crate::change::Version;

const KEY: &str = "floor.json";
const FORMAT: &str = "floor/1";
/// For so long may a floor be believed when a change file is found missing: expiry waits far longer after raising it.
const FRESH: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
struct Wire {
    freshjoin: String,
    version: Version,
}

fn decode(bytes: &[u8]) -> Result<Version, FloorError> {
    let undecodable = |reason: String| FloorError::Undecodable { reason };
    let wire: Wire = serde_json::from_slice(bytes)
        .map_err(|error| undecodable(format!("{error}; restore it, or delete it where nothing has expired yet")))?;
    if wire.freshjoin != FORMAT {
        return Err(undecodable(format!("its format is {:?}, not {FORMAT:?}; upgrade this freshjoin", wire.freshjoin)));
    }
    Ok(wire.version)
}

impl ChangeLog {
    /// The floor now; 0 where nothing has ever expired.
    ///
    /// # Errors
    /// [`FloorError`] for anything but a clean answer.
    pub async fn floor(&self) -> Result<Version, FloorError> {
        let asked = self.clock.now();
        let floor = match self.store.get(KEY).await? {
            Some(object) => decode(&object.bytes)?,
            None => 0,
        };
        let mut memory = self.memory();
        let highest = memory.floor.map_or(floor, |(known, _)| known.max(floor));
        memory.floor = Some((highest, asked));
        Ok(highest)
    }

    /// The floor as read within the last hour: recent enough to believe that a file above it is missing.
    pub(super) async fn recent_floor(&self) -> Result<Version, FloorError> {
        let now = self.clock.now();
        let known = self.memory().floor;
        match known {
            Some((floor, asked))
                if (0..i64::try_from(FRESH.as_millis()).unwrap_or(0)).contains(&(now.millis() - asked.millis())) =>
            {
                Ok(floor)
            }
            _ => self.floor().await,
        }
    }
}
