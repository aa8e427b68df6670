//! One column of a block: a cell for each row, which may be absent, compressed by itself.
//!
//! Unpacked it is the length of what follows in four bytes (little-endian), each cell's length plus one (LEB128; 0 where the
//! cell is absent), and then the cells' bytes, one after the other.

use std::io;

use super::error::SnapshotError;

/// The level at which columns are compressed: what is measured to be small and quick enough.
const LEVEL: i32 = 1;

/// Packs columns one after the other.
pub(super) struct Packer(zstd::bulk::Compressor<'static>);

/// Unpacks columns one after the other.
pub(super) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        zstd::bulk::Compressor::new(LEVEL).map(Self)
    }

    pub(super) fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(bytes)
    }
}

impl Unpacker {
    pub(super) fn new() -> Result<Self, SnapshotError> {
        zstd::bulk::Decompressor::new().map(Self).map_err(|_| SnapshotError::Malformed { part: "compression" })
    }

    /// The bytes, of which there are to be `length`.
    pub(super) fn unpack(&mut self, packed: &[u8], length: usize) -> Result<Vec<u8>, SnapshotError> {
        let malformed = SnapshotError::Malformed { part: "compression" };
        match self.0.decompress(packed, length) {
            Ok(bytes) if bytes.len() == length => Ok(bytes),
            Ok(_) | Err(_) => Err(malformed),
        }
    }
}

/// A column in the making.
#[derive(Debug, Default)]
pub(super) struct ColumnWriter {
    lengths: Vec<u8>,
    cells: Vec<u8>,
    rows: usize,
}

impl ColumnWriter {
    /// The cell of row `row`; the rows before it that have none yet lack it.
    pub(super) fn push(&mut self, row: usize, cell: &[u8]) {
        self.pad(row);
        let mut length = cell.len() as u64 + 1;
        while length >= 0x80 {
            self.lengths.push(low_byte(length) | 0x80);
            length >>= 7;
        }
        self.lengths.push(low_byte(length));
        self.cells.extend_from_slice(cell);
        self.rows += 1;
    }

    /// The column's bytes for so many rows; `None` for 4 GiB or more.
    pub(super) fn finish(mut self, rows: usize) -> Option<Vec<u8>> {
        self.pad(rows);
        let mut out = Vec::with_capacity(4 + self.lengths.len() + self.cells.len());
        out.extend_from_slice(&u32::try_from(self.lengths.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&self.lengths);
        out.extend_from_slice(&self.cells);
        u32::try_from(out.len()).ok().map(|_| out)
    }

    fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.rows);
        self.lengths.resize(self.lengths.len() + missing, 0);
        self.rows += missing;
    }
}

fn low_byte(number: u64) -> u8 {
    number.to_le_bytes().first().copied().unwrap_or(0)
}

/// A column unpacked, at one of its rows after the other. Its cells are bytes, or text.
#[derive(Debug, Default)]
pub(super) struct ColumnReader<C> {
    lengths: Vec<u8>,
    next_length: usize,
    cells: C,
    next_cell: usize,
    /// Where the cell of the row in hand begins, if it has one; it ends at `next_cell`.
    cell: Option<usize>,
}

const MALFORMED: SnapshotError = SnapshotError::Malformed { part: "column" };

/// The lengths and the cells of a column's bytes.
fn halves(mut bytes: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), SnapshotError> {
    let head = bytes.first_chunk().map(|head| u32::from_le_bytes(*head) as usize);
    let end = head.and_then(|length| length.checked_add(4)).filter(|end| *end <= bytes.len());
    let cells = bytes.split_off(end.ok_or(MALFORMED)?);
    Ok((bytes, cells))
}

impl ColumnReader<Vec<u8>> {
    /// Of a column's bytes.
    pub(super) fn bytes(column: Vec<u8>) -> Result<Self, SnapshotError> {
        let (lengths, cells) = halves(column)?;
        Ok(Self { lengths, next_length: 4, cells, next_cell: 0, cell: None })
    }

    /// The cell of the row in hand; `None` where the row lacks it.
    pub(super) fn cell(&self) -> Result<Option<&[u8]>, SnapshotError> {
        let Some(start) = self.cell else { return Ok(None) };
        self.cells.get(start..self.next_cell).map(Some).ok_or(MALFORMED)
    }
}

impl ColumnReader<String> {
    /// Of a column's bytes, whose cells are text.
    pub(super) fn text(column: Vec<u8>) -> Result<Self, SnapshotError> {
        let (lengths, cells) = halves(column)?;
        let cells = String::from_utf8(cells).map_err(|_| SnapshotError::Malformed { part: "text" })?;
        Ok(Self { lengths, next_length: 4, cells, next_cell: 0, cell: None })
    }

    /// The cell of the row in hand; `None` where the row lacks it.
    pub(super) fn cell(&self) -> Result<Option<&str>, SnapshotError> {
        let Some(start) = self.cell else { return Ok(None) };
        self.cells.get(start..self.next_cell).map(Some).ok_or(MALFORMED)
    }
}

impl<C> ColumnReader<C> {
    /// Goes on to the next row.
    pub(super) fn advance(&mut self) -> Result<(), SnapshotError> {
        let (mut length, mut shift) = (0_usize, 0_u32);
        loop {
            let byte = *self.lengths.get(self.next_length).ok_or(MALFORMED)?;
            self.next_length += 1;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return Err(MALFORMED);
            }
        }
        self.cell = (length > 0).then_some(self.next_cell);
        self.next_cell = self.next_cell.saturating_add(length.saturating_sub(1));
        Ok(())
    }
}
