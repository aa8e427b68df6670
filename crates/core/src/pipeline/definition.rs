//! From the written document to a checked [`Definition`].

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::content::ContentFormat;

use super::document::{Document, OutputTable, ReferenceTable};
use super::error::{DefinitionError, Refuse};
use super::types::{ColumnType, checked_types};

/// A checked pipeline definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Keeps cursors and dead letters of several pipelines apart: `[A-Za-z0-9._-]`, at most 128 bytes.
    pub name: String,
    /// At least one, with distinct names, joined one after the other.
    pub references: Vec<Reference>,
    /// What comes out.
    pub output: Output,
    /// The TOML as it was given.
    pub text: String,
    /// SHA-256 of `text`, hex.
    pub digest: String,
}

/// One `[[reference]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The table's name, or the object's stem, or the last folder of a prefix.
    pub name: String,
    /// Where its rows are.
    pub source: Source,
    /// At least one pair; all must match.
    pub on: Vec<JoinPair>,
    /// What becomes of records without a match.
    pub kind: JoinKind,
    /// Whether a table's rows are all text, as those of a CSV file that stands in for it: their keys match strings by text
    /// and numbers by value. An object's own format says it for itself.
    pub untyped: bool,
}

/// Where reference rows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A DynamoDB table by name.
    Table(String),
    /// An object, or a prefix ending in `/`, as `s3://bucket/key`.
    Object(String),
}

impl Source {
    /// The table's name or the object's URL: how the change log names it.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Table(id) | Self::Object(id) => id,
        }
    }
}

/// `stream field = reference field`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinPair {
    /// A field of the record; where the record lacks it, of an earlier reference's row.
    pub stream: String,
    /// A field of the reference row: the join column.
    pub reference: String,
}

/// What becomes of a record without a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// It stays, its reference columns null.
    Left,
    /// It is dropped, and counted.
    Inner,
}

/// `[output]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// All columns in order, partition columns included; names are distinct.
    pub columns: Vec<Column>,
    /// Names of the columns that go into the object key instead of the object, in the key's order.
    pub partition_by: Vec<String>,
    /// The objects' format.
    pub format: Format,
    /// Whether each row says which record and version made it.
    pub provenance: bool,
    /// The promise.
    pub delivery: Delivery,
    /// Types of Parquet columns, by name, where they are given.
    pub types: BTreeMap<String, ColumnType>,
}

impl Output {
    /// A column's type.
    #[must_use]
    pub fn type_of(&self, column: &str) -> ColumnType {
        self.types.get(column).copied().unwrap_or_default()
    }
}

/// One output column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The reference it is taken from, as an index, where it is qualified (`Table.field`).
    pub reference: Option<usize>,
    /// The field it is taken from.
    pub field: String,
    /// Its name in the output.
    pub name: String,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180 with LF and a header row.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Typed columns, snappy-compressed.
    Parquet,
}

impl Format {
    /// The output objects' file name extension.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// What is promised of each record's join result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In the output exactly once, by a cursor.
    ExactlyOnce,
    /// At least once, without a cursor.
    AtLeastOnce,
}

/// The columns that `provenance = true` adds.
pub const PROVENANCE: [&str; 5] = ["_ref_version", "_shard_id", "_sequence_number", "_sub_sequence", "_arrival"];

impl Definition {
    /// Checks a definition's text.
    ///
    /// # Errors
    /// [`DefinitionError`] with the line, the reason and the mend, for an unknown key as for a contradiction.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let refuse = Refuse(text);
        let document: Document = toml::from_str(text).map_err(|error| {
            let mend = "see the definition's reference in the README";
            let problem = error.message().trim_end_matches('.').replace('\n', " ");
            match error.span() {
                Some(span) => refuse.at(span.start, problem, mend),
                None => DefinitionError { line: None, problem, mend: mend.into() },
            }
        })?;
        let name = checked_name(refuse, &document.name)?;
        if let Some(format) = document.source.and_then(|source| source.format)
            && format.get_ref() != "json"
        {
            let problem = format!("source format {:?} is unknown", format.get_ref());
            return Err(refuse.at(format.span().start, problem, "the stream's records are \"json\""));
        }
        let references = references(refuse, document.reference)?;
        let output = output(refuse, document.output, &references)?;
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        Ok(Self { name, references, output, text: text.into(), digest })
    }
}

fn checked_name(refuse: Refuse<'_>, name: &Spanned<String>) -> Result<String, DefinitionError> {
    let text = name.get_ref();
    let sound = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if text.is_empty() || text.len() > 128 || !sound || text.bytes().all(|b| b == b'.') {
        let problem = format!("name {text:?} cannot be part of an object key");
        return Err(refuse.at(name.span().start, problem, "use 1 to 128 letters, digits, '.', '_' and '-'"));
    }
    Ok(text.clone())
}

fn references(refuse: Refuse<'_>, tables: Vec<Spanned<ReferenceTable>>) -> Result<Vec<Reference>, DefinitionError> {
    let mut references: Vec<Reference> = Vec::with_capacity(tables.len());
    for table in tables {
        let start = table.span().start;
        let table = table.into_inner();
        let (source, at) = match (table.dynamodb, table.s3) {
            (Some(name), None) => (Source::Table(name.get_ref().clone()), name.span().start),
            (None, Some(url)) => (Source::Object(checked_url(refuse, &url)?), url.span().start),
            (Some(_), Some(s3)) => {
                let problem = "a reference has both dynamodb and s3";
                return Err(refuse.at(s3.span().start, problem, "keep one, or write two [[reference]] tables"));
            }
            (None, None) => {
                let mend = "add dynamodb = \"table name\" or s3 = \"s3://bucket/key\"";
                return Err(refuse.at(start, "a reference has neither dynamodb nor s3", mend));
            }
        };
        let name = reference_name(&source);
        if name.is_empty() {
            return Err(refuse.at(at, "a reference without a name", "name a table or an object"));
        }
        if references.iter().any(|other| other.name == name) {
            let problem = format!("reference {name:?} is there twice");
            return Err(refuse.at(at, problem, "columns could not tell them apart: keep one"));
        }
        if table.on.get_ref().is_empty() {
            let problem = "a reference without join fields";
            return Err(refuse.at(table.on.span().start, problem, "write on = { stream_field = \"reference_field\" }"));
        }
        let mut on: Vec<JoinPair> = Vec::new();
        for (stream, field) in table.on.into_inner() {
            if on.iter().any(|pair| pair.reference == *field.get_ref()) {
                let problem = format!("reference field {:?} is joined twice", field.get_ref());
                return Err(refuse.at(field.span().start, problem, "give each reference field one stream field"));
            }
            on.push(JoinPair { stream, reference: field.into_inner() });
        }
        let kind = match table.join.as_ref().map(|join| (join.get_ref().as_str(), join.span().start)) {
            None | Some(("left", _)) => JoinKind::Left,
            Some(("inner", _)) => JoinKind::Inner,
            Some((other, at)) => {
                let problem = format!("join {other:?} is unknown");
                return Err(refuse.at(at, problem, "use \"left\" or \"inner\""));
            }
        };
        references.push(Reference { name, source, on, kind, untyped: false });
    }
    if references.is_empty() {
        return Err(DefinitionError {
            line: None,
            problem: "nothing to join with".into(),
            mend: "add a [[reference]] table with dynamodb or s3, and on".into(),
        });
    }
    Ok(references)
}

fn checked_url(refuse: Refuse<'_>, url: &Spanned<String>) -> Result<String, DefinitionError> {
    let key = url.get_ref().strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    match key {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            if key.ends_with('/') || ContentFormat::of_name(key).is_some() {
                return Ok(url.get_ref().clone());
            }
            let problem = format!("the format of {:?} is unknown", url.get_ref());
            let mend = "name the object .jsonl, .csv or .parquet, or end a prefix with /";
            Err(refuse.at(url.span().start, problem, mend))
        }
        _ => {
            let problem = format!("{:?} names no object", url.get_ref());
            Err(refuse.at(url.span().start, problem, "write s3://bucket/key, or s3://bucket/prefix/"))
        }
    }
}

fn reference_name(source: &Source) -> String {
    match source {
        Source::Table(name) => name.clone(),
        Source::Object(url) => {
            let path = url.trim_end_matches('/');
            let last = path.rsplit('/').next().unwrap_or(path);
            let is_prefix = url.ends_with('/');
            let stem = if is_prefix { last } else { last.split('.').find(|part| !part.is_empty()).unwrap_or(last) };
            stem.to_owned()
        }
    }
}

fn output(
    refuse: Refuse<'_>,
    table: Spanned<OutputTable>,
    references: &[Reference],
) -> Result<Output, DefinitionError> {
    let table = table.into_inner();
    let mut columns: Vec<Column> = Vec::new();
    for spanned in table.columns.get_ref() {
        let column = column(spanned.get_ref(), references);
        let at = spanned.span().start;
        if column.field.is_empty() || column.name.is_empty() {
            let problem = format!("column {:?} has no name", spanned.get_ref());
            return Err(refuse.at(at, problem, "write \"field\", \"Table.field\" or \"field as name\""));
        }
        if columns.iter().any(|other| other.name == column.name) {
            let problem = format!("column {:?} is there twice", column.name);
            return Err(refuse.at(at, problem, "rename one: \"field as other_name\""));
        }
        if table.provenance && PROVENANCE.contains(&column.name.as_str()) {
            let problem = format!("column {:?} is also a provenance column", column.name);
            return Err(refuse.at(at, problem, "rename it, or set provenance = false"));
        }
        columns.push(column);
    }
    let mut partition_by: Vec<String> = Vec::new();
    for spanned in table.partition_by {
        let at = spanned.span().start;
        let name = spanned.into_inner();
        if !columns.iter().any(|column| column.name == name) {
            let problem = format!("partition_by names {name:?}, which is no output column");
            return Err(refuse.at(at, problem, format!("add {name:?} to columns, or take it out of partition_by")));
        }
        if partition_by.contains(&name) {
            return Err(refuse.at(at, format!("partition_by names {name:?} twice"), "keep one"));
        }
        partition_by.push(name);
    }
    if columns.len() == partition_by.len() && !table.provenance {
        let problem = "no column is left to write: all are partition columns, or there is none";
        return Err(refuse.at(table.columns.span().start, problem, "add a column that is not in partition_by"));
    }
    let format = match table.format.as_ref().map(|format| (format.get_ref().as_str(), format.span().start)) {
        None | Some(("csv", _)) => Format::Csv,
        Some(("jsonl", _)) => Format::JsonLines,
        Some(("parquet", _)) => Format::Parquet,
        Some((other, at)) => {
            let problem = format!("output format {other:?} is unknown");
            return Err(refuse.at(at, problem, "use \"csv\", \"jsonl\" or \"parquet\""));
        }
    };
    let delivery = match table.delivery.as_ref().map(|delivery| (delivery.get_ref().as_str(), delivery.span().start)) {
        None | Some(("exactly-once", _)) => Delivery::ExactlyOnce,
        Some(("at-least-once", _)) => Delivery::AtLeastOnce,
        Some((other, at)) => {
            let problem = format!("delivery {other:?} is unknown");
            return Err(refuse.at(at, problem, "use \"exactly-once\" or \"at-least-once\""));
        }
    };
    let types = checked_types(refuse, table.types, &columns, table.provenance)?;
    Ok(Output { columns, partition_by, format, provenance: table.provenance, delivery, types })
}

/// `field`, `Table.field`, either with ` as name`. A dot qualifies only after a reference's name, the longest first.
fn column(text: &str, references: &[Reference]) -> Column {
    let (path, name) = match text.rsplit_once(" as ") {
        Some((path, name)) => (path.trim(), Some(name.trim())),
        None => (text.trim(), None),
    };
    let qualified = references
        .iter()
        .enumerate()
        .filter_map(|(index, reference)| {
            let field = path.strip_prefix(reference.name.as_str())?.strip_prefix('.')?;
            Some((reference.name.len(), index, field))
        })
        .max();
    let (reference, field) = qualified.map_or((None, path), |(_, index, field)| (Some(index), field));
    Column { reference, field: field.into(), name: name.unwrap_or(field).into() }
}

#[cfg(test)]
mod tests;
