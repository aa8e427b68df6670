//! The references of one pipeline, loaded once and kept up to date by the log.
//!
//! Always: at every version from `oldest` to `head`, each reference is the fold of its base and the change files up to
//! that version. A failed refresh leaves the library as it was.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::bootstrap::Sources;
use super::contents::{Contents, Wanted};
use super::error::LoadError;
use super::load::load_reference;
use super::objects::covers;
use super::restore::{Restored, restore};
use super::row::Projection;
use super::versioned::{Effect, VersionedReference};
use crate::change::{Change, ChangeFile, ObjectChange, ObjectOp, RowChange, Version, digest};
use crate::log::ReadError;
use crate::pipeline::Source;
use crate::snapshot::SnapshotFile;

/// So many ended rows are kept for shards that are behind, before the oldest are forgotten. Few under test, so that
/// forgetting is tested too.
const HISTORY: usize = if cfg!(test) { 16 } else { 65_536 };
/// So many versions below the head stay addressable at least.
pub const RING: Version = if cfg!(test) { 8 } else { 1_024 };

/// Reference data at a range of versions.
#[derive(Debug)]
pub struct Library {
    sources: Vec<Shelf>,
    references: Vec<VersionedReference>,
    digests: BTreeMap<Version, String>,
    oldest: Version,
    head: Version,
    /// Bytes that the rows of all objects may take.
    limit: u64,
}

/// One reference's place in the library.
#[derive(Debug)]
struct Shelf {
    source: Source,
    /// The version that its base defines: there is nothing below it.
    base: Version,
    /// Up to which change file what it was loaded from is the fold.
    through: Version,
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Change files applied.
    pub files: u64,
    /// Changes that took effect in a reference of this pipeline.
    pub changes: u64,
}

impl std::ops::AddAssign for Refreshed {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.changes += other.changes;
    }
}

impl Library {
    /// Loads every reference from the best snapshot file for a version, or from its base where no file holds it, and the
    /// log up to the newest of them.
    ///
    /// # Errors
    /// [`LoadError`]; calling again is safe.
    pub async fn load(
        sources: Sources<'_>,
        references: &[(&Source, &Projection)],
        version: Version,
    ) -> Result<Self, LoadError> {
        let Restored { file, damaged } = restore(sources, version).await?;
        let loaded = Self::load_from(sources, references, file).await;
        let Some((key, source)) = damaged else { return loaded };
        // What was loaded instead may lie below the floor.
        let lost = match &loaded {
            Ok(library) => library.head < sources.log.floor().await?.version,
            Err(error) => error.is_of_the_log(),
        };
        if lost { Err(LoadError::Snapshot { key, source }) } else { loaded }
    }

    async fn load_from(
        sources: Sources<'_>,
        references: &[(&Source, &Projection)],
        file: Option<SnapshotFile>,
    ) -> Result<Self, LoadError> {
        let mut library = Self {
            sources: Vec::new(),
            references: Vec::new(),
            digests: BTreeMap::new(),
            oldest: 0,
            head: Version::MAX,
            limit: sources.limit,
        };
        let mut through = 0;
        for (source, projection) in references {
            let held: u64 = library.references.iter().map(VersionedReference::object_bytes).sum();
            let sources = Sources { limit: sources.limit.saturating_sub(held), ..sources };
            let (loaded, rows) = load_reference(sources, file.as_ref(), source, projection).await?;
            library.oldest = library.oldest.max(loaded.first);
            library.head = library.head.min(loaded.through);
            through = through.max(loaded.through);
            library.sources.push(Shelf { source: (*source).clone(), base: loaded.base, through: loaded.through });
            library.references.push(rows);
        }
        drop(file);
        library.head = library.head.min(through);
        let files = sources.log.read_range(library.head, through).await?;
        let mut rest = files.as_slice();
        while !rest.is_empty() {
            let (count, wanted) = library.next(rest);
            let (now, later) = rest.split_at(count);
            let contents = Contents::read(sources, wanted).await?;
            library.apply(now, contents)?;
            rest = later;
        }
        Ok(library)
    }

    /// The references, in the definition's order.
    #[must_use]
    pub fn references(&self) -> &[VersionedReference] {
        &self.references
    }

    /// The version that the newest of its bases defines: there is nothing below it.
    #[must_use]
    pub fn bases(&self) -> Version {
        self.sources.iter().map(|shelf| shelf.base).max().unwrap_or(0)
    }

    /// The oldest version that can be read.
    #[must_use]
    pub fn oldest(&self) -> Version {
        self.oldest
    }

    /// The newest version that can be read.
    #[must_use]
    pub fn head(&self) -> Version {
        self.head
    }

    /// The digest of a version's change file, if this library remembers it, whether or not that version can still be read.
    #[must_use]
    pub fn digest(&self, version: Version) -> Option<&str> {
        self.digests.get(&version).map(String::as_str)
    }

    /// How many of these files can be applied together, and what has to be read for that: at most one file's contents,
    /// so that a long log does not bring all of them into memory.
    pub(crate) fn next(&self, files: &[(ChangeFile, Bytes)]) -> (usize, Vec<Wanted>) {
        for (count, (file, _)) in (1..).zip(files) {
            let wanted: Vec<_> = self.wanted(file).collect();
            if !wanted.is_empty() {
                return (count, wanted);
            }
        }
        (files.len(), Vec::new())
    }

    /// The contents that a file brings to the references here.
    fn wanted(&self, file: &ChangeFile) -> impl Iterator<Item = Wanted> {
        let replaced = file.changes.iter().filter_map(|change| match change {
            Change::Object(change) if change.op == ObjectOp::Replace && file.version > self.head => Some(change),
            _ => None,
        });
        replaced.flat_map(move |change| {
            let shelves = self.sources.iter().zip(&self.references).enumerate();
            let relevant = shelves.filter(move |(_, (shelf, rows))| {
                covers(&shelf.source, &change.object) && file.version > shelf.through && rows.is_news(change)
            });
            relevant.map(move |(reference, (_, rows))| Wanted {
                reference,
                object: change.object.clone(),
                sha256: change.sha256.clone(),
                projection: rows.projection().clone(),
            })
        })
    }

    /// Applies change files that follow the head, with the contents that [`next`](Self::next) asks for; files at or
    /// below the head are passed over, so that two who fetched the same may both apply.
    ///
    /// # Errors
    /// [`LoadError::Log`] for a hole, and others for an entry that cannot be applied: the head stays below that file.
    pub(crate) fn apply(
        &mut self,
        files: &[(ChangeFile, Bytes)],
        mut contents: Contents,
    ) -> Result<Refreshed, LoadError> {
        let mut done = Refreshed::default();
        for (file, bytes) in files {
            if file.version <= self.head {
                continue;
            }
            if file.version != self.head + 1 {
                let version = self.head + 1;
                return Err(ReadError::Gap { version, key: crate::change::change_key(version) }.into());
            }
            for change in &file.changes {
                done.changes += match change {
                    Change::Row(row) => self.apply_row(file.version, row)?,
                    Change::Object(object) => self.apply_object(file.version, object, &mut contents)?,
                };
            }
            if file.changes.iter().any(|change| matches!(change, Change::Object(_))) {
                self.settle(file);
            }
            self.digests.insert(file.version, digest(bytes));
            self.head = file.version;
            done.files += 1;
        }
        // One that is forgotten is read again when a flag names it.
        let remembered = self.head.saturating_sub(RING);
        self.digests = self.digests.split_off(&remembered);
        self.forget();
        Ok(done)
    }

    /// Keeps the history small: the versions of the ring where they are cheap, and never more ended rows than valid ones
    /// beyond that.
    fn forget(&mut self) {
        if self.references.iter().map(VersionedReference::history).sum::<usize>() <= HISTORY {
            return;
        }
        let ring = self.head.saturating_sub(RING);
        let bound = |rows: &VersionedReference| rows.ended_before(rows.len().max(HISTORY));
        let bounded = self.references.iter().map(bound).max().unwrap_or(0);
        self.oldest = self.oldest.max(ring).max(bounded);
        for reference in &mut self.references {
            reference.prune(self.oldest);
        }
    }

    fn apply_row(&mut self, version: Version, row: &RowChange) -> Result<u64, LoadError> {
        let mut applied = 0;
        for (shelf, reference) in self.sources.iter().zip(&mut self.references) {
            if version <= shelf.through || !matches!(&shelf.source, Source::Table(table) if *table == row.table) {
                continue;
            }
            let effect = reference.apply(version, row).map_err(|source| LoadError::Change {
                version,
                reference: shelf.source.id().into(),
                source,
            })?;
            applied += u64::from(effect == Effect::Applied);
        }
        Ok(applied)
    }

    fn apply_object(
        &mut self,
        version: Version,
        change: &ObjectChange,
        contents: &mut Contents,
    ) -> Result<u64, LoadError> {
        let mut applied = 0;
        let mut held: u64 = self.references.iter().map(VersionedReference::object_bytes).sum();
        for (index, (shelf, reference)) in self.sources.iter().zip(&mut self.references).enumerate() {
            if version <= shelf.through || !covers(&shelf.source, &change.object) || !reference.is_news(change) {
                continue;
            }
            let rows = contents.take(index, change)?;
            held = held - reference.bytes_of(&change.object) + rows.bytes;
            if held > self.limit {
                let (reference, size, limit) = (shelf.source.id().into(), held, self.limit);
                return Err(LoadError::TooLarge { reference, size, limit });
            }
            reference.apply_object(version, change, rows);
            applied += 1;
        }
        Ok(applied)
    }

    /// After a file's last change to an object: lets go of what removed objects held, or says that nothing else is left.
    fn settle(&mut self, file: &ChangeFile) {
        for (shelf, reference) in self.sources.iter().zip(&mut self.references) {
            let kept = reference.settle_objects(file.version);
            if !kept.is_empty() && file.changes.iter().any(|change| removes(change, &shelf.source)) {
                alarm(file.version, &shelf.source, &kept);
            }
        }
    }
}

fn removes(change: &Change, reference: &Source) -> bool {
    matches!(change, Change::Object(change) if change.op == ObjectOp::Remove && covers(reference, &change.object))
}

/// An emptied reference would make every record unmatched: more likely a mistake than a wish.
fn alarm(version: Version, reference: &Source, objects: &[String]) {
    tracing::error!(
        version,
        reference = reference.id(),
        ?objects,
        "the reference's last objects were removed; their rows stay: put an object there, or take the reference out"
    );
}

#[cfg(test)]
mod tests;
