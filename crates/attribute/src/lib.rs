//! DynamoDB's typed attributes as plain JSON text: a number keeps all its digits, binary becomes base64 text, a set a
//! sorted array, an object has its members in sorted order.
//!
//! The same item always gives the same text, whatever order its attributes came in: that text is what a row's key is
//! compared by. What is no value of DynamoDB's (a number that is none) is an error, never a guess.

mod number;

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshjoin_core::ports::RawRow;
use serde_dynamo::{AttributeValue, Item};
use serde_json::value::RawValue;

/// An item that has no plain JSON form. Trying again gives the same.
#[derive(Debug, thiserror::Error)]
pub enum AttributeError {
    /// An attribute of type N or NS holds no number.
    #[error("attribute {path}: {text:?} is no number")]
    Number {
        /// The attribute's name, with those of the objects around it before it.
        path: String,
        /// What it holds.
        text: String,
    },
    /// The text could not be written, which would be a bug.
    #[error("the item cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// The item as the text of a JSON object.
///
/// # Errors
/// [`AttributeError`] if one of its values has no plain JSON form.
pub fn item_to_json(item: &Item) -> Result<RawRow, AttributeError> {
    let mut writer = Writer::default();
    writer.object(item.inner())?;
    // JSON is written here from strings only, so that it is always UTF-8; the parser proves the rest.
    Ok(RawValue::from_string(String::from_utf8_lossy(&writer.out).into_owned())?)
}

#[derive(Default)]
struct Writer<'a> {
    out: Vec<u8>,
    path: Vec<&'a str>,
}

impl<'a> Writer<'a> {
    fn object(&mut self, members: &'a HashMap<String, AttributeValue>) -> Result<(), AttributeError> {
        let sorted: BTreeMap<&str, &AttributeValue> = members.iter().map(|(name, value)| (&**name, value)).collect();
        self.sequence(b"{", b"}", sorted, |writer, (name, value)| {
            writer.string(name)?;
            writer.out.push(b':');
            writer.path.push(name);
            writer.value(value)?;
            writer.path.pop();
            Ok(())
        })
    }

    fn value(&mut self, value: &'a AttributeValue) -> Result<(), AttributeError> {
        match value {
            AttributeValue::N(text) => {
                let number = self.number(text)?;
                self.out.extend_from_slice(number.as_bytes());
                Ok(())
            }
            AttributeValue::S(text) => self.string(text),
            AttributeValue::Bool(true) => self.literal(b"true"),
            AttributeValue::Bool(false) => self.literal(b"false"),
            AttributeValue::B(bytes) => self.string(&STANDARD.encode(bytes)),
            AttributeValue::Null(_) => self.literal(b"null"),
            AttributeValue::M(members) => self.object(members),
            AttributeValue::L(items) => self.sequence(b"[", b"]", items, Self::value),
            AttributeValue::Ss(texts) => {
                let mut sorted: Vec<&String> = texts.iter().collect();
                sorted.sort_unstable();
                self.sequence(b"[", b"]", sorted, |writer, text| writer.string(text))
            }
            AttributeValue::Ns(texts) => {
                let mut sorted = texts.iter().map(|text| self.number(text)).collect::<Result<Vec<_>, _>>()?;
                sorted.sort_by(|a, b| number::order(a, b));
                self.sequence(b"[", b"]", sorted, |writer, text| writer.literal(text.as_bytes()))
            }
            AttributeValue::Bs(values) => {
                let mut sorted: Vec<&Vec<u8>> = values.iter().collect();
                sorted.sort_unstable();
                self.sequence(b"[", b"]", sorted, |writer, bytes| writer.string(&STANDARD.encode(bytes)))
            }
        }
    }

    fn sequence<T>(
        &mut self,
        open: &[u8],
        close: &[u8],
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), AttributeError>,
    ) -> Result<(), AttributeError> {
        self.out.extend_from_slice(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item)?;
        }
        self.literal(close)
    }

    fn string(&mut self, text: &str) -> Result<(), AttributeError> {
        Ok(serde_json::to_writer(&mut self.out, text)?)
    }

    fn literal(&mut self, text: &[u8]) -> Result<(), AttributeError> {
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn number(&self, text: &str) -> Result<String, AttributeError> {
        number::json(text).ok_or_else(|| AttributeError::Number { path: self.path.join("."), text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(item: &str) -> String {
        item_to_json(&serde_json::from_str(item).unwrap()).unwrap().get().to_owned()
    }

    #[test]
    fn every_type_has_its_plain_form() {
        assert_eq!(
            json(
                r#"{"s":{"S":"a\"b\n\u2028é"},"n":{"N":"12345678901234567890123456789012345678"},"b":{"B":"AAEqQQ=="},
                "t":{"BOOL":true},"f":{"BOOL":false},"z":{"NULL":true},"l":{"L":[{"N":"1.50"},{"S":"x"},{"L":[]}]},
                "m":{"M":{"y":{"N":"1"},"x":{"M":{}}}}}"#
            ),
            concat!(
                r#"{"b":"AAEqQQ==","f":false,"l":[1.50,"x",[]],"m":{"x":{},"y":1},"#,
                r#""n":12345678901234567890123456789012345678,"s":"a\"b\n"#,
                "\u{2028}é\",\"t\":true,\"z\":null}"
            )
        );
    }

    #[test]
    fn sets_are_sorted_arrays() {
        assert_eq!(
            json(
                r#"{"ss":{"SS":["b","a","B"]},"ns":{"NS":["10","9","-1","1E1"]},"bs":{"BS":["QSoBAA==","AAEqQQ=="]}}"#
            ),
            r#"{"bs":["AAEqQQ==","QSoBAA=="],"ns":[-1,9,10,1E1],"ss":["B","a","b"]}"#
        );
    }

    #[test]
    fn the_order_of_attributes_does_not_matter() {
        assert_eq!(
            json(r#"{"item":{"S":"burger"},"price":{"N":"100"}}"#),
            json(r#"{"price":{"N":"100"},"item":{"S":"burger"}}"#)
        );
    }

    #[test]
    fn what_is_no_number_names_its_place() {
        let item = serde_json::from_str(r#"{"a":{"M":{"b":{"L":[{"N":"NaN"}]}}}}"#).unwrap();
        assert_eq!(item_to_json(&item).unwrap_err().to_string(), "attribute a.b: \"NaN\" is no number");
    }
}
