//! CSV by RFC 4180 with a header, lines ending in LF or CRLF; the values become JSON strings.
//!
//! An empty field is null, and absent from the row; one in quotes (`""`) is the empty string. So what freshjoin writes as
//! CSV reads back as it was. No CSV library tells the two apart, which is why fields are taken apart here. What has more
//! than one meaning is refused; a quote inside an unquoted field has only one and stands for itself. Blank lines are
//! skipped, but in a CSV of one column: there they are rows with a null.

use super::error::ContentError;
use super::text::line_at;
use crate::ports::RawRow;

pub(super) struct Reader {
    content: String,
    at: usize,
    /// Of the place, from 1.
    line: u64,
    /// What stands before each value: `"name":`.
    names: Vec<Vec<u8>>,
    row: Vec<u8>,
}

/// A field: its text, and whether it stood in quotes, with quotes doubled.
struct Field<'a> {
    text: &'a str,
    quoted: bool,
}

/// What follows a field.
enum After {
    Comma,
    /// The end of the line, or of the content.
    Line,
}

impl Reader {
    pub(super) fn new(content: String) -> Result<Self, ContentError> {
        if content.is_empty() {
            return Err(ContentError::NoHeader);
        }
        let mut reader = Self { content, at: 0, line: 1, names: Vec::new(), row: Vec::new() };
        let (mut names, mut seen) = (Vec::new(), std::collections::HashSet::new());
        let end = fields(&reader.content, 0, 1, |column, field| {
            let mut name = Vec::new();
            field.append(&mut name)?;
            if field.text.is_empty() {
                return Err(ContentError::Unnamed { column: column + 1 });
            }
            if !seen.insert(name.clone()) {
                let name = serde_json::from_slice(&name).map_err(ContentError::Json)?;
                return Err(ContentError::NamedTwice { name });
            }
            name.push(b':');
            names.push(name);
            Ok(())
        })?;
        reader.names = names;
        reader.move_to(end);
        Ok(reader)
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<RawRow>, ContentError> {
        while self.names.len() > 1 {
            match self.content.as_bytes().get(self.at..).unwrap_or_default() {
                [b'\n', ..] => self.move_to(self.at + 1),
                [b'\r', b'\n', ..] => self.move_to(self.at + 2),
                _ => break,
            }
        }
        if self.at >= self.content.len() {
            return Ok(None);
        }
        let (row, names) = (&mut self.row, &self.names);
        row.clear();
        row.push(b'{');
        let mut found = 0;
        let end = fields(&self.content, self.at, self.line, |column, field| {
            found += 1;
            if let Some(name) = names.get(column).filter(|_| field.quoted || !field.text.is_empty()) {
                if row.len() > 1 {
                    row.push(b',');
                }
                row.extend_from_slice(name);
                field.append(row)?;
            }
            Ok(())
        })?;
        row.push(b'}');
        let wanted = names.len();
        if found != wanted {
            return Err(ContentError::Width { line: self.line, found, wanted });
        }
        let row = serde_json::from_slice(row).map_err(ContentError::Json)?;
        self.move_to(end);
        Ok(Some(row))
    }

    fn move_to(&mut self, place: usize) {
        let passed = self.content.get(self.at..place).unwrap_or_default();
        self.line += line_at(passed.as_bytes(), passed.len()) - 1;
        self.at = place;
    }
}

/// Hands over the fields of the record that begins at a place, with their columns from 0; answers where the next begins.
fn fields(
    content: &str,
    mut at: usize,
    line: u64,
    mut each: impl FnMut(usize, Field<'_>) -> Result<(), ContentError>,
) -> Result<usize, ContentError> {
    for column in 0.. {
        let rest = content.get(at..).unwrap_or_default();
        let (field, length) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside).map(|(field, length)| (field, length + 1)),
            None => Ok(unquoted(rest)),
        }
        .and_then(|(field, length)| match rest.as_bytes().get(length..).unwrap_or_default() {
            [] => Ok((field, length, After::Line, 0)),
            [b',', ..] => Ok((field, length, After::Comma, 1)),
            [b'\n', ..] => Ok((field, length, After::Line, 1)),
            [b'\r', b'\n', ..] => Ok((field, length, After::Line, 2)),
            [b'\r', ..] => {
                Err("a carriage return without a line feed; end the lines in LF or CRLF, or quote the field")
            }
            _ => Err("text after a closing quote; a quote inside a quoted field is written twice"),
        })
        .map(|(field, length, after, separator)| ((field, after), length + separator))
        .map_err(|reason| ContentError::Field { line, column: column + 1, reason })?;
        at += length;
        each(column, field.0)?;
        if matches!(field.1, After::Line) {
            break;
        }
    }
    Ok(at)
}

/// A field without quotes, and its length.
fn unquoted(rest: &str) -> (Field<'_>, usize) {
    let length = memchr::memchr3(b',', b'\n', b'\r', rest.as_bytes()).unwrap_or(rest.len());
    (Field { text: rest.get(..length).unwrap_or_default(), quoted: false }, length)
}

/// A field after its opening quote, and its length with the closing one.
fn quoted(inside: &str) -> Result<(Field<'_>, usize), &'static str> {
    let mut quotes = memchr::memchr_iter(b'"', inside.as_bytes()).peekable();
    while let Some(quote) = quotes.next() {
        if quotes.next_if_eq(&(quote + 1)).is_none() {
            let text = inside.get(..quote).unwrap_or_default();
            return Ok((Field { text, quoted: true }, quote + 1));
        }
    }
    Err("a quote that is never closed; close it, or write a quote inside a quoted field twice")
}

impl Field<'_> {
    /// Appends the value as a JSON string.
    fn append(&self, out: &mut Vec<u8>) -> Result<(), ContentError> {
        let written = if self.quoted && self.text.contains('"') {
            serde_json::to_writer(out, &self.text.replace("\"\"", "\""))
        } else {
            serde_json::to_writer(out, self.text)
        };
        written.map_err(ContentError::Json)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{ContentFormat, rows};
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, ContentError> {
        let rows = rows(ContentFormat::Csv, Bytes::copy_from_slice(text.as_bytes()), u64::MAX)?;
        rows.map(|row| row.map(|row| row.get().to_owned())).collect()
    }

    #[test]
    fn fields_are_text_a_null_is_absent_and_an_empty_string_is_not() {
        let text =
            "\u{feff}item,\"pri\"\"ce\",note\r\nburger,1.10,\"a,\"\"b\"\"\r\nc\"\r\n,\"\",\n\n5\" pipe, x ,\"\"\"\"";
        let want = [
            r#"{"item":"burger","pri\"ce":"1.10","note":"a,\"b\"\r\nc"}"#,
            r#"{"pri\"ce":""}"#,
            r#"{"item":"5\" pipe","pri\"ce":" x ","note":"\""}"#,
        ];
        assert_eq!(read(text).unwrap(), want);
        assert_eq!(read("a,b").unwrap(), [""; 0]);
        assert_eq!(read("a\n\n\"\"\nx\n").unwrap(), ["{}", r#"{"a":""}"#, r#"{"a":"x"}"#], "a column of its own");
    }

    #[test]
    fn what_is_unsound_is_named_with_its_place() {
        for (text, place) in [
            ("", "no header"),
            ("\na,b\n", "line 1: column 1 has no name"),
            ("a,\"\"\n", "line 1: column 2 has no name"),
            ("a,b,\"a\"\n", "named \"a\""),
            ("a,b\n1,2\n\n3\n", "line 4: 1 fields, and the header has 2"),
            ("a,b\n\"1\n\",2\n3,4,5\n", "line 4: 3 fields"),
            ("a,b\n1,\"2\"x\n", "line 2, column 2: text after"),
            ("a,b\n1,2\r3,4\r", "line 2, column 2: a carriage return"),
            ("a,b\n1,\"2\n3,4\n", "line 2, column 2: a quote that is never closed"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_csv_library_reads_the_same() {
        // Every text of these parts that this reader takes, in two columns.
        let parts = ["x", ",", "\"", "\"\"", "\n", "\r\n", "é"];
        let mut taken = 0;
        for number in 0..parts.len().pow(5) {
            let places = (0..5).map(|place| number / parts.len().pow(place) % parts.len());
            let text: String = places.map(|part| parts[part]).collect();
            let Ok(rows) = read(&format!("a,b\n{text}")) else { continue };
            taken += 1;
            let mut library = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            let want: Vec<Vec<String>> =
                library.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            let found: Vec<Vec<String>> = rows
                .iter()
                .map(|row| {
                    let row: serde_json::Value = serde_json::from_str(row).unwrap();
                    ["a", "b"].map(|name| row[name].as_str().unwrap_or_default().to_owned()).into()
                })
                .collect();
            assert_eq!(found, want, "{text:?}");
        }
        assert!(taken > 1000, "{taken}");
    }
}
