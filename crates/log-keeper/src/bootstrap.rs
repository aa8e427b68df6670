//! The first look at what nobody has looked at yet: the base of each reference of the definition that has none.
//!
//! A table may be too big for one invocation: each scans for as long as it has time and leaves what it has in the state,
//! and the next one goes on. While one scans, every other leaves it alone, and enrichers wait. Always: what is there already,
//! and can be used, stays as it is.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use freshjoin_core::deadline::{OutOfTime, within};
use freshjoin_core::pipeline::Source;
use freshjoin_core::reference::{Defined, LoadError, Scanned, define_objects, defined, scan_on, tidy};
use freshjoin_core::time::Timestamp;
use serde::Serialize;

use crate::LogKeeper;

/// So long before the end no further page is begun, so that what was scanned gets into the state.
const FINISH_MS: i64 = 10_000;

/// How a reference stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It had its base before, or is in a snapshot file.
    There,
    /// It has its base now.
    Done,
    /// The next invocation goes on scanning it.
    Scanning,
    /// Somebody else is scanning it.
    Elsewhere,
}

/// What was done for one reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bootstrapped {
    /// The table's name or the object's URL.
    pub reference: String,
    /// How it stands.
    pub state: Standing,
    /// Rows scanned up to now, where a table was.
    pub rows: u64,
}

/// A reference has no base still. What was scanned of it stays.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It could not be looked at.
    #[error("{reference} could not be looked at")]
    Load {
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// All is scanned, but making the base takes longer than there is time; or nothing answers.
    #[error("the base of {reference} could not be made in time; raise the function's timeout")]
    OutOfTime {
        /// The reference.
        reference: String,
        /// When.
        #[source]
        source: OutOfTime,
    },
}

/// References that this environment knows to be defined: they stay so.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeSet<String>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at every reference of the definition. Each is tried, whatever becomes of the others.
pub(crate) async fn bootstrap(keeper: &LogKeeper, end: Timestamp) -> (Vec<Bootstrapped>, Vec<BootstrapError>) {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for source in keeper.definition.references.iter().map(|reference| &reference.source) {
        let reference = source.id().to_owned();
        match within(&*keeper.deps.clock, end, one(keeper, source, end)).await {
            Ok(Ok(bootstrapped)) => done.push(bootstrapped),
            Ok(Err(source)) => errors.push(BootstrapError::Load { reference, source }),
            Err(source) => errors.push(BootstrapError::OutOfTime { reference, source }),
        }
    }
    (done, errors)
}

async fn one(keeper: &LogKeeper, source: &Source, end: Timestamp) -> Result<Bootstrapped, LoadError> {
    let reference = source.id();
    let standing = |state, rows| Bootstrapped { reference: reference.into(), state, rows };
    if keeper.known.lock().contains(reference) {
        return Ok(standing(Standing::There, 0));
    }
    let sources = keeper.sources();
    let found = defined(sources, reference).await?;
    if found == Defined::Yes {
        tidy(sources.state, reference).await?;
        keeper.known.lock().insert(reference.into());
        return Ok(standing(Standing::There, 0));
    }
    let Source::Table(table) = source else {
        define_objects(sources, source, found).await?;
        return Ok(standing(Standing::Done, 0));
    };
    let replacing = if let Defined::Overtaken(etag) = &found { Some(etag) } else { None };
    let left = end.millis().saturating_sub(keeper.deps.clock.now().millis());
    let until = end.plus_millis(-FINISH_MS.min(left / 2));
    Ok(match scan_on(sources, table, replacing, until).await? {
        Scanned::Done { rows } => standing(Standing::Done, rows),
        Scanned::UnderWay { rows, elsewhere: false } => standing(Standing::Scanning, rows),
        Scanned::UnderWay { rows, elsewhere: true } => standing(Standing::Elsewhere, rows),
    })
}
