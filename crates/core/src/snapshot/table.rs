//! A table's section of a snapshot file: read entry by entry, or loaded as far as a pipeline uses it.

use std::fmt;

use super::block::Block;
use super::column::Unpacker;
use super::entry::Entry;
use super::error::SnapshotError;
use super::file::{BaseInfo, TablePlace};
use crate::record::Fields;
use crate::reference::{Projection, VersionedReference};

/// A table's section.
#[derive(Clone, Copy)]
pub struct TableSection<'f> {
    place: &'f TablePlace,
    file: &'f [u8],
}

/// The entries of a section, one after the other in the order of their primary keys.
pub struct Entries<'f> {
    unpacker: Unpacker,
    rest: &'f [u8],
    block: Option<Block>,
    left: u64,
}

impl<'f> TableSection<'f> {
    pub(super) fn new(place: &'f TablePlace, file: &'f [u8]) -> Self {
        Self { place, file }
    }

    /// The table's name.
    #[must_use]
    pub fn reference(&self) -> &'f str {
        &self.place.reference
    }

    /// The scan that defines it; `None` where only what the log names is here.
    #[must_use]
    pub fn base(&self) -> Option<BaseInfo> {
        self.place.base
    }

    /// How many entries it has, tombstones included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.place.entries
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.place.entries == 0
    }

    /// Reads it entry by entry; a block at a time is in memory.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`]
    pub fn entries(&self) -> Result<Entries<'f>, SnapshotError> {
        Ok(Entries { unpacker: Unpacker::new()?, rest: self.blocks()?, block: None, left: self.place.entries })
    }

    /// Loads what a pipeline uses of it. Columns that it does not use are not unpacked.
    pub(super) fn load(&self, base: BaseInfo, projection: &Projection) -> Result<VersionedReference, SnapshotError> {
        let mut rows = VersionedReference::new(projection.clone(), base.scan_started);
        rows.reserve(usize::try_from(self.place.entries).unwrap_or(0));
        let names = projection.names();
        let wanted = |name: &str| names.find(name).is_some();
        let (mut rest, mut unpacker, mut left) = (self.blocks()?, Unpacker::new()?, self.place.entries);
        while !rest.is_empty() {
            let mut block = Block::take(&mut rest, &mut unpacker, Some(&wanted))?;
            let slots: Vec<_> = block.names().map(|name| names.find(name)).collect();
            while block.advance()? {
                left = left.checked_sub(1).ok_or(SnapshotError::Malformed { part: "section" })?;
                let mut found = Fields::of(names);
                let has_row = block.has_row()?;
                if has_row {
                    for (slot, value) in slots.iter().zip(block.values()) {
                        if let Some((slot, value)) = slot.zip(value?) {
                            found.set(slot, value);
                        }
                    }
                }
                let primary = block.primary()?;
                let row = has_row.then_some(&found);
                rows.load_fields(primary, row, block.known()?).map_err(|source| SnapshotError::Row {
                    reference: self.place.reference.clone(),
                    key: String::from_utf8_lossy(primary).escape_debug().to_string(),
                    source,
                })?;
            }
        }
        if left > 0 { Err(SnapshotError::Malformed { part: "section" }) } else { Ok(rows) }
    }

    fn blocks(&self) -> Result<&'f [u8], SnapshotError> {
        self.file.get(self.place.start..self.place.end).ok_or(SnapshotError::Malformed { part: "section" })
    }
}

impl Entries<'_> {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`], also for fewer or more entries than the directory says.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, SnapshotError> {
        let malformed = SnapshotError::Malformed { part: "section" };
        loop {
            if let Some(block) = &mut self.block
                && block.advance()?
            {
                self.left = self.left.checked_sub(1).ok_or(malformed)?;
                break;
            }
            if self.rest.is_empty() {
                return if self.left > 0 { Err(malformed) } else { Ok(None) };
            }
            self.block = Some(Block::take(&mut self.rest, &mut self.unpacker, None)?);
        }
        self.block.as_ref().map(Block::entry).transpose()
    }
}

impl fmt::Debug for TableSection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableSection").field(self.place).finish()
    }
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("left", &self.left).finish_non_exhaustive()
    }
}
