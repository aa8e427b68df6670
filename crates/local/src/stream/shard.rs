//! One shard's records, in segments that are forgotten whole, so that a long run takes flat memory.

use std::collections::VecDeque;

use freshjoin_core::ports::{Position, ReadPage};
use freshjoin_core::record::{BatchTooLarge, Records};
use freshjoin_core::sequence::{SequenceNumber, compare};
use freshjoin_core::time::Timestamp;

use super::PageLimits;

/// A segment takes no more records beyond this.
const SEGMENT_RECORDS: usize = 4096;
const SEGMENT_BYTES: usize = 1 << 20;
/// Digits of a record's count at the end of its sequence number.
const COUNT_DIGITS: usize = 34;

/// The records of one shard. Counts start at 1 and have no gaps; a sequence number is the shard's prefix and the count.
#[derive(Debug)]
pub(super) struct ShardLog {
    pub(super) id: String,
    pub(super) parents: Vec<String>,
    pub(super) start: u128,
    pub(super) end: u128,
    pub(super) open: bool,
    /// 22 digits: a child's is greater than its parents', as it comes later.
    prefix: String,
    segments: VecDeque<Segment>,
    /// The count of the last record written.
    last: u64,
    /// Records up to this count are forgotten.
    trimmed: u64,
}

#[derive(Debug)]
struct Segment {
    /// The count of its first record.
    first: u64,
    records: Records,
    bytes: usize,
}

impl Segment {
    fn last(&self) -> u64 {
        self.first + self.records.len() as u64 - 1
    }
}

impl ShardLog {
    pub(super) fn new(created: Timestamp, index: usize, parents: Vec<String>, start: u128, end: u128) -> Self {
        Self {
            id: format!("shardId-{index:012}"),
            parents,
            start,
            end,
            open: true,
            prefix: format!("49{:015}{index:05}", created.millis().max(0)),
            segments: VecDeque::new(),
            last: 0,
            trimmed: 0,
        }
    }

    pub(super) fn owns(&self, hash_key: u128) -> bool {
        (self.start..=self.end).contains(&hash_key)
    }

    /// What is not trimmed; of a segment that is trimmed in part, all of its bytes.
    pub(super) fn retained(&self) -> PageLimits {
        let records = usize::try_from(self.last - self.trimmed).unwrap_or(usize::MAX);
        PageLimits { records, bytes: self.segments.iter().map(|segment| segment.bytes).sum() }
    }

    pub(super) fn push(
        &mut self,
        arrival: Timestamp,
        fill: impl FnOnce(&str, &mut Vec<u8>),
    ) -> Result<SequenceNumber, BatchTooLarge> {
        let count = self.last + 1;
        let full = |segment: &Segment| segment.records.len() >= SEGMENT_RECORDS || segment.bytes >= SEGMENT_BYTES;
        if self.segments.back().is_none_or(full) {
            self.segments.push_back(Segment { first: count, records: Records::default(), bytes: 0 });
        }
        let sequence = self.sequence(count);
        let Some(segment) = self.segments.back_mut() else { return Err(BatchTooLarge) };
        let mut bytes = sequence.len();
        let pushed = segment.records.push_with(&sequence, arrival, |buffer| {
            let before = buffer.len();
            fill(&sequence, buffer);
            bytes += buffer.len() - before;
            Ok(())
        });
        if let Err(error) = pushed {
            self.segments.retain(|segment| !segment.records.is_empty());
            return Err(error);
        }
        segment.bytes += bytes;
        self.last = count;
        Ok(SequenceNumber::new(sequence))
    }

    pub(super) fn trim(&mut self, through: &SequenceNumber) {
        self.trimmed = self.trimmed.max(self.count(through.as_str()).min(self.last));
        while self.segments.front().is_some_and(|segment| segment.last() <= self.trimmed) {
            self.segments.pop_front();
        }
    }

    pub(super) fn read(&self, from: &Position, limits: PageLimits) -> Result<ReadPage, BatchTooLarge> {
        let wanted = match from {
            Position::TrimHorizon => 1,
            Position::At(sequence) => self.count(sequence.as_str()).max(1),
            Position::After(sequence) => self.count(sequence.as_str()).saturating_add(1),
            Position::Token(token) => token.parse().unwrap_or(1),
        };
        let first = wanted.max(self.trimmed + 1);
        let (mut records, mut bytes, mut next) = (Records::default(), 0, first);
        for segment in self.segments.iter().skip_while(|segment| segment.last() < first) {
            let skip = usize::try_from(next - segment.first).unwrap_or(usize::MAX);
            for record in segment.records.iter().skip(skip) {
                if records.len() >= limits.records || (bytes + record.data.len() > limits.bytes && !records.is_empty())
                {
                    return Ok(ReadPage { records, next: Some(Position::Token(next.to_string())), at_tip: false });
                }
                records.push(record.sequence, record.arrival, record.data)?;
                bytes += record.data.len();
                next += 1;
            }
        }
        let next = self.open.then(|| Position::Token(next.to_string()));
        Ok(ReadPage { records, next, at_tip: true })
    }

    fn sequence(&self, count: u64) -> String {
        format!("{}{count:0width$}", self.prefix, width = COUNT_DIGITS)
    }

    /// The count of a sequence number; of a foreign one, the nearest below.
    fn count(&self, sequence: &str) -> u64 {
        match sequence.strip_prefix(self.prefix.as_str()).filter(|digits| digits.len() == COUNT_DIGITS) {
            Some(digits) => digits.parse().unwrap_or(u64::MAX),
            None if compare(sequence, &self.sequence(0)).is_lt() => 0,
            None => u64::MAX,
        }
    }
}
