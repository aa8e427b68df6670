//! Finding the newest version with few calls, however long the log is.
//!
//! Above the floor the log has no gap, so a version exists exactly if it is not beyond the head: a LIST after any
//! number says on which side of it the head is.

use super::{ChangeLog, Existing, PREFIX, ReadError, version_of};
use crate::change::{Version, change_key};
use crate::ports::StoreError;
use crate::time::Timestamp;

/// After so many hits in a row, single probes give way to a LIST.
pub(super) const PROBES: u32 = 3;
pub(super) const FULL_PAGE: usize = 1000;
/// How far the first jump beyond a full page goes.
const STRIDE: Version = 2000;

impl ChangeLog {
    /// The newest version, given one that is known to exist (0 for none): one GET where that is the newest still.
    ///
    /// # Errors
    /// [`ReadError::Store`] or [`ReadError::Floor`] for anything but clean answers.
    pub async fn head(&self, from: Version) -> Result<Version, ReadError> {
        let mut head = from.max(self.recent_floor().await?);
        for _ in 0..PROBES {
            let next = head.saturating_add(1);
            if self.store.get(&change_key(next)).await?.is_none() {
                return Ok(head);
            }
            head = next;
        }
        Ok(self.confirmed_head(head).await?.map_or(head, |existing| existing.version))
    }

    /// All versions after one, oldest first, each with the time at which the store took its change file.
    ///
    /// # Errors
    /// [`ReadError::Store`] for anything but clean answers.
    pub async fn list_modified(&self, after: Version) -> Result<Vec<(Version, Timestamp)>, ReadError> {
        let mut found = Vec::new();
        let mut last = after;
        loop {
            let page = self.page(last).await?;
            let Some((newest, _)) = page.last() else { return Ok(found) };
            last = *newest;
            found.extend(page);
        }
    }

    /// The newest change file by listing, and shown to exist by a GET; `None` where there is none after `after` and
    /// none under that number.
    pub(super) async fn confirmed_head(&self, after: Version) -> Result<Option<Existing>, StoreError> {
        let listed = self.listed_head(after).await?;
        if listed == 0 {
            return Ok(None);
        }
        // A file that was listed and is gone: nobody deletes the head, so what the caller knew remains what is known.
        self.existing(listed).await
    }

    /// The newest version, as [`head`](Self::head), after making sure that no change file lies beyond it: a missing one would
    /// pass for the end of the log.
    ///
    /// # Errors
    /// As [`head`](Self::head), and [`ReadError::Gap`] with the first version that is missing.
    pub async fn whole_head(&self, from: Version) -> Result<Version, ReadError> {
        let mut head = self.head(from).await?;
        loop {
            let page = self.page(head).await?;
            if page.is_empty() {
                return Ok(head);
            }
            for (version, _) in page {
                let next = head.saturating_add(1);
                if version != next {
                    return Err(ReadError::Gap { version: next, key: change_key(next) });
                }
                head = version;
            }
        }
    }

    /// The newest version by listing alone, whatever is missing below it; `after` where nothing follows that.
    ///
    /// # Errors
    /// [`StoreError`] for anything but clean answers.
    pub(crate) async fn listed_head(&self, after: Version) -> Result<Version, StoreError> {
        let (mut low, mut high, mut stride, mut full) = (after, None, STRIDE, false);
        loop {
            let probe = match high {
                Some(high) if high <= low => return Ok(low),
                // A page that was not full was most likely the last one: what follows it should be empty.
                _ if !full => low,
                None => low.saturating_add(stride),
                Some(high) => low + (high - low) / 2,
            };
            let page = self.page(probe).await?;
            match page.last() {
                Some((newest, _)) => (low, stride, full) = (*newest, stride.saturating_mul(2), page.len() >= FULL_PAGE),
                None => high = Some(probe),
            }
        }
    }

    /// Some versions after one, oldest first; none only where there is none.
    pub(super) async fn page(&self, after: Version) -> Result<Vec<(Version, Timestamp)>, StoreError> {
        let mut start = change_key(after);
        loop {
            let listed = self.store.list(PREFIX, Some(&start)).await?;
            let Some(last) = listed.last() else { return Ok(Vec::new()) };
            let versions: Vec<_> =
                listed.iter().filter_map(|entry| Some((version_of(&entry.key)?, entry.modified))).collect();
            if !versions.is_empty() {
                return Ok(versions);
            }
            // Only foreign keys: what matters may come after them.
            start.clone_from(&last.key);
        }
    }
}
