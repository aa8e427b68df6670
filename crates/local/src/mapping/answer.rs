//! What an answer means for a batch: the rules that AWS documents for `ReportBatchItemFailures`.

use freshjoin_core::sequence::SequenceNumber;
use serde_json::Value;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it succeeded.
    Done,
    /// It comes again from the record at this index of the batch.
    From(usize),
}

/// Reads an answer to a batch with these sequence numbers. Whatever names no record of the batch fails the whole batch.
pub(super) fn judge<'a>(answer: &[u8], batch: impl Iterator<Item = &'a SequenceNumber>) -> Verdict {
    if answer.is_empty() {
        return Verdict::Done;
    }
    // An answer that is no JSON cannot say what succeeded.
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return Verdict::From(0) };
    let failures = match answer.get("batchItemFailures") {
        None | Some(Value::Null) => return Verdict::Done,
        Some(Value::Array(failures)) => failures,
        Some(_) => return Verdict::From(0),
    };
    let batch: Vec<&SequenceNumber> = batch.collect();
    let place = |failure: &Value| {
        let identifier = failure.get("itemIdentifier")?.as_str()?;
        batch.iter().position(|sequence| sequence.as_str() == identifier)
    };
    failures.iter().map(|failure| place(failure).unwrap_or(0)).min().map_or(Verdict::Done, Verdict::From)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_reported_number_is_where_the_batch_comes_again() {
        let batch: Vec<SequenceNumber> = ["8", "9", "10", "11"].map(Into::into).to_vec();
        for (answer, verdict) in [
            ("", Verdict::Done),
            ("null", Verdict::Done),
            ("{}", Verdict::Done),
            (r#"{"batchItemFailures":null}"#, Verdict::Done),
            (r#"{"batchItemFailures":[]}"#, Verdict::Done),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":"11"},{"itemIdentifier":"9"},{"itemIdentifier":"10"}]}"#,
                Verdict::From(1),
            ),
            (r#"{"batchItemFailures":[{"itemIdentifier":"10"},{"itemIdentifier":""}]}"#, Verdict::From(0)),
            (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, Verdict::From(0)),
            (r#"{"batchItemFailures":[{"bad":"10"}]}"#, Verdict::From(0)),
            (r#"{"batchItemFailures":[{"itemIdentifier":"99"}]}"#, Verdict::From(0)),
            (r#"{"batchItemFailures":3}"#, Verdict::From(0)),
            ("{", Verdict::From(0)),
        ] {
            assert_eq!(judge(answer.as_bytes(), batch.iter()), verdict, "{answer}");
        }
    }
}
