//! The cursor of one shard: what is committed, and the range in hand.

use serde::{Deserialize, Serialize};

use crate::change::Version;
use crate::encode::escape_component;
use crate::join::Counts;
use crate::location::Location;
use crate::ports::StreamDescription;
use crate::sequence::SequenceNumber;
use crate::time::Timestamp;

/// The key of a shard's cursor below the state's location.
#[must_use]
pub fn cursor_key(pipeline: &str, stream: &str, shard: &str) -> String {
    format!("cursors/{}/{}/{}.json", escape_component(pipeline), escape_component(stream), escape_component(shard))
}

/// The key of a definition's text below the state's location.
#[must_use]
pub fn definition_key(pipeline: &str, digest: &str) -> String {
    format!("pipelines/{}/{}.toml", escape_component(pipeline), escape_component(digest))
}

/// One shard's cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    freshjoin: String,
    /// The stream's name.
    pub stream: String,
    /// When the stream was created: tells it from another of the same name.
    pub stream_created: Timestamp,
    /// The last record whose results are in the output for good; none before the first commit.
    pub committed_through: Option<SequenceNumber>,
    /// The version in force after `committed_through`.
    pub version: Version,
    /// Where the output goes.
    pub output: Location,
    /// The range in hand: decided, perhaps written, not committed.
    pub pending: Option<Intent>,
    /// What became of everything that is committed. It is committed with each range, so it is right even where the answer
    /// to a commit was lost and nobody could tell of the range.
    #[serde(default)]
    pub totals: Counts,
}

/// A range that is decided: whoever finds it finishes exactly it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its first record.
    pub first: SequenceNumber,
    /// Its last record.
    pub last: SequenceNumber,
    /// How many records it has, flags included.
    pub records: u64,
    /// The versions in force, oldest first; the first one from `first` on.
    pub steps: Vec<Step>,
    /// The digest of the definition that it is done by.
    pub definition: String,
    /// Where its objects go.
    pub output: Location,
}

/// A version in force from a record on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// From this record on, it included.
    pub from: SequenceNumber,
    /// What it is joined with.
    pub version: Version,
}

/// Bytes that are no cursor.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// Not JSON of the expected shape.
    #[error("not a cursor: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format.
    #[error("format {0:?} is not one that this freshjoin reads; upgrade it if a newer one wrote it")]
    Format(String),
    /// A pending range without a version.
    #[error("a pending range without versions")]
    Empty,
    /// Text where a sequence number should be: it would compare with the records in some way, and silently.
    #[error("{0:?} is no sequence number")]
    Number(String),
    /// Sequence numbers that do not follow each other, or versions that fall.
    #[error("its sequence numbers or versions are out of order")]
    Disorder,
}

/// Kinesis's sequence numbers have up to 56 digits, and may have up to 128 by its grammar.
const MOST_DIGITS: usize = 128;

const FORMAT: &str = "cursor/1";

impl Cursor {
    /// The cursor before a shard's first commit.
    #[must_use]
    pub fn new(stream: &StreamDescription, version: Version, output: Location) -> Self {
        Self {
            freshjoin: FORMAT.into(),
            stream: stream.name.clone(),
            stream_created: stream.created,
            committed_through: None,
            version,
            output,
            pending: None,
            totals: Counts::default(),
        }
    }

    /// Reads a cursor's bytes.
    ///
    /// # Errors
    /// [`CursorError`]: the shard stops, as starting over would write everything twice.
    pub fn decode(bytes: &[u8]) -> Result<Self, CursorError> {
        let cursor: Self = serde_json::from_slice(bytes)?;
        if cursor.freshjoin != FORMAT {
            return Err(CursorError::Format(cursor.freshjoin));
        }
        cursor.check()?;
        Ok(cursor)
    }

    /// What was damaged and is JSON still must not be taken for another place in the shard.
    fn check(&self) -> Result<(), CursorError> {
        let through = self.committed_through.as_ref();
        let Some(intent) = &self.pending else { return through.map_or(Ok(()), number) };
        let from = || intent.steps.iter().map(|step| &step.from);
        through.into_iter().chain([&intent.first, &intent.last]).chain(from()).try_for_each(number)?;
        let Some(first) = intent.steps.first() else { return Err(CursorError::Empty) };
        let in_order = through.is_none_or(|through| *through < intent.first)
            && intent.first <= intent.last
            && intent.records > 0
            && self.version <= first.version
            && from().is_sorted()
            && from().all(|from| (&intent.first..=&intent.last).contains(&from))
            && intent.steps.is_sorted_by_key(|step| step.version);
        if in_order { Ok(()) } else { Err(CursorError::Disorder) }
    }

    /// The cursor's bytes.
    ///
    /// # Errors
    /// Only if serialization fails, which would be a bug.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// This cursor at a higher version.
    #[must_use]
    pub fn raised(&self, version: Version) -> Self {
        Self { version, ..self.clone() }
    }

    /// This cursor with a range in hand.
    #[must_use]
    pub fn with_pending(&self, intent: Intent) -> Self {
        Self { pending: Some(intent), ..self.clone() }
    }

    /// This cursor with its pending range committed, and what became of it.
    #[must_use]
    pub fn committed(&self, counts: Counts) -> Self {
        let Some(intent) = &self.pending else { return self.clone() };
        let mut totals = self.totals;
        totals += counts;
        Self {
            totals,
            committed_through: Some(intent.last.clone()),
            version: intent.last_version().max(self.version),
            output: intent.output.clone(),
            pending: None,
            ..self.clone()
        }
    }

    /// Whether a record's results are in the output for good.
    #[must_use]
    pub fn has_committed(&self, sequence: &str) -> bool {
        self.committed_through
            .as_ref()
            .is_some_and(|through| crate::sequence::compare(sequence, through.as_str()).is_le())
    }

    /// The highest version that this cursor has used or is about to.
    #[must_use]
    pub fn highest_version(&self) -> Version {
        self.pending.as_ref().map_or(0, Intent::last_version).max(self.version)
    }
}

impl Intent {
    /// The version in force at its end.
    #[must_use]
    pub fn last_version(&self) -> Version {
        self.steps.last().map_or(0, |step| step.version)
    }
}

fn number(sequence: &SequenceNumber) -> Result<(), CursorError> {
    let text = sequence.as_str();
    let digits = (1..=MOST_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(()) } else { Err(CursorError::Number(text.into())) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cursor() -> Cursor {
        let created = Timestamp::from_millis(5);
        let stream = StreamDescription { name: "s".into(), created, retention: Duration::from_hours(24) };
        let step = |from: &str, version| Step { from: from.into(), version };
        Cursor::new(&stream, 3, Location::new("s3://o")).with_pending(Intent {
            first: "9".into(),
            last: "12".into(),
            records: 4,
            steps: vec![step("9", 3), step("11", 5)],
            definition: "d".into(),
            output: Location::new("s3://o2"),
        })
    }

    #[test]
    fn a_commit_moves_through_version_and_output() {
        let counts = Counts { enriched: 2, unmatched: 1, flags: 1, rows: 3, ..Counts::default() };
        let committed = Cursor { totals: counts, ..cursor() }.committed(counts);
        assert_eq!((committed.totals.enriched, committed.totals.flags, committed.totals.rows), (4, 2, 6));
        assert_eq!(committed.committed_through, Some("12".into()));
        assert_eq!((committed.version, committed.output.as_str(), committed.pending.is_none()), (5, "s3://o2", true));
        assert!(committed.has_committed("9") && committed.has_committed("12") && !committed.has_committed("100"));
        assert!(!cursor().has_committed("1"));
        assert_eq!((cursor().version, cursor().highest_version()), (3, 5));
    }

    #[test]
    fn a_cursor_comes_back_and_anything_else_is_refused() {
        let bytes = cursor().encode().unwrap();
        assert_eq!(Cursor::decode(&bytes).unwrap(), cursor());
        let text = String::from_utf8(bytes).unwrap();
        assert!(matches!(Cursor::decode(b""), Err(CursorError::Json(_))));
        assert!(matches!(Cursor::decode(text.replace("cursor/1", "cursor/2").as_bytes()), Err(CursorError::Format(_))));
        for (from, to) in [("\"9\"", "\"x9\""), ("\"12\"", "\"12 \""), ("\"11\"", "\"\""), ("\"11\"", "\"1e1\"")] {
            let damaged = text.replace(from, to);
            assert!(matches!(Cursor::decode(damaged.as_bytes()), Err(CursorError::Number(_))), "{damaged}");
        }
        let through = text.replace("\"committed_through\":null", "\"committed_through\":\"9\"");
        let short = text.replace("\"last\":\"12\"", "\"last\":\"8\"");
        let none = text.replace("\"records\":4", "\"records\":0");
        let falls = text.replace("\"version\":5", "\"version\":2");
        let behind = text.replace("\"from\":\"11\"", "\"from\":\"8\"");
        for damaged in [through, short, none, falls, behind] {
            assert_ne!(damaged, text);
            assert!(matches!(Cursor::decode(damaged.as_bytes()), Err(CursorError::Disorder)), "{damaged}");
        }
        assert_eq!(cursor_key("p", "s/../x", "shardId-0"), "cursors/p/s%2F..%2Fx/shardId-0.json");
    }
}
