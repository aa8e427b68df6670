//! The plan run over records: join, partition, encode, dead letters, counts.
//!
//! Always: a record is taken whole or not at all, a sub-record's rows are all written or it is a dead letter, and
//! records in = enriched + unmatched + dead letters + flags. What is written depends on nothing but the records, the
//! rows they are joined with and the range's name.

use std::ops::ControlFlow;

use bytes::Bytes;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::plan::{Candidate, Plan, Value};
use crate::change::Version;
use crate::encode::EncodeError;
use crate::pipeline::{ColumnType, JoinKind};
use crate::ports::KeyLimits;
use crate::record::{Fields, Record, decode};
use crate::reference::{Row, VersionedReference};
use crate::value::NotText;

/// How much one committed range may hold, so that a cold invocation can finish it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Output objects.
    pub objects: usize,
    /// Bytes of output.
    pub bytes: usize,
}

impl Limits {
    /// No limits: for a range that is already decided.
    pub const NONE: Self = Self { records: usize::MAX, objects: usize::MAX, bytes: usize::MAX };
}

/// What happened to records, sub-records all; flags are whole records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// A hit in every reference.
    pub enriched: u64,
    /// A miss in any reference, kept or dropped.
    pub unmatched: u64,
    /// Never to be processed, kept with their reason.
    pub dead_letters: u64,
    /// Change flags, honoured or not.
    pub flags: u64,
    /// Output rows.
    pub rows: u64,
}

impl Counts {
    /// Records in, flags aside: enriched + unmatched + dead letters.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.enriched + self.unmatched + self.dead_letters
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.enriched += other.enriched;
        self.unmatched += other.unmatched;
        self.dead_letters += other.dead_letters;
        self.flags += other.flags;
        self.rows += other.rows;
    }
}

/// Whether a record fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// It is part of the range.
    Yes,
    /// The range is full; the record is untouched.
    RangeFull,
}

/// What one record may hold: so many that no record of 1 MiB has more, unless it was compressed.
const MAX_SUB_RECORDS: u32 = 1 << 19;

/// Why a record is undone.
enum Refused {
    /// Its objects are too many for the range.
    RangeFull,
    /// Beyond [`MAX_SUB_RECORDS`].
    TooMany,
}

/// The outcome of a range.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// Partition part of the key (`item=burger/priority=high/`, possibly empty) and content.
    pub objects: Vec<(String, Bytes)>,
    /// JSON lines; empty if there is none.
    pub dead_letters: Bytes,
    /// What happened.
    pub counts: Counts,
}

/// What a row's provenance needs to know of its record.
#[derive(Clone, Copy, Debug)]
struct Provenance<'a> {
    shard: &'a str,
    /// The version in force.
    version: Version,
}

/// Sequence numbers are counted at their greatest length, so that whether a key is too long does not depend on where a
/// batch was cut.
const SEQUENCE_LENGTH: usize = 56;

/// Collects the output of one range.
#[derive(Debug)]
pub struct Encoder<'p, 'a> {
    plan: &'p Plan,
    shard: &'a str,
    key_room: usize,
    component_room: usize,
    limits: Limits,
    fields: Fields<'a>,
    out: Buffers,
    records: usize,
}

/// What is written so far, and how to undo the record in hand.
#[derive(Debug, Default)]
struct Buffers {
    places: HashMap<Box<[u8]>, usize>,
    objects: Vec<(Box<[u8]>, Vec<u8>)>,
    dead_letters: Vec<u8>,
    counts: Counts,
    written: usize,
    /// Lengths of the buffers before the record in hand touched them.
    touched: Vec<(usize, usize)>,
    key: Vec<u8>,
    path: Vec<u8>,
}

impl<'p, 'a> Encoder<'p, 'a> {
    /// For a range of a shard whose output goes to a store with these limits.
    #[must_use]
    pub fn new(plan: &'p Plan, shard: &'a str, keys: KeyLimits, limits: Limits) -> Self {
        let file = shard.len() + 2 * (1 + SEQUENCE_LENGTH) + 1 + plan.extension.len();
        Self {
            plan,
            shard,
            key_room: keys.key.saturating_sub(keys.prefix + file),
            component_room: keys.component,
            limits,
            fields: Fields::of(&plan.names),
            out: Buffers::default(),
            records: 0,
        }
    }

    /// Counts a record that is a flag.
    pub fn flag(&mut self) {
        self.out.counts.flags += 1;
        self.records += 1;
    }

    /// Whether another record may be part of the range.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.records < self.limits.records && self.out.written < self.limits.bytes
    }

    /// Joins and encodes a record that is no flag, as of a version.
    pub fn take(&mut self, record: Record<'a>, references: &[VersionedReference], version: Version) -> Taken {
        if !self.has_room() {
            return Taken::RangeFull;
        }
        let before = (self.out.dead_letters.len(), self.out.counts, self.out.objects.len(), self.out.written);
        self.out.touched.clear();
        let max_objects = if self.records == 0 { usize::MAX } else { self.limits.objects };
        let (plan, shard, room, out) = (self.plan, self.shard, (self.key_room, self.component_room), &mut self.out);
        let flow = decode(&plan.names, record.data, &mut self.fields, |content, number, bytes| {
            if number == MAX_SUB_RECORDS {
                return ControlFlow::Break(Refused::TooMany);
            }
            let fields = match content {
                Ok(fields) => fields,
                Err(why) => {
                    out.dead_letter(shard, record, number, &why.to_string(), bytes);
                    return ControlFlow::Continue(());
                }
            };
            let mut join = Join {
                plan,
                references,
                fields,
                record,
                number,
                provenance: Provenance { shard, version },
                room,
                rows: Vec::with_capacity(plan.steps.len()),
                missed: false,
                out,
            };
            let mark = join.out.mark();
            match join.step(0) {
                Ok(()) if join.missed => out.counts.unmatched += 1,
                Ok(()) => out.counts.enriched += 1,
                Err(reason) => {
                    out.undo(mark);
                    out.dead_letter(shard, record, number, &reason.to_string(), bytes);
                }
            }
            let full = out.objects.len() > max_objects;
            if full { ControlFlow::Break(Refused::RangeFull) } else { ControlFlow::Continue(()) }
        });
        if let ControlFlow::Break(refused) = flow {
            let (dead_letters, counts, objects, written) = before;
            out.undo(Mark { touched: 0, objects, counts, written });
            out.dead_letters.truncate(dead_letters);
            match refused {
                Refused::RangeFull => return Taken::RangeFull,
                Refused::TooMany => {
                    let reason = format!("the record holds more than {MAX_SUB_RECORDS} sub-records");
                    out.dead_letter(shard, record, 0, &reason, record.data);
                }
            }
        }
        self.records += 1;
        Taken::Yes
    }

    /// The range's objects.
    ///
    /// # Errors
    /// [`EncodeError`] where an object cannot be made of its rows.
    pub fn finish(self) -> Result<Encoded, EncodeError> {
        let object = |(path, rows): (Box<[u8]>, _)| {
            Ok((String::from_utf8_lossy(&path).into_owned(), self.plan.frame.close(rows)?))
        };
        Ok(Encoded {
            objects: self.out.objects.into_iter().map(object).collect::<Result<_, EncodeError>>()?,
            dead_letters: Bytes::from(self.out.dead_letters),
            counts: self.out.counts,
        })
    }
}

/// Where the buffers stood.
struct Mark {
    touched: usize,
    objects: usize,
    counts: Counts,
    written: usize,
}

impl Buffers {
    fn mark(&self) -> Mark {
        Mark { touched: self.touched.len(), objects: self.objects.len(), counts: self.counts, written: self.written }
    }

    fn undo(&mut self, mark: Mark) {
        for (place, length) in self.touched.drain(mark.touched..).rev() {
            if let Some((_, buffer)) = self.objects.get_mut(place) {
                buffer.truncate(length);
            }
        }
        for (path, _) in self.objects.drain(mark.objects..) {
            self.places.remove(&path);
        }
        self.counts = mark.counts;
        self.written = mark.written;
    }

    fn dead_letter(&mut self, shard: &str, record: Record<'_>, number: u32, reason: &str, data: &[u8]) {
        let text = |text: &str| serde_json::Value::from(text);
        let (shard, sequence, reason) = (text(shard), text(record.sequence), text(reason));
        let before = self.dead_letters.len();
        // Written by hand: the members' order must not depend on how a JSON library was built.
        let head = format!(
            "{{\"shard\":{shard},\"sequence\":{sequence},\"sub_sequence\":{number},\"arrival\":\"{}\",\
             \"reason\":{reason},\"data\":\"",
            record.arrival
        );
        self.dead_letters.extend_from_slice(head.as_bytes());
        // Straight to its place: there may be many megabytes.
        base64_simd::STANDARD.encode_append(data, &mut self.dead_letters);
        self.dead_letters.extend_from_slice(b"\"}\n");
        self.written += self.dead_letters.len() - before;
        self.counts.dead_letters += 1;
    }
}

/// Why a sub-record cannot be written.
#[derive(Debug, thiserror::Error)]
enum Unwritable {
    #[error("{0}")]
    Text(#[from] NotText),
    #[error("the output object's key would be longer than the store allows")]
    KeyTooLong,
    #[error("column {column:?}: {value} does not fit {kind}")]
    Misfit {
        column: String,
        /// JSON text, shortened.
        value: String,
        kind: ColumnType,
    },
}

/// One sub-record on its way through the references.
struct Join<'j, 'r, 'a> {
    plan: &'j Plan,
    references: &'r [VersionedReference],
    fields: &'j Fields<'a>,
    record: Record<'a>,
    number: u32,
    provenance: Provenance<'j>,
    room: (usize, usize),
    rows: Vec<Option<&'r Row>>,
    missed: bool,
    out: &'j mut Buffers,
}

impl Join<'_, '_, '_> {
    fn step(&mut self, index: usize) -> Result<(), Unwritable> {
        let (Some(step), Some(reference)) = (self.plan.steps.get(index), self.references.get(index)) else {
            return self.write();
        };
        let mut key = std::mem::take(&mut self.out.key);
        key.clear();
        let mut keyed = true;
        for part in &step.key {
            keyed = keyed && self.append_key(part, &mut key)?;
        }
        let mut matches = keyed.then(|| reference.rows(&key, self.provenance.version)).into_iter().flatten();
        self.out.key = key;
        match matches.next() {
            None => {
                self.missed = true;
                if step.kind == JoinKind::Inner {
                    return Ok(());
                }
                self.rows.push(None);
                self.step(index + 1)?;
                self.rows.pop();
            }
            Some(first) => {
                for row in std::iter::once(first).chain(matches) {
                    self.rows.push(Some(row));
                    self.step(index + 1)?;
                    self.rows.pop();
                }
            }
        }
        Ok(())
    }

    fn append_key(&self, part: &[Candidate], key: &mut Vec<u8>) -> Result<bool, NotText> {
        for candidate in part {
            match *candidate {
                Candidate::Field(slot) => {
                    if let Some(raw) = self.fields.get(slot) {
                        return crate::value::append_key(raw, key);
                    }
                }
                Candidate::Cell { reference, cell } => {
                    if let Some(bytes) = self.cell(reference, cell) {
                        key.extend_from_slice(bytes);
                        return Ok(!bytes.is_empty());
                    }
                }
            }
        }
        Ok(false)
    }

    fn cell(&self, reference: usize, cell: usize) -> Option<&[u8]> {
        self.rows.get(reference).copied().flatten()?.cell(cell)
    }

    fn append(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        out.extend_from_slice(&value.before);
        let start = out.len();
        if !self.append_first(value, out)? {
            value.form.append_null(out);
        }
        let appended = out.get(start..).unwrap_or_default();
        match value.form.misfit(appended) {
            None => Ok(()),
            Some((text, kind)) => Err(Unwritable::Misfit { column: value.name.clone(), value: text.into(), kind }),
        }
    }

    /// Appends the first candidate that is there; `false` if none is.
    fn append_first(&self, value: &Value, out: &mut Vec<u8>) -> Result<bool, NotText> {
        for candidate in &value.candidates {
            match *candidate {
                Candidate::Field(slot) => {
                    if let Some(raw) = self.fields.get(slot) {
                        value.form.append(raw, out)?;
                        return Ok(true);
                    }
                }
                Candidate::Cell { reference, cell } => {
                    if let Some(bytes) = self.cell(reference, cell) {
                        out.extend_from_slice(bytes);
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Appends the output row to the buffer of its partition.
    fn write(&mut self) -> Result<(), Unwritable> {
        let mut path = std::mem::take(&mut self.out.path);
        path.clear();
        let found = self.append_path(&mut path);
        let place = found.map(|()| self.place(&path));
        self.out.path = path;
        let place = place?;
        let Some((_, buffer)) = self.out.objects.get_mut(place) else { return Ok(()) };
        let mut buffer = std::mem::take(buffer);
        self.out.touched.push((place, buffer.len()));
        let before = buffer.len();
        let mut outcome = Ok(());
        for value in &self.plan.columns {
            outcome = outcome.and_then(|()| self.append(value, &mut buffer));
        }
        self.append_provenance(&mut buffer);
        buffer.extend_from_slice(self.plan.frame.after);
        self.out.written += buffer.len() - before;
        if let Some((_, slot)) = self.out.objects.get_mut(place) {
            *slot = buffer;
        }
        self.out.counts.rows += 1;
        outcome
    }

    fn append_path(&self, path: &mut Vec<u8>) -> Result<(), Unwritable> {
        let (key, component) = self.room;
        for value in &self.plan.partitions {
            let start = path.len();
            self.append(value, path)?;
            if path.len() - start > component {
                return Err(Unwritable::KeyTooLong);
            }
            path.push(b'/');
        }
        if path.len() > key { Err(Unwritable::KeyTooLong) } else { Ok(()) }
    }

    fn place(&mut self, path: &[u8]) -> usize {
        if let Some(place) = self.out.places.get(path) {
            return *place;
        }
        let place = self.out.objects.len();
        self.out.objects.push((path.into(), self.plan.frame.header.clone()));
        self.out.places.insert(path.into(), place);
        place
    }

    fn append_provenance(&self, out: &mut Vec<u8>) {
        let Some(before) = &self.plan.provenance else { return };
        let texts = [
            self.provenance.version.to_string(),
            serde_json::Value::from(self.provenance.shard).to_string(),
            serde_json::Value::from(self.record.sequence).to_string(),
            self.number.to_string(),
            serde_json::Value::from(self.record.arrival.to_string()).to_string(),
        ];
        for ((before, form), text) in before.iter().zip(texts) {
            out.extend_from_slice(before);
            // These are plain ASCII without escapes: they always decode, and fit the types that a definition may give.
            if form.append(&text, out).is_err() {
                form.append_null(out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
