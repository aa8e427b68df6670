//! What producers wrap records in: KPL aggregates, gzip and zstd, inside each other in any order.
//!
//! Always: every part of a record is handed over, as its objects or as what it is instead, and parts are numbered flat
//! in their order. One record never takes more than [`MAX_UNPACKED`] bytes of memory for what it unpacks to, nor work
//! for more: what a part that fails has unpacked counts as well. What is cut short, altered or beyond a bound is one
//! dead letter, whole, with its bytes as they were at that layer; the parts beside it go on.

use std::ops::ControlFlow;

use super::aggregate::{Aggregate, NotAggregate};
use super::order::{self, FieldNames, Fields, Malformed};
use crate::compression::{Compression, UnpackError};

/// Bytes that one record may unpack to, all its layers and parts together.
pub const MAX_UNPACKED: u64 = 64 << 20;
/// Layers that a record may have.
pub const MAX_LAYERS: u32 = 8;

/// Why a sub-record is a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Unwrapped, if it was wrapped at all, and no JSON object.
    #[error(transparent)]
    Content(#[from] Malformed),
    /// Begins like an aggregate.
    #[error(transparent)]
    Aggregate(#[from] NotAggregate),
    /// Nothing may vanish, so an aggregate of nothing is a dead letter.
    #[error("the KPL aggregate holds no record")]
    EmptyAggregate,
    /// Begins like compressed bytes.
    #[error(transparent)]
    Compressed(#[from] UnpackError),
    /// Beyond [`MAX_UNPACKED`].
    #[error("the record unpacks to more than {MAX_UNPACKED} bytes in all")]
    TooLarge,
    /// Beyond [`MAX_LAYERS`].
    #[error("the record is wrapped more than {MAX_LAYERS} times")]
    TooDeep,
}

/// A sub-record's fields, or why it has none.
pub type Content<'f, 'a> = Result<&'f Fields<'a>, Unreadable>;

/// Reads the sub-records of a record one by one. `each` gets a sub-record's content, its number and its bytes, and may
/// end the reading.
pub fn decode<'a, B>(
    names: &FieldNames,
    data: &'a [u8],
    fields: &mut Fields<'a>,
    mut each: impl FnMut(Content<'_, '_>, u32, &[u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut unwrapping = Unwrapping { names, room: MAX_UNPACKED, number: 0, each: &mut each };
    unwrapping.part(data, fields, 0)
}

/// One record on its way out of its wrappings.
struct Unwrapping<'n, E> {
    names: &'n FieldNames,
    /// What is left of [`MAX_UNPACKED`].
    room: u64,
    /// The next sub-record's.
    number: u32,
    each: E,
}

impl<B, E: FnMut(Content<'_, '_>, u32, &[u8]) -> ControlFlow<B>> Unwrapping<'_, E> {
    /// A part under so many layers.
    fn part<'a>(&mut self, data: &'a [u8], fields: &mut Fields<'a>, layers: u32) -> ControlFlow<B> {
        // Nothing that could be JSON begins like one of them.
        if let Some(kind) = Compression::of(data) {
            return if layers < MAX_LAYERS {
                self.packed(kind, data, layers)
            } else {
                self.bad(Unreadable::TooDeep, data)
            };
        }
        if !Aggregate::begins(data) {
            return self.plain(data, fields);
        }
        match Aggregate::read(data) {
            // Whole, although plain bytes would be taken line by line: its lines are not what was sent.
            Err(why) => self.bad(why.into(), data),
            Ok(_) if layers == MAX_LAYERS => self.bad(Unreadable::TooDeep, data),
            Ok(aggregate) => {
                let before = self.number;
                for record in aggregate.records() {
                    self.part(record, fields, layers + 1)?;
                }
                if self.number == before {
                    self.bad(Unreadable::EmptyAggregate, data)
                } else {
                    ControlFlow::Continue(())
                }
            }
        }
    }

    fn packed(&mut self, kind: Compression, data: &[u8], layers: u32) -> ControlFlow<B> {
        let mut unpacked = Vec::new();
        let outcome = kind.unpack_into(data, self.room, &mut unpacked);
        self.room = self.room.saturating_sub(unpacked.len() as u64);
        match outcome {
            Ok(()) => self.part(&unpacked, &mut Fields::of(self.names), layers + 1),
            Err(UnpackError::TooLarge { .. }) => self.bad(Unreadable::TooLarge, data),
            Err(why) => self.bad(why.into(), data),
        }
    }

    fn plain<'a>(&mut self, data: &'a [u8], fields: &mut Fields<'a>) -> ControlFlow<B> {
        let Self { names, number, each, .. } = self;
        order::decode(names, data, fields, number, |content, number, bytes| {
            each(content.map_err(Unreadable::Content), number, bytes)
        })
    }

    fn bad(&mut self, why: Unreadable, data: &[u8]) -> ControlFlow<B> {
        let number = self.number;
        self.number += 1;
        (self.each)(Err(why), number, data)
    }
}

#[cfg(test)]
mod tests;
