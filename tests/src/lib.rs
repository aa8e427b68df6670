//! What the integration tests share: servers that live as long as their handle ([fixture]), and one suite for each port
//! that every adapter has to pass ([suite]).
//!
//! Everything listens on loopback. Nothing reads the environment, so no account of whoever runs the tests is met.

pub mod fixture;
pub mod harness;
pub mod suite;
