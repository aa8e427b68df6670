//! The heart of freshjoin, without I/O, clock or randomness: what a record, a change and a flag are; the
//! change log; reference data addressable by version; the join; and the state machine that makes the
//! output exactly-once. Everything outside is reached through [`ports`], so that the same code runs on
//! AWS, on a file system and in a seeded simulation.

pub mod batch;
pub mod broadcast;
pub mod bug;
pub mod chain;
pub mod change;
pub mod compression;
pub mod content;
pub mod deadline;
mod decimal;
pub mod encode;
pub mod join;
pub mod location;
pub mod log;
pub mod memory;
pub mod pipeline;
pub mod ports;
pub mod record;
pub mod reference;
pub mod response;
pub mod sequence;
pub mod settings;
pub mod snapshot;
pub mod time;
pub mod value;
