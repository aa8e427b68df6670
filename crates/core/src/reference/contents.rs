//! The contents that a change file brings to a library: read and projected before the library is touched, as its lock
//! is never held across a read.

use hashbrown::HashMap;

use super::bootstrap::Sources;
use super::error::LoadError;
use super::objects::{ObjectRows, copy_key, project_copy};
use super::row::Projection;
use crate::change::{ObjectChange, ObjectOp};

/// A content that a reference of a library needs.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(super) reference: usize,
    pub(super) object: String,
    pub(super) sha256: String,
    pub(super) projection: Projection,
}

/// Contents by the reference's place and the object.
#[derive(Debug, Default)]
pub(crate) struct Contents(HashMap<(usize, String), ObjectRows>);

impl Contents {
    /// Reads what is wanted.
    ///
    /// # Errors
    /// [`LoadError`]; calling again is safe.
    pub(crate) async fn read(sources: Sources<'_>, wanted: Vec<Wanted>) -> Result<Self, LoadError> {
        let mut contents = HashMap::with_capacity(wanted.len());
        for Wanted { reference, object, sha256, projection } in wanted {
            let rows = project_copy(sources.state, &object, &sha256, sources.limit, &projection).await?;
            contents.insert((reference, object), rows);
        }
        Ok(Self(contents))
    }

    /// The content that a change brings to a reference; none for a removal.
    pub(super) fn take(&mut self, reference: usize, change: &ObjectChange) -> Result<ObjectRows, LoadError> {
        if change.op == ObjectOp::Remove {
            return Ok(ObjectRows::default());
        }
        self.0.remove(&(reference, change.object.clone())).ok_or_else(|| LoadError::Copy {
            object: change.object.clone(),
            key: copy_key(&change.sha256),
            problem: "was not read in time",
        })
    }
}
