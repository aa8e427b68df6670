//! Parquet: every column of every row group, assembled into rows one by one.
//!
//! The file is read column by column as it is stored, and each column's entries are checked against those of the others:
//! a column that ends early, goes on too long, or whose repetitions differ is an error, never a shorter row or fewer of
//! them. Only a batch of each column is held unpacked.
//!
//! What the footer declares is checked against the bound before anything is unpacked; what a forged file says elsewhere
//! is the `parquet` crate's to check, and it may take more memory for a page than the bound, or panic.

mod assemble;
mod column;
mod pages;
mod scalar;
mod schema;

use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use bytes::Bytes;

use super::error::ContentError;
use crate::ports::RawRow;
use assemble::{Assembly, Fault, Why};
use column::Column;
use schema::Node;

pub(super) struct Reader {
    file: SerializedFileReader<Bytes>,
    root: Node,
    /// In bytes of rows.
    limit: u64,
    given: u64,
    /// Rows handed over so far.
    rows: u64,
    next_group: usize,
    columns: Vec<Column>,
    /// Rows left in the group.
    left: u64,
    row: Vec<u8>,
}

impl Reader {
    pub(super) fn new(content: Bytes, limit: u64) -> Result<Self, ContentError> {
        let file = SerializedFileReader::new(content)?;
        let metadata = file.metadata();
        if declared(metadata)? > limit {
            return Err(ContentError::TooLarge { limit });
        }
        let root = schema::compile(metadata.file_metadata().schema_descr())?;
        Ok(Self { file, root, limit, given: 0, rows: 0, next_group: 0, columns: Vec::new(), left: 0, row: Vec::new() })
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<RawRow>, ContentError> {
        while self.left == 0 {
            self.end_group()?;
            if self.next_group >= self.file.num_row_groups() {
                return Ok(None);
            }
            self.begin_group()?;
        }
        self.row.clear();
        let mut assembly = Assembly { columns: &mut self.columns, out: &mut self.row };
        assembly.row(&self.root).map_err(|fault| self.located(fault))?;
        self.left -= 1;
        self.rows += 1;
        // A row is a line, with its end.
        self.given += self.row.len() as u64 + 1;
        if self.given > self.limit {
            return Err(ContentError::TooLarge { limit: self.limit });
        }
        serde_json::from_slice(&self.row).map(Some).map_err(ContentError::Json)
    }

    fn begin_group(&mut self) -> Result<(), ContentError> {
        let group = self.file.get_row_group(self.next_group)?;
        self.next_group += 1;
        self.left = count(group.metadata().num_rows())?;
        let schema = self.file.metadata().file_metadata().schema_descr();
        self.columns = (0..schema.num_columns())
            .map(|index| {
                let column = schema.column(index);
                let pages = pages::Guarded::new(group.get_column_page_reader(index)?, column.clone(), self.limit);
                Ok(Column::new(column, Box::new(pages)))
            })
            .collect::<Result<_, ContentError>>()?;
        Ok(())
    }

    /// Nothing may be left of a group whose rows have all been read.
    fn end_group(&mut self) -> Result<(), ContentError> {
        let mut columns = std::mem::take(&mut self.columns);
        let longer = columns.iter_mut().enumerate().find_map(|(index, column)| match column.peek() {
            Ok(None) => None,
            Ok(Some(_)) => Some(Fault { column: index, why: Why::Torn("it goes on after the last row") }),
            Err(why) => Some(Fault { column: index, why }),
        });
        longer.map_or(Ok(()), |fault| Err(self.located(fault)))
    }

    fn located(&self, fault: Fault) -> ContentError {
        let schema = self.file.metadata().file_metadata().schema_descr();
        let column = schema.columns().get(fault.column).map(|column| column.path().string()).unwrap_or_default();
        let row = self.rows + 1;
        match fault.why {
            Why::Torn(reason) => ContentError::Torn { row, column, reason },
            Why::Value(reason) => ContentError::Value { row, column, reason },
            Why::Parquet(error) => error.into(),
        }
    }
}

/// The bytes that the columns are said to have unpacked, once the footer's figures are seen to fit together.
fn declared(metadata: &ParquetMetaData) -> Result<u64, ContentError> {
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    for group in metadata.row_groups() {
        rows = rows.saturating_add(count(group.num_rows())?);
        for column in group.columns() {
            bytes = bytes.saturating_add(count(column.uncompressed_size())?);
            for figure in
                [column.compressed_size(), column.dictionary_page_offset().unwrap_or(column.data_page_offset())]
            {
                count(figure)?;
            }
        }
    }
    if rows != count(metadata.file_metadata().num_rows())? {
        return Err(ParquetError::General("the row groups have other rows than the file".into()).into());
    }
    Ok(bytes)
}

fn count(figure: i64) -> Result<u64, ContentError> {
    u64::try_from(figure).map_err(|_| ParquetError::General(format!("{figure} where a count should be")).into())
}

#[cfg(test)]
mod tests;
