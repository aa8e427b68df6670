//! A content projected onto what a pipeline uses of it.
//!
//! A row has no primary key, and a content may hold a row twice. So each row gets an identity of its own, made of the
//! object, the row's text and how often that text came before: two contents of one object are compared by it, and the
//! rows of a join key come in its order, which is the same in every environment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use hashbrown::HashMap;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::content::{ContentError, ContentFormat, rows};
use crate::deadline::give_way;
use crate::reference::row::{JoinKeys, Projection, Row, RowError};
use crate::value::kind;

/// Tells the rows of an object apart: the first 16 bytes of a digest, and a number.
pub(in crate::reference) type RowId = [u8; 20];

/// What a row costs in memory beside its cells and keys, in bytes: the maps' entries and the allocator's share.
const ROW_OVERHEAD: u64 = 240;
/// So many rows are read at a stretch.
const EVERY: u64 = 1_024;

/// All rows of one content.
#[derive(Debug, Default)]
pub(in crate::reference) struct ObjectRows {
    pub(super) rows: Vec<(RowId, JoinKeys, Row)>,
    /// What they take in memory.
    pub(in crate::reference) bytes: u64,
}

/// Why a content cannot be used. It stays the same until somebody mends the object, or gives the function more memory.
#[derive(Debug, thiserror::Error)]
pub enum ContentProblem {
    /// Its name says no format.
    #[error("its name ends in none of .jsonl, .csv and .parquet; name it by its format")]
    Format,
    /// It cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A row cannot be held.
    #[error("row {row} cannot be used: {source}")]
    Row {
        /// From 1.
        row: u64,
        /// Why.
        #[source]
        source: RowError,
    },
    /// Its reader met what no sound writer writes, and gave up in disorder.
    #[error("it is no sound file of its format; write it anew")]
    Unsound,
    /// Its rows would fill the memory.
    #[error(
        "{rows} of its rows take {bytes} bytes already, and {limit} are allowed, a quarter of the function's memory; \
         give the function more memory"
    )]
    Memory {
        /// How many rows were read.
        rows: u64,
        /// What they take, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        limit: u64,
    },
}

/// Reads the rows of an object's content. `limit` bounds the unpacked content and, apart from it, the rows in memory.
///
/// # Errors
/// [`ContentProblem`]; nothing is returned of a content that cannot be used whole.
pub(in crate::reference) async fn project(
    object: &str,
    content: Bytes,
    limit: u64,
    projection: &Projection,
) -> Result<ObjectRows, ContentProblem> {
    let format = ContentFormat::of_name(object).ok_or(ContentProblem::Format)?;
    let prefix = Sha256::new_with_prefix(object.as_bytes()).chain_update([0]);
    let mut seen: HashMap<[u8; 16], u32> = HashMap::new();
    let mut out = ObjectRows::default();
    for (raw, row) in rows(format, content, limit)?.zip(1..) {
        breathe(row).await;
        let raw = raw?;
        let projected = projection.project_as(raw.get(), format.untyped());
        let (keys, cells) = projected.map_err(|source| ContentProblem::Row { row, source })?;
        let mut digest = [0; 16];
        digest.iter_mut().zip(prefix.clone().chain_update(raw.get()).finalize()).for_each(|(to, from)| *to = from);
        let occurrence = seen.entry(digest).or_default();
        let mut id = [0; 20];
        let parts = digest.into_iter().chain(occurrence.to_be_bytes());
        id.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        *occurrence = occurrence.saturating_add(1);
        let size = cells.size() + keys.iter().map(<[u8]>::len).sum::<usize>();
        out.bytes = room(out.bytes, size, row, limit)?;
        out.rows.push((id, keys, cells));
    }
    Ok(out)
}

/// Reads an object's content to its end, as every reader of its copy will, whatever of it their pipelines use.
///
/// # Errors
/// [`ContentProblem`] for what no reader could use.
pub async fn validate(object: &str, content: Bytes, limit: u64) -> Result<(), ContentProblem> {
    let format = ContentFormat::of_name(object).ok_or(ContentProblem::Format)?;
    let mut rows = sound_or_refused(|| Ok(rows(format, content, limit)?))?;
    let mut bytes = 0;
    for row in 1.. {
        breathe(row).await;
        let Some(raw) = sound_or_refused(|| Ok(rows.next().transpose()?))? else { break };
        decode(raw.get()).map_err(|source| ContentProblem::Row { row, source })?;
        bytes = room(bytes, raw.get().len(), row, limit)?;
    }
    Ok(())
}

/// Whether a content has any row.
///
/// # Errors
/// [`ContentProblem`]
pub(super) fn any_row(object: &str, content: Bytes, limit: u64) -> Result<bool, ContentProblem> {
    let format = ContentFormat::of_name(object).ok_or(ContentProblem::Format)?;
    sound_or_refused(|| Ok(rows(format, content, limit)?.next().transpose()?.is_some()))
}

/// Now and then gives way, so that a deadline is kept while a large content is read.
async fn breathe(row: u64) {
    if row.is_multiple_of(EVERY) {
        give_way().await;
    }
}

/// What rows take in memory, with one more of so many bytes.
fn room(bytes: u64, size: usize, rows: u64, limit: u64) -> Result<u64, ContentProblem> {
    let bytes = bytes + ROW_OVERHEAD + size as u64;
    if bytes > limit { Err(ContentProblem::Memory { rows, bytes, limit }) } else { Ok(bytes) }
}

/// A Parquet library may panic at a hostile file, which must not take down what else the function has in hand. Nothing
/// that `read` touches is used after it panicked.
fn sound_or_refused<T>(read: impl FnOnce() -> Result<T, ContentProblem>) -> Result<T, ContentProblem> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(ContentProblem::Unsound))
}

/// Names and texts that JSON allows and nobody can decode would stop every pipeline that uses them.
fn decode(raw: &str) -> Result<(), RowError> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(raw)?;
    Ok(members.values().try_for_each(|value| kind(value.get()).map(drop))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "s3://b/p.jsonl";

    async fn of(content: &str) -> Result<(), ContentProblem> {
        validate(URL, Bytes::copy_from_slice(content.as_bytes()), 1_000).await
    }

    #[tokio::test]
    async fn what_some_pipeline_could_not_read_is_found_before_it_is_copied() {
        of("{\"a\":\"\\ud83d\\ude00\",\"n\":[\"\\ud800\"]}").await.unwrap();
        for unsound in ["{}\n{\"a\":\"\\ud800\"}", "{}\n{\"\\udc00\":1}"] {
            assert!(matches!(of(unsound).await, Err(ContentProblem::Row { row: 2, .. })), "{unsound}");
        }
        assert!(matches!(validate("s3://b/p.txt", Bytes::new(), 9).await, Err(ContentProblem::Format)));
    }

    #[test]
    fn a_reader_that_panics_refuses_the_content_and_takes_nothing_down() {
        let panics = || -> Result<(), ContentProblem> { panic!("as a library may") };
        assert!(matches!(sound_or_refused(panics), Err(ContentProblem::Unsound)));
        assert!(sound_or_refused(|| Ok(())).is_ok());
    }

    #[tokio::test]
    async fn rows_take_more_than_their_text() {
        let narrow = "{}\n".repeat(5);
        assert!(matches!(of(&narrow).await, Err(ContentProblem::Memory { rows: 5, limit: 1_000, .. })));
        of(&narrow[..12]).await.unwrap();
    }

    #[tokio::test]
    async fn rows_are_told_apart_by_object_text_and_count() {
        let ids = async |object: &str, content: &str| -> Vec<RowId> {
            let content = Bytes::copy_from_slice(content.as_bytes());
            let rows = project(object, content, 10_000, &Projection::new(&["a"], false)).await.unwrap();
            rows.rows.into_iter().map(|(id, ..)| id).collect()
        };
        let three = ids(URL, "{\"a\":1}\n{\"a\":2}\n{\"a\":1}\n").await;
        assert!(three[0] != three[1] && three[0] != three[2] && three[0][..16] == three[2][..16]);
        assert_eq!(ids(URL, "{\"a\":1}\n{\"a\":1}\n").await, [three[0], three[2]], "wherever they stand");
        assert_ne!(ids("s3://b/q.jsonl", "{\"a\":1}").await, [three[0]]);
    }
}
