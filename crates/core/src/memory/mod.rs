//! Every port in memory, with the semantics that matter of the real ones: conditional writes that are atomic,
//! modification times in whole seconds, pages of 1,000 keys, sequence numbers of 56 digits, shards that split and
//! merge, and time that moves by itself.
//!
//! All handles made from one adapter share its data. Each handle goes through a [`Gate`]: the faults, the crash and
//! the call counts of one execution environment. Every call gives way to other tasks before it takes effect and again
//! before it answers, so that a single-threaded harness sees real interleavings, the same for the same order of polls.

mod clock;
mod fault;
mod shard;
mod store;
mod stream;
mod table;

pub use clock::MemoryClock;
pub use fault::{Call, Crash, Fault, Faults, Gate, NoFaults, Script};
pub use store::{MemoryStore, MemoryStores};
pub use stream::MemoryStream;
pub use table::MemoryTables;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::deadline::give_way;

/// Data in memory stays whole even if another thread panicked: every change is made in one go.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
