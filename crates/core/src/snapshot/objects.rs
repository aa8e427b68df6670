//! The objects of references, folded as readers fold them, but without their rows: which content each holds.
//!
//! A content is looked into only where an object was removed, to know whether any other object of its reference has a row;
//! then the answer is kept.

use std::collections::BTreeMap;

use super::file::BaseInfo;
use super::fold::{FoldError, FoldSources};
use crate::change::{ObjectChange, ObjectOp, Version};
use crate::pipeline::Source;
use crate::reference::{ObjectLine, compare_sequencers, covers, has_rows};

/// A reference that is made of objects.
#[derive(Debug)]
pub(super) struct FoldedObjects {
    source: Source,
    base: BaseInfo,
    /// Changes up to here are in it.
    start: Version,
    objects: Objects,
}

/// Every object that the log names.
#[derive(Debug, Default)]
pub(super) struct NamedObjects(Objects);

type Objects = BTreeMap<String, ObjectLine>;

fn by_url(lines: impl IntoIterator<Item = ObjectLine>) -> Objects {
    lines.into_iter().map(|line| (line.object.clone(), line)).collect()
}

/// Takes a change that is news of its object.
fn take(objects: &mut Objects, change: &ObjectChange) {
    let line = objects.entry(change.object.clone()).or_default();
    let known = line.sequencer.as_deref();
    if known.is_some_and(|known| compare_sequencers(&change.sequencer, known).is_lt()) {
        return;
    }
    line.object.clone_from(&change.object);
    line.sequencer = Some(change.sequencer.clone());
    match change.op {
        ObjectOp::Remove => line.removed = line.sha256.is_some(),
        ObjectOp::Replace => {
            if line.sha256.as_deref() != Some(&change.sha256) {
                line.has_rows = None;
            }
            line.sha256 = Some(change.sha256.clone());
            line.etag.clone_from(&change.etag);
            line.version_id.clone_from(&change.version_id);
            line.removed = false;
        }
    }
}

impl NamedObjects {
    pub(super) fn new(lines: &[ObjectLine]) -> Self {
        Self(by_url(lines.iter().cloned()))
    }

    /// Takes a change file's changes of objects.
    pub(super) fn apply(&mut self, changes: &[ObjectChange]) {
        changes.iter().for_each(|change| take(&mut self.0, change));
    }

    pub(super) fn into_lines(self) -> Vec<ObjectLine> {
        self.0.into_values().collect()
    }
}

impl FoldedObjects {
    /// As it was at `start`.
    pub(super) fn new(reference: &str, base: BaseInfo, start: Version, lines: Vec<ObjectLine>) -> Self {
        Self { source: Source::Object(reference.into()), base, start, objects: by_url(lines) }
    }

    /// Applies a change file's changes of objects.
    ///
    /// # Errors
    /// [`FoldError::Content`] where a content had to be looked into and could not be.
    pub(super) async fn apply(
        &mut self,
        version: Version,
        changes: &[ObjectChange],
        sources: FoldSources<'_>,
    ) -> Result<(), FoldError> {
        if version <= self.start {
            return Ok(());
        }
        for change in changes.iter().filter(|change| covers(&self.source, &change.object)) {
            take(&mut self.objects, change);
        }
        if self.objects.values().any(|line| line.removed) && self.has_rows(sources).await? {
            for line in self.objects.values_mut().filter(|line| line.removed) {
                let (object, sequencer) = (std::mem::take(&mut line.object), line.sequencer.take());
                *line = ObjectLine { object, sequencer, ..ObjectLine::default() };
            }
        }
        Ok(())
    }

    /// Whether an object that was not removed has rows.
    async fn has_rows(&mut self, sources: FoldSources<'_>) -> Result<bool, FoldError> {
        for line in self.objects.values_mut().filter(|line| !line.removed) {
            let Some(sha256) = &line.sha256 else { continue };
            let has = match line.has_rows {
                Some(has) => has,
                None => has_rows(sources.state, &line.object, sha256, sources.limit).await?,
            };
            line.has_rows = Some(has);
            if has {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn into_parts(self) -> (String, BaseInfo, Vec<ObjectLine>) {
        (self.source.id().into(), self.base, self.objects.into_values().collect())
    }
}
