//! Goes on with a scan, or begins one; and once all is scanned, makes the base of it.

use bytes::Bytes;

use super::Scanned;
use super::part::{decode, folder, part_key, row};
use super::progress::{Progress, find, progress_key, replace};
use super::worker::{LEASE_MILLIS, Stop, Worker, load};
use crate::change::Version;
use crate::deadline::give_way;
use crate::ports::{ETag, ObjectStore, Precondition, PutOutcome};
use crate::reference::base::base_key;
use crate::reference::bootstrap::{ATTEMPTS, SEGMENTS, Sources, first_head};
use crate::reference::error::LoadError;
use crate::reference::table::{TableBase, named_keys};
use crate::time::Timestamp;

/// So many rows are taken into the base at a stretch.
const EVERY: usize = 1_024;

/// Scans on until a time, beyond which no further page is begun, and writes the base if all is scanned by then. The base is
/// put if absent, or in the place of the one with the tag `replacing`, which nobody can use any more.
///
/// # Errors
/// [`LoadError`]; calling again is safe and goes on.
pub async fn scan_on(
    sources: Sources<'_>,
    reference: &str,
    replacing: Option<&ETag>,
    until: Timestamp,
) -> Result<Scanned, LoadError> {
    let mut broken: Option<ETag> = None;
    loop {
        let worker = match lease(sources, reference, broken.as_ref(), until).await? {
            Leased::Ours(worker) => worker,
            Leased::Elsewhere(rows) => return Ok(Scanned::UnderWay { rows, elsewhere: true }),
        };
        match work(&worker, replacing).await {
            Ok(scanned) => return Ok(scanned),
            Err(Stop::Elsewhere) => return Ok(Scanned::UnderWay { rows: worker.rows().await, elsewhere: true }),
            Err(Stop::Load(error)) => {
                // Only so that nobody waits: a lease ends by itself.
                if worker.release().await.is_err() {
                    tracing::debug!(reference, "the lease of the scan was not given back");
                }
                return Err(error);
            }
            Err(Stop::Broken(part)) if broken.is_none() => {
                tracing::error!(reference, part, "a part of the scan is missing or damaged: the scan begins anew");
                broken = Some(worker.etag().await);
            }
            Err(Stop::Broken(part)) => return Err(LoadError::Part { reference: reference.into(), part }),
        }
    }
}

enum Leased<'a> {
    Ours(Box<Worker<'a>>),
    /// Somebody else is at it, and has so many rows.
    Elsewhere(u64),
}

/// Takes the lease of the scan that is under way, or of a new one where there is none, its floor has passed, or its progress
/// is the `broken` one.
async fn lease<'a>(
    sources: Sources<'a>,
    reference: &str,
    broken: Option<&ETag>,
    until: Timestamp,
) -> Result<Leased<'a>, LoadError> {
    let found = find(sources.state, reference).await?;
    let (before, etag) = found.map_or((None, None), |found| (found.progress, Some(found.etag)));
    let floor = sources.log.floor().await?.rising;
    let now = sources.clock.now();
    if broken.is_some() && broken != etag.as_ref() {
        return Ok(Leased::Elsewhere(before.map_or(0, |scan| scan.rows)));
    }
    let going_on = before.clone().filter(|scan| broken.is_none() && !scan.done && scan.version >= floor);
    let mut progress = match going_on {
        Some(scan) => {
            if (1..=LEASE_MILLIS).contains(&scan.leased.millis().saturating_sub(now.millis())) {
                return Ok(Leased::Elsewhere(scan.rows));
            }
            scan
        }
        None => {
            let head = first_head(sources).await?;
            // Its parts must not be taken for those of an earlier scan.
            let earliest = before.map_or(now, |before| before.scan_started.plus_millis(1));
            tracing::info!(reference, version = head, "a scan begins");
            Progress::new(reference, head, SEGMENTS, now.max(earliest))
        }
    };
    progress.leased = now.plus_millis(LEASE_MILLIS);
    Ok(match replace(sources.state, etag.as_ref(), &progress).await? {
        Some(etag) => Leased::Ours(Box::new(Worker::new(sources, progress, etag, until))),
        None => Leased::Elsewhere(progress.rows),
    })
}

async fn work(worker: &Worker<'_>, replacing: Option<&ETag>) -> Result<Scanned, Stop> {
    let all = worker.scan_on().await?;
    if !all || !worker.in_time() {
        worker.release().await?;
        let rows = worker.rows().await;
        tracing::info!(reference = worker.scan.reference, rows, "the scan goes on in another invocation");
        return Ok(Scanned::UnderWay { rows, elsewhere: false });
    }
    let (base, rows) = assemble(worker).await?;
    let ours = put_base(worker.sources.state, &worker.scan.reference, base, replacing).await?;
    tidy(worker.sources.state, &worker.scan.reference).await?;
    Ok(Scanned::Done { rows: if ours { rows } else { 0 } })
}

/// The base that the parts make, and how many rows they have.
async fn assemble(worker: &Worker<'_>) -> Result<(Bytes, u64), Stop> {
    let Worker { sources, scan, .. } = worker;
    let named = named_keys(*sources, &scan.reference, scan.version).await?;
    let attributes = sources.tables.key_attributes(&scan.reference).await.map_err(load)?;
    let mut base = TableBase::new(&scan.reference, attributes, named);
    let mut rows = 0;
    for (segment, parts) in worker.chains().await? {
        for number in 0..parts {
            let key = part_key(scan, segment, number);
            let Some(object) = sources.state.get(&key).await.map_err(load)? else { return Err(Stop::Broken(key)) };
            let (header, lines) = decode(&object.bytes).map_err(|error| Stop::Broken(format!("{key}: {error}")))?;
            for (line, place) in lines.zip(1..) {
                base.push(row(line).map_err(|error| Stop::Broken(format!("{key}: {error}")))?)?;
                if place % EVERY == 0 {
                    give_way().await;
                }
            }
            rows += header.rows;
            worker.beat(None).await?;
        }
    }
    Ok((base.finish(scan.version, scan.scan_started)?.into(), rows))
}

/// Whether it is ours that counts.
async fn put_base(
    state: &dyn ObjectStore,
    reference: &str,
    base: Bytes,
    replacing: Option<&ETag>,
) -> Result<bool, LoadError> {
    let precondition = replacing.map_or(Precondition::Absent, Precondition::Matches);
    for _ in 0..ATTEMPTS {
        match state.put(&base_key(reference), base.clone(), precondition).await? {
            PutOutcome::Written(_) => {
                tracing::info!(reference, bytes = base.len(), "the reference's base is written");
                return Ok(true);
            }
            PutOutcome::PreconditionFailed => return Ok(false),
            PutOutcome::Busy => {}
        }
    }
    Err(LoadError::Busy { reference: reference.into() })
}

/// Gives up the parts and the progress of a scan whose base is there, if there are any.
///
/// # Errors
/// [`LoadError::Store`] and [`LoadError::Encode`]; calling again is safe.
pub async fn tidy(state: &dyn ObjectStore, reference: &str) -> Result<(), LoadError> {
    let Some(found) = find(state, reference).await? else { return Ok(()) };
    let Some(mut progress) = found.progress.filter(|progress| !progress.done) else { return Ok(()) };
    let folder = folder(reference);
    let of_scan = |key: &str| -> Option<Version> { key.strip_prefix(&folder)?.get(..20)?.parse().ok() };
    let mut after: Option<String> = None;
    loop {
        let page = state.list(&folder, after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        // Those of earlier scans too; a later one has a later version.
        for part in page.iter().filter(|part| of_scan(&part.key).is_some_and(|version| version <= progress.version)) {
            state.expire(&part.key).await?;
        }
    }
    progress.done = true;
    if replace(state, Some(&found.etag), &progress).await?.is_some() {
        state.expire(&progress_key(reference)).await?;
    }
    Ok(())
}
