//! An error in one line of a log, with all its causes.

use std::error::Error;
use std::fmt;

/// Shows an error and its causes, joined by colons. A cause whose text is already there is left out, as many errors
/// show their source themselves.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        f.write_str(&shown)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::StoreError;

    #[derive(Debug, thiserror::Error)]
    #[error("the batch failed")]
    struct Outer(#[source] StoreError);

    #[test]
    fn every_cause_is_named_once() {
        let store = StoreError { operation: "GET", key: "k".into(), source: "refused".into() };
        assert_eq!(Chain(&Outer(store)).to_string(), "the batch failed: GET k failed: refused");
    }
}
