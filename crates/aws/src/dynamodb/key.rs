//! Primary keys between plain JSON, as change files have them, and DynamoDB's typed attributes.
//!
//! Plain JSON does not tell binary from text, so the table's own description says what type each attribute has. What does
//! not fit it is an error and never a key that finds nothing: that would be taken for a deleted row.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType, TableDescription};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshjoin_core::value::{self, Kind};
use serde_json::value::RawValue;

use super::key_names;

/// The same for two spellings of one key: numbers are compared by value.
pub(super) type Identity = Vec<u8>;

/// Why JSON is no key of the table.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error("the table's description lacks the type of its key attribute {0:?}")]
    NoType(String),
    #[error("a key is no JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a key is not made of {expected}, of which the table's key is; was the table made anew with another key?")]
    Attributes { expected: String },
    #[error("key attribute {name:?} is no value of type {kind}; was the table made anew with another key?")]
    Value { name: String, kind: ScalarAttributeType },
}

/// The key's attributes, partition key first.
#[derive(Debug)]
pub(super) struct Schema(Vec<(String, ScalarAttributeType)>);

impl Schema {
    /// As the table describes itself.
    pub(super) fn of(table: &TableDescription) -> Result<Self, KeyError> {
        let typed = key_names(table).into_iter().map(|name| {
            let kind = table.attribute_definitions().iter().find(|definition| definition.attribute_name == name);
            let kind = kind.map(|definition| definition.attribute_type.clone());
            kind.map(|kind| (name.clone(), kind)).ok_or(KeyError::NoType(name))
        });
        Ok(Self(typed.collect::<Result<_, _>>()?))
    }

    /// The typed attributes of a key.
    pub(super) fn typed(&self, key: &RawValue) -> Result<HashMap<String, AttributeValue>, KeyError> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(key.get())?;
        if self.0.is_empty() || members.len() != self.0.len() {
            return Err(self.other_attributes());
        }
        let typed = self.0.iter().map(|(name, kind)| {
            let raw = members.get(name).ok_or_else(|| self.other_attributes())?;
            let value = typed(kind, raw.get());
            let value = value.ok_or_else(|| KeyError::Value { name: name.clone(), kind: kind.clone() })?;
            Ok((name.clone(), value))
        });
        typed.collect()
    }

    /// What tells a row's key, or a key alone, from others of the same table.
    pub(super) fn identity(&self, row: &RawValue) -> Result<Identity, KeyError> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(row.get())?;
        let mut identity = Identity::new();
        for (name, kind) in &self.0 {
            let raw = members.get(name).ok_or_else(|| self.other_attributes())?;
            if !value::append_key(raw.get(), &mut identity).unwrap_or(false) {
                return Err(KeyError::Value { name: name.clone(), kind: kind.clone() });
            }
        }
        Ok(identity)
    }

    fn other_attributes(&self) -> KeyError {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        KeyError::Attributes { expected: names.join(", ") }
    }
}

fn typed(kind: &ScalarAttributeType, raw: &str) -> Option<AttributeValue> {
    match (kind, value::kind(raw).ok()?) {
        (ScalarAttributeType::S, Kind::Text(text)) => Some(AttributeValue::S(text.into_owned())),
        (ScalarAttributeType::N, Kind::Number(digits)) => Some(AttributeValue::N(digits.to_owned())),
        (ScalarAttributeType::B, Kind::Text(text)) => {
            Some(AttributeValue::B(Blob::new(STANDARD.decode(text.as_bytes()).ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use freshjoin_core::ports::RawRow;

    use super::*;

    fn schema() -> Schema {
        Schema(vec![("id".into(), ScalarAttributeType::B), ("n".into(), ScalarAttributeType::N)])
    }

    fn raw(text: &str) -> RawRow {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_key_gets_the_types_of_the_table() {
        let typed = schema().typed(&raw(r#"{"n":12345678901234567890123456789012345678,"id":"/wA="}"#)).unwrap();
        assert_eq!(typed["id"], AttributeValue::B(Blob::new([0xff, 0x00])));
        assert_eq!(typed["n"], AttributeValue::N("12345678901234567890123456789012345678".into()));
        let texts = Schema(vec![("id".into(), ScalarAttributeType::S)]);
        assert_eq!(texts.typed(&raw(r#"{"id":"/wA="}"#)).unwrap()["id"], AttributeValue::S("/wA=".into()));
    }

    #[test]
    fn what_is_no_key_of_the_table_is_refused() {
        for (key, reason) in [
            (r#"{"id":"/wA="}"#, "id, n"),
            (r#"{"id":"/wA=","n":1,"more":2}"#, "id, n"),
            (r#"{"id":"/wA=","m":1}"#, "id, n"),
            (r#"{"id":"/wA=","n":"1"}"#, "\"n\" is no value of type N"),
            (r#"{"id":"no base64","n":1}"#, "\"id\" is no value of type B"),
            ("[]", "no JSON object"),
        ] {
            let error = schema().typed(&raw(key)).unwrap_err().to_string();
            assert!(error.contains(reason), "{key}: {error}");
        }
    }

    #[test]
    fn numbers_are_the_same_key_by_value() {
        let identity = |row: &str| schema().identity(&raw(row)).unwrap();
        assert_eq!(identity(r#"{"id":"AA==","n":100}"#), identity(r#"{"x":null,"n":1.00E+2,"id":"AA=="}"#));
        assert_ne!(identity(r#"{"id":"AA==","n":100}"#), identity(r#"{"id":"AA==","n":101}"#));
        assert!(schema().identity(&raw(r#"{"id":"AA=="}"#)).is_err());
        assert!(schema().identity(&raw(r#"{"id":"AA==","n":null}"#)).is_err());
    }
}
