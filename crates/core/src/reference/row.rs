//! One reference row, reduced to what a pipeline uses of it and brought into the form in which it is used.

use crate::encode::Form;
use crate::record::{FieldNames, Fields, parse_object};
use crate::value::{Kind, NotText, append_key, is_number, kind};

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
    untyped: bool,
    cells: Vec<(usize, Form)>,
}

/// A row's cells in one allocation: for each cell the end of its bytes (the top bit set where the row lacks the field),
/// then the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(Box<[u8]>);

/// The join keys that a row is found by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JoinKeys {
    /// A join field is null, absent or nested: the row matches nothing.
    #[default]
    None,
    /// As nearly every row.
    One(Box<[u8]>),
    /// An untyped row whose text is a number too.
    Several(Vec<Box<[u8]>>),
}

impl JoinKeys {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let keys = match self {
            Self::None => [].as_slice(),
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys.as_slice(),
        };
        keys.iter().map(|key| &**key)
    }
}

impl From<Vec<Vec<u8>>> for JoinKeys {
    fn from(mut keys: Vec<Vec<u8>>) -> Self {
        match (keys.pop(), keys.is_empty()) {
            (None, _) => Self::None,
            (Some(key), true) => Self::One(key.into()),
            (Some(key), false) => Self::Several(keys.into_iter().chain([key]).map(Into::into).collect()),
        }
    }
}

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

    /// Bytes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
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
    /// A projection onto the join fields, in the order in which a record's key is built. The text of untyped rows stands
    /// for a number too where it is one.
    #[must_use]
    pub fn new(join_fields: &[&str], untyped: bool) -> Self {
        let mut names = FieldNames::default();
        let join = join_fields.iter().map(|field| names.slot(field)).collect();
        Self { names, join, untyped, cells: Vec::new() }
    }

    /// The index of a field's cell in a form, added if it is new.
    pub fn cell(&mut self, field: &str, form: Form) -> usize {
        let wanted = (self.names.slot(field), form);
        self.cells.iter().position(|cell| *cell == wanted).unwrap_or_else(|| {
            self.cells.push(wanted);
            self.cells.len() - 1
        })
    }

    /// The row's cells, and the join keys that it is found by.
    ///
    /// # Errors
    /// [`RowError`] if it is no object or has a string that cannot be decoded in a field that is used.
    pub fn project(&self, raw: &str) -> Result<(JoinKeys, Row), RowError> {
        self.project_as(raw, self.untyped)
    }

    /// As [`project`](Self::project), for a row that is known to have types or none.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn project_as(&self, raw: &str, untyped: bool) -> Result<(JoinKeys, Row), RowError> {
        let mut fields = Fields::of(&self.names);
        parse_object(&self.names, raw, &mut fields)?;
        self.cut(&fields, untyped)
    }

    /// As [`project`](Self::project), of a row whose fields are at hand.
    pub(super) fn project_fields(&self, fields: &Fields<'_>) -> Result<(JoinKeys, Row), RowError> {
        self.cut(fields, self.untyped)
    }

    /// The fields that it reads of a row.
    pub(crate) fn names(&self) -> &FieldNames {
        &self.names
    }

    fn cut(&self, fields: &Fields<'_>, untyped: bool) -> Result<(JoinKeys, Row), RowError> {
        // As much as it takes where no form is longer than the JSON text.
        let text = self.cells.iter().map(|(slot, _)| fields.get(*slot).map_or(0, str::len)).sum::<usize>();
        let mut bytes = Vec::with_capacity(text + self.cells.len() * 4 + 4);
        bytes.resize(self.cells.len() * 4, 0);
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
        Ok((self.keys(fields, untyped)?, Row(bytes.into_boxed_slice())))
    }

    fn keys(&self, fields: &Fields<'_>, untyped: bool) -> Result<JoinKeys, RowError> {
        if !untyped {
            let mut key = Vec::with_capacity(64);
            for slot in &self.join {
                if !append_key(fields.get(*slot).unwrap_or("null"), &mut key)? {
                    return Ok(JoinKeys::None);
                }
            }
            return Ok(JoinKeys::One(key.into_boxed_slice()));
        }
        let mut keys = vec![Vec::new()];
        for slot in &self.join {
            let raw = fields.get(*slot).unwrap_or("null");
            let number = match kind(raw)? {
                Kind::Text(text) if is_number(&text) => Some(text),
                _ => None,
            };
            let mut as_numbers = if number.is_some() { keys.clone() } else { Vec::new() };
            for key in &mut keys {
                if !append_key(raw, key)? {
                    return Ok(JoinKeys::None);
                }
            }
            for (key, number) in as_numbers.iter_mut().zip(number.iter().cycle()) {
                append_key(number, key)?;
            }
            keys.extend(as_numbers);
        }
        Ok(keys.into())
    }
}

/// What a primary key (a JSON object) is compared by: its attributes in name order, numbers by value.
///
/// # Errors
/// [`RowError`] if it is no object or has a string that cannot be decoded.
pub fn primary_key(raw: &str) -> Result<Box<[u8]>, RowError> {
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
        let mut projection = Projection::new(&["item"], false);
        let price = projection.cell("price", Form::Csv);
        let priority = projection.cell("priority", Form::Partition);
        let absent = projection.cell("nope", Form::Csv);
        let null = projection.cell("null", Form::Partition);
        assert_eq!(projection.cell("price", Form::Csv), price);
        let (key, row) =
            projection.project(r#"{"item":"burger","price":1.50,"priority":"a/b","null":null,"more":[]}"#).unwrap();
        assert!(matches!(key, JoinKeys::One(_)));
        assert_eq!(row.cell(price), Some(&b"1.50"[..]));
        assert_eq!(row.cell(priority), Some(&b"a%2Fb"[..]));
        assert_eq!(row.cell(absent), None);
        assert_eq!(row.cell(null), Some(&b"__HIVE_DEFAULT_PARTITION__"[..]));
        assert_eq!(row.cell(9), None);
        assert_eq!(
            projection.project(r#"{"price":1}"#).unwrap().0,
            JoinKeys::None,
            "a row without its join field matches nothing"
        );
    }

    #[test]
    fn an_untyped_row_is_found_by_its_text_and_by_its_value() {
        let key = |raws: &[&str]| {
            let mut out = Vec::new();
            raws.iter().for_each(|raw| assert!(append_key(raw, &mut out).unwrap()));
            out
        };
        let keys = |untyped| Projection::new(&["a", "b"], untyped).project(r#"{"a":"1.0","b":"2"}"#).unwrap().0;
        let found = |keys: &JoinKeys, raws: &[&str]| keys.iter().any(|known| *known == key(raws));
        let untyped = keys(true);
        for raws in [["\"1.0\"", "\"2\""], ["1", "\"2\""], ["\"1.0\"", "2.00"], ["1e0", "2"]] {
            assert!(found(&untyped, &raws), "{raws:?}");
        }
        assert!(!found(&untyped, &["\"1\"", "\"2\""]), "text is compared as text");
        assert!(!found(&keys(false), &["1", "2"]), "what has types keeps them");
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
