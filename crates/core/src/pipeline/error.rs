//! What is wrong with a definition, where, and how to mend it.

use std::fmt;

/// A definition that is refused: the line, the reason, the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DefinitionError {
    /// From 1; `None` where something is missing altogether.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pipeline definition")?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}; {}", self.problem, self.mend)
    }
}

/// Builds errors that know their line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refuse<'a>(pub(super) &'a str);

impl Refuse<'_> {
    /// An error at a byte offset of the text.
    pub(super) fn at(self, offset: usize, problem: impl Into<String>, mend: impl Into<String>) -> DefinitionError {
        let before = self.0.as_bytes().get(..offset.min(self.0.len())).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        DefinitionError { line: Some(line), problem: problem.into(), mend: mend.into() }
    }
}
