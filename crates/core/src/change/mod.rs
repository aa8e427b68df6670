//! What travels: the *change file* (one version of the log, on the object store) and the *change flag* (the record in
//! the stream that announces a version).

mod file;
mod flag;

pub use file::{Change, ChangeFile, DecodeError, ObjectChange, ObjectOp, Origin, RowChange, Version, change_key};
pub use flag::{Flag, FlagError, digest};
