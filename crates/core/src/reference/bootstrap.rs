//! The first consistent scan of a reference, and its handoff to the log.
//!
//! The head of the log is noted before the scan, so everything the scan may have missed is in a later change file; the
//! result is written if absent, so that of any number of racing environments all load the same base. After a crash at
//! any point the next attempt starts over, or finds the base.

use bytes::Bytes;
use futures_util::future::try_join_all;
use hashbrown::HashMap;

use super::base::{BaseError, BaseHeader, BaseWriter, base_key, read_base};
use super::objects::{ContentProblem, CopyError};
use super::row::{Projection, RowError, primary_key};
use super::versioned::VersionedReference;
use crate::change::{Change, RowChange, Version};
use crate::log::{ChangeLog, FloorError, ReadError};
use crate::ports::{
    Clock, LocationError, ObjectStore, Precondition, PutOutcome, RawRow, Segment, StoreError, Stores, TableError,
    Tables,
};
use crate::record::{FieldNames, Fields, parse_object};
use crate::sequence;

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
    /// Another write of the same base was under way each time: try again.
    #[error("the base of {reference} could not be written: another write was under way")]
    Busy {
        /// The reference.
        reference: String,
    },
}

/// A scan of a table goes on in so many parts at once.
const SEGMENTS: u32 = 4;
/// How often a write that meets another one is tried.
const ATTEMPTS: u32 = 5;

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

/// The newest change that the log names for a key.
struct Named {
    key: RawRow,
    label: String,
    sequence: sequence::SequenceNumber,
    scanned: bool,
}

async fn scan(sources: Sources<'_>, reference: &str) -> Result<Vec<u8>, LoadError> {
    let bad_row = |row: &str, source: RowError| LoadError::Row { reference: reference.into(), row: row.into(), source };
    let bad_json = |row: &str, source: serde_json::Error| bad_row(row, RowError::Json(source));
    let head = first_head(sources, reference).await?;
    let mut named = named_keys(sources.log, reference, head).await?;
    let attributes = sources.tables.key_attributes(reference).await?;
    let started = sources.clock.now();
    let parts = (0..SEGMENTS).map(|index| segment(sources.tables, reference, Segment { index, of: SEGMENTS }));
    let parts = try_join_all(parts).await?;
    let mut writer = BaseWriter::new();
    for row in parts.into_iter().flatten() {
        let key = key_of(&row, &attributes).map_err(|error| bad_json(row.get(), error))?;
        let primary = primary_key(key.get()).map_err(|error| bad_row(row.get(), error))?;
        let newest = named.get_mut(&primary).map(|named| {
            named.scanned = true;
            (named.label.as_str(), named.sequence.as_str())
        });
        writer.push(primary, &key, Some(&row), newest).map_err(|error| bad_json(row.get(), error))?;
    }
    for (primary, gone) in named.into_iter().filter(|(_, named)| !named.scanned) {
        let newest = Some((gone.label.as_str(), gone.sequence.as_str()));
        writer.push(primary, &gone.key, None, newest).map_err(|error| bad_json(gone.key.get(), error))?;
    }
    writer.finish(reference, head, started).map_err(|error| bad_json("", error))
}

/// The keys of a reference that the log names up to a version, each with its newest change.
async fn named_keys(log: &ChangeLog, reference: &str, head: Version) -> Result<HashMap<Box<[u8]>, Named>, LoadError> {
    let mut named: HashMap<Box<[u8]>, Named> = HashMap::new();
    for (file, _) in log.read_range(0, head).await? {
        for change in file.changes {
            let Change::Row(RowChange { table, key, label, sequence: number, .. }) = change else { continue };
            if table != reference {
                continue;
            }
            let primary = primary_key(key.get()).map_err(|source| LoadError::Change {
                version: file.version,
                reference: reference.into(),
                source,
            })?;
            let newer = named
                .get(&primary)
                .is_none_or(|known| (label.as_str(), &number) > (known.label.as_str(), &known.sequence));
            if newer {
                named.insert(primary, Named { key, label, sequence: number, scanned: false });
            }
        }
    }
    Ok(named)
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

/// The primary key of a row, as the change files write it.
fn key_of(row: &RawRow, attributes: &[String]) -> Result<RawRow, serde_json::Error> {
    let mut names = FieldNames::default();
    let slots: Vec<_> = attributes.iter().map(|name| (name, names.slot(name))).collect();
    let mut fields = Fields::of(&names);
    parse_object(&names, row.get(), &mut fields)?;
    let members: Vec<String> = slots
        .iter()
        .map(|(name, slot)| {
            format!("{}:{}", serde_json::Value::from(name.as_str()), fields.get(*slot).unwrap_or("null"))
        })
        .collect();
    serde_json::from_str(&format!("{{{}}}", members.join(",")))
}
