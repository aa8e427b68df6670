//! Why a command failed, on one line.

use std::error::Error;
use std::fmt;

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

impl<E: Error> From<E> for Failure {
    /// An error with its sources, as far as its own text does not name them already.
    fn from(error: E) -> Self {
        let mut line = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = cause.source();
        }
        Self(one_line(&line))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_its_sources_once() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outer\nfailed")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::from(Outer(std::io::Error::other("disk\nfull")));
        assert_eq!(failure.to_string(), "outer failed: disk full");
        assert_eq!(Failure::new("a", "b").while_doing("c").to_string(), "c: a; b");
    }
}
