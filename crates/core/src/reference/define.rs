//! Whether a reference is defined yet, by its base or by a snapshot file; for who makes what is missing.

use super::bootstrap::{Base, Sources, base_that_counts, put_base};
use super::error::LoadError;
use super::objects::look;
use super::restore::restore;
use crate::change::Version;
use crate::pipeline::Source;
use crate::ports::ETag;

/// Whether a reference can be loaded without a look at the table or the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defined {
    /// It can.
    Yes,
    /// Nobody has looked at it yet.
    No,
    /// Its base landed below the floor, and nobody can ever follow the log from it: another may take its place.
    Overtaken(ETag),
}

/// Whether a reference is defined.
///
/// # Errors
/// [`LoadError`] for anything but clean answers.
pub async fn defined(sources: Sources<'_>, reference: &str) -> Result<Defined, LoadError> {
    let missing = match base_that_counts(sources, reference).await? {
        Base::Found(_) => return Ok(Defined::Yes),
        Base::Overtaken(etag) => Defined::Overtaken(etag),
        Base::Missing => Defined::No,
    };
    let file = restore(sources, Version::MAX).await?.file;
    Ok(if file.is_some_and(|file| file.base_of(reference).is_some()) { Defined::Yes } else { missing })
}

/// Makes the base of a reference that consists of objects, in the place of what there is.
///
/// # Errors
/// [`LoadError`]; calling again is safe.
pub async fn define_objects(sources: Sources<'_>, source: &Source, found: Defined) -> Result<(), LoadError> {
    let found = match found {
        Defined::Yes => return Ok(()),
        Defined::No => Base::Missing,
        Defined::Overtaken(etag) => Base::Overtaken(etag),
    };
    let made = look(sources, source).await?;
    put_base(sources, source.id(), made, found).await.map(drop)
}
