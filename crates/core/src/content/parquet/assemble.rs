//! Rows from columns: each column's levels say which groups and lists an entry belongs to, and all columns of a group or
//! list must agree.

use std::ops::Range;

use ::parquet::errors::ParquetError;

use super::column::{Column, Levels};
use super::schema::{Kind, Node};

/// What is wrong in a column.
pub(super) struct Fault {
    pub(super) column: usize,
    pub(super) why: Why,
}

pub(super) enum Why {
    /// Its entries do not fit those of the other columns.
    Torn(&'static str),
    /// A value has no JSON form.
    Value(&'static str),
    /// It cannot be read.
    Parquet(ParquetError),
}

pub(super) struct Assembly<'a> {
    pub(super) columns: &'a mut [Column],
    pub(super) out: &'a mut Vec<u8>,
}

/// What becomes of a field that is null.
#[derive(Clone, Copy)]
enum Nulls {
    Absent,
    Written,
}

/// Where something begins: the repetition that its first entries must have, and the definition of what is around it.
#[derive(Clone, Copy)]
struct Start {
    repetition: i16,
    definition: i16,
}

impl Assembly<'_> {
    /// Appends the next row.
    pub(super) fn row(&mut self, root: &Node) -> Result<(), Fault> {
        let start = Start { repetition: 0, definition: 0 };
        match &root.kind {
            // A field that the row lacks is null to a join; inside a value, null is part of the value.
            Kind::Group(fields) => self.group(fields, start, Nulls::Absent),
            _ => self.node(root, start).map(drop),
        }
    }

    /// Appends a value of whatever shape; `false`, and nothing appended, where it is null.
    fn node(&mut self, node: &Node, start: Start) -> Result<bool, Fault> {
        let first = node.columns.start;
        let inside = Start { definition: node.definition, ..start };
        if self.next(first, start)?.definition < node.definition {
            self.absent(&node.columns, start, node.definition)?;
            return Ok(false);
        }
        match &node.kind {
            Kind::Leaf => {
                let levels = self.next(first, inside)?;
                let (column, out) = (self.columns.get_mut(first), &mut *self.out);
                if let Some(column) = column {
                    column.append(out).map_err(|why| Fault { column: first, why })?;
                    column.pass(levels);
                }
            }
            Kind::Group(fields) => self.group(fields, inside, Nulls::Written)?,
            Kind::List { repetition, element } => {
                self.out.push(b'[');
                self.repeated(node, *repetition, inside, |assembly, start| {
                    if !assembly.node(element, start)? {
                        assembly.out.extend_from_slice(b"null");
                    }
                    Ok(())
                })?;
                self.out.push(b']');
            }
            Kind::Map { repetition, key, value } => {
                self.out.push(b'{');
                self.repeated(node, *repetition, inside, |assembly, start| {
                    assembly.key(key, start)?;
                    match value {
                        Some(value) if assembly.node(value, start)? => {}
                        _ => assembly.out.extend_from_slice(b"null"),
                    }
                    Ok(())
                })?;
                self.out.push(b'}');
            }
        }
        Ok(true)
    }

    /// An object of the fields.
    fn group(&mut self, fields: &[(Vec<u8>, Node)], start: Start, nulls: Nulls) -> Result<(), Fault> {
        self.out.push(b'{');
        let empty = self.out.len();
        for (name, field) in fields {
            let before = self.out.len();
            if before > empty {
                self.out.push(b',');
            }
            self.out.extend_from_slice(name);
            match (self.node(field, start)?, nulls) {
                (true, _) => {}
                (false, Nulls::Written) => self.out.extend_from_slice(b"null"),
                (false, Nulls::Absent) => self.out.truncate(before),
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// The elements of a list or map, with commas between them.
    fn repeated(
        &mut self,
        node: &Node,
        repetition: i16,
        start: Start,
        mut each: impl FnMut(&mut Self, Start) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let first = node.columns.start;
        let definition = start.definition + 1;
        if self.next(first, start)?.definition < definition {
            return self.absent(&node.columns, start, definition);
        }
        each(self, Start { definition, ..start })?;
        while self.peek(first)?.is_some_and(|levels| levels.repetition == repetition) {
            self.out.push(b',');
            each(self, Start { definition, repetition })?;
        }
        Ok(())
    }

    /// A key, as text whatever its type.
    fn key(&mut self, key: &Node, start: Start) -> Result<(), Fault> {
        let begin = self.out.len();
        if !self.node(key, start)? {
            let why = Why::Value("a map with a null for a key; leave that entry out");
            return Err(Fault { column: key.columns.start, why });
        }
        if self.out.get(begin) != Some(&b'"') {
            let text = self.out.split_off(begin);
            let quoted = serde_json::Value::from(String::from_utf8_lossy(&text));
            self.out.extend_from_slice(quoted.to_string().as_bytes());
        }
        self.out.push(b':');
        Ok(())
    }

    /// Passes the one entry that every column has for something that is not there.
    fn absent(&mut self, columns: &Range<usize>, start: Start, below: i16) -> Result<(), Fault> {
        for index in columns.clone() {
            let levels = self.next(index, start)?;
            if levels.definition >= below {
                return Err(torn(index, "a value where another column of its group has none"));
            }
            if let Some(column) = self.columns.get_mut(index) {
                column.pass(levels);
            }
        }
        Ok(())
    }

    /// The levels of a column's next entry, which must be there and belong here.
    fn next(&mut self, index: usize, start: Start) -> Result<Levels, Fault> {
        let levels = self.peek(index)?.ok_or_else(|| torn(index, "it ends before the last row"))?;
        if levels.repetition != start.repetition {
            return Err(torn(index, "its repetitions differ from those of the other columns"));
        }
        if levels.definition < start.definition {
            return Err(torn(index, "no value where another column of its group has one"));
        }
        Ok(levels)
    }

    fn peek(&mut self, index: usize) -> Result<Option<Levels>, Fault> {
        let column = self.columns.get_mut(index).ok_or_else(|| torn(index, "it is missing"))?;
        column.peek().map_err(|why| Fault { column: index, why })
    }
}

fn torn(column: usize, reason: &'static str) -> Fault {
    Fault { column, why: Why::Torn(reason) }
}
