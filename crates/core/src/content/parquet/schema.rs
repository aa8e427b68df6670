//! The shape of the rows, from a file's schema: which columns make a group, a list or a map.
//!
//! Lists of all the layouts that the format's rules of compatibility know are lists; what is annotated as a list or map
//! but has another layout is the groups that it is made of.

use std::collections::HashSet;
use std::ops::Range;

use ::parquet::basic::{ConvertedType, LogicalType, Repetition};
use ::parquet::schema::types::{SchemaDescriptor, Type};

use super::super::error::ContentError;

/// Groups inside groups; beyond that a schema is refused.
const DEEPEST: usize = 64;

/// A field, a list's element, or the whole row.
pub(super) struct Node {
    /// Its columns: at least one.
    pub(super) columns: Range<usize>,
    /// The definition level from which on it is there.
    pub(super) definition: i16,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Leaf,
    /// `"name":` and the field.
    Group(Vec<(Vec<u8>, Node)>),
    /// Elements are there from the next definition level on; each but the first has this repetition level.
    List {
        repetition: i16,
        element: Box<Node>,
    },
    /// As a list, of keys and values.
    Map {
        repetition: i16,
        key: Box<Node>,
        value: Option<Box<Node>>,
    },
}

/// The row of a schema.
pub(super) fn compile(schema: &SchemaDescriptor) -> Result<Node, ContentError> {
    let mut compiler = Compiler { next_column: 0, path: Vec::new() };
    compiler.shape(schema.root_schema(), Level { definition: 0, repetition: 0 })
}

struct Compiler<'a> {
    next_column: usize,
    path: Vec<&'a str>,
}

#[derive(Clone, Copy)]
struct Level {
    definition: i16,
    repetition: i16,
}

impl Level {
    fn element(self) -> Self {
        Self { definition: self.definition + 1, repetition: self.repetition + 1 }
    }
}

impl<'a> Compiler<'a> {
    /// A field as its repetition says.
    fn field(&mut self, field: &'a Type, level: Level) -> Result<Node, ContentError> {
        match field.get_basic_info().repetition() {
            Repetition::REQUIRED => self.shape(field, level),
            Repetition::OPTIONAL => self.shape(field, Level { definition: level.definition + 1, ..level }),
            Repetition::REPEATED => {
                let element = self.shape(field, level.element())?;
                Ok(list(element, level))
            }
        }
    }

    /// A type that is there from `level` on.
    fn shape(&mut self, field: &'a Type, level: Level) -> Result<Node, ContentError> {
        if self.path.len() > DEEPEST {
            return Err(self.refused("it is nested too deeply; flatten it"));
        }
        self.path.push(field.name());
        let node = self.shape_inside(field, level)?;
        self.path.pop();
        Ok(node)
    }

    fn shape_inside(&mut self, field: &'a Type, level: Level) -> Result<Node, ContentError> {
        let begin = self.next_column;
        let kind = if field.is_primitive() {
            self.next_column += 1;
            Kind::Leaf
        } else if let (true, Some(repeated)) = (is_list(field), only_repeated(field)) {
            let element = match element_of(field, repeated) {
                Some(child) => self.field(child, level.element())?,
                None => self.shape(repeated, level.element())?,
            };
            return Ok(list(element, level));
        } else if let (true, Some((key, value))) = (is_map(field), entry_of(field)) {
            let inside = level.element();
            let key = Box::new(self.field(key, inside)?);
            let value = value.map(|value| self.field(value, inside)).transpose()?.map(Box::new);
            Kind::Map { repetition: inside.repetition, key, value }
        } else {
            let mut names = HashSet::new();
            if field.get_fields().is_empty() {
                return Err(self.refused("it has no fields; leave it out"));
            }
            let fields = field.get_fields().iter().map(|child| {
                if !names.insert(child.name()) {
                    let name = self.path.iter().skip(1).chain([&child.name()]).copied().collect::<Vec<_>>().join(".");
                    return Err(ContentError::NamedTwice { name });
                }
                let name = format!("{}:", serde_json::Value::from(child.name()));
                Ok((name.into_bytes(), self.field(child, level)?))
            });
            Kind::Group(fields.collect::<Result<_, _>>()?)
        };
        Ok(Node { columns: begin..self.next_column, definition: level.definition, kind })
    }

    fn refused(&self, reason: &'static str) -> ContentError {
        let path: Vec<_> = self.path.iter().skip(1).copied().collect();
        let column = if path.is_empty() { "(all)".to_owned() } else { path.join(".") };
        ContentError::Column { column, reason }
    }
}

fn list(element: Node, level: Level) -> Node {
    let columns = element.columns.clone();
    let kind = Kind::List { repetition: level.repetition + 1, element: Box::new(element) };
    Node { columns, definition: level.definition, kind }
}

fn is_list(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.converted_type() == ConvertedType::LIST || info.logical_type_ref() == Some(&LogicalType::List)
}

fn is_map(field: &Type) -> bool {
    let info = field.get_basic_info();
    matches!(info.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE)
        || info.logical_type_ref() == Some(&LogicalType::Map)
}

/// The only child, where it is repeated.
fn only_repeated(field: &Type) -> Option<&Type> {
    match field.get_fields() {
        [child] if child.get_basic_info().repetition() == Repetition::REPEATED => Some(child),
        _ => None,
    }
}

/// The element inside the repeated group of a list; `None` where the group is the element itself, as older writers have
/// it.
fn element_of<'a>(list: &Type, repeated: &'a Type) -> Option<&'a Type> {
    if repeated.is_primitive() || is_list(repeated) || is_map(repeated) {
        return None;
    }
    let named_as_element =
        repeated.name() == "array" || repeated.name().strip_suffix("_tuple").is_some_and(|stem| stem == list.name());
    match repeated.get_fields() {
        [child] if !named_as_element && child.get_basic_info().repetition() != Repetition::REPEATED => Some(child),
        _ => None,
    }
}

/// The key and the value of a map's entries.
fn entry_of(map: &Type) -> Option<(&Type, Option<&Type>)> {
    let entry = only_repeated(map).filter(|entry| entry.is_group())?;
    match entry.get_fields() {
        [key] => Some((key, None)),
        [key, value] => Some((key, Some(value))),
        _ => None,
    }
}
