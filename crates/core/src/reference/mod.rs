//! Reference data in memory, addressable by version: the rows, how changes fold into them, how they are loaded.
//!
//! A reference is a map from join keys to rows in which every row knows the versions it was valid in, so that a shard at
//! version 5 and one at version 7 read the same structure, a change costs its own size, and nobody sees half a version.

mod base;
mod bootstrap;
mod by_join;
mod contents;
mod define;
mod error;
mod keys;
mod known;
mod library;
mod load;
mod newest;
mod objects;
mod restore;
mod row;
mod scan;
mod slab;
mod table;
mod versioned;

pub use base::{BASES, BaseError, BaseHeader, base_header, base_key, read_base};
pub(crate) use base::{BaseLine, base_lines};
pub use bootstrap::Sources;
pub(crate) use contents::Contents;
pub use define::{Defined, define_objects, defined};
pub use error::LoadError;
pub use library::{Library, RING, Refreshed};
pub use newest::{KnownChange, NEVER, SCAN_GRACE_MILLIS, newest_after, takes_effect};
pub use objects::{
    ContentProblem, CopyError, ObjectLine, compare_sequencers, copy_key, objects_now, put_copy, split_url, validate,
};
pub(crate) use objects::{covers, has_rows, read_manifest};
pub(crate) use restore::{candidates, is_nearer};
pub use row::{JoinKeys, Projection, Row, RowError, primary_key};
pub use scan::{SCANS, Scanned, progress_key, scan_on, tidy};
pub use table::key_of;
pub use versioned::{Effect, VersionedReference};
