//! Reference objects into the log: what a notice is about is copied into the state, then the change that names the copy
//! is appended.
//!
//! Always: a copy is whole, readable and in the state before a change names it. A content that no reader could use never
//! gets into the log; its notice fails, with the reason, until the object is mended. Notices may come late, twice and
//! in any order: a change carries its notice's sequencer, by which readers put them in order, and what is read is the
//! very version that the notice names or, where the bucket keeps none, what is there now: never older than the notice.
//! The last notice is therefore followed by what was there last.

use std::collections::BTreeMap;

use freshjoin_core::change::{Change, ObjectChange, ObjectOp, Origin, Version};
use freshjoin_core::deadline::within;
use freshjoin_core::log::ReadError;
use freshjoin_core::ports::{Fetched, Object, ObjectStore};
use freshjoin_core::reference::{compare_sequencers, put_copy, split_url, validate};
use freshjoin_core::time::Timestamp;

use crate::notice::{Happened, Notice};
use crate::{FlagInjector, InjectError};

/// A notice that comes again is looked for in so many of the newest change files.
const RECENT: Version = 64;

/// The newest notice of one object, and the places of the messages that brought one.
#[derive(Debug)]
pub(crate) struct Noticed {
    pub(crate) notice: Notice,
    pub(crate) messages: Vec<usize>,
}

/// What came of the notices of some objects: the versions to announce, and what failed.
pub(crate) type Captured = Vec<(Result<Version, InjectError>, Vec<usize>)>;

/// The newest notice of each object, from all messages.
#[derive(Debug, Default)]
pub(crate) struct Objects(BTreeMap<String, Noticed>);

impl Objects {
    pub(crate) fn add(&mut self, notice: &Notice, message: usize) {
        let url = format!("s3://{}/{}", notice.bucket, notice.key);
        let noticed = self.0.entry(url).or_insert_with(|| Noticed { notice: notice.clone(), messages: Vec::new() });
        if compare_sequencers(&notice.sequencer, &noticed.notice.sequencer).is_ge() {
            noticed.notice = notice.clone();
        }
        noticed.messages.push(message);
    }
}

/// Brings what became of the objects into the log, as one change file.
pub(crate) async fn capture(deps: &FlagInjector, objects: Objects, end: Timestamp) -> Captured {
    let mut captured = Captured::new();
    if objects.0.is_empty() {
        return captured;
    }
    let recent = match within(&*deps.clock, end, recent(deps)).await {
        Ok(Ok(recent)) => recent,
        // Without it a notice that comes again gets a second change file, which does no harm.
        Ok(Err(error)) => {
            tracing::warn!(%error, "the newest change files cannot be read");
            BTreeMap::new()
        }
        Err(late) => {
            let messages = objects.0.into_values().flat_map(|noticed| noticed.messages).collect();
            captured.push((Err(late.into()), messages));
            return captured;
        }
    };
    let mut changes: BTreeMap<String, (ObjectChange, Vec<usize>)> = BTreeMap::new();
    for (url, Noticed { mut notice, messages }) in objects.0 {
        let known = recent.get(&url);
        if let Some((_, known)) = known.filter(|_| notice.sequencer.is_empty()) {
            // Somebody's own call: what is there now is no older than what is known.
            notice.sequencer.clone_from(&known.sequencer);
        }
        if let Some((version, known)) = known
            && compare_sequencers(&notice.sequencer, &known.sequencer).is_lt()
        {
            tracing::info!(object = url, version, "a late notice: the log has a newer change of this object");
            captured.push((Ok(*version), messages));
            continue;
        }
        match within(&*deps.clock, end, read(deps, &url, &notice)).await.map_err(InjectError::from).flatten() {
            Ok(change) => match known.filter(|(_, known)| is_same(known, &change)) {
                Some((version, _)) => captured.push((Ok(*version), messages)),
                None => drop(changes.insert(url, (change, messages))),
            },
            Err(error) => captured.push((Err(error), messages)),
        }
    }
    let messages: Vec<usize> = changes.values().flat_map(|(_, messages)| messages.clone()).collect();
    let changes: Vec<ObjectChange> = changes.into_values().map(|(change, _)| change).collect();
    if let Some(origin) = origin(&changes) {
        captured.push((append(deps, origin, changes, end).await, messages));
    }
    captured
}

async fn append(
    deps: &FlagInjector,
    origin: Origin,
    changes: Vec<ObjectChange>,
    end: Timestamp,
) -> Result<Version, InjectError> {
    let count = changes.len();
    let changes = changes.into_iter().map(Change::Object).collect();
    let appended = within(&*deps.clock, end, deps.log.append(origin, changes)).await?.map_err(InjectError::Append)?;
    tracing::info!(version = appended.version, objects = count, "reference objects captured");
    Ok(appended.version)
}

/// The first object stands for all, and the sequencers say which notices they were.
fn origin(changes: &[ObjectChange]) -> Option<Origin> {
    let source = changes.first()?.object.clone();
    let range = changes.iter().map(|change| change.sequencer.as_str()).collect::<Vec<_>>().join(",");
    Some(Origin { source, label: String::new(), range })
}

fn is_same(known: &ObjectChange, change: &ObjectChange) -> bool {
    known.op == change.op
        && known.sha256 == change.sha256
        && compare_sequencers(&known.sequencer, &change.sequencer).is_eq()
}

/// The newest change of each object that the newest change files name.
async fn recent(deps: &FlagInjector) -> Result<BTreeMap<String, (Version, ObjectChange)>, ReadError> {
    let floor = deps.log.floor().await?.version;
    let head = deps.log.head(floor).await?;
    let mut after = head.saturating_sub(RECENT).max(floor);
    let files = loop {
        match deps.log.read_range(after, head).await {
            // A file that nobody can read holds up readers until it is passed by, and no writer.
            Err(ReadError::Poison { version, .. }) => after = version,
            other => break other?,
        }
    };
    let mut newest: BTreeMap<String, (Version, ObjectChange)> = BTreeMap::new();
    for (file, _) in files {
        for change in file.changes {
            let Change::Object(change) = change else { continue };
            let older = newest
                .get(&change.object)
                .is_some_and(|(_, known)| compare_sequencers(&change.sequencer, &known.sequencer).is_lt());
            if !older {
                newest.insert(change.object.clone(), (file.version, change));
            }
        }
    }
    Ok(newest)
}

/// What a notice says of its object, with the content in the state.
async fn read(deps: &FlagInjector, url: &str, notice: &Notice) -> Result<ObjectChange, InjectError> {
    let change = ObjectChange {
        object: url.into(),
        op: ObjectOp::Remove,
        sha256: String::new(),
        etag: None,
        version_id: None,
        sequencer: notice.sequencer.clone(),
        // It is gone now, whenever the notice was sent.
        at: deps.clock.now(),
    };
    let Some((bucket, key)) = split_url(url) else { return Ok(change) };
    let store = deps.stores.open(&bucket)?;
    // A removal may uncover an older version, which then is what there is.
    let named = notice.version_id.as_deref().filter(|_| notice.happened == Happened::Created);
    let mut found = fetch(deps, &*store, url, key, named).await?;
    if found.is_none() && named.is_some() {
        found = fetch(deps, &*store, url, key, None).await?;
    }
    let Some((content, version_id)) = found else { return Ok(change) };
    validate(url, content.bytes.clone(), deps.content_limit)
        .await
        .map_err(|source| InjectError::Content { object: url.into(), source })?;
    let sha256 = put_copy(&*deps.store, content.bytes).await?;
    let (etag, at) = (Some(content.etag.unquoted().to_owned()), content.modified);
    Ok(ObjectChange { op: ObjectOp::Replace, sha256, etag, version_id, at, ..change })
}

async fn fetch(
    deps: &FlagInjector,
    store: &dyn ObjectStore,
    url: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Option<(Object, Option<String>)>, InjectError> {
    let limit = deps.content_limit;
    match store.fetch(key, version, limit).await? {
        Fetched::Found(content, version_id) => Ok(Some((content, version_id))),
        Fetched::Missing => Ok(None),
        Fetched::TooLarge(size) => Err(InjectError::TooLarge { object: url.into(), size, limit }),
    }
}
