//! Aggregates of the Kinesis Producer Library (KPL): many records packed into one.
//!
//! An aggregate is four bytes that say so, a protobuf message, and that message's MD5. Reading borrows from the record
//! and sets nothing aside, however many records a hostile one claims to hold. Bytes that begin like an aggregate and
//! are none are told from those that are before anything is handed over.

use std::iter;

use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;

/// What every aggregate begins with.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// Bytes of the MD5 at the end.
const CHECKSUM: usize = 16;
/// The field of the records in an aggregate's message.
const RECORDS: usize = 3;
/// The field of the bytes in a record's message.
const DATA: usize = 3;

/// Why bytes that begin like an aggregate are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAggregate {
    /// Another MD5 than the message's, also where bytes are missing.
    #[error("the bytes begin like a KPL aggregate, but their checksum does not match: cut short or altered")]
    Checksum,
    /// The checksum is right, and the message is none.
    #[error("the bytes begin like a KPL aggregate, but hold no message of its format")]
    Message,
}

/// The message of an aggregate that is known to be sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aggregate<'a>(&'a [u8]);

impl<'a> Aggregate<'a> {
    /// Whether bytes begin like one.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Bytes that begin like one.
    ///
    /// # Errors
    /// [`NotAggregate`].
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, NotAggregate> {
        let packed = bytes.get(MAGIC.len()..).and_then(<[u8]>::split_last_chunk::<CHECKSUM>);
        let (message, checksum) = packed.ok_or(NotAggregate::Checksum)?;
        if Md5::digest(message).as_slice() != checksum {
            return Err(NotAggregate::Checksum);
        }
        if records(message).any(|record| record.is_none()) {
            return Err(NotAggregate::Message);
        }
        Ok(Self(message))
    }

    /// The bytes of its records, in order.
    pub(super) fn records(self) -> impl Iterator<Item = &'a [u8]> {
        records(self.0).flatten()
    }
}

/// The bytes of a message's records; `None` where it is malformed, and nothing after that.
fn records(message: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    // A record without bytes is an empty one, and of several the last counts, as in any protobuf.
    fields(message, RECORDS).map(|record| fields(record?, DATA).try_fold(&[][..], |_, data| data))
}

/// The values of a message's field that is bytes or a message itself; `None` as above. Partition keys and whatever else
/// there is are stepped over.
fn fields(message: &[u8], wanted: usize) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = message;
    iter::from_fn(move || {
        while !rest.is_empty() {
            let Some((number, kind, value)) = field(&mut rest) else {
                rest = &[];
                return Some(None);
            };
            if number == wanted {
                return Some((kind == BYTES).then_some(value));
            }
        }
        None
    })
}

/// The wire type of bytes, texts and messages.
const BYTES: usize = 2;

/// A field's number, wire type and bytes, taken off the front.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(usize, usize, &'a [u8])> {
    // Protobuf has one kind of variable-length number; prost shows it as the one that delimits messages.
    let number = |rest: &mut &'a [u8]| prost::decode_length_delimiter(rest).ok();
    let key = number(rest).filter(|key| key >> 3 != 0)?;
    let length = match key & 7 {
        0 => {
            number(rest)?;
            0
        }
        1 => 8,
        BYTES => number(rest)?,
        5 => 4,
        _ => return None,
    };
    Some((key >> 3, key & 7, rest.split_off(..length)?))
}

#[derive(Clone, PartialEq, Message)]
struct Packed {
    #[prost(string, repeated, tag = "1")]
    partition_keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<PackedRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedRecord {
    // Which of the keys; written although it is 0, as readers insist on it.
    #[prost(uint64, required, tag = "1")]
    partition_key: u64,
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
}

/// How many bytes a record adds to an aggregate at the most, besides its own.
pub const PACKED_RECORD_OVERHEAD: usize = 16;

/// Packs records that share a partition key into one aggregate.
#[must_use]
pub fn pack(partition_key: &str, records: impl IntoIterator<Item = Bytes>) -> Bytes {
    let records = records.into_iter().map(|data| PackedRecord { partition_key: 0, data }).collect();
    let message = Packed { partition_keys: vec![partition_key.into()], records }.encode_to_vec();
    let checksum = Md5::digest(&message);
    [&MAGIC[..], &message, &checksum].concat().into()
}

#[cfg(test)]
pub(super) mod tests;
