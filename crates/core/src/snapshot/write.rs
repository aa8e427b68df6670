//! Writes a snapshot file, one section after the other.

use std::fmt;

use super::block::BlockWriter;
use super::column::Packer;
use super::entry::Entry;
use super::error::WriteError;
use super::file::{BaseInfo, Manifest, TablePlace, begin, end};
use super::name::SnapshotName;
use crate::reference::ObjectLine;

/// A snapshot file in the making. Sections come in the order of their references, each reference once; so the same contents
/// make the same bytes.
pub struct SnapshotWriter {
    name: SnapshotName,
    packer: Packer,
    out: Vec<u8>,
    tables: Vec<TablePlace>,
    manifests: Vec<Manifest>,
    block: BlockWriter,
    last: Vec<u8>,
}

impl SnapshotWriter {
    /// An empty snapshot file of this name.
    ///
    /// # Errors
    /// [`WriteError::Pack`] where the compressor cannot be had.
    pub fn new(name: SnapshotName) -> Result<Self, WriteError> {
        Ok(Self {
            name,
            packer: Packer::new()?,
            out: begin(),
            tables: Vec::new(),
            manifests: Vec::new(),
            block: BlockWriter::default(),
            last: Vec::new(),
        })
    }

    /// Begins a table's section; without a base it holds only what the log names.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn table(&mut self, reference: &str, base: Option<BaseInfo>) -> Result<(), WriteError> {
        self.end_table()?;
        let start = self.out.len();
        self.tables.push(TablePlace { reference: reference.into(), base, entries: 0, start, end: start });
        Ok(())
    }

    /// Adds an entry to the table that was begun last. Entries come in the order of their primary keys, each once.
    ///
    /// # Errors
    /// [`WriteError::Unordered`] where this one does not, or no table was begun; and others.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), WriteError> {
        let in_order = |place: &&mut TablePlace| place.entries == 0 || *self.last < *entry.primary;
        let Some(place) = self.tables.last_mut().filter(in_order) else {
            let reference = self.tables.last().map(|place| place.reference.clone()).unwrap_or_default();
            return Err(WriteError::Unordered { reference, key: entry.key.into() });
        };
        place.entries += 1;
        self.last.clear();
        self.last.extend_from_slice(entry.primary);
        self.block.push(entry);
        if self.block.is_full() { self.end_block() } else { Ok(()) }
    }

    /// Adds a reference that is made of objects.
    pub fn objects(&mut self, reference: &str, base: BaseInfo, mut objects: Vec<ObjectLine>) {
        objects.sort_by(|a, b| a.object.cmp(&b.object));
        self.manifests.push(Manifest { reference: reference.into(), base: Some(base), objects });
    }

    /// Adds every object that the log names, with its newest change.
    pub fn named_objects(&mut self, mut objects: Vec<ObjectLine>) {
        objects.sort_by(|a, b| a.object.cmp(&b.object));
        self.manifests.push(Manifest { reference: String::new(), base: None, objects });
    }

    /// The whole file.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn finish(mut self) -> Result<Vec<u8>, WriteError> {
        self.end_table()?;
        end(self.out, self.name, self.tables, self.manifests, &mut self.packer)
    }

    fn end_table(&mut self) -> Result<(), WriteError> {
        self.end_block()?;
        if let Some(place) = self.tables.last_mut() {
            place.end = self.out.len();
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), WriteError> {
        if self.block.is_empty() {
            return Ok(());
        }
        std::mem::take(&mut self.block).finish(&mut self.packer, &mut self.out)
    }
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("name", &self.name)
            .field("bytes", &self.out.len())
            .finish_non_exhaustive()
    }
}
