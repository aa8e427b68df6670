//! Column types of Parquet output, and `[output.types]`, where they are given.
//!
//! A column without a type is a string. Types have no effect on other formats, nor on partition columns, which stand in
//! the object key as text.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;

use super::definition::{Column, PROVENANCE};
use super::error::{DefinitionError, Refuse};

/// The type of a Parquet column; every column may be null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// A whole number of 64 bits.
    Int64,
    /// A finite floating-point number of 64 bits, the nearest to what was written.
    Float64,
    /// An exact decimal number.
    Decimal {
        /// Digits, 1 to 38.
        precision: u8,
        /// Of which after the point: at most `precision`.
        scale: u8,
    },
    /// True or false.
    Bool,
    /// Text.
    #[default]
    String,
    /// A point in time in UTC, in microseconds.
    Timestamp,
}

impl ColumnType {
    /// From its name in a definition; `None` if there is no such type.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "bool" => Self::Bool,
            "string" => Self::String,
            "timestamp" => Self::Timestamp,
            _ => {
                let inside = text.strip_prefix("decimal(")?.strip_suffix(')')?;
                let (precision, scale) = inside.split_once(',')?;
                let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
                if !(1..=38).contains(&precision) || scale > precision {
                    return None;
                }
                Self::Decimal { precision, scale }
            }
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int64 => f.write_str("int64"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Bool => f.write_str("bool"),
            Self::String => f.write_str("string"),
            Self::Timestamp => f.write_str("timestamp"),
        }
    }
}

/// The types that a definition gives, by column.
///
/// # Errors
/// [`DefinitionError`] for a type or column that does not exist, and for a provenance column that could never have it.
pub(super) fn checked_types(
    refuse: Refuse<'_>,
    given: BTreeMap<Spanned<String>, Spanned<String>>,
    columns: &[Column],
    provenance: bool,
) -> Result<BTreeMap<String, ColumnType>, DefinitionError> {
    let mut types = BTreeMap::new();
    for (name, kind) in given {
        let of_provenance = provenance && PROVENANCE.contains(&name.get_ref().as_str());
        if !of_provenance && !columns.iter().any(|column| column.name == *name.get_ref()) {
            let problem = format!("output.types names {:?}, which is no output column", name.get_ref());
            return Err(refuse.at(name.span().start, problem, "name a column, or take the line out"));
        }
        let Some(parsed) = ColumnType::parse(kind.get_ref()) else {
            let problem = format!("type {:?} is unknown", kind.get_ref());
            let mend = "use int64, float64, decimal(p,s) with p from 1 to 38 and s up to p, bool, string or timestamp";
            return Err(refuse.at(kind.span().start, problem, mend));
        };
        let possible = possible_types(name.get_ref());
        if of_provenance && !possible.contains(&parsed) {
            let problem = format!("{:?} cannot be {parsed}", name.get_ref());
            let possible: Vec<_> = possible.iter().map(ToString::to_string).collect();
            return Err(refuse.at(kind.span().start, problem, format!("use {}", possible.join(" or "))));
        }
        types.insert(name.into_inner(), parsed);
    }
    Ok(types)
}

/// What a provenance column can be. A sequence number has up to 56 digits, more than any number type holds.
fn possible_types(provenance: &str) -> &'static [ColumnType] {
    match provenance {
        "_ref_version" | "_sub_sequence" => &[ColumnType::Int64, ColumnType::String],
        "_arrival" => &[ColumnType::Timestamp, ColumnType::String],
        _ => &[ColumnType::String],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_understood_and_shown_as_it_is_written() {
        for text in ["int64", "float64", "bool", "string", "timestamp", "decimal(1,0)", "decimal(38,38)"] {
            assert_eq!(ColumnType::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ColumnType::parse("decimal( 10 , 2 )"), Some(ColumnType::Decimal { precision: 10, scale: 2 }));
        for text in [
            "",
            "int",
            "INT64",
            "int64 ",
            "decimal",
            "decimal(10)",
            "decimal(0,0)",
            "decimal(39,2)",
            "decimal(2,3)",
            "decimal(10,-1)",
            "decimal(256,2)",
            "decimal(10,2",
            "decimal(10,2,1)",
        ] {
            assert_eq!(ColumnType::parse(text), None, "{text}");
        }
    }
}
