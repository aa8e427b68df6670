//! Appending: put-if-absent under the next number, until a number is one's own.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::floor::is_fresh;
use super::head::PROBES;
use super::{AppendError, Appended, ChangeLog, Existing};
use crate::bug::{Bug, planted};
use crate::change::{Change, ChangeFile, Origin, Version, change_key};
use crate::ports::{Precondition, PutOutcome};

const BUSY_ATTEMPTS: u32 = 8;
const FLOOR_ATTEMPTS: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(20);

impl ChangeLog {
    /// Appends one change file, or finds it already there: appending the same changes of the same origin again right
    /// after an attempt that failed or whose answer was lost gives one file, not two. Racing writers each get a number of their own.
    ///
    /// Bounded in attempts but not in time: see [`within`](crate::deadline::within).
    ///
    /// # Errors
    /// [`AppendError`], which [says](AppendError::is_transient) whether to try again. The file may be in the log all
    /// the same.
    pub async fn append(&self, origin: Origin, changes: Vec<Change>) -> Result<Appended, AppendError> {
        let mut file = ChangeFile { version: 0, id: String::new(), origin, changes };
        file.id = identity(&file)?;
        let mut overtaken = 0;
        for _ in 0..FLOOR_ATTEMPTS {
            let appended = self.append_once(&mut file).await?;
            // A number at or below the floor may be one that had been taken, read and expired before: nobody reads
            // it again. Only a floor read after the write can tell, and one that is announced counts already.
            let floor = self.floor().await?.rising;
            if appended.version > floor || planted(Bug::AppendIgnoresFloor) {
                return Ok(appended);
            }
            overtaken = appended.version;
            let mut memory = self.memory();
            memory.newest.take_if(|(newest, _)| newest.version <= floor);
        }
        Err(AppendError::Overtaken { version: overtaken })
    }

    async fn append_once(&self, file: &mut ChangeFile) -> Result<Appended, AppendError> {
        let (mut last, found) = self.start().await?;
        if let Some(appended) = found.and_then(|existing| own(existing, file)) {
            return Ok(appended);
        }
        let (mut hits, mut busy) = (0, 0);
        loop {
            let version = last.checked_add(1).ok_or(AppendError::Full)?;
            let bytes = encode(file, version)?;
            match self.store.put(&change_key(version), bytes.clone(), Precondition::Absent).await {
                Ok(PutOutcome::Written(_)) => {
                    self.remember(&Existing { version, id: Some(file.id.clone()), bytes: bytes.clone() });
                    return Ok(Appended { version, bytes, already: false });
                }
                Ok(PutOutcome::PreconditionFailed) => {
                    if let Some(existing) = self.existing(version).await? {
                        if let Some(appended) = own(existing, file) {
                            return Ok(appended);
                        }
                        (last, hits, busy) = (version, hits + 1, 0);
                        if hits % PROBES == 0
                            && let Some(head) = self.confirmed_head(last).await?
                        {
                            last = head.version;
                            if let Some(appended) = own(head, file) {
                                return Ok(appended);
                            }
                        }
                        continue;
                    }
                    // It exists by one answer and not by the other: the number is not shown to be taken.
                }
                Ok(PutOutcome::Busy) if planted(Bug::AdvanceOnConflict) => last = version,
                Ok(PutOutcome::Busy) => {}
                Err(error) => {
                    // Perhaps only the answer was lost; if this call fails too, the next attempt finds out.
                    let found = self.existing(version).await.ok().flatten();
                    return found.and_then(|existing| own(existing, file)).ok_or(AppendError::Store(error));
                }
            }
            busy += 1;
            if busy >= BUSY_ATTEMPTS {
                return Err(AppendError::Busy { version, attempts: busy });
            }
            self.clock.sleep(BACKOFF * (1 << busy.min(5))).await;
        }
    }

    /// A version that exists (or everything up to it may have expired), to go on from, with its file if at hand.
    async fn start(&self) -> Result<(Version, Option<Existing>), AppendError> {
        let newest = self.memory().newest.clone();
        // An old memory may lie below the floor: what is put there meets no other file, and a reader may find it.
        if let Some((existing, _)) = newest.filter(|(_, seen)| is_fresh(self.clock.now(), *seen)) {
            return Ok((existing.version, Some(existing)));
        }
        let floor = self.floor().await?.version;
        let head = self.confirmed_head(floor).await?.filter(|existing| existing.version > floor);
        Ok((head.as_ref().map_or(floor, |existing| existing.version), head))
    }
}

/// What was found under a number, if it is what was to be appended.
fn own(existing: Existing, file: &ChangeFile) -> Option<Appended> {
    let Existing { version, id, bytes } = existing;
    let ours = id.as_deref() == Some(file.id.as_str()) || planted(Bug::TakenIsOwn);
    ours.then_some(Appended { version, bytes, already: true })
}

/// A hash of content and origin, and not of the number, which the attempt that wrote it could not know beforehand.
fn identity(file: &ChangeFile) -> Result<String, AppendError> {
    Ok(hex::encode(Sha256::digest(encode_unnumbered(file)?)))
}

fn encode_unnumbered(file: &ChangeFile) -> Result<Vec<u8>, AppendError> {
    file.encode().map_err(|error| AppendError::Undecodable(error.into()))
}

/// The bytes under a number. They are decoded before anybody else can see them: a reader stops at what it cannot read.
fn encode(file: &mut ChangeFile, version: Version) -> Result<Bytes, AppendError> {
    file.version = version;
    let bytes = encode_unnumbered(file)?;
    ChangeFile::decode(version, &bytes)?;
    Ok(bytes.into())
}
