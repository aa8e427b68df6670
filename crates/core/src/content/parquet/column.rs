//! One column of a row group, entry by entry. An entry is a value or the lack of one, with the levels that say to which
//! list and which group it belongs.

use ::parquet::basic::Type as Physical;
use ::parquet::column::page::PageReader;
use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType,
    Int32Type, Int64Type, Int96, Int96Type,
};
use ::parquet::errors::Result;
use ::parquet::schema::types::ColumnDescPtr;

use super::assemble::Why;
use super::scalar::{Meaning, Raw};

/// As many rows of a column are unpacked at a time.
const BATCH: usize = 1024;

pub(super) struct Column {
    values: Box<dyn Values>,
    meaning: Meaning,
    greatest: Levels,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    /// The entries of the batch, the next of them, and the next value of the batch.
    entries: usize,
    at: usize,
    value: usize,
}

/// The levels of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// How many of the optional and repeated groups around the value there are.
    pub(super) definition: i16,
    /// Which of the repeated groups goes on with it; 0 begins a row.
    pub(super) repetition: i16,
}

impl Column {
    pub(super) fn new(descriptor: ColumnDescPtr, pages: Box<dyn PageReader>) -> Self {
        let meaning = Meaning::of(&descriptor);
        let greatest = Levels { definition: descriptor.max_def_level(), repetition: descriptor.max_rep_level() };
        let values: Box<dyn Values> = match descriptor.physical_type() {
            Physical::BOOLEAN => Typed::<BoolType>::boxed(descriptor, pages),
            Physical::INT32 => Typed::<Int32Type>::boxed(descriptor, pages),
            Physical::INT64 => Typed::<Int64Type>::boxed(descriptor, pages),
            Physical::INT96 => Typed::<Int96Type>::boxed(descriptor, pages),
            Physical::FLOAT => Typed::<FloatType>::boxed(descriptor, pages),
            Physical::DOUBLE => Typed::<DoubleType>::boxed(descriptor, pages),
            Physical::BYTE_ARRAY => Typed::<ByteArrayType>::boxed(descriptor, pages),
            Physical::FIXED_LEN_BYTE_ARRAY => Typed::<FixedLenByteArrayType>::boxed(descriptor, pages),
        };
        let (definitions, repetitions) = (Vec::new(), Vec::new());
        Self { values, meaning, greatest, definitions, repetitions, entries: 0, at: 0, value: 0 }
    }

    /// The levels of the next entry; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<Levels>, Why> {
        while self.at == self.entries {
            self.definitions.clear();
            self.repetitions.clear();
            let read = self.values.read(&mut self.definitions, &mut self.repetitions).map_err(Why::Parquet)?;
            (self.entries, self.at, self.value) = (read.entries, 0, 0);
            if read.entries == 0 && read.rows == 0 {
                return Ok(None);
            }
        }
        // A column without optional or repeated groups stores no levels: they are all the greatest.
        let level = |levels: &[i16], greatest| if greatest == 0 { Some(0) } else { levels.get(self.at).copied() };
        let definition = level(&self.definitions, self.greatest.definition);
        let repetition = level(&self.repetitions, self.greatest.repetition);
        match (definition, repetition) {
            (Some(definition), Some(repetition))
                if definition <= self.greatest.definition && repetition <= self.greatest.repetition =>
            {
                Ok(Some(Levels { definition, repetition }))
            }
            _ => Err(Why::Torn("a level beyond its greatest")),
        }
    }

    /// Passes the entry last looked at.
    pub(super) fn pass(&mut self, levels: Levels) {
        self.at += 1;
        self.value += usize::from(levels.definition == self.greatest.definition);
    }

    /// Appends the value of the entry last looked at, which must have one.
    pub(super) fn append(&self, out: &mut Vec<u8>) -> Result<(), Why> {
        let raw = self.values.get(self.value).ok_or(Why::Torn("fewer values than entries"))?;
        self.meaning.append(raw, out).map_err(Why::Value)
    }
}

/// What a batch has.
struct Read {
    rows: usize,
    entries: usize,
}

/// Values of any type.
trait Values: Send {
    /// Replaces the values by the next batch of them, and appends their levels.
    fn read(&mut self, definitions: &mut Vec<i16>, repetitions: &mut Vec<i16>) -> Result<Read>;

    fn get(&self, index: usize) -> Option<Raw<'_>>;
}

struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
}

impl<T: DataType<T: AsRaw>> Typed<T> {
    fn boxed(descriptor: ColumnDescPtr, pages: Box<dyn PageReader>) -> Box<dyn Values> {
        Box::new(Self { reader: ColumnReaderImpl::new(descriptor, pages), values: Vec::new() })
    }
}

impl<T: DataType<T: AsRaw>> Values for Typed<T> {
    fn read(&mut self, definitions: &mut Vec<i16>, repetitions: &mut Vec<i16>) -> Result<Read> {
        self.values.clear();
        let (rows, _, entries) =
            self.reader.read_records(BATCH, Some(definitions), Some(repetitions), &mut self.values)?;
        Ok(Read { rows, entries })
    }

    fn get(&self, index: usize) -> Option<Raw<'_>> {
        self.values.get(index).map(AsRaw::raw)
    }
}

trait AsRaw {
    fn raw(&self) -> Raw<'_>;
}

impl AsRaw for bool {
    fn raw(&self) -> Raw<'_> {
        Raw::Bool(*self)
    }
}

impl AsRaw for i32 {
    fn raw(&self) -> Raw<'_> {
        Raw::Int32(*self)
    }
}

impl AsRaw for i64 {
    fn raw(&self) -> Raw<'_> {
        Raw::Int64(*self)
    }
}

impl AsRaw for Int96 {
    fn raw(&self) -> Raw<'_> {
        match self.data() {
            [low, high, day] => Raw::Int96 { nanos: u64::from(*low) | u64::from(*high) << 32, day: *day },
            _ => Raw::Bytes(&[]),
        }
    }
}

impl AsRaw for f32 {
    fn raw(&self) -> Raw<'_> {
        Raw::Float(*self)
    }
}

impl AsRaw for f64 {
    fn raw(&self) -> Raw<'_> {
        Raw::Double(*self)
    }
}

impl AsRaw for ByteArray {
    fn raw(&self) -> Raw<'_> {
        Raw::Bytes(self.data())
    }
}

impl AsRaw for FixedLenByteArray {
    fn raw(&self) -> Raw<'_> {
        Raw::Bytes(self.data())
    }
}
