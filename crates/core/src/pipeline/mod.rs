//! The pipeline definition: what a user writes in TOML, checked whole at start so that nothing contradictory runs.
//!
//! A definition is identified by the digest of its text; whoever finishes another environment's work uses the
//! definition that the work was begun with.

mod definition;
mod document;
mod error;
mod types;

pub use definition::{Column, Definition, Delivery, Format, JoinKind, JoinPair, Output, PROVENANCE, Reference, Source};
pub use error::DefinitionError;
pub use types::ColumnType;
