//! Why a command failed, on one line.

use std::error::Error;
use std::fmt;

use freshjoin_core::chain::Chain;

/// One line that names the cause and the mend.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A cause and what to do about it.
    pub(crate) fn new(cause: impl fmt::Display, mend: impl fmt::Display) -> Self {
        Self(one_line(&format!("{cause}; {mend}")))
    }

    /// Says first what was being done.
    pub(crate) fn while_doing(self, what: impl fmt::Display) -> Self {
        Self(one_line(&format!("{what}: {}", self.0)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error + 'static> From<E> for Failure {
    /// An error with its causes.
    fn from(error: E) -> Self {
        Self(one_line(&Chain(&error).to_string()))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(Failure::from(std::io::Error::other("disk\nfull")).to_string(), "disk full");
        assert_eq!(Failure::new("a", "b").while_doing("c").to_string(), "c: a; b");
    }
}
