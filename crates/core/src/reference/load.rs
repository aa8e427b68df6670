//! Loading one reference: from a snapshot file that holds it, else from its base, which is made where there is none.

use super::base::read_base;
use super::bootstrap::{Base, Sources, base_that_counts, put_base, scan, unreadable};
use super::error::LoadError;
use super::objects::{load_lines, look, read_manifest};
use super::restore::{Restored, restore};
use super::row::Projection;
use super::versioned::VersionedReference;
use crate::change::Version;
use crate::log::ReadError;
use crate::pipeline::Source;
use crate::snapshot::SnapshotFile;

/// What a reference was loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    /// The version that its base defines.
    pub(super) base: Version,
    /// The first version at which what was loaded can be read.
    pub(super) first: Version,
    /// Up to which change file it is the fold.
    pub(super) through: Version,
}

/// A reference from a snapshot file that holds it; else from its base, which is made if there is none.
///
/// # Errors
/// [`LoadError`]; calling again is safe.
pub(super) async fn load_reference(
    sources: Sources<'_>,
    file: Option<&SnapshotFile>,
    source: &Source,
    projection: &Projection,
) -> Result<(Loaded, VersionedReference), LoadError> {
    if let Some(file) = file
        && let Some(found) = from_file(sources, file, source, projection).await?
    {
        return Ok(found);
    }
    let reference = source.id();
    let bytes = match base_that_counts(sources, reference).await? {
        Base::Found(bytes) => bytes,
        missing => {
            // A rebase file defines also what has no base; and it may be newer than the version that is wanted.
            let newest = restore(sources, Version::MAX).await?;
            if let Some(file) = &newest.file
                && let Some(found) = from_file(sources, file, source, projection).await?
            {
                return Ok(found);
            }
            if matches!(missing, Base::Overtaken(_)) {
                refute(sources, reference, newest).await?;
            }
            let made = match source {
                Source::Table(table) => scan(sources, table).await?,
                Source::Object(_) => look(sources, source).await?,
            };
            put_base(sources, reference, made, missing).await?
        }
    };
    let (header, rows) = match source {
        Source::Table(table) => {
            read_base(table, &bytes, |started| VersionedReference::new(projection.clone(), started))
                .map_err(|source| unreadable(reference, source))?
        }
        Source::Object(_) => {
            let (header, lines) = read_manifest(reference, &bytes).map_err(|source| unreadable(reference, source))?;
            let rows = load_lines(sources, projection, header.scan_started, &lines).await?;
            (header, rows)
        }
    };
    let version = header.version;
    Ok((Loaded { base: version, first: version, through: version }, rows))
}

/// Shows that nobody can have used a base that lies below the floor. Whoever raises the floor has the snapshot file there
/// hold every base that counts; so it is enough that the newest file is sound and does not hold it.
async fn refute(sources: Sources<'_>, reference: &str, newest: Restored) -> Result<(), LoadError> {
    if let Some((key, source)) = newest.damaged {
        return Err(LoadError::Snapshot { key, source });
    }
    let floor = sources.log.floor().await?.version;
    if newest.file.is_none_or(|file| file.version() < floor) {
        return Err(ReadError::Expired { version: floor, floor }.into());
    }
    tracing::warn!(reference, "the reference's base landed below the floor, where nobody can use it: it is made anew");
    Ok(())
}

/// A reference from a snapshot file; `None` where that does not hold it whole.
async fn from_file(
    sources: Sources<'_>,
    file: &SnapshotFile,
    source: &Source,
    projection: &Projection,
) -> Result<Option<(Loaded, VersionedReference)>, LoadError> {
    let (name, reference) = (file.name(), source.id());
    let Some(base) = file.base_of(reference) else { return Ok(None) };
    let rows = match source {
        Source::Table(table) => {
            let damaged = |source| LoadError::Snapshot { key: name.key(), source };
            file.load_table(table, projection).map_err(damaged)?
        }
        Source::Object(_) => match file.objects(reference) {
            Some(lines) => Some(load_lines(sources, projection, base.scan_started, lines).await?),
            None => None,
        },
    };
    let Some(rows) = rows else { return Ok(None) };
    Ok(Some((Loaded { base: base.version, first: name.first(), through: name.version }, rows)))
}
