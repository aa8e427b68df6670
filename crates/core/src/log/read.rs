//! Reading change files: one, the next, or a range.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{ChangeLog, ReadError};
use crate::change::{ChangeFile, DecodeError, Version, change_key};

/// So many GETs of a range are under way at a time.
const CONCURRENCY: usize = 16;

impl ChangeLog {
    /// A change file with its bytes; `None` if the store says clearly that there is none, which is no proof that
    /// there was none: it may have expired.
    ///
    /// # Errors
    /// [`ReadError::Store`] for anything but a clean answer; [`ReadError::Poison`] or [`ReadError::Newer`] where the
    /// file cannot be read: the reader must stop before it.
    pub async fn read(&self, version: Version) -> Result<Option<(ChangeFile, Bytes)>, ReadError> {
        let key = change_key(version);
        let Some(object) = self.store.get(&key).await? else { return Ok(None) };
        match ChangeFile::decode(version, &object.bytes) {
            Ok(file) => Ok(Some((file, object.bytes))),
            Err(source @ DecodeError::Newer(_)) => Err(ReadError::Newer { version, key, source }),
            Err(source) => Err(ReadError::Poison { version, key, source }),
        }
    }

    /// Every change file after one version, up to and including another that is known to exist, oldest first.
    ///
    /// # Errors
    /// As [`read`](Self::read), for the first version that cannot be had; [`ReadError::Gap`] where it is missing
    /// and [`ReadError::Expired`] where it may have expired.
    pub async fn read_range(&self, after: Version, through: Version) -> Result<Vec<(ChangeFile, Bytes)>, ReadError> {
        let first = after.saturating_add(1);
        if first > through {
            return Ok(Vec::new());
        }
        let floor = self.recent_floor().await?;
        if first <= floor {
            return Err(ReadError::Expired { version: first, floor });
        }
        stream::iter(first..=through)
            .map(|version| async move {
                if let Some(found) = self.read(version).await? {
                    return Ok(found);
                }
                let floor = self.floor().await?.version;
                Err(if version <= floor {
                    ReadError::Expired { version, floor }
                } else {
                    ReadError::Gap { version, key: change_key(version) }
                })
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await
    }
}
