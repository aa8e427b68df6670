//! Time, as the core may know it.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::time::Timestamp;

/// The wall clock and the only way to wait. A simulation's clock moves by itself.
#[async_trait]
pub trait Clock: Send + Sync + Debug {
    /// The time now. It may jump in either direction: nothing that must be right depends on it.
    fn now(&self) -> Timestamp;

    /// Waits at least this long.
    async fn sleep(&self, duration: Duration);
}
