//! Which change of a row is the newest: the one decision that everybody who folds the log makes the same.
//!
//! Per primary key the newest wins by the label of the source stream, then by its sequence number. What is known from a
//! scan only has neither: a change may follow it if it did not happen clearly before that scan. A change that was found by
//! comparing scans holds only where nothing happened to its key since that comparison began.

use std::cmp::Ordering;

use crate::bug::{Bug, planted};
use crate::change::{RowChange, Version};
use crate::sequence;
use crate::time::Timestamp;

/// How long before a scan a change may say it happened and still count as news to that scan's rows: source clocks differ.
pub const SCAN_GRACE_MILLIS: i64 = 5 * 60 * 1000;

/// What is known of a row's primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownChange<'a> {
    /// Label and sequence number of its newest change; `None` while it is known from scans only.
    pub newest: Option<(&'a str, &'a str)>,
    /// The version at which the last change that took effect did so; of a base's row the base's version.
    pub changed: Version,
}

impl KnownChange<'_> {
    /// Known from a scan only.
    #[must_use]
    pub const fn scanned(version: Version) -> Self {
        Self { newest: None, changed: version }
    }
}

/// Whether a change takes effect on what is known of its key. `scan_started` is when the scan began that the reference's
/// base was made of, if it has one.
#[must_use]
pub fn takes_effect(known: Option<KnownChange<'_>>, change: &RowChange, scan_started: Option<Timestamp>) -> bool {
    let Some(known) = known else { return true };
    if let Some(version) = change.unless_after {
        return known.changed <= version || planted(Bug::ComparisonAlwaysCounts);
    }
    match known.newest {
        Some((label, number)) => {
            let labels = if planted(Bug::LabelsIgnored) { Ordering::Equal } else { change.label.as_str().cmp(label) };
            let ours = change.sequence.as_str();
            let numbers = if planted(Bug::NumbersAsText) { ours.cmp(number) } else { sequence::compare(ours, number) };
            labels.then(numbers) == Ordering::Greater
        }
        None => scan_started.is_none_or(|started| may_follow_scan(change.at, started)),
    }
}

/// Label and sequence number that are known of a key after a change took effect.
#[must_use]
pub fn newest_after<'a>(known: Option<KnownChange<'a>>, change: &'a RowChange) -> Option<(&'a str, &'a str)> {
    let own = (change.label.as_str(), change.sequence.as_str());
    match (change.unless_after, known) {
        (None, _) => Some(own),
        (Some(_), Some(known)) => known.newest,
        (Some(_), None) => (own != NEVER).then_some(own),
    }
}

/// Label and sequence number of a change to a key of which the log names no change.
pub const NEVER: (&str, &str) = ("", "0");

/// Whether what happened then may be missing in a scan.
#[must_use]
fn may_follow_scan(at: Timestamp, scan_started: Timestamp) -> bool {
    at >= scan_started.plus_millis(-SCAN_GRACE_MILLIS) || planted(Bug::OldNewsIsNews)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn change(label: &str, number: &str, unless_after: Option<Version>) -> RowChange {
        let key: Box<serde_json::value::RawValue> = serde_json::from_str(r#"{"id":1}"#).unwrap();
        RowChange {
            table: "T".into(),
            row: None,
            key,
            label: label.into(),
            sequence: number.into(),
            at: STARTED,
            unless_after,
        }
    }

    fn effect(newest: Option<(&str, &str)>, changed: Version, change: &RowChange) -> bool {
        takes_effect(Some(KnownChange { newest, changed }), change, Some(STARTED))
    }

    #[test]
    fn a_later_label_wins_and_then_a_greater_number() {
        for (label, number, wins) in [("b", "10", true), ("b", "9", false), ("a", "99", false), ("c", "1", true)] {
            assert_eq!(effect(Some(("b", "9")), 5, &change(label, number, None)), wins, "{label} {number}");
        }
        assert!(takes_effect(None, &change("a", "1", None), Some(STARTED)));
    }

    #[test]
    fn what_only_a_scan_knows_is_followed_by_what_did_not_happen_clearly_before_it() {
        let mut change = change("a", "1", None);
        for (millis, wins) in [(0, true), (-SCAN_GRACE_MILLIS, true), (-SCAN_GRACE_MILLIS - 1, false)] {
            change.at = STARTED.plus_millis(millis);
            assert_eq!(effect(None, 5, &change), wins, "{millis}");
        }
        assert!(takes_effect(Some(KnownChange { newest: None, changed: 5 }), &change, None), "there was no scan");
    }

    #[test]
    fn a_comparison_holds_only_where_nothing_took_effect_since_and_knows_no_number_of_its_own() {
        let found = change("b", "9", Some(7));
        assert!(effect(Some(("b", "9")), 7, &found) && !effect(Some(("b", "9")), 8, &found));
        assert!(effect(None, 0, &found) && takes_effect(None, &found, Some(STARTED)));
        let known = |newest| Some(KnownChange { newest, changed: 1 });
        assert_eq!(newest_after(known(Some(("a", "3"))), &found), Some(("a", "3")));
        assert_eq!(newest_after(known(None), &found), None);
        assert_eq!(newest_after(None, &found), Some(("b", "9")));
        assert_eq!(newest_after(None, &change(NEVER.0, NEVER.1, Some(7))), None);
        assert_eq!(newest_after(known(None), &change("b", "9", None)), Some(("b", "9")));
    }
}
