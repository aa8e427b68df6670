//! One suite for each port: what the port's documentation promises, asked of any adapter.
//!
//! A case gets a *world* that the adapter's test prepares: the adapter itself, empty, and what the port does not offer
//! (making a table, splitting a shard). A case panics where a promise is broken, and says which.

pub mod clock;
pub mod store;
pub mod stream;
pub mod table;

use std::future::Future;
use std::pin::Pin;

/// A case of a suite over a world of type `W`.
pub struct Case<W> {
    /// The promise.
    pub name: &'static str,
    /// Asks for it.
    pub run: fn(W) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<W> std::fmt::Debug for Case<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Cases named like the functions that hold them.
macro_rules! cases {
    ($world:ty: $($name:ident),+ $(,)?) => {
        /// Every case of this suite.
        #[must_use]
        pub fn cases() -> Vec<$crate::suite::Case<$world>> {
            vec![$($crate::suite::Case {
                name: stringify!($name),
                run: |world| Box::pin($name(world)),
            }),+]
        }
    };
}
pub(crate) use cases;
