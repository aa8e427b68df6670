//! Rows as attributes: plain JSON in a canonical form, and DynamoDB's typed JSON made of it. Numbers stay text.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};

/// A row's attributes in the order of their names, each in canonical form.
pub(super) type Attributes = BTreeMap<String, Box<RawValue>>;

/// The attributes of a JSON object; nested objects have their members in order, and nothing has white space.
pub(super) fn canonical(row: &RawValue) -> Result<Attributes, serde_json::Error> {
    let attributes: Attributes = serde_json::from_str(row.get())?;
    attributes.into_iter().map(|(name, value)| Ok((name, tidy(value)?))).collect()
}

fn tidy(value: Box<RawValue>) -> Result<Box<RawValue>, serde_json::Error> {
    match value.get().as_bytes().first() {
        Some(b'{') => to_raw_value(&canonical(&value)?),
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(value.get())?;
            to_raw_value(&items.into_iter().map(tidy).collect::<Result<Vec<_>, _>>()?)
        }
        // The same text may be escaped in several ways.
        Some(b'"') => to_raw_value(&serde_json::from_str::<String>(value.get())?),
        _ => Ok(value),
    }
}

/// A row as DynamoDB's typed JSON.
pub(super) fn image(row: &Attributes) -> Result<String, serde_json::Error> {
    let members = row.iter().map(|(name, value)| Ok(format!("{}:{}", serde_json::to_string(name)?, typed(value)?)));
    Ok(format!("{{{}}}", members.collect::<Result<Vec<_>, serde_json::Error>>()?.join(",")))
}

fn typed(value: &RawValue) -> Result<String, serde_json::Error> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => format!(r#"{{"S":{text}}}"#),
        Some(b't' | b'f') => format!(r#"{{"BOOL":{text}}}"#),
        Some(b'n') => r#"{"NULL":true}"#.to_owned(),
        Some(b'{') => format!(r#"{{"M":{}}}"#, image(&serde_json::from_str(text)?)?),
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text)?;
            let items = items.iter().map(|item| typed(item)).collect::<Result<Vec<_>, _>>()?;
            format!(r#"{{"L":[{}]}}"#, items.join(","))
        }
        _ => format!(r#"{{"N":"{text}"}}"#),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_row_has_the_same_text() {
        let text = |row: &str| {
            serde_json::to_string(&canonical(&serde_json::from_str::<Box<RawValue>>(row).unwrap()).unwrap()).unwrap()
        };
        let row = r#"{"a":"é/","b":{"c":[1.50,{"d":null,"e":true}]}}"#;
        assert_eq!(text(r#" { "b" : {"c":[ 1.50 , {"e":true,"d":null} ]}, "a":"\u00e9\/" }"#), row);
        assert_eq!(text(row), row);
    }
}
