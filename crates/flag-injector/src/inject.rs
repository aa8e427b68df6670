//! From notices to one flag. A reference object is captured first; its change file is announced at once, and again when
//! its own notice comes.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshjoin_core::broadcast::broadcast;
use freshjoin_core::change::{Flag, Version};
use freshjoin_core::content::ContentFormat;
use freshjoin_core::deadline::within;
use freshjoin_core::log::version_of;
use freshjoin_core::time::Timestamp;

use crate::capture::{Objects, capture};
use crate::notice::{Happened, Notice};
use crate::{FlagInjector, InjectError};

/// What came of the notices of some messages.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The version that was announced.
    pub(crate) flag: Option<Version>,
    /// What failed, each with the places of the messages that must come again.
    pub(crate) failures: Vec<(InjectError, Vec<usize>)>,
}

/// What a notice asks for.
enum Meaning {
    Announce(Version),
    Reference,
    Nothing,
}

/// Deals with the notices of each message.
pub(crate) async fn inject(deps: &FlagInjector, messages: Vec<Vec<Notice>>, end: Timestamp) -> Done {
    let mut done = Done::default();
    let mut wanted: BTreeMap<Version, Vec<usize>> = BTreeMap::new();
    let mut objects = Objects::default();
    for (index, notice) in messages.iter().enumerate().flat_map(|(n, notices)| notices.iter().map(move |x| (n, x))) {
        match meaning(deps, notice) {
            Meaning::Announce(version) => wanted.entry(version).or_default().push(index),
            Meaning::Reference => objects.add(notice, index),
            Meaning::Nothing => {}
        }
    }
    for (version, messages) in capture(deps, objects, end).await {
        match version {
            Ok(version) => wanted.entry(version).or_default().extend(messages),
            Err(error) => done.failures.push((error, messages)),
        }
    }
    // From the newest down, until one can be announced: that announces the older ones as well.
    while let Some((version, messages)) = wanted.pop_last() {
        match announce(deps, version, end).await {
            Ok(true) => {
                done.flag = Some(version);
                break;
            }
            // Expired, and so has every older one.
            Ok(false) => break,
            Err(error) => done.failures.push((error, messages)),
        }
    }
    done
}

fn meaning(deps: &FlagInjector, notice: &Notice) -> Meaning {
    let Notice { bucket, key, happened, .. } = notice;
    if *happened == Happened::Other {
        return Meaning::Nothing;
    }
    let in_state = deps.state.s3().filter(|(state, _)| state == bucket).and_then(|(_, prefix)| {
        if prefix.is_empty() { Some(key.as_str()) } else { key.strip_prefix(prefix)?.strip_prefix('/') }
    });
    match in_state {
        None if ContentFormat::of_name(key).is_some() => Meaning::Reference,
        None => {
            tracing::warn!(bucket, key, "not reference data: its name ends in none of .jsonl, .csv and .parquet");
            Meaning::Nothing
        }
        Some(key) => match version_of(key) {
            Some(version) if *happened == Happened::Created => Meaning::Announce(version),
            _ => Meaning::Nothing,
        },
    }
}

/// Broadcasts the flag of a version; `false` if its change file has expired since, which everybody has read then.
async fn announce(deps: &FlagInjector, version: Version, end: Timestamp) -> Result<bool, InjectError> {
    let clock = &*deps.clock;
    let Some((_, bytes)) = within(clock, end, deps.log.read(version)).await?? else {
        let floor = within(clock, end, deps.log.floor()).await??.version;
        return if version <= floor { Ok(false) } else { Err(InjectError::Missing { version }) };
    };
    let flag = Bytes::from(Flag::of(version, &bytes).encode()?);
    let report = broadcast(&*deps.stream, clock, flag, end)
        .await
        .map_err(|source| InjectError::Broadcast { version, source })?;
    tracing::info!(version, shards = report.shards.len(), attempts = report.attempts, "flag broadcast");
    Ok(true)
}
