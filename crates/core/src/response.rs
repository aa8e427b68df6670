//! The partial-failure answer of an event source mapping: what to deliver again.

use serde::{Deserialize, Serialize};

/// *Batch item failures*. For a stream the mapping resumes at the lowest reported sequence number, and everything
/// after it comes again; for a queue exactly the reported messages do. Empty: all done.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchResponse {
    #[serde(rename = "batchItemFailures")]
    failures: Vec<ItemFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ItemFailure {
    #[serde(rename = "itemIdentifier")]
    identifier: String,
}

impl BatchResponse {
    /// Reports an item, once. An empty identifier would fail the whole batch and is left out: whoever has none to
    /// report returns an error instead.
    pub fn fail(&mut self, identifier: impl Into<String>) {
        let identifier = identifier.into();
        if !identifier.is_empty() && !self.identifiers().any(|known| known == identifier) {
            self.failures.push(ItemFailure { identifier });
        }
    }

    /// What is reported.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().map(|failure| failure.identifier.as_str())
    }

    /// Whether all is done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }
}

impl<T: Into<String>> FromIterator<T> for BatchResponse {
    fn from_iter<I: IntoIterator<Item = T>>(identifiers: I) -> Self {
        let mut response = Self::default();
        identifiers.into_iter().for_each(|identifier| response.fail(identifier));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_lambda_s_and_no_identifier_is_empty() {
        let response: BatchResponse = ["7", "", "9", "7"].into_iter().collect();
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"batchItemFailures":[{"itemIdentifier":"7"},{"itemIdentifier":"9"}]}"#
        );
        assert_eq!(serde_json::to_string(&BatchResponse::default()).unwrap(), r#"{"batchItemFailures":[]}"#);
        assert!(BatchResponse::default().is_success() && !response.is_success());
    }
}
