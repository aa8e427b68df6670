//! What the core asks of the outside world. Each port states its ordering, idempotency and failure guarantees; every
//! adapter (AWS, file system, memory) is held to them by one conformance suite.

mod clock;
mod store;
mod stream;
mod table;

pub use clock::Clock;
pub use store::{
    ETag, Fetched, KeyLimits, Listed, LocationError, Object, ObjectStore, Precondition, PutOutcome, StoreError, Stores,
};
pub use stream::{Position, PutEntry, ReadPage, Shard, Stream, StreamDescription, StreamError};
pub use table::{RawRow, ScanPage, Segment, TableError, Tables};

/// The cause of a port's failure, as the adapter got it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
