//! One reference row, reduced to what a pipeline uses of it and brought into the form in which it is used.

use crate::encode::Form;
use crate::record::{FieldNames, Fields, parse_object};
use crate::value::{NotText, append_key};

/// A row that cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Not a JSON object.
    #[error("a row or key that is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// A string that cannot be decoded.
    #[error("a row or key with {0}")]
    Text(#[from] NotText),
    /// A row of 2 GiB or more.
    #[error("a row too large to hold")]
    TooLarge,
}

/// What a pipeline uses of a reference's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    names: FieldNames,
    join: Vec<usize>,
    cells: Vec<(usize, Form)>,
}

/// A row's cells in one allocation: for each cell the end of its bytes (the top bit set where the row lacks the field),
/// then the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(Box<[u8]>);

/// A row with the join key it is found by, if by any.
pub type Keyed = (Option<Box<[u8]>>, Row);

const ABSENT: u32 = 1 << 31;

impl Row {
    /// A cell's bytes in its form; `None` where the row lacks the field.
    #[must_use]
    pub fn cell(&self, index: usize) -> Option<&[u8]> {
        let end = self.end(index)?;
        if end & ABSENT != 0 {
            return None;
        }
        let start = match index.checked_sub(1) {
            Some(previous) => self.end(previous)? & !ABSENT,
            None => u32::try_from(self.first()?).ok()?,
        };
        self.0.get(start as usize..end as usize)
    }

    fn end(&self, index: usize) -> Option<u32> {
        let bytes = self.0.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Where the bytes begin: after the ends, whose number the first word tells.
    fn first(&self) -> Option<usize> {
        let tail = self.0.len().checked_sub(4)?;
        let count = u32::from_le_bytes(self.0.get(tail..)?.try_into().ok()?);
        Some(count as usize * 4)
    }
}

impl Projection {
    /// A projection onto the join fields, in the order in which a record's key is built.
    #[must_use]
    pub fn new(join_fields: &[&str]) -> Self {
        let mut names = FieldNames::default();
        let join = join_fields.iter().map(|field| names.slot(field)).collect();
        Self { names, join, cells: Vec::new() }
    }

    /// The index of a field's cell in a form, added if it is new.
    pub fn cell(&mut self, field: &str, form: Form) -> usize {
        let wanted = (self.names.slot(field), form);
        self.cells.iter().position(|cell| *cell == wanted).unwrap_or_else(|| {
            self.cells.push(wanted);
            self.cells.len() - 1
        })
    }

    /// The row's cells, and its join key; `None` for the key where a join field is null, absent or nested: such a row
    /// matches nothing.
    ///
    /// # Errors
    /// [`RowError`] if it is no object or has a string that cannot be decoded in a field that is used.
    pub fn project(&self, raw: &str) -> Result<Keyed, RowError> {
        let mut fields = Fields::of(&self.names);
        parse_object(&self.names, raw, &mut fields)?;
        let mut key = Vec::new();
        let mut keyed = true;
        for slot in &self.join {
            keyed &= append_key(fields.get(*slot).unwrap_or("null"), &mut key)?;
        }
        let mut bytes = vec![0; self.cells.len() * 4];
        for (index, (slot, form)) in self.cells.iter().enumerate() {
            let value = fields.get(*slot);
            if let Some(raw) = value {
                form.append(raw, &mut bytes)?;
            }
            let end = u32::try_from(bytes.len()).ok().filter(|end| end & ABSENT == 0).ok_or(RowError::TooLarge)?;
            let marked = if value.is_none() { end | ABSENT } else { end };
            for (to, from) in bytes.iter_mut().skip(index * 4).zip(marked.to_le_bytes()) {
                *to = from;
            }
        }
        bytes.extend_from_slice(&u32::try_from(self.cells.len()).map_err(|_| RowError::TooLarge)?.to_le_bytes());
        Ok((keyed.then(|| key.into_boxed_slice()), Row(bytes.into_boxed_slice())))
    }
}

/// What a primary key (a JSON object) is compared by: its attributes in name order, numbers by value.
///
/// # Errors
/// [`RowError`] if it is no object or has a string that cannot be decoded.
pub(super) fn primary_key(raw: &str) -> Result<Box<[u8]>, RowError> {
    let attributes: std::collections::BTreeMap<String, &serde_json::value::RawValue> = serde_json::from_str(raw)?;
    let mut out = Vec::new();
    for (name, value) in &attributes {
        Form::Key.append(&serde_json::Value::from(name.as_str()).to_string(), &mut out)?;
        if !append_key(value.get(), &mut out)? {
            out.extend_from_slice(value.get().as_bytes());
        }
    }
    Ok(out.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_what_is_used_in_the_form_it_is_used_in() {
        let mut projection = Projection::new(&["item"]);
        let price = projection.cell("price", Form::Csv);
        let priority = projection.cell("priority", Form::Partition);
        let absent = projection.cell("nope", Form::Csv);
        let null = projection.cell("null", Form::Partition);
        assert_eq!(projection.cell("price", Form::Csv), price);
        let (key, row) =
            projection.project(r#"{"item":"burger","price":1.50,"priority":"a/b","null":null,"more":[]}"#).unwrap();
        assert!(key.is_some());
        assert_eq!(row.cell(price), Some(&b"1.50"[..]));
        assert_eq!(row.cell(priority), Some(&b"a%2Fb"[..]));
        assert_eq!(row.cell(absent), None);
        assert_eq!(row.cell(null), Some(&b"__HIVE_DEFAULT_PARTITION__"[..]));
        assert_eq!(row.cell(9), None);
        assert_eq!(
            projection.project(r#"{"price":1}"#).unwrap().0,
            None,
            "a row without its join field matches nothing"
        );
    }

    #[test]
    fn primary_keys_are_equal_by_value_in_any_order() {
        let key = |raw| primary_key(raw).unwrap();
        assert_eq!(key(r#"{"item":"a","price":100}"#), key(r#"{"price":1e2, "item":"a"}"#));
        assert_ne!(key(r#"{"item":"a","price":100}"#), key(r#"{"item":"a","price":"100"}"#));
        assert_ne!(key(r#"{"a":"b","c":"d"}"#), key(r#"{"a":"d","c":"b"}"#));
        assert!(primary_key("[]").is_err());
    }
}
