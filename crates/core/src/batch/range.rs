//! A range of a shard's records: which versions it is joined with, and its encoding.
//!
//! The first version comes from outside; each honoured flag inside moves it up, never down. Encoding a decided range
//! again gives the same bytes.

use crate::change::{Flag, Version};
use crate::join::{Encoded, Encoder, Limits, Taken};
use crate::ports::KeyLimits;
use crate::record::{FlagFinder, Record, Records};
use crate::reference::{LoadError, RING, Sources};
use crate::sequence;

use super::ProcessError;
use super::cursor::Step;
use super::engine::{Engine, Honour, covering};
use super::report::{IgnoredFlag, Observer};

/// Some consecutive records of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice<'a> {
    records: &'a Records,
    start: usize,
    end: usize,
}

impl<'a> Slice<'a> {
    pub(super) fn all(records: &'a Records) -> Self {
        Self { records, start: 0, end: records.len() }
    }

    /// Without what comes before a place.
    pub(super) fn from(self, start: usize) -> Self {
        Self { start: start.clamp(self.start, self.end), ..self }
    }

    /// Without what comes from a place on, counted from the slice's start.
    fn to(self, place: usize) -> Self {
        Self { end: (self.start + place).clamp(self.start, self.end), ..self }
    }

    /// The records from one to another, both included; `None` unless both are there.
    pub(super) fn between(self, first: &str, last: &str) -> Option<Self> {
        let start = self.position(first)?;
        let end = self.position(last)? + 1;
        (start < end).then_some(Self { start, end, ..self })
    }

    fn position(self, wanted: &str) -> Option<usize> {
        let place = self.first_at_or_after(wanted);
        let record = self.records.get(place).filter(|_| place < self.end)?;
        sequence::compare(record.sequence, wanted).is_eq().then_some(place)
    }

    fn first_at_or_after(self, wanted: &str) -> usize {
        self.partition(|record| sequence::compare(record.sequence, wanted).is_lt())
    }

    /// The place of the first record that is not committed.
    pub(super) fn partition(self, before: impl Fn(Record<'a>) -> bool) -> usize {
        let (mut low, mut high) = (self.start, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.records.get(middle).is_some_and(&before) { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn start(self) -> usize {
        self.start
    }

    pub(super) fn len(self) -> usize {
        self.end - self.start
    }

    pub(super) fn first(self) -> Option<Record<'a>> {
        if self.start < self.end { self.records.get(self.start) } else { None }
    }

    pub(super) fn get(self, place: usize) -> Option<Record<'a>> {
        if place < self.len() { self.records.get(self.start + place) } else { None }
    }

    fn iter(self) -> impl Iterator<Item = Record<'a>> {
        (self.start..self.end).filter_map(move |place| self.records.get(place))
    }
}

/// The places of the flags among a slice's records, rising.
pub(super) fn flags(slice: Slice<'_>) -> Vec<usize> {
    let finder = FlagFinder::default();
    slice.iter().enumerate().filter(|(_, record)| finder.is_flag(record.data)).map(|(place, _)| place).collect()
}

/// What is to be done with a slice, before it is encoded.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    /// The slice, ended before the first flag whose version could not be remembered together with the first one.
    pub(super) slice: Slice<'a>,
    /// The versions in force over it.
    pub(super) steps: Vec<Step>,
    ignored: Vec<(usize, IgnoredFlag)>,
}

impl Decided<'_> {
    /// Tells of the ignored flags among the first so many records.
    pub(super) fn tell(&self, observer: &dyn Observer, shard: &str, taken: usize) {
        for (place, why) in self.ignored.iter().filter(|(place, _)| *place < taken) {
            if let Some(record) = self.slice.get(*place) {
                observer.ignored(shard, record.sequence, *why);
            }
        }
    }

    /// The versions in force up to a record.
    pub(super) fn steps_through(&self, last: &str) -> Vec<Step> {
        self.steps.iter().filter(|step| sequence::compare(step.from.as_str(), last).is_le()).cloned().collect()
    }
}

/// The versions in force over a slice that starts with `version`, every one made readable.
///
/// # Errors
/// [`LoadError`] where a flag could be neither honoured nor refuted.
pub(super) async fn decide<'a>(
    engine: &Engine,
    sources: Sources<'_>,
    slice: Slice<'a>,
    flags: &[usize],
    version: Version,
) -> Result<Decided<'a>, LoadError> {
    let mut steps: Vec<_> =
        slice.first().into_iter().map(|first| Step { from: first.sequence.into(), version }).collect();
    let mut ignored = Vec::new();
    let (mut in_force, mut head, mut limit) = (version, None, version.saturating_add(RING));
    for (place, record) in flags.iter().filter_map(|place| Some((*place, slice.get(*place)?))) {
        let Ok(flag) = Flag::decode(record.data) else {
            ignored.push((place, IgnoredFlag::Malformed));
            continue;
        };
        if flag.version <= in_force {
            if flag.version == 0 {
                ignored.push((place, IgnoredFlag::Unknown));
            } else if engine.is_false(&flag).await {
                ignored.push((place, IgnoredFlag::OtherDigest));
            }
            continue;
        }
        let first = place == 0;
        match engine.honour(sources, &flag, if first { Version::MAX } else { limit }, &mut head).await? {
            Honour::Yes => {
                in_force = flag.version;
                if first {
                    // Nothing is joined with the version before it.
                    steps.clear();
                    limit = in_force.saturating_add(RING);
                }
                steps.push(Step { from: record.sequence.into(), version: in_force });
            }
            Honour::Beyond => return Ok(Decided { slice: slice.to(place), steps, ignored }),
            Honour::No(why) => ignored.push((place, why)),
        }
    }
    Ok(Decided { slice, steps, ignored })
}

/// What a range is encoded by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding<'a> {
    pub(super) shard: &'a str,
    pub(super) steps: &'a [Step],
    pub(super) flags: &'a [usize],
    pub(super) keys: KeyLimits,
    pub(super) limits: Limits,
}

/// Encodes as many records of a slice as the limits allow, at least one; with how many that were. `None` if a version has
/// just been forgotten. No two versions need be remembered at once: each is made readable when its records come.
///
/// # Errors
/// [`ProcessError`] where a version cannot be read, or an object cannot be made of its rows.
pub(super) async fn encode(
    engine: &Engine,
    sources: Sources<'_>,
    slice: Slice<'_>,
    with: Encoding<'_>,
) -> Result<Option<(Encoded, usize)>, ProcessError> {
    let mut libraries = engine.libraries().await;
    let mut encoder = Encoder::new(&engine.plan, with.shard, with.keys, with.limits);
    let mut steps = with.steps.iter().peekable();
    let mut flags = with.flags.iter().peekable();
    let (mut version, mut references) = (0, None);
    let mut taken = 0;
    for record in slice.iter() {
        while let Some(step) = steps.next_if(|step| sequence::compare(step.from.as_str(), record.sequence).is_le()) {
            version = step.version;
            if covering(&libraries, version).is_none() {
                drop(libraries);
                engine.ensure(sources, version).await?;
                libraries = engine.libraries().await;
            }
            let Some(library) = covering(&libraries, version) else { return Ok(None) };
            references = Some(library.references());
        }
        if flags.next_if(|place| **place == taken).is_some() {
            if !encoder.has_room() {
                break;
            }
            encoder.flag();
        } else {
            let Some(references) = references else { return Ok(None) };
            if encoder.take(record, references, version) == Taken::RangeFull {
                break;
            }
        }
        taken += 1;
    }
    drop(libraries);
    Ok(Some((encoder.finish()?, taken)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn sequences(slice: Slice<'_>) -> Vec<&str> {
        slice.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn a_slice_knows_its_ends() {
        let mut records = Records::default();
        for sequence in ["10", "20", "30", "40", "50"] {
            records.push(sequence, Timestamp::default(), b"").unwrap();
        }
        let some = Slice::all(&records).from(1).to(3);
        assert_eq!((sequences(some), some.start(), some.len()), (vec!["20", "30", "40"], 1, 3));
        assert_eq!(some.first().map(|record| record.sequence), Some("20"));
        assert_eq!(some.get(2).map(|record| record.sequence), Some("40"));
        assert!(some.get(3).is_none(), "it goes on, but not in this slice");
        assert_eq!(sequences(some.to(9)), ["20", "30", "40"]);
        assert_eq!(sequences(some.from(0)), ["20", "30", "40"]);
        let none = some.from(9);
        assert!(none.len() == 0 && none.first().is_none() && none.get(0).is_none());
        assert_eq!(some.between("20", "40").map(sequences), Some(vec!["20", "30", "40"]));
        assert_eq!(some.between("30", "30").map(sequences), Some(vec!["30"]));
        for (first, last) in [("10", "30"), ("30", "50"), ("25", "30"), ("20", "35"), ("30", "20"), ("40", "20")] {
            assert!(some.between(first, last).is_none(), "{first} {last}");
        }
        let before = |sequence| some.partition(|record| sequence::compare(record.sequence, sequence).is_lt());
        assert_eq!([before("1"), before("30"), before("35"), before("99")], [1, 2, 3, 4]);
    }
}
