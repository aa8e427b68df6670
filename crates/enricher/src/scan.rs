//! The Kinesis event as Lambda really writes it, read by looking for quotes: the hot path of [`KinesisEvent::parse`].
//!
//! It knows plain JSON without escapes and gives up, with `None`, on anything else it meets; the event is then read by
//! `serde_json`, which also finds the words for what is wrong. So it may be incomplete, but never says anything other
//! than the slow path would of a valid event.
//!
//! The records of one event differ in five values; what stands between them is the same text again and again. It is
//! learned from one record and then compared as a whole, and a record that differs is read member by member.
//!
//! [`KinesisEvent::parse`]: crate::KinesisEvent::parse

use std::ops::Range;

use memchr::memchr2;

/// One record, borrowed from the event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found<'a> {
    pub(crate) sequence: &'a str,
    pub(crate) data: &'a str,
    pub(crate) arrival: &'a str,
    pub(crate) event_id: &'a str,
    pub(crate) event_source_arn: &'a str,
}

/// Hands over each record in order. `None` for an event that is not of the plain form, or where `each` gives up: some
/// records may have been handed over by then.
pub(crate) fn records<'a>(event: &'a str, mut each: impl FnMut(Found<'a>) -> Option<()>) -> Option<()> {
    let mut input = Input { text: event, at: 0, seen: [const { 0..0 }; VALUES] };
    let mut form = None;
    input.expect(b'{')?;
    if input.string()? != "Records" {
        return None;
    }
    input.expect(b':')?;
    input.expect(b'[')?;
    if input.next_is(b']')? {
        input.expect(b']')?;
    } else {
        loop {
            let found = match form.as_ref().and_then(|form| input.alike(form)) {
                Some(found) => found,
                None => {
                    input.white_space();
                    let start = input.at;
                    let found = input.record()?;
                    form = input.form(start, found);
                    found
                }
            };
            each(found)?;
            if !input.more(b']')? {
                break;
            }
        }
    }
    input.expect(b'}')?;
    input.white_space();
    (input.at == event.len()).then_some(())
}

/// The values in which records differ: partition key, sequence number, data, arrival, event id.
const VALUES: usize = 5;
const PARTITION_KEY: usize = 0;
const SEQUENCE: usize = 1;
const DATA: usize = 2;
const ARRIVAL: usize = 3;
const EVENT_ID: usize = 4;

/// What stands around the values of a record, in the order in which they appear.
struct Form<'a> {
    before: [(usize, &'a str); VALUES],
    after: &'a str,
    event_source_arn: &'a str,
}

struct Input<'a> {
    text: &'a str,
    at: usize,
    /// Where the values of the record read last are.
    seen: [Range<usize>; VALUES],
}

impl<'a> Input<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn white_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn next_is(&mut self, wanted: u8) -> Option<bool> {
        self.white_space();
        Some(self.byte()? == wanted)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        if self.byte()? != wanted {
            self.white_space();
        }
        (self.byte()? == wanted).then(|| self.at += 1)
    }

    /// Whether another member follows; the end is passed over too.
    fn more(&mut self, end: u8) -> Option<bool> {
        self.white_space();
        let byte = self.byte()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            _ if byte == end => Some(false),
            _ => None,
        }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let rest = self.text.get(self.at..)?;
        let end = memchr2(b'"', b'\\', rest.as_bytes())?;
        self.at += end + 1;
        (rest.as_bytes().get(end) == Some(&b'"')).then(|| rest.get(..end)).flatten()
    }

    /// A string that differs from record to record.
    fn value(&mut self, which: usize) -> Option<&'a str> {
        let text = self.string()?;
        *self.seen.get_mut(which)? = self.at - 1 - text.len()..self.at - 1;
        Some(text)
    }

    /// The form of the record that was just read from `start` on; `None` where a value was missing or there twice.
    fn form(&self, start: usize, found: Found<'a>) -> Option<Form<'a>> {
        let mut order: [usize; VALUES] = std::array::from_fn(|which| which);
        order.sort_unstable_by_key(|which| self.seen.get(*which).map_or(0, |range| range.start));
        let mut at = start;
        let mut before = [(0, ""); VALUES];
        for (slot, which) in before.iter_mut().zip(order) {
            let range = self.seen.get(which)?;
            *slot = (which, self.text.get(at..range.start)?);
            at = range.end;
        }
        Some(Form { before, after: self.text.get(at..self.at)?, event_source_arn: found.event_source_arn })
    }

    /// A record of exactly this form; nothing is passed over if it is of another.
    fn alike(&mut self, form: &Form<'a>) -> Option<Found<'a>> {
        let mut values = [""; VALUES];
        let mut rest = self.text.get(self.at..)?;
        for (which, before) in form.before {
            rest = rest.strip_prefix(before)?;
            let end = if which == ARRIVAL {
                rest.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?
            } else {
                let end = memchr2(b'"', b'\\', rest.as_bytes())?;
                (rest.as_bytes().get(end) == Some(&b'"')).then_some(end)?
            };
            *values.get_mut(which)? = rest.get(..end)?;
            rest = rest.get(end..)?;
        }
        rest = rest.strip_prefix(form.after)?;
        let [_, sequence, data, arrival, event_id] = values;
        if sequence.is_empty() || event_id.is_empty() || !is_number(arrival) {
            return None;
        }
        self.at = self.text.len() - rest.len();
        Some(Found { sequence, data, arrival, event_id, event_source_arn: form.event_source_arn })
    }

    /// A number.
    fn number(&mut self) -> Option<&'a str> {
        self.white_space();
        let rest = self.text.get(self.at..)?;
        let end = rest.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?;
        let text = rest.get(..end)?;
        *self.seen.get_mut(ARRIVAL)? = self.at..self.at + end;
        self.at += end;
        is_number(text).then_some(text)
    }

    fn record(&mut self) -> Option<Found<'a>> {
        let mut found = Found::default();
        let mut kinesis = false;
        self.seen = [const { 0..0 }; VALUES];
        self.expect(b'{')?;
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            match name {
                "kinesis" => {
                    self.kinesis(&mut found)?;
                    kinesis = true;
                }
                "eventID" => found.event_id = self.value(EVENT_ID)?,
                "eventSourceARN" => found.event_source_arn = self.string()?,
                _ => {
                    self.string()?;
                }
            }
            if !self.more(b'}')? {
                return (kinesis && !found.event_id.is_empty()).then_some(found);
            }
        }
    }

    fn kinesis(&mut self, found: &mut Found<'a>) -> Option<()> {
        let (mut arrival, mut data) = (false, false);
        self.expect(b'{')?;
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            match name {
                "data" => {
                    found.data = self.value(DATA)?;
                    data = true;
                }
                "sequenceNumber" => found.sequence = self.value(SEQUENCE)?,
                "partitionKey" => {
                    self.value(PARTITION_KEY)?;
                }
                "approximateArrivalTimestamp" => {
                    found.arrival = self.number()?;
                    arrival = true;
                }
                _ => {
                    self.string()?;
                }
            }
            if !self.more(b'}')? {
                return (arrival && data && !found.sequence.is_empty()).then_some(());
            }
        }
    }
}

/// Whether digits and dots are a JSON number.
fn is_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let whole = bytes.iter().position(|byte| *byte == b'.').unwrap_or(bytes.len());
    let (whole, fraction) = (bytes.get(..whole).unwrap_or_default(), bytes.get(whole + 1..));
    let sound = whole == b"0" || !matches!(whole.first(), None | Some(b'0'));
    sound && fraction.is_none_or(|fraction| !fraction.is_empty() && !fraction.contains(&b'.'))
}
