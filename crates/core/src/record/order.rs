//! What is inside a record, once unwrapped: JSON objects one after the other, each a *sub-record*; or a change flag.
//!
//! Only the fields that a pipeline names are kept, borrowed from the record's bytes as raw JSON text. A record that does
//! not parse whole is taken line by line, so that a bad line costs only itself; where no line parses, the whole record
//! is one dead letter, and so is an empty one. Bad lines are numbered as well.

use std::fmt;
use std::ops::ControlFlow;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

/// The fields that a pipeline reads of each record, by name; a field's place here is its slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames(Vec<String>);

impl FieldNames {
    /// The slot of a name, added if it is new.
    pub fn slot(&mut self, name: &str) -> usize {
        self.find(name).unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        })
    }

    /// The slot of a name, if it is there.
    #[must_use]
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name)
    }
}

/// The fields of one object: raw JSON text by slot; `None` where the object lacks the field.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<Option<&'a str>>);

impl<'a> Fields<'a> {
    /// Room for the fields of these names.
    #[must_use]
    pub fn of(names: &FieldNames) -> Self {
        Self(vec![None; names.0.len()])
    }

    /// Sets a field to its raw text.
    pub(crate) fn set(&mut self, slot: usize, raw: &'a str) {
        if let Some(field) = self.0.get_mut(slot) {
            *field = Some(raw);
        }
    }

    /// The raw text of a field.
    #[must_use]
    pub fn get(&self, slot: usize) -> Option<&'a str> {
        self.0.get(slot).copied().flatten()
    }
}

/// Why bytes are no sub-record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No byte but white space.
    #[error("the record is empty")]
    Empty,
    /// Not UTF-8.
    #[error("the bytes are not UTF-8")]
    NotUtf8,
    /// Not JSON objects.
    #[error("the bytes are not one or more JSON objects")]
    NotObjects,
}

/// Reads the objects of unwrapped bytes one by one. `each` gets a sub-record's fields or what is wrong with it, its
/// number and its bytes, and may end the reading. Numbers go on from `number`, which is the next one in the end.
pub(super) fn decode<'a, B>(
    names: &FieldNames,
    data: &'a [u8],
    fields: &mut Fields<'a>,
    number: &mut u32,
    mut each: impl FnMut(Result<&Fields<'a>, Malformed>, u32, &[u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    // The common record is one object: it is parsed once and handed over. Anything else is checked whole first, because
    // a record that fails at its end must be taken line by line from its start.
    let problem = match simdutf8::basic::from_utf8(data) {
        Ok(text) => {
            let mut input = Deserializer::from_str(text);
            match (ObjectSeed { names, fields: &mut *fields }).deserialize(&mut input).map(|()| input.end().is_ok()) {
                Ok(true) => return each(Ok(fields), next(number), data),
                Ok(false) if objects(names, text) => return run_objects(names, text, fields, number, &mut each),
                _ => Malformed::NotObjects,
            }
        }
        Err(_) => Malformed::NotUtf8,
    };
    by_line(names, data, fields, problem, number, each)
}

/// The number of the sub-record in hand.
fn next(number: &mut u32) -> u32 {
    let this = *number;
    *number += 1;
    this
}

/// Whether the text is JSON objects and nothing else.
fn objects(names: &FieldNames, text: &str) -> bool {
    let mut fields = Fields::of(names);
    let mut found = false;
    // Each is parsed by itself: a parser over all of the text counts its lines anew whenever it meets what it must not.
    for raw in Deserializer::from_str(text).into_iter::<&RawValue>() {
        found = raw.and_then(|raw| parse_object(names, raw.get(), &mut fields)).is_ok();
        if !found {
            break;
        }
    }
    found
}

/// Hands over the objects of a text that is known to hold nothing else.
fn run_objects<'a, B>(
    names: &FieldNames,
    text: &'a str,
    fields: &mut Fields<'a>,
    number: &mut u32,
    each: &mut impl FnMut(Result<&Fields<'a>, Malformed>, u32, &[u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    for raw in Deserializer::from_str(text).into_iter::<&RawValue>().map_while(Result::ok) {
        if parse_object(names, raw.get(), fields).is_ok() {
            each(Ok(fields), next(number), raw.get().as_bytes())?;
        }
    }
    ControlFlow::Continue(())
}

fn by_line<'a, B>(
    names: &FieldNames,
    data: &'a [u8],
    fields: &mut Fields<'a>,
    problem: Malformed,
    number: &mut u32,
    mut each: impl FnMut(Result<&Fields<'a>, Malformed>, u32, &[u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let trimmed = |line: &'a [u8]| line.trim_ascii();
    let parse = |line: &'a [u8]| match std::str::from_utf8(line) {
        Ok(text) if objects(names, text) => Ok(text),
        Ok(_) => Err(Malformed::NotObjects),
        Err(_) => Err(Malformed::NotUtf8),
    };
    let lines = || data.split(|byte| *byte == b'\n').map(trimmed).filter(|line| !line.is_empty());
    if lines().next().is_none() {
        return each(Err(Malformed::Empty), next(number), data);
    }
    if !lines().any(|line| parse(line).is_ok()) {
        return each(Err(problem), next(number), data);
    }
    for line in lines() {
        match parse(line) {
            Ok(text) => run_objects(names, text, fields, number, &mut each)?,
            Err(why) => each(Err(why), next(number), line)?,
        }
    }
    ControlFlow::Continue(())
}

/// Reads the text of one JSON object into `fields`.
///
/// # Errors
/// If it is anything else.
pub fn parse_object<'a>(names: &FieldNames, text: &'a str, fields: &mut Fields<'a>) -> Result<(), serde_json::Error> {
    let mut input = Deserializer::from_str(text);
    ObjectSeed { names, fields }.deserialize(&mut input)?;
    input.end()
}

/// Tells change flags from other records.
#[derive(Debug)]
pub struct FlagFinder {
    marker: memchr::memmem::Finder<'static>,
}

impl Default for FlagFinder {
    fn default() -> Self {
        Self { marker: memchr::memmem::Finder::new("change-flag") }
    }
}

impl FlagFinder {
    /// Whether a whole plain record is a change flag: a single JSON object whose `freshjoin` begins with `change-flag/`,
    /// however malformed the rest.
    #[must_use]
    pub fn is_flag(&self, data: &[u8]) -> bool {
        // A flag names itself literally or behind an escape; what has neither is not parsed a second time.
        let possible = self.marker.find(data).is_some() || memchr::memchr(b'\\', data).is_some();
        possible && names_itself_a_flag(data)
    }
}

fn names_itself_a_flag(data: &[u8]) -> bool {
    let mut names = FieldNames::default();
    let slot = names.slot("freshjoin");
    let mut fields = Fields::of(&names);
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let single = parse_object(&names, text, &mut fields).is_ok();
    let named = fields.get(slot).and_then(|raw| serde_json::from_str::<String>(raw).ok());
    single && named.is_some_and(|name| name.starts_with("change-flag/"))
}

/// Reads one object into the slots of the names it knows; the last of equal names counts.
struct ObjectSeed<'n, 'f, 'a> {
    names: &'n FieldNames,
    fields: &'f mut Fields<'a>,
}

impl<'a> DeserializeSeed<'a> for ObjectSeed<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        self.fields.0.fill(None);
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for ObjectSeed<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(slot) = map.next_key_seed(NameSeed(self.names))? {
            match slot.and_then(|slot| self.fields.0.get_mut(slot)) {
                Some(field) => *field = Some(map.next_value::<&'a RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct NameSeed<'n>(&'n FieldNames);

impl<'a> DeserializeSeed<'a> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.find(name))
    }
}

#[cfg(test)]
mod tests;
