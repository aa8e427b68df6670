//! The first consistent scan of a reference, and its handoff to the log.
//!
//! The head of the log is noted before the scan, so everything the scan may have missed is in a later change file; the
//! result is written if absent, so that of any number of racing environments all load the same base. After a crash at
//! any point the next attempt starts over, or finds the base.

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::base::{BaseError, BaseHeader, base_key, read_base};
use super::objects::{ContentProblem, CopyError};
use super::row::{Projection, RowError};
use super::scan::under_way;
use super::table::{TableBase, named_keys};
use super::versioned::VersionedReference;
use crate::change::Version;
use crate::log::{ChangeLog, FloorError, ReadError};
use crate::ports::{
    Clock, LocationError, ObjectStore, Precondition, PutOutcome, RawRow, Segment, StoreError, Stores, TableError,
    Tables,
};

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

/// Reference data could not be loaded; nothing was taken for "no rows".
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table could not be read: try again, or mend its name or the permissions.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The floor could not be read.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The base cannot be read: a person must look.
    #[error("the base of {reference} ({key}) cannot be read; delete it to have the reference scanned anew")]
    Base {
        /// The reference.
        reference: String,
        /// The base's key below the state's location.
        key: String,
        /// What is wrong with it.
        #[source]
        source: BaseError,
    },
    /// A row that cannot be held: mend it in the table.
    #[error("a row of {reference} cannot be used: {row}")]
    Row {
        /// The reference.
        reference: String,
        /// The row or key.
        row: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// A change file's entry that cannot be applied.
    #[error("change file {version} has an entry for {reference} that cannot be applied")]
    Change {
        /// Its number.
        version: Version,
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: RowError,
    },
    /// The reference's bucket is no place that this function can open.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// There is nothing to begin with.
    #[error("there is no object {reference}; put it there, or mend the reference's s3 in the definition")]
    NoObject {
        /// The object's URL, or the prefix under which there is no object of a known format.
        reference: String,
    },
    /// More than this function holds.
    #[error(
        "{reference} has {size} bytes, and this function holds {limit}, a quarter of its memory; give it more memory, or \
         the object less"
    )]
    TooLarge {
        /// The object's URL, or the prefix.
        reference: String,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// An object's content cannot be used: mend the object.
    #[error("the content of {object} cannot be used")]
    Content {
        /// The object's URL.
        object: String,
        /// Why.
        #[source]
        source: ContentProblem,
    },
    /// The copy that a change file or a base names cannot be had: a person must look.
    #[error("the copy of {object} ({key}) {problem}; put it back as it was, or write the object anew")]
    Copy {
        /// The object's URL.
        object: String,
        /// The copy's key below the state's location.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A copy could not be written: try again.
    #[error(transparent)]
    PutCopy(#[from] CopyError),
    /// The base cannot be written as JSON, which would be a bug.
    #[error("the base cannot be written")]
    Encode(#[from] serde_json::Error),
    /// Old change files are gone and the reference has no base.
    #[error("{reference} has no base and the log is expired up to {floor}; run log-keeper's bootstrap task")]
    Expired {
        /// The reference.
        reference: String,
        /// The floor.
        floor: Version,
    },
    /// A range was decided at a version that the references' bases are newer than: somebody deleted a base.
    #[error(
        "version {version} is older than the references' bases ({bases}); put the deleted base back under snapshots/_base/"
    )]
    BelowBases {
        /// The version asked for.
        version: Version,
        /// What the newest base defines.
        bases: Version,
    },
    /// log-keeper scans the table: try again.
    #[error("log-keeper is scanning {reference} ({rows} rows up to now); its base will be there when that is done")]
    Scanning {
        /// The reference.
        reference: String,
        /// Rows scanned up to now.
        rows: u64,
    },
    /// A part of a long scan is not what was written: try again, which scans anew.
    #[error("a part of the scan of {reference} is missing or damaged: {part}")]
    Part {
        /// The reference.
        reference: String,
        /// The part's key below the state's location, and what is wrong with it.
        part: String,
    },
    /// Another write of the same base was under way each time: try again.
    #[error("the base of {reference} could not be written: another write was under way")]
    Busy {
        /// The reference.
        reference: String,
    },
}

/// A scan of a table goes on in so many parts at once.
pub(super) const SEGMENTS: u32 = 4;
/// How often a write that meets another one is tried.
pub(super) const ATTEMPTS: u32 = 5;

/// A table's base: loaded if there is one, else made by a scan.
///
/// # Errors
/// [`LoadError`]; calling again is safe.
pub(super) async fn load_table(
    sources: Sources<'_>,
    reference: &str,
    projection: &Projection,
) -> Result<(BaseHeader, VersionedReference), LoadError> {
    let bytes = base_bytes(sources, reference, scan(sources, reference)).await?;
    let base = read_base(reference, &bytes, |started| VersionedReference::new(projection.clone(), started));
    let key = base_key(reference);
    base.map_err(|source| LoadError::Base { reference: reference.into(), key, source })
}

/// The bytes of a reference's base: as it is there, or as `make` makes it and nobody else was faster.
pub(super) async fn base_bytes(
    sources: Sources<'_>,
    reference: &str,
    make: impl Future<Output = Result<Vec<u8>, LoadError>> + Send,
) -> Result<Bytes, LoadError> {
    let key = base_key(reference);
    if let Some(object) = sources.state.get(&key).await? {
        return Ok(object.bytes);
    }
    let bytes = Bytes::from(make.await?);
    for _ in 0..ATTEMPTS {
        match sources.state.put(&key, bytes.clone(), Precondition::Absent).await? {
            PutOutcome::Written(_) => {
                tracing::info!(reference, bytes = bytes.len(), "the reference's base is written");
                return Ok(bytes);
            }
            PutOutcome::PreconditionFailed | PutOutcome::Busy => {
                // Somebody else's base counts, or our own whose answer was lost.
                if let Some(object) = sources.state.get(&key).await? {
                    return Ok(object.bytes);
                }
            }
        }
    }
    Err(LoadError::Busy { reference: reference.into() })
}

/// The head of the log before a first look at a reference.
pub(super) async fn first_head(sources: Sources<'_>, reference: &str) -> Result<Version, LoadError> {
    let floor = sources.log.floor().await?.version;
    if floor > 0 {
        return Err(LoadError::Expired { reference: reference.into(), floor });
    }
    Ok(sources.log.head(floor).await?)
}

pub(super) async fn scan(sources: Sources<'_>, reference: &str) -> Result<Vec<u8>, LoadError> {
    if let Some(rows) = under_way(sources.state, sources.clock, reference).await? {
        return Err(LoadError::Scanning { reference: reference.into(), rows });
    }
    let head = first_head(sources, reference).await?;
    let named = named_keys(sources.log, reference, head).await?;
    let attributes = sources.tables.key_attributes(reference).await?;
    let started = sources.clock.now();
    let parts = (0..SEGMENTS).map(|index| segment(sources.tables, reference, Segment { index, of: SEGMENTS }));
    let parts = try_join_all(parts).await?;
    let mut base = TableBase::new(reference, attributes, named);
    for row in parts.into_iter().flatten() {
        base.push(&row)?;
    }
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
