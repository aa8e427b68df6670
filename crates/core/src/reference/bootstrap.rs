//! The first consistent scan of a reference, and its handoff to the log.
//!
//! The head of the log is noted before the scan, so everything the scan may have missed is in a later change file; the
//! result is written if absent, so that of any number of racing environments all load the same base. After a crash at
//! any point the next attempt starts over, or finds the base.

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::base::{BaseError, base_key, read_header};
use super::error::LoadError;
use super::scan::under_way;
use super::table::{TableBase, named_keys};
use crate::bug::{Bug, planted};
use crate::change::Version;
use crate::log::ChangeLog;
use crate::ports::{Clock, ETag, ObjectStore, Precondition, PutOutcome, RawRow, Segment, Stores, TableError, Tables};

/// Where reference data is loaded from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The state.
    pub state: &'a dyn ObjectStore,
    /// The change log in it.
    pub log: &'a ChangeLog,
    /// The tables themselves, for a first scan.
    pub tables: &'a dyn Tables,
    /// Opens the buckets of reference objects, for a first look at them.
    pub stores: &'a dyn Stores,
    /// Bytes that the content of one object, or the rows of all objects, may take in memory.
    pub limit: u64,
    /// For the time the scan begins.
    pub clock: &'a dyn Clock,
}

/// A scan of a table goes on in so many parts at once.
pub(super) const SEGMENTS: u32 = 4;
/// How often a write that meets another one is tried.
pub(super) const ATTEMPTS: u32 = 5;

pub(super) fn unreadable(reference: &str, source: BaseError) -> LoadError {
    LoadError::Base { reference: reference.into(), key: base_key(reference), source }
}

/// What there is under a base's key.
#[derive(Debug)]
pub(super) enum Base {
    /// One that counts.
    Found(Bytes),
    /// One that landed below the floor, so that nobody could ever follow the log from it.
    Overtaken(ETag),
    /// None.
    Missing,
}

/// A reference's base, if it counts: the floor, read once it is seen, has not passed it.
///
/// # Errors
/// [`LoadError::Rising`] while the floor is announced above it, as that may mean either; and others for anything but clean
/// answers.
pub(super) async fn base_that_counts(sources: Sources<'_>, reference: &str) -> Result<Base, LoadError> {
    let Some(object) = sources.state.get(&base_key(reference)).await? else { return Ok(Base::Missing) };
    let counts = counts(sources, reference, &object.bytes).await?;
    Ok(if counts { Base::Found(object.bytes) } else { Base::Overtaken(object.etag) })
}

async fn counts(sources: Sources<'_>, reference: &str, bytes: &[u8]) -> Result<bool, LoadError> {
    let version = read_header(reference, bytes).map_err(|source| unreadable(reference, source))?.version;
    let floor = sources.log.floor().await?;
    if (floor.version..floor.rising).contains(&version) {
        // One that landed before the announcement keeps the floor down, and somebody may use it already; one that landed
        // after it will be passed.
        return Err(LoadError::Rising { reference: reference.into(), version, rising: floor.rising });
    }
    Ok(version >= floor.version)
}

/// Puts a base in the place of what was found there; the one that counts in the end.
///
/// # Errors
/// [`LoadError`]; calling again is safe.
pub(super) async fn put_base(
    sources: Sources<'_>,
    reference: &str,
    bytes: Vec<u8>,
    found: Base,
) -> Result<Bytes, LoadError> {
    let (key, bytes) = (base_key(reference), Bytes::from(bytes));
    for _ in 0..ATTEMPTS {
        let precondition = match &found {
            _ if planted(Bug::BaseOverwrites) => Precondition::None,
            Base::Overtaken(etag) => Precondition::Matches(etag),
            Base::Found(_) | Base::Missing => Precondition::Absent,
        };
        let outcome = sources.state.put(&key, bytes.clone(), precondition).await?;
        if let PutOutcome::Written(_) = &outcome {
            tracing::info!(reference, bytes = bytes.len(), "the reference's base is written");
            if counts(sources, reference, &bytes).await? {
                return Ok(bytes);
            }
            break;
        }
        // Somebody else's base counts, or our own whose answer was lost.
        match base_that_counts(sources, reference).await? {
            Base::Found(bytes) => return Ok(bytes),
            Base::Overtaken(_) | Base::Missing => {}
        }
    }
    Err(LoadError::Busy { reference: reference.into() })
}

/// The head of the log before a first look at a reference.
pub(super) async fn first_head(sources: Sources<'_>) -> Result<Version, LoadError> {
    let floor = sources.log.floor().await?.version;
    Ok(sources.log.whole_head(floor).await?)
}

/// Makes a table's base.
pub(super) async fn scan(sources: Sources<'_>, reference: &str) -> Result<Vec<u8>, LoadError> {
    if let Some(rows) = under_way(sources.state, sources.clock, reference).await? {
        return Err(LoadError::Scanning { reference: reference.into(), rows });
    }
    let head = first_head(sources).await?;
    let named = named_keys(sources, reference, head).await?;
    let attributes = sources.tables.key_attributes(reference).await?;
    let started = sources.clock.now();
    let parts = (0..SEGMENTS).map(|index| segment(sources.tables, reference, Segment { index, of: SEGMENTS }));
    let parts = try_join_all(parts).await?;
    let mut base = TableBase::new(reference, attributes, named);
    for row in parts.into_iter().flatten() {
        base.push(&row)?;
    }
    let head = if planted(Bug::HeadAfterScan) { first_head(sources).await? } else { head };
    base.finish(head, started)
}

async fn segment(tables: &dyn Tables, table: &str, segment: Segment) -> Result<Vec<RawRow>, TableError> {
    let mut rows = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let page = tables.scan(table, segment, from.as_deref()).await?;
        rows.extend(page.rows);
        from = page.next;
        if from.is_none() {
            return Ok(rows);
        }
    }
}
