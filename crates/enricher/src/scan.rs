//! The Kinesis event as Lambda really writes it, read by looking for quotes: the hot path of [`KinesisEvent::parse`].
//!
//! It knows plain JSON without escapes and gives up, with `None`, on anything else it meets; the event is then read by
//! `serde_json`, which also finds the words for what is wrong. So it may be incomplete, but never says anything other
//! than the slow path would of a valid event.
//!
//! [`KinesisEvent::parse`]: crate::KinesisEvent::parse

use memchr::memchr;

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
    let mut input = Input { text: event, at: 0 };
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
            each(input.record()?)?;
            if !input.more(b']')? {
                break;
            }
        }
    }
    input.expect(b'}')?;
    input.white_space();
    (input.at == event.len()).then_some(())
}

struct Input<'a> {
    text: &'a str,
    at: usize,
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
        let text = rest.get(..memchr(b'"', rest.as_bytes())?)?;
        self.at += text.len() + 1;
        // Escapes and what may not stand in a string unescaped are for the slow path.
        let plain = text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'\\'));
        plain.then_some(text)
    }

    /// A number.
    fn number(&mut self) -> Option<&'a str> {
        self.white_space();
        let rest = self.text.get(self.at..)?;
        let end = rest.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?;
        let text = rest.get(..end)?;
        self.at += end;
        let sound = |digits: &str| !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        (sound(whole) && !fraction.is_empty() && !fraction.contains('.')).then_some(text)
    }

    fn record(&mut self) -> Option<Found<'a>> {
        let mut found = Found::default();
        let mut kinesis = false;
        self.expect(b'{')?;
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            match name {
                "kinesis" => {
                    self.kinesis(&mut found)?;
                    kinesis = true;
                }
                "eventID" => found.event_id = self.string()?,
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
                    found.data = self.string()?;
                    data = true;
                }
                "sequenceNumber" => found.sequence = self.string()?,
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
