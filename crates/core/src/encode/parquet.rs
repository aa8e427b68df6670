//! Parquet: rows of typed cells become a file. Every column may be null; Snappy; strings and numbers that repeat are in
//! dictionaries; each column's least and greatest value stand in the footer.
//!
//! The same rows give the same bytes. Nothing of the clock or the machine goes in.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use super::cell::{self, Cell};
use crate::pipeline::ColumnType;

/// An object that could not be made of its rows. Trying again does not help: it is a bug, or memory is short.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The library refused.
    #[error("a Parquet object could not be written: {0}")]
    Parquet(#[from] ParquetError),
    /// The buffer is not whole rows of values that fit.
    #[error("a row buffer does not hold whole rows")]
    Torn,
}

/// How much a row group holds at most: the object's columns are in memory by row groups.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    rows: usize,
    /// Bytes of cells; one row may go beyond.
    bytes: usize,
}

/// Nearly every object is one row group.
const BOUNDS: Bounds = Bounds { rows: 131_072, bytes: 32 << 20 };

static PROPERTIES: LazyLock<Arc<WriterProperties>> = LazyLock::new(|| {
    let builder = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        // An index of pages would be larger than most objects gain from it.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    Arc::new(builder.build())
});

/// A file of these columns from the cells of its rows.
///
/// # Errors
/// [`EncodeError`].
pub(super) fn file(columns: &[(String, ColumnType)], rows: Vec<u8>) -> Result<Bytes, EncodeError> {
    file_within(columns, rows, BOUNDS)
}

fn file_within(columns: &[(String, ColumnType)], rows: Vec<u8>, bounds: Bounds) -> Result<Bytes, EncodeError> {
    let mut rows = Bytes::from(rows);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema(columns)?, PROPERTIES.clone())?;
    while !rows.is_empty() {
        let mut group = writer.next_row_group()?;
        for part in row_group(columns, &mut rows, bounds)? {
            // The schema has as many columns as the row group.
            let mut column = group.next_column()?.ok_or(EncodeError::Torn)?;
            part.write(column.untyped())?;
            column.close()?;
        }
        group.close()?;
    }
    Ok(writer.into_inner()?.into())
}

fn schema(columns: &[(String, ColumnType)]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|(name, kind)| field(name, *kind).map(Arc::new)).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("row").with_fields(fields).build()?))
}

fn field(name: &str, kind: ColumnType) -> Result<Type, ParquetError> {
    let (physical, logical) = match kind {
        ColumnType::Int64 => (Physical::INT64, None),
        ColumnType::Float64 => (Physical::DOUBLE, None),
        ColumnType::Bool => (Physical::BOOLEAN, None),
        ColumnType::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Timestamp => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        ColumnType::Decimal { precision, scale } => {
            (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(scale.into(), precision.into())))
        }
    };
    let builder =
        Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL).with_logical_type(logical);
    let ColumnType::Decimal { precision, scale } = kind else { return builder.build() };
    let width = i32::try_from(cell::decimal_width(precision))?;
    builder.with_length(width).with_precision(precision.into()).with_scale(scale.into()).build()
}

/// One column of a row group.
struct Column {
    /// For each row 1, or 0 where it is null.
    levels: Vec<i16>,
    /// Those that are not null.
    values: Values,
}

enum Values {
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<ByteArray>),
    Decimal(Vec<FixedLenByteArray>),
}

/// The columns of as many rows as a row group may hold, taken off the front.
fn row_group(columns: &[(String, ColumnType)], rows: &mut Bytes, bounds: Bounds) -> Result<Vec<Column>, EncodeError> {
    let mut group: Vec<Column> = columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
    let start = rows.len();
    for _ in 0..bounds.rows {
        if rows.is_empty() || start - rows.len() >= bounds.bytes {
            break;
        }
        for column in &mut group {
            column.push(cell::take(rows).ok_or(EncodeError::Torn)?)?;
        }
    }
    Ok(group)
}

impl Column {
    fn new(kind: ColumnType) -> Self {
        let values = match kind {
            ColumnType::Int64 | ColumnType::Timestamp => Values::Int64(Vec::new()),
            ColumnType::Float64 => Values::Float64(Vec::new()),
            ColumnType::Bool => Values::Bool(Vec::new()),
            ColumnType::String => Values::Text(Vec::new()),
            ColumnType::Decimal { .. } => Values::Decimal(Vec::new()),
        };
        Self { levels: Vec::new(), values }
    }

    fn push(&mut self, cell: Cell) -> Result<(), EncodeError> {
        let bytes = match cell {
            Cell::Null => {
                self.levels.push(0);
                return Ok(());
            }
            Cell::Value(bytes) => bytes,
            // A row with one is undone before it stays in a buffer.
            Cell::Misfit => return Err(EncodeError::Torn),
        };
        let eight = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).map_err(|_| EncodeError::Torn);
        match &mut self.values {
            Values::Int64(values) => values.push(i64::from_le_bytes(eight(&bytes)?)),
            Values::Float64(values) => values.push(f64::from_le_bytes(eight(&bytes)?)),
            Values::Bool(values) => values.push(*bytes == [1]),
            Values::Text(values) => values.push(ByteArray::from(bytes)),
            Values::Decimal(values) => values.push(ByteArray::from(bytes).into()),
        }
        self.levels.push(1);
        Ok(())
    }

    fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<(), EncodeError> {
        let levels = Some(self.levels.as_slice());
        match (writer, &self.values) {
            (ColumnWriter::Int64ColumnWriter(writer), Values::Int64(values)) => {
                writer.write_batch(values, levels, None)
            }
            (ColumnWriter::DoubleColumnWriter(writer), Values::Float64(values)) => {
                writer.write_batch(values, levels, None)
            }
            (ColumnWriter::BoolColumnWriter(writer), Values::Bool(values)) => writer.write_batch(values, levels, None),
            (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
                writer.write_batch(values, levels, None)
            }
            (ColumnWriter::FixedLenByteArrayColumnWriter(writer), Values::Decimal(values)) => {
                writer.write_batch(values, levels, None)
            }
            _ => return Err(EncodeError::Torn),
        }?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
