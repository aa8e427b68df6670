//! The batch: how a shard's records become output exactly once.
//!
//! Per shard there is one *cursor* object, changed only by compare-and-swap. A batch finishes whatever range another
//! environment left pending, skips what is committed, swaps its own range in as pending, writes its objects under keys
//! made of shard, first and last sequence number, and swaps in the commit. Whoever is cut short anywhere leaves either
//! nothing, or a pending range that the next one finishes to the same bytes.

mod consumer;
mod cursor;
mod engine;
mod error;
mod finish;
mod pin;
mod range;
mod report;
mod setup;
#[cfg(test)]
mod tests;
mod unguarded;

pub use consumer::{Consumer, ConsumerDeps, ConsumerSettings, Progress};
pub use cursor::{Cursor, CursorError, Intent, Step, cursor_key, definition_key};
pub use error::ProcessError;
pub use report::{BatchReport, IgnoredFlag, LogObserver, Observer};
