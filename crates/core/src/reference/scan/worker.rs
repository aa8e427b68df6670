//! One invocation's work at a scan: each segment goes on from its last part until it ends, or the time does.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use super::part::{self, PartHeader, decode, encode, part_key};
use super::progress::{Progress, replace};
use crate::deadline::{OutOfTime, within};
use crate::ports::{ETag, Precondition, PutOutcome, RawRow, Segment};
use crate::reference::bootstrap::{ATTEMPTS, Sources};
use crate::reference::error::LoadError;
use crate::time::Timestamp;

/// A part ends with the page that makes it so large, in bytes of rows.
const PART_BYTES: usize = if cfg!(test) { 200 } else { 4 << 20 };
/// For so long nobody else goes on with a scan that somebody is at.
pub(super) const LEASE_MILLIS: i64 = 45_000;
/// So long after the time is up a page that is under way may still come.
const PATIENCE_MILLIS: i64 = 5_000;
/// So often that is said anew.
const BEAT_MILLIS: i64 = 15_000;

/// Why work at a scan ended early.
#[derive(Debug)]
pub(super) enum Stop {
    Load(LoadError),
    /// The progress is no longer ours: another is at the scan, or has ended it.
    Elsewhere,
    /// A part is missing or damaged: the scan has to begin anew.
    Broken(String),
}

impl From<LoadError> for Stop {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

/// The fault of a port, as what ends the work.
pub(super) fn load(error: impl Into<LoadError>) -> Stop {
    Stop::Load(error.into())
}

/// Who holds the lease.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    pub(super) sources: Sources<'a>,
    pub(super) scan: Progress,
    until: Timestamp,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    progress: Progress,
    etag: ETag,
    beat: Timestamp,
    /// Rows in the parts, by segment.
    totals: BTreeMap<u32, u64>,
}

/// How many parts each segment has.
pub(super) type Chains = BTreeMap<u32, u64>;

impl<'a> Worker<'a> {
    /// With a progress that was just written, leased.
    pub(super) fn new(sources: Sources<'a>, progress: Progress, etag: ETag, until: Timestamp) -> Self {
        let (scan, beat) = (progress.clone(), sources.clock.now());
        Self { sources, scan, until, held: Mutex::new(Held { progress, etag, beat, totals: BTreeMap::new() }) }
    }

    /// The tag of the progress as it was written last.
    pub(super) async fn etag(&self) -> ETag {
        self.held.lock().await.etag.clone()
    }

    /// How many rows are in the parts.
    pub(super) async fn rows(&self) -> u64 {
        self.held.lock().await.progress.rows
    }

    pub(super) fn in_time(&self) -> bool {
        self.sources.clock.now() < self.until
    }

    /// Scans on in all segments at once; whether all have ended.
    pub(super) async fn scan_on(&self) -> Result<bool, Stop> {
        let chains = self.chains().await?;
        let segments = chains.iter().map(|(segment, parts)| self.segment(*segment, *parts));
        Ok(try_join_all(segments).await?.into_iter().all(|ended| ended))
    }

    /// How many parts each segment has.
    pub(super) async fn chains(&self) -> Result<Chains, Stop> {
        let prefix = part::scan_prefix(&self.scan);
        let mut chains: Chains = (0..self.scan.segments).map(|segment| (segment, 0)).collect();
        let mut after: Option<String> = None;
        loop {
            let page = self.sources.state.list(&prefix, after.as_deref()).await.map_err(load)?;
            let Some(last) = page.last() else { return Ok(chains) };
            after = Some(last.key.clone());
            for entry in page {
                let place = entry.key.strip_prefix(&prefix).and_then(part::place);
                let Some((segment, number)) = place else { continue };
                match chains.get_mut(&segment) {
                    // Listed in the order of their numbers.
                    Some(count) if *count == number => *count += 1,
                    _ => return Err(Stop::Broken(entry.key)),
                }
            }
        }
    }

    async fn segment(&self, index: u32, parts: u64) -> Result<bool, Stop> {
        let (mut number, mut at) = (parts, None);
        if let Some(last) = parts.checked_sub(1) {
            let header = self.header(index, last).await?;
            self.held.lock().await.totals.insert(index, header.total);
            at = Some(header);
        }
        loop {
            let (from, total) = at.map_or((None, 0), |header: PartHeader| (Some(header.next), header.total));
            if from == Some(None) {
                return Ok(true);
            }
            if !self.in_time() {
                return Ok(false);
            }
            let Some(header) = self.write(index, number, total, from.flatten()).await? else { return Ok(false) };
            self.beat(Some((index, header.total))).await?;
            (number, at) = (number + 1, Some(header));
        }
    }

    /// Scans what becomes a part, and puts it if absent; the header of what is there in the end. `None` where no page came
    /// in time.
    async fn write(
        &self,
        index: u32,
        number: u64,
        before: u64,
        from: Option<String>,
    ) -> Result<Option<PartHeader>, Stop> {
        let segment = Segment { index, of: self.scan.segments };
        let (mut rows, mut bytes, mut from): (Vec<RawRow>, usize, _) = (Vec::new(), 0, from);
        loop {
            let page = self.sources.tables.scan(&self.scan.reference, segment, from.as_deref());
            // A table that hangs must not take along what it has given, nor keep the lease.
            let page = match within(self.sources.clock, self.until.plus_millis(PATIENCE_MILLIS), page).await {
                Ok(page) => page.map_err(load)?,
                Err(OutOfTime(_)) if rows.is_empty() => return Ok(None),
                Err(OutOfTime(_)) => break,
            };
            bytes += page.rows.iter().map(|row| row.get().len()).sum::<usize>();
            rows.extend(page.rows);
            from = page.next;
            if from.is_none() || bytes >= PART_BYTES || !self.in_time() {
                break;
            }
            self.beat(None).await?;
        }
        let header = PartHeader::new(&rows, before, from);
        let encoded = encode(&header, &rows).map_err(load)?;
        let key = part_key(&self.scan, index, number);
        for _ in 0..ATTEMPTS {
            match self.sources.state.put(&key, encoded.clone(), Precondition::Absent).await.map_err(load)? {
                PutOutcome::Written(_) => return Ok(Some(header)),
                PutOutcome::PreconditionFailed => return self.header(index, number).await.map(Some),
                PutOutcome::Busy => {}
            }
        }
        Err(LoadError::Busy { reference: self.scan.reference.clone() }.into())
    }

    async fn header(&self, segment: u32, number: u64) -> Result<PartHeader, Stop> {
        let key = part_key(&self.scan, segment, number);
        let Some(object) = self.sources.state.get(&key).await.map_err(load)? else { return Err(Stop::Broken(key)) };
        decode(&object.bytes).map(|(header, _)| header).map_err(|error| Stop::Broken(format!("{key}: {error}")))
    }

    /// Counts the rows of a segment whose part was just written, and now and then says that somebody is still at it.
    pub(super) async fn beat(&self, came_on: Option<(u32, u64)>) -> Result<(), Stop> {
        let mut held = self.held.lock().await;
        let now = self.sources.clock.now();
        if let Some((segment, total)) = came_on {
            held.totals.insert(segment, total);
            held.progress.updated = now;
        }
        held.progress.rows = held.totals.values().sum();
        if (0..BEAT_MILLIS).contains(&now.millis().saturating_sub(held.beat.millis())) {
            return Ok(());
        }
        held.progress.leased = now.plus_millis(LEASE_MILLIS);
        self.say(&mut held, now).await
    }

    /// Lets others go on.
    pub(super) async fn release(&self) -> Result<(), Stop> {
        let mut held = self.held.lock().await;
        let now = self.sources.clock.now();
        held.progress.leased = now;
        self.say(&mut held, now).await
    }

    async fn say(&self, held: &mut Held, now: Timestamp) -> Result<(), Stop> {
        let replaced = replace(self.sources.state, Some(&held.etag), &held.progress).await?;
        held.etag = replaced.ok_or(Stop::Elsewhere)?;
        held.beat = now;
        Ok(())
    }
}
