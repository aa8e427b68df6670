//! One key of a table, as a snapshot file holds it: what is known of it, and its row.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::reference::{KnownChange, RowError};

/// What is known of one primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the key is compared by, as [`primary_key`](crate::reference::primary_key) makes it. A section is in its order.
    pub primary: &'a [u8],
    /// The key as a JSON object.
    pub key: &'a str,
    /// Its newest change, and when one last took effect.
    pub known: KnownChange<'a>,
    /// `None` for a tombstone.
    pub row: Option<RowFields<'a>>,
}

/// A row's fields, each a name and the value's JSON text, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFields<'a>(Vec<(Cow<'a, str>, &'a str)>);

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> RowFields<'a> {
    /// Of a row's JSON text; of equal names the last counts.
    ///
    /// # Errors
    /// [`RowError`] if it is no object or has a name that cannot be decoded.
    pub fn parse(json: &'a str) -> Result<Self, RowError> {
        let fields: BTreeMap<Name<'a>, &'a RawValue> = serde_json::from_str(json)?;
        Ok(Self(fields.into_iter().map(|(name, value)| (name.0, value.get())).collect()))
    }

    /// Of fields that are in the order of their names.
    pub(super) fn sorted(fields: Vec<(Cow<'a, str>, &'a str)>) -> Self {
        Self(fields)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// The row as JSON text, which is the same for all rows that are [equal](PartialEq).
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = String::from("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::from(&**name).to_string());
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_equal_whatever_the_order_of_their_fields() {
        let row = RowFields::parse(r#" {"b":1.50, "a":[ 1, 2],"a\"c":"x\u0041","b":2.0e1} "#).unwrap();
        assert_eq!(row.json(), r#"{"a":[ 1, 2],"a\"c":"x\u0041","b":2.0e1}"#, "of equal names the last counts");
        assert_eq!(RowFields::parse(&row.json()).unwrap(), row);
        assert_eq!(RowFields::parse("{}").unwrap().json(), "{}");
        for unsound in ["[]", "{", r#"{"\ud800":1}"#] {
            assert!(RowFields::parse(unsound).is_err(), "{unsound}");
        }
    }
}
