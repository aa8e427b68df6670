//! Where objects live: `s3://bucket[/prefix]`, or a directory for the embedded stack.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place that holds objects, without a trailing slash. What it may be (an S3 URL, a directory) is for the
/// [`Stores`](crate::ports::Stores) adapter to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Location(String);

impl Location {
    /// Takes a URL or directory, dropping trailing slashes.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        while text.len() > 1 && text.ends_with('/') {
            text.pop();
        }
        Self(text)
    }

    /// The text without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bucket and prefix (without slashes at its ends, possibly empty) of an `s3://` URL; `None` for anything else.
    #[must_use]
    pub fn s3(&self) -> Option<(&str, &str)> {
        let rest = self.0.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        (!bucket.is_empty()).then_some((bucket, prefix.trim_matches('/')))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_urls_split_into_bucket_and_prefix() {
        assert_eq!(Location::new("s3://b").s3(), Some(("b", "")));
        assert_eq!(Location::new("s3://b/").s3(), Some(("b", "")));
        assert_eq!(Location::new("s3://b/p/q/").s3(), Some(("b", "p/q")));
        assert_eq!(Location::new("s3:///q").s3(), None);
        assert_eq!(Location::new("/tmp/x/").as_str(), "/tmp/x");
    }
}
