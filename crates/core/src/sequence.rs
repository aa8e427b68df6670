//! Kinesis sequence numbers: decimal text of up to 56 digits, beyond `u128`, compared by length and then by bytes.
//!
//! Also what DynamoDB Streams numbers its records with.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// An owned sequence number. `Deref`s to its text through [`as_str`](Self::as_str).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct SequenceNumber(Box<str>);

/// Compares two sequence numbers given as text.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (significant(left), significant(right));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

fn significant(text: &str) -> &str {
    if text.as_bytes().first() == Some(&b'0') { text.trim_start_matches('0') } else { text }
}

impl SequenceNumber {
    /// Takes the text as it is.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The decimal text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Borrow<str> for SequenceNumber {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for SequenceNumber {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_u128_compare_by_length_then_bytes() {
        let small = "9".repeat(55);
        let large = format!("1{}", "0".repeat(55));
        assert_eq!(compare(&small, &large), Ordering::Less);
        assert_eq!(compare("10", "9"), Ordering::Greater);
        assert_eq!(compare("0009", "9"), Ordering::Equal);
    }
}
