//! The first look at a reference's objects, and how their base is loaded.
//!
//! As with a table, the head of the log is noted before the look, and the result is written if absent. Contents are read
//! to their end before a base names them, so that no base holds what nobody can load.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::base::{ObjectLine, write_manifest};
use super::copy::{project_copy, put_copy};
use super::rows::{ContentProblem, validate};
use super::{compare_sequencers, covers, split_url};
use crate::change::{Change, ObjectChange, ObjectOp, Version};
use crate::pipeline::Source;
use crate::ports::{Fetched, ObjectStore};
use crate::reference::bootstrap::{Sources, first_head};
use crate::reference::error::LoadError;
use crate::reference::restore::restore;
use crate::reference::row::Projection;
use crate::reference::versioned::VersionedReference;
use crate::snapshot::SnapshotFile;
use crate::time::Timestamp;

/// So many objects are being read at a time.
const CONCURRENCY: usize = 8;

/// The reference that a manifest's lines name.
///
/// # Errors
/// [`LoadError`]; calling again is safe.
pub(in crate::reference) async fn load_lines(
    sources: Sources<'_>,
    projection: &Projection,
    scan_started: Timestamp,
    lines: &[ObjectLine],
) -> Result<VersionedReference, LoadError> {
    let mut rows = VersionedReference::new(projection.clone(), scan_started);
    for line in lines {
        let content = match &line.sha256 {
            Some(sha256) => {
                let room = sources.limit.saturating_sub(rows.object_bytes());
                project_copy(sources.state, &line.object, sha256, room, projection).await?
            }
            None => Default::default(),
        };
        rows.load_object(&line.object, line.sequencer.as_deref(), line.removed, content);
    }
    Ok(rows)
}

/// What the log has of an object.
struct Named {
    /// Of its newest change.
    sequencer: String,
    /// The digest of what it holds, if it holds anything.
    sha256: Option<String>,
    removed: bool,
}

/// Makes the base of a reference that is made of objects.
///
/// # Errors
/// [`LoadError`]; calling again is safe.
pub(in crate::reference) async fn look(sources: Sources<'_>, source: &Source) -> Result<Vec<u8>, LoadError> {
    let reference = source.id();
    let head = first_head(sources).await?;
    let mut named = named_objects(sources, source, head).await?;
    let started = sources.clock.now();
    let mut lines = objects_now(sources, source).await?;
    if lines.is_empty() {
        // The last object's removal is not followed: what it held is still in the state.
        let kept = named.iter().filter(|(_, named)| named.sha256.is_some());
        lines.extend(kept.map(|(object, named)| ObjectLine {
            object: object.clone(),
            sha256: named.sha256.clone(),
            removed: named.removed,
            ..ObjectLine::default()
        }));
        if lines.is_empty() {
            return Err(LoadError::NoObject { reference: reference.into() });
        }
        tracing::error!(reference, "the reference's objects are gone; it stays as the log has it");
    }
    for line in &mut lines {
        line.sequencer = named.remove(&line.object).map(|named| named.sequencer);
    }
    lines.extend(named.into_iter().map(|(object, named)| ObjectLine {
        object,
        sequencer: Some(named.sequencer),
        ..ObjectLine::default()
    }));
    Ok(write_manifest(reference, head, started, lines)?)
}

/// The objects of a reference that the log names up to a version, folded as readers fold them.
async fn named_objects(
    sources: Sources<'_>,
    source: &Source,
    head: Version,
) -> Result<BTreeMap<String, Named>, LoadError> {
    let mut named: BTreeMap<String, Named> = BTreeMap::new();
    let file = restore(sources, head).await?.file;
    for line in file.iter().flat_map(SnapshotFile::named_objects).filter(|line| covers(source, &line.object)) {
        let ObjectLine { object, sha256, sequencer, removed, .. } = line.clone();
        named.insert(object, Named { sequencer: sequencer.unwrap_or_default(), sha256, removed });
    }
    let_go(&mut named);
    let after = file.map_or(0, |file| file.version());
    for (file, _) in sources.log.read_range(after, head).await? {
        for change in file.changes {
            let Change::Object(ObjectChange { object, op, sha256, sequencer, .. }) = change else { continue };
            let known = named.get(&object);
            let older = known.is_some_and(|known| compare_sequencers(&sequencer, &known.sequencer).is_lt());
            if older || !covers(source, &object) {
                continue;
            }
            let removed = op == ObjectOp::Remove;
            let sha256 = if removed { known.and_then(|known| known.sha256.clone()) } else { Some(sha256) };
            named.insert(object, Named { sequencer, sha256, removed });
        }
        let_go(&mut named);
    }
    Ok(named)
}

/// What removed objects held counts only while nothing else is left.
fn let_go(named: &mut BTreeMap<String, Named>) {
    if named.values().any(|named| !named.removed && named.sha256.is_some()) {
        named.values_mut().filter(|named| named.removed).for_each(|named| named.sha256 = None);
    }
}

/// A reference's objects as they are now, each with its copy in the state.
///
/// # Errors
/// [`LoadError`], also for a content that no reader could use; calling again is safe.
pub async fn objects_now(sources: Sources<'_>, source: &Source) -> Result<Vec<ObjectLine>, LoadError> {
    let reference = source.id();
    let no_object = || LoadError::NoObject { reference: reference.into() };
    let (bucket, key) = split_url(reference).ok_or_else(no_object)?;
    let store = sources.stores.open(&bucket)?;
    let keys = if key.ends_with('/') {
        listed(sources, &*store, source, &format!("{bucket}/"), key).await?
    } else {
        vec![key.to_owned()]
    };
    // Futures made before the stream sees them: a closure over borrowed stores would make the whole future not `Send`.
    let reads: Vec<_> = keys.iter().map(|key| copied(sources, &*store, format!("{bucket}/{key}"), key)).collect();
    let lines: Vec<_> = stream::iter(reads).buffered(CONCURRENCY).try_collect().await?;
    Ok(lines.into_iter().flatten().collect())
}

async fn listed(
    sources: Sources<'_>,
    store: &dyn ObjectStore,
    source: &Source,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<String>, LoadError> {
    let (mut keys, mut size) = (Vec::new(), 0);
    let mut after: Option<String> = None;
    loop {
        let page = store.list(prefix, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(keys) };
        after = Some(last.key.clone());
        for entry in page {
            if !covers(source, &format!("{bucket}{}", entry.key)) {
                tracing::debug!(key = entry.key, "not reference data: hidden, or of no known format");
                continue;
            }
            size += entry.size;
            keys.push(entry.key);
        }
        if size > sources.limit {
            return Err(LoadError::TooLarge { reference: source.id().into(), size, limit: sources.limit });
        }
    }
}

/// An object with its copy; `None` if it has gone meanwhile, of which the log tells later.
async fn copied(
    sources: Sources<'_>,
    store: &dyn ObjectStore,
    object: String,
    key: &str,
) -> Result<Option<ObjectLine>, LoadError> {
    let limit = sources.limit;
    let (content, version_id) = match store.fetch(key, None, limit).await? {
        Fetched::Found(content, version_id) => (content, version_id),
        Fetched::Missing => return Ok(None),
        Fetched::TooLarge(size) => return Err(LoadError::TooLarge { reference: object, size, limit }),
    };
    let unusable = |source: ContentProblem| LoadError::Content { object: object.clone(), source };
    validate(&object, Bytes::clone(&content.bytes), limit).await.map_err(unusable)?;
    let sha256 = put_copy(sources.state, content.bytes).await?;
    let etag = Some(content.etag.unquoted().to_owned());
    Ok(Some(ObjectLine { object, sha256: Some(sha256), etag, version_id, ..ObjectLine::default() }))
}
