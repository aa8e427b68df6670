//! JSON objects one after the other, with any white space between them: one a line, as they should be, or printed over
//! several lines. A content that begins with `[` is one array of them.
//!
//! A row keeps its text as it was written, but for line breaks between its tokens, which become spaces.

use serde::de::IgnoredAny;
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::error::ContentError;
use super::text::line_at;
use crate::ports::RawRow;

pub(super) struct Reader {
    content: String,
    at: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// One object after the other.
    Plain,
    /// After `[`.
    Opened,
    /// After an element.
    Element,
    /// After `]`.
    Closed,
}

impl Reader {
    pub(super) fn new(content: String) -> Self {
        let mut reader = Self { content, at: 0, state: State::Plain };
        if reader.next_byte() == Some(b'[') {
            reader.at += 1;
            reader.state = State::Opened;
        }
        reader
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<RawRow>, ContentError> {
        let next = self.next_byte();
        match (self.state, next) {
            (State::Plain | State::Closed, None) => return Ok(None),
            (State::Opened | State::Element, Some(b']')) => {
                self.at += 1;
                self.state = State::Closed;
                return self.next();
            }
            (State::Element, Some(b',')) => self.at += 1,
            (State::Element | State::Closed, _) => return Err(self.unsound()),
            _ => {}
        }
        if self.state == State::Opened {
            self.state = State::Element;
        }
        let rest = self.content.get(self.at..).unwrap_or_default();
        let mut values = Deserializer::from_str(rest).into_iter::<&RawValue>();
        let Some(Ok(value)) = values.next() else { return Err(self.unsound()) };
        let row = one_line(value);
        let end = self.at + values.byte_offset();
        if !row.get().starts_with('{') {
            self.next_byte();
            return Err(ContentError::NotAnObject { line: line_at(self.content.as_bytes(), self.at) });
        }
        self.at = end;
        Ok(Some(row))
    }

    /// The next byte that is no white space, moving to it.
    fn next_byte(&mut self) -> Option<u8> {
        let rest = self.content.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.content.as_bytes().get(self.at).copied()
    }

    /// What is wrong, and where: as a reading from the start tells it.
    fn unsound(&self) -> ContentError {
        let mut values = Deserializer::from_str(&self.content).into_iter::<IgnoredAny>();
        match values.find_map(Result::err) {
            Some(error) => ContentError::Json(error),
            None => ContentError::NotAnObject { line: line_at(self.content.as_bytes(), self.at) },
        }
    }
}

fn one_line(value: &RawValue) -> RawRow {
    let text = value.get();
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
        // Valid JSON has raw line breaks only between its tokens, so this parses as well.
        if let Ok(row) = RawValue::from_string(text.replace(['\n', '\r'], " ")) {
            return row;
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{ContentFormat, rows};
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, ContentError> {
        let rows = rows(ContentFormat::JsonLines, Bytes::copy_from_slice(text.as_bytes()), u64::MAX)?;
        rows.map(|row| row.map(|row| row.get().to_owned())).collect()
    }

    #[test]
    fn rows_come_one_a_line_over_several_lines_or_in_an_array() {
        let lines = "\u{feff}{\"a\":1.10}\r\n\n  \n{ \"a\" : \"x\\n\" }\n{\"a\":1E400}";
        assert_eq!(read(lines).unwrap(), [r#"{"a":1.10}"#, r#"{ "a" : "x\n" }"#, r#"{"a":1E400}"#]);
        assert_eq!(read("{\"a\":\r\n[1,\n2]}{}").unwrap(), [r#"{"a":  [1, 2]}"#, "{}"]);
        assert_eq!(read("\n[ {\"a\":1} ,\n{\"a\":2}]\n").unwrap(), [r#"{"a":1}"#, r#"{"a":2}"#]);
        for nothing in ["", " \r\n", "[]", "[ ]\n"] {
            assert_eq!(read(nothing).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn what_is_no_object_is_named_with_its_line() {
        for (text, line) in [
            ("{\"a\":1}\n\n[2]\n", "line 3"),
            ("{\"a\":1}\n  7\n", "line 2"),
            ("[{},\n1]", "line 2"),
            ("null", "line 1"),
            ("{\"a\":1}\n{\"a\":}\n", "line 2"),
            ("{}\n{\"a\":1", "line 2"),
            ("{}\n,{}", "line 2"),
            ("[{},\n{}", "line 2"),
            ("[{},\n]", "line 2"),
            ("[{}\n{}]", "line 2"),
            ("[{}]\n{}", "line 2"),
            ("[,{}]", "line 1"),
            ("[", "line 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }
}
