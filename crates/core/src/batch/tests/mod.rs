//! The state machine held to its rules on memory ports, with faults written down beforehand.

mod bootstrap;
mod crash;
mod flags;
mod latest;
mod letters;
mod limits;
mod objects;
mod pending;
mod pins;
mod race;
mod recreated;
mod requests;
mod snapshots;
mod versions;
mod world;
