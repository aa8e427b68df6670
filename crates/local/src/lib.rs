//! The embedded stack: the ports of freshjoin in directories and memory, and event source mappings with AWS's failure
//! semantics. `freshjoin run` and `freshjoin demo` stand on it, and so do the end to end tests.

pub mod asynchronous;
pub mod function;
pub mod mapping;
#[cfg(feature = "runtime-api")]
pub mod runtime_api;
pub mod store;
pub mod stream;
pub mod table;
#[cfg(test)]
mod testing;

pub use asynchronous::{AsyncInvoker, AsyncSettings};
pub use function::{Function, InProcess, InvokeError};
pub use mapping::{EventShape, Mapping, MappingObserver, MappingSettings};
pub use store::{FsStore, FsStores, Notice, NotifyingStore, SplitStore};
pub use stream::{EmbeddedStream, PageLimits};
pub use table::{EmbeddedTable, EmbeddedTables};
