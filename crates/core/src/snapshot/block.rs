//! A run of a table's entries, column by column, so that a reader of three columns out of thirty unpacks three.
//!
//! A block is the lengths of its header (packed and unpacked, four bytes each), the header, and the columns in the order in
//! which the header names them: first what is known of each key, then the fields of the rows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::column::{ColumnReader, ColumnWriter, Packer, Unpacker};
use super::entry::{Entry, RowFields};
use super::error::{SnapshotError, WriteError};
use crate::change::Version;
use crate::reference::KnownChange;

/// A block ends with so many entries, with so many bytes in them, or with so many cells, absent ones included: rows may
/// have few fields in common. Small under test, so that a few rows make several blocks.
const ROWS: usize = if cfg!(test) { 7 } else { 8_192 };
const BYTES: usize = if cfg!(test) { 4_096 } else { 4 << 20 };
const CELLS: usize = if cfg!(test) { 24 } else { 2 << 20 };

/// What is known of each key: its primary key's bytes and JSON, label and sequence number of its newest change (absent
/// where scans alone know it), the version of the last change that took effect (little-endian, without zeros at its end),
/// and whether it has a row: an empty cell, or none.
const KNOWN: usize = 6;

#[derive(Serialize, Deserialize)]
struct Header {
    rows: usize,
    /// Packed and unpacked length.
    known: [(u32, u32); KNOWN],
    /// Name, packed and unpacked length, in the order of the names.
    fields: Vec<(String, u32, u32)>,
}

/// A block in the making.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    known: [ColumnWriter; KNOWN],
    fields: BTreeMap<String, ColumnWriter>,
    rows: usize,
    bytes: usize,
}

impl BlockWriter {
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES || self.rows * self.fields.len() >= CELLS
    }

    pub(super) fn push(&mut self, entry: &Entry<'_>) {
        let Entry { primary, key, known, row } = entry;
        let changed = known.changed.to_le_bytes();
        let digits = changed.len() - known.changed.leading_zeros() as usize / 8;
        let (label, number) = known.newest.unzip();
        let cells = [
            Some(*primary),
            Some(key.as_bytes()),
            label.map(str::as_bytes),
            number.map(str::as_bytes),
            changed.get(..digits),
            row.as_ref().map(|_| [].as_slice()),
        ];
        for (column, cell) in self.known.iter_mut().zip(cells) {
            if let Some(cell) = cell {
                column.push(self.rows, cell);
                self.bytes += cell.len();
            }
        }
        for (name, value) in row.iter().flat_map(RowFields::iter) {
            match self.fields.get_mut(name) {
                Some(column) => column.push(self.rows, value.as_bytes()),
                None => {
                    let mut column = ColumnWriter::default();
                    column.push(self.rows, value.as_bytes());
                    self.fields.insert(name.into(), column);
                }
            }
            self.bytes += value.len();
        }
        self.rows += 1;
    }

    /// Appends the block.
    pub(super) fn finish(self, packer: &mut Packer, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let Self { known, fields, rows, .. } = self;
        let mut columns = Vec::new();
        let mut pack = |column: ColumnWriter| {
            let bytes = column.finish(rows).ok_or(WriteError::TooLarge)?;
            let packed = packer.pack(&bytes)?;
            let lengths = (length(&packed)?, length(&bytes)?);
            columns.push(packed);
            Ok::<_, WriteError>(lengths)
        };
        let mut lengths = [(0, 0); KNOWN];
        for (to, column) in lengths.iter_mut().zip(known) {
            *to = pack(column)?;
        }
        let mut named = Vec::with_capacity(fields.len());
        for (name, column) in fields {
            let (packed, bytes) = pack(column)?;
            named.push((name, packed, bytes));
        }
        append_part(&serde_json::to_vec(&Header { rows, known: lengths, fields: named })?, packer, out)?;
        columns.iter().for_each(|column| out.extend_from_slice(column));
        Ok(())
    }
}

/// Appends bytes with their packed and unpacked lengths before them.
pub(super) fn append_part(bytes: &[u8], packer: &mut Packer, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let packed = packer.pack(bytes)?;
    out.extend_from_slice(&length(&packed)?.to_le_bytes());
    out.extend_from_slice(&length(bytes)?.to_le_bytes());
    out.extend_from_slice(&packed);
    Ok(())
}

/// Takes such a part off the front of `from`.
pub(super) fn take_part(from: &mut &[u8], unpacker: &mut Unpacker) -> Result<Vec<u8>, SnapshotError> {
    let mut length = || {
        let (head, rest) = from.split_first_chunk().ok_or(SnapshotError::Malformed { part: "header" })?;
        *from = rest;
        Ok::<_, SnapshotError>(u32::from_le_bytes(*head))
    };
    let (packed, bytes) = (length()?, length()?);
    unpacker.unpack(take(from, packed)?, bytes as usize)
}

fn take<'b>(from: &mut &'b [u8], length: u32) -> Result<&'b [u8], SnapshotError> {
    let (taken, rest) = from.split_at_checked(length as usize).ok_or(SnapshotError::Malformed { part: "block" })?;
    *from = rest;
    Ok(taken)
}

fn length(bytes: &[u8]) -> Result<u32, WriteError> {
    u32::try_from(bytes.len()).map_err(|_| WriteError::TooLarge)
}

/// A block's columns as far as they are wanted, at one of its entries after the other.
#[derive(Debug)]
pub(super) struct Block {
    left: usize,
    primary: ColumnReader<Vec<u8>>,
    key: Option<ColumnReader<String>>,
    label: ColumnReader<String>,
    number: ColumnReader<String>,
    changed: ColumnReader<Vec<u8>>,
    row: ColumnReader<Vec<u8>>,
    /// The wanted fields that the block has, each with its name.
    fields: Vec<(String, ColumnReader<String>)>,
}

impl Block {
    /// Takes a block off the front of `from`: all of it, or, where `wanted` tells fields, those alone and no keys' JSON.
    pub(super) fn take(
        from: &mut &[u8],
        unpacker: &mut Unpacker,
        wanted: Option<&dyn Fn(&str) -> bool>,
    ) -> Result<Self, SnapshotError> {
        let header = take_part(from, unpacker)?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| SnapshotError::Malformed { part: "header" })?;
        let mut column = |(packed, length): (u32, u32), wanted: bool| {
            let packed = take(from, packed)?;
            wanted.then(|| unpacker.unpack(packed, length as usize)).transpose()
        };
        let missing = || SnapshotError::Malformed { part: "column" };
        let [primary, key, label, number, changed, row] = header.known;
        let block = Self {
            left: header.rows,
            primary: ColumnReader::bytes(column(primary, true)?.ok_or_else(missing)?)?,
            key: column(key, wanted.is_none())?.map(ColumnReader::text).transpose()?,
            label: ColumnReader::text(column(label, true)?.ok_or_else(missing)?)?,
            number: ColumnReader::text(column(number, true)?.ok_or_else(missing)?)?,
            changed: ColumnReader::bytes(column(changed, true)?.ok_or_else(missing)?)?,
            row: ColumnReader::bytes(column(row, true)?.ok_or_else(missing)?)?,
            fields: Vec::new(),
        };
        let mut fields = Vec::new();
        for (name, packed, length) in header.fields {
            let wanted = wanted.is_none_or(|wanted| wanted(&name));
            if let Some(bytes) = column((packed, length), wanted)? {
                fields.push((name, ColumnReader::text(bytes)?));
            }
        }
        Ok(Self { fields, ..block })
    }

    /// Goes on to the next entry; whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool, SnapshotError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(false) };
        self.left = left;
        self.primary.advance()?;
        self.key.iter_mut().try_for_each(ColumnReader::advance)?;
        self.label.advance()?;
        self.number.advance()?;
        self.changed.advance()?;
        self.row.advance()?;
        self.fields.iter_mut().try_for_each(|(_, column)| column.advance())?;
        Ok(true)
    }

    /// The primary key of the entry in hand.
    pub(super) fn primary(&self) -> Result<&[u8], SnapshotError> {
        self.primary.cell()?.ok_or(SnapshotError::Malformed { part: "primary key" })
    }

    /// What is known of it.
    pub(super) fn known(&self) -> Result<KnownChange<'_>, SnapshotError> {
        let digits = self.changed.cell()?.ok_or(SnapshotError::Malformed { part: "version" })?;
        let mut changed = Version::default().to_le_bytes();
        changed.iter_mut().zip(digits).for_each(|(to, from)| *to = *from);
        let newest = self.label.cell()?.zip(self.number.cell()?);
        Ok(KnownChange { newest, changed: Version::from_le_bytes(changed) })
    }

    /// Whether it has a row.
    pub(super) fn has_row(&self) -> Result<bool, SnapshotError> {
        Ok(self.row.cell()?.is_some())
    }

    /// The names of the wanted fields, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// The row's values of those fields, in the same order.
    pub(super) fn values(&self) -> impl Iterator<Item = Result<Option<&str>, SnapshotError>> {
        self.fields.iter().map(|(_, column)| column.cell())
    }

    /// The whole entry, where the whole block was taken.
    pub(super) fn entry(&self) -> Result<Entry<'_>, SnapshotError> {
        let key = self.key.as_ref().map(ColumnReader::<String>::cell).transpose()?.flatten();
        let row = if self.has_row()? {
            let mut fields = Vec::with_capacity(self.fields.len());
            for (name, column) in &self.fields {
                if let Some(value) = column.cell()? {
                    fields.push((Cow::Borrowed(name.as_str()), value));
                }
            }
            Some(RowFields::sorted(fields))
        } else {
            None
        };
        let key = key.ok_or(SnapshotError::Malformed { part: "key" })?;
        Ok(Entry { primary: self.primary()?, key, known: self.known()?, row })
    }
}
