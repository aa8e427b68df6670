//! The references of one pipeline, loaded once and kept up to date by the log.
//!
//! Always: at every version from `oldest` to `head`, each reference is the fold of its base and the change files up to
//! that version. A failed refresh leaves the library as it was.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::bootstrap::{LoadError, Sources, load_base};
use super::row::Projection;
use super::versioned::{Effect, VersionedReference};
use crate::change::{Change, ChangeFile, ObjectChange, Version, digest};
use crate::log::ReadError;

/// So many ended rows are kept for shards that are behind, before the oldest are forgotten. Few under test, so that
/// forgetting is tested too.
const HISTORY: usize = if cfg!(test) { 16 } else { 65_536 };
/// So many versions below the head stay addressable at least.
pub(crate) const RING: Version = if cfg!(test) { 8 } else { 1_024 };

/// Reference data at a range of versions.
#[derive(Debug)]
pub struct Library {
    sources: Vec<Shelf>,
    references: Vec<VersionedReference>,
    digests: BTreeMap<Version, String>,
    oldest: Version,
    head: Version,
}

/// One reference's place in the library.
#[derive(Debug)]
struct Shelf {
    /// The table's name or the object's URL.
    id: String,
    /// The version that its base defines.
    base: Version,
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Change files applied.
    pub files: u64,
    /// Changes that took effect in a reference of this pipeline.
    pub changes: u64,
}

impl Library {
    /// Loads every reference's base, and the log up to the newest of them.
    ///
    /// # Errors
    /// [`LoadError`]; calling again is safe.
    pub async fn load(sources: Sources<'_>, references: &[(&str, &Projection)]) -> Result<Self, LoadError> {
        let mut library = Self {
            sources: Vec::new(),
            references: Vec::new(),
            digests: BTreeMap::new(),
            oldest: 0,
            head: Version::MAX,
        };
        for (id, projection) in references {
            let (header, rows) = load_base(sources, id, projection).await?;
            library.oldest = library.oldest.max(header.version);
            library.head = library.head.min(header.version);
            library.sources.push(Shelf { id: (*id).into(), base: header.version });
            library.references.push(rows);
        }
        library.head = library.head.min(library.oldest);
        let files = sources.log.read_range(library.head, library.oldest).await?;
        library.apply(&files)?;
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

    /// The digest of a version's change file, if this library remembers it: that version can be read then.
    #[must_use]
    pub fn digest(&self, version: Version) -> Option<&str> {
        self.digests.get(&version).map(String::as_str)
    }

    /// Applies change files that follow the head; those at or below it are passed over, so that two who fetched the same
    /// may both apply.
    ///
    /// # Errors
    /// [`LoadError::Log`] for a hole, and [`LoadError::Change`] for an entry that cannot be applied: the head stays below
    /// that file.
    pub fn apply(&mut self, files: &[(ChangeFile, Bytes)]) -> Result<Refreshed, LoadError> {
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
                done.changes += self.apply_change(file.version, change)?;
            }
            self.digests.insert(file.version, digest(bytes));
            self.head = file.version;
            done.files += 1;
        }
        // One that is forgotten is read again when a flag names it.
        let remembered = self.head.saturating_sub(RING);
        self.digests = self.digests.split_off(&remembered);
        if self.references.iter().map(VersionedReference::history).sum::<usize>() > HISTORY {
            self.oldest = self.oldest.max(self.head.saturating_sub(RING));
            for reference in &mut self.references {
                reference.prune(self.oldest);
            }
        }
        Ok(done)
    }

    fn apply_change(&mut self, version: Version, change: &Change) -> Result<u64, LoadError> {
        let mut applied = 0;
        for (shelf, reference) in self.sources.iter().zip(&mut self.references) {
            match change {
                Change::Row(row) if row.table == shelf.id && version > shelf.base => {
                    let effect = reference.apply(version, row).map_err(|source| LoadError::Change {
                        version,
                        reference: shelf.id.clone(),
                        source,
                    })?;
                    applied += u64::from(effect == Effect::Applied);
                }
                Change::Object(ObjectChange { object, .. }) if *object == shelf.id => {
                    return Err(LoadError::Object { version, object: object.clone() });
                }
                _ => {}
            }
        }
        Ok(applied)
    }
}

#[cfg(test)]
mod tests;
