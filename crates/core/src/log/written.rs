//! Finding the version that was the newest at a time, with few calls, however long the log is.
//!
//! A version is written after the one before it, so the times of a long log are searched by halves; within one page of a
//! listing every entry is looked at.

use super::head::FULL_PAGE;
use super::{ChangeLog, ReadError};
use crate::change::Version;
use crate::time::Timestamp;

impl ChangeLog {
    /// The newest version after one whose change file the store took by a time; that one where there is none.
    ///
    /// # Errors
    /// [`ReadError::Store`] or [`ReadError::Floor`] for anything but clean answers.
    pub async fn newest_by(&self, after: Version, time: Timestamp) -> Result<Version, ReadError> {
        let (mut known, mut probe, mut beyond) = (after, after, None);
        loop {
            let page = self.page(probe).await?;
            let found = page.iter().rev().find(|(_, modified)| *modified <= time).map(|(version, _)| *version);
            match found {
                // Nothing follows by that time; where that was asked of what is known, the search is over.
                None => beyond = Some(probe),
                Some(version) => {
                    known = version;
                    if page.last().is_some_and(|(last, _)| *last != version) {
                        return Ok(known);
                    }
                    if page.len() < FULL_PAGE {
                        probe = known;
                        continue;
                    }
                    if beyond.is_none() {
                        beyond = Some(self.head(known).await?);
                    }
                }
            }
            let Some(beyond) = beyond.filter(|beyond| *beyond > known) else { return Ok(known) };
            // Rounded down, so that the last step looks at what follows the version known so far.
            probe = known + (beyond - known) / 2;
        }
    }
}
