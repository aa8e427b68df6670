//! log-keeper in the simulation: when it runs and what it is asked for, and what must hold of all that it does.

mod files;
mod gaps;
mod schedule;
mod sleep;
mod watch;

pub use watch::Kept;
