//! The fold: newest wins, tombstones, versions side by side.

use super::*;
use crate::encode::Form;

fn reference() -> VersionedReference {
    let mut projection = Projection::new(&["item"], false);
    projection.cell("priority", Form::Csv);
    VersionedReference::new(projection, Timestamp::from_millis(1_000_000_000))
}

fn change(item: &str, priority: Option<&str>, label: &str, number: &str) -> RowChange {
    let raw = |text: String| serde_json::from_str(&text).unwrap();
    RowChange {
        table: "T".into(),
        key: raw(format!(r#"{{"item":"{item}"}}"#)),
        row: priority.map(|priority| raw(format!(r#"{{"item":"{item}","priority":"{priority}"}}"#))),
        label: label.into(),
        sequence: number.into(),
        at: Timestamp::from_millis(1_000_000_000),
        unless_after: None,
    }
}

fn seen(reference: &VersionedReference, item: &str, version: Version) -> Vec<String> {
    let mut key = Vec::new();
    Form::Key.append(&format!("\"{item}\""), &mut key).unwrap();
    let text = |row: &Row| String::from_utf8(row.cell(0).unwrap().to_vec()).unwrap();
    reference.rows(&key, version).map(text).collect()
}

#[test]
fn each_version_sees_its_own_fold() {
    let mut reference = reference();
    reference.load(r#"{"item":"a"}"#, Some(r#"{"item":"a","priority":"base"}"#), KnownChange::scanned(0)).unwrap();
    for (version, priority) in [(1, Some("one")), (2, None), (3, Some("three"))] {
        let change = change("a", priority, "l", &version.to_string());
        assert_eq!(reference.apply(version, &change).unwrap(), Effect::Applied);
        assert_eq!(reference.apply(version, &change).unwrap(), Effect::Superseded, "applying twice changes nothing");
    }
    let all: Vec<_> = (0..=4).map(|version| seen(&reference, "a", version)).collect();
    assert_eq!(all, [vec!["base"], vec!["one"], vec![], vec!["three"], vec!["three"]]);
    reference.prune(2);
    assert_eq!(seen(&reference, "a", 2), Vec::<String>::new());
    assert_eq!(seen(&reference, "a", 3), ["three"]);
    assert_eq!(reference.history(), 0);
}

#[test]
fn the_newest_wins_by_label_then_number() {
    let mut reference = reference();
    for (version, priority, label, number, effect) in [
        (1, Some("ten"), "2026-01", "10", Effect::Applied),
        (2, Some("nine"), "2026-01", "9", Effect::Superseded),
        (3, None, "2026-01", "11", Effect::Applied),
        (4, Some("ten"), "2026-01", "10", Effect::Superseded),
        (5, Some("recreated"), "2026-02", "1", Effect::Applied),
        (6, None, "2026-01", "12", Effect::Superseded),
    ] {
        assert_eq!(
            reference.apply(version, &change("a", priority, label, number)).unwrap(),
            effect,
            "version {version}"
        );
    }
    assert_eq!(seen(&reference, "a", 6), ["recreated"]);
    assert_eq!(seen(&reference, "a", 4), Vec::<String>::new(), "a re-appended put does not undo a later delete");
}

#[test]
fn a_change_from_before_the_scan_is_old_news_to_its_rows() {
    let mut reference = reference();
    let row = |priority| format!(r#"{{"item":"a","priority":"{priority}"}}"#);
    reference.load(r#"{"item":"a"}"#, Some(&row("scanned")), KnownChange::scanned(0)).unwrap();
    reference.load(r#"{"item":"b"}"#, None, KnownChange { newest: Some(("l", "5")), changed: 0 }).unwrap();
    let mut old = change("a", Some("day old"), "l", "1");
    old.at = Timestamp::from_millis(1_000_000_000 - 300_000 - 1);
    assert_eq!(reference.apply(1, &old).unwrap(), Effect::Superseded);
    old.at = Timestamp::from_millis(1_000_000_000 - 300_000);
    assert_eq!(reference.apply(2, &old).unwrap(), Effect::Applied);
    assert_eq!(
        reference.apply(3, &change("b", Some("x"), "l", "4")).unwrap(),
        Effect::Superseded,
        "a base's tombstone"
    );
    let mut unknown = change("c", Some("new"), "l", "0");
    unknown.at = Timestamp::from_millis(0);
    assert_eq!(reference.apply(4, &unknown).unwrap(), Effect::Applied, "a key the scan did not see");
}

#[test]
fn a_row_may_move_to_another_join_key_and_several_rows_share_one() {
    let raw = |text: &str| serde_json::from_str(text).unwrap();
    let mut reference = reference();
    for (version, id, item) in [(1, 2, "x"), (2, 1, "x"), (3, 2, "y")] {
        let row = format!(r#"{{"id":{id},"item":"{item}","priority":"{id}@{version}"}}"#);
        let change = RowChange {
            key: raw(&format!(r#"{{"id":{id}}}"#)),
            row: Some(raw(&row)),
            ..change("", None, "l", &version.to_string())
        };
        assert_eq!(reference.apply(version, &change).unwrap(), Effect::Applied);
    }
    assert_eq!(seen(&reference, "x", 2), ["1@2", "2@1"], "in the order of their primary keys");
    assert_eq!(seen(&reference, "x", 3), ["1@2"]);
    assert_eq!(seen(&reference, "y", 3), ["2@3"]);
}

#[test]
fn what_a_comparison_found_counts_only_where_nothing_took_effect_since_it_began() {
    let mut reference = reference();
    let row = r#"{"item":"a","priority":"scanned"}"#;
    reference.load(r#"{"item":"a"}"#, Some(row), KnownChange::scanned(3)).unwrap();
    let found = |version, priority, label: &str, number: &str| RowChange {
        unless_after: Some(version),
        ..change("a", priority, label, number)
    };
    assert_eq!(reference.apply(4, &found(2, Some("too late"), "", "0")).unwrap(), Effect::Superseded);
    assert_eq!(reference.apply(5, &found(3, Some("found"), "", "0")).unwrap(), Effect::Applied);
    let mut old = change("a", Some("day old"), "l", "1");
    old.at = Timestamp::from_millis(0);
    assert_eq!(reference.apply(6, &old).unwrap(), Effect::Superseded, "it is known from scans only, still");
    assert_eq!(reference.apply(7, &change("a", Some("new"), "l", "5")).unwrap(), Effect::Applied);
    assert_eq!(reference.apply(8, &change("a", Some("stale"), "l", "4")).unwrap(), Effect::Superseded);
    assert_eq!(
        reference.apply(9, &found(7, None, "l", "5")).unwrap(),
        Effect::Applied,
        "what had no effect is no matter"
    );
    assert_eq!(reference.apply(10, &change("a", Some("stale"), "l", "5")).unwrap(), Effect::Superseded);
    let all: Vec<_> = (3..=10).map(|version| seen(&reference, "a", version)).collect();
    let expected =
        [vec!["scanned"], vec!["scanned"], vec!["found"], vec!["found"], vec!["new"], vec!["new"], vec![], vec![]];
    assert_eq!(all, expected);
}
