//! The join: a definition compiled to a [`Plan`], and the plan run over records into output buffers.
//!
//! The plan reads only the fields that the definition names, keeps them as borrowed text, and writes each row straight
//! into the buffer of its partition.

mod encoder;
mod plan;

pub use encoder::{Counts, Encoded, Encoder, Limits, Taken};
pub use plan::Plan;
