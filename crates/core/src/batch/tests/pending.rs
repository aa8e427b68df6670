//! A pending range is finished as it was decided: its records, its versions, its definition, its output.

use bytes::Bytes;

use super::world::{DEFINITION, Environment, START, World, order, row};
use crate::batch::{ProcessError, definition_key};
use crate::location::Location;
use crate::memory::Fault;
use crate::pipeline::Definition;

/// A world whose first two records are done and whose other four are pending: an unmatched one among them.
async fn pending() -> (World, Environment) {
    let world = World::new();
    world.orders(0..2).await;
    world.wait(1);
    let version = world.bump();
    world.send([order(2, "z")]).await;
    world.wait(1);
    world.send([world.flag(version), order(3, "a"), order(4, "a")]).await;
    let env = world.warm(&world.cut(..2)).await;
    env.script("PUT", 0, Fault::CrashAfter);
    assert!(env.batch(&world.cut(2..6)).await.is_none());
    (world, env)
}

fn finished() -> Vec<super::world::Row> {
    vec![row(0, "base", 0), row(1, "base", 0), row(2, "", 0), row(3, "v1", 1), row(4, "v1", 1)]
}

#[tokio::test]
async fn it_keeps_its_definition() {
    let (mut world, _) = pending().await;
    world.definition = DEFINITION.replace("[output]", "join = \"inner\"\n[output]");
    world.send([order(5, "z"), order(6, "a")]).await;
    let env = world.env();
    env.done(&world.cut(2..)).await;
    let mut rows = finished();
    rows.push(row(6, "v1", 1));
    assert_eq!(world.rows(), rows, "the left join of the pending range, the inner join of what follows");
    let reports = env.heard.reports();
    assert_eq!(reports.iter().map(|report| report.recovered).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn it_keeps_its_output() {
    let (mut world, _) = pending().await;
    let (old, new) = (world.output.clone(), Location::new("s3://elsewhere"));
    world.output = new.clone();
    world.orders([5]).await;
    world.env().done(&world.cut(..3)).await;
    assert_eq!(world.rows_at(&old), finished());
    assert_eq!(world.cursor().unwrap().output, old);
    world.env().done(&world.cut(..)).await;
    assert_eq!((world.rows_at(&old), world.rows_at(&new)), (finished(), vec![row(5, "v1", 1)]));
    assert_eq!(world.cursor().unwrap().output, new);
}

#[tokio::test]
async fn it_keeps_its_versions_whatever_the_log_has_become() {
    let (world, _) = pending().await;
    world.change(&[("a", Some("later")), ("z", Some("later"))]);
    world.env().done(&world.cut(4..)).await;
    assert_eq!(world.rows(), finished());
}

#[tokio::test]
async fn without_its_definition_nothing_is_done() {
    let (mut world, _) = pending().await;
    world.definition = DEFINITION.replace("[output]", "join = \"inner\"\n[output]");
    let key = definition_key("p", &Definition::parse(DEFINITION).unwrap().digest);
    let (before, cursor) = (world.everything(), world.cursor());
    assert!(world.state.remove(&key));
    let env = world.env();
    let error = env.fails(&world.cut(2..)).await;
    assert!(matches!(&error, ProcessError::DefinitionGone { key: named } if *named == key), "{error}");
    assert!(error.to_string().contains(&key));
    world.state.insert(&key, Bytes::from_static(b"name = 3"));
    assert!(matches!(env.fails(&world.cut(2..)).await, ProcessError::Definition { .. }));
    // A sound definition under another's name would finish the range in another way.
    world.state.insert(&key, world.definition.clone());
    assert!(matches!(env.fails(&world.cut(2..)).await, ProcessError::DefinitionAltered { .. }));
    assert_eq!((world.everything(), world.cursor()), (before, cursor));
    world.state.insert(&key, DEFINITION);
    env.done(&world.cut(2..)).await;
    assert_eq!(world.rows(), finished());
}

#[tokio::test]
async fn nobody_begins_under_a_definition_that_was_altered() {
    let world = World::new();
    let key = definition_key("p", &Definition::parse(DEFINITION).unwrap().digest);
    world.state.insert(&key, DEFINITION.replace("[output]", "join = \"inner\"\n[output]"));
    world.orders(1..4).await;
    assert!(matches!(world.env().fails(&world.cut(..)).await, ProcessError::DefinitionAltered { .. }));
    assert!(world.cursor().is_none());
}

#[tokio::test]
async fn records_that_were_not_handed_over_are_read_again_page_by_page() {
    let (world, _) = pending().await;
    world.orders(5..8).await;
    let env = world.env();
    env.script.add("GetRecords", [Fault::Short(1), Fault::Short(0), Fault::Short(2)]);
    env.done(&world.cut(7..)).await;
    assert_eq!(world.rows().len(), 5 + 2, "records 5 and 6 were not handed over, 7 and 8 were");
    assert_eq!(world.rows()[..5], finished());
}

#[tokio::test]
async fn a_handed_over_part_is_no_substitute_for_the_whole_range() {
    for (from, to) in [(2, 4), (3, 6), (2, 3), (5, 6)] {
        let (world, _) = pending().await;
        let env = world.env();
        env.done(&world.cut(from..to)).await;
        assert_eq!(world.rows(), finished());
        assert_eq!(env.gate.count("GetRecords"), 1, "nothing is read beyond the range");
    }
    let (world, _) = pending().await;
    let mut holed = world.cut(2..4);
    let last = world.cut(5..6);
    let last = last.get(0).unwrap();
    holed.push(last.sequence, last.arrival, last.data).unwrap();
    world.env().done(&holed).await;
    assert_eq!(world.rows(), finished(), "both ends are there, the middle is not");
}

#[tokio::test]
async fn a_range_that_was_handed_over_is_not_read_again() {
    let (world, _) = pending().await;
    let env = world.env();
    env.done(&world.cut(1..)).await;
    assert_eq!((world.rows(), env.gate.count("GetRecords")), (finished(), 0));
}

#[tokio::test]
async fn a_failed_read_of_the_stream_is_no_missing_range() {
    let (world, _) = pending().await;
    let env = world.env();
    env.script("GetRecords", 0, Fault::Fail);
    assert!(matches!(env.fails(&world.cut(5..)).await, ProcessError::Stream(_)));
    env.done(&world.cut(5..)).await;
    assert_eq!(world.rows(), finished());
}

#[tokio::test]
async fn a_range_that_has_left_the_stream_stops_the_shard() {
    let (world, _) = pending().await;
    world.wait(3600);
    world.orders(5..8).await;
    let late = world.cut(6..);
    let whole = world.cut(2..);
    world.stream.trim(START.plus_millis(3_600_000));
    let (before, cursor) = (world.everything(), world.cursor());
    let env = world.env();
    let error = env.fails(&late).await;
    assert!(matches!(error, ProcessError::RangeGone { found: 0, expected: 4, .. }), "{error}");
    assert!(error.to_string().contains("abandon"));
    assert_eq!((world.everything(), world.cursor()), (before, cursor));
    env.done(&whole).await;
    assert_eq!(world.rows().len(), 8, "whoever is handed the range needs no stream");
}

#[tokio::test]
async fn a_range_of_which_a_part_has_left_the_stream_stops_the_shard() {
    let (world, _) = pending().await;
    world.orders([5]).await;
    world.stream.trim(START.plus_millis(2000));
    assert_eq!(world.cut(..).len(), 4, "all but the first of the range, and one more");
    let (before, cursor) = (world.everything(), world.cursor());
    let error = world.env().fails(&world.cut(..)).await;
    assert!(matches!(error, ProcessError::RangeGone { found: 3, expected: 4, .. }), "{error}");
    assert_eq!((world.everything(), world.cursor()), (before, cursor));
}

#[tokio::test]
async fn a_range_that_has_left_a_stream_without_newer_records_stops_the_shard() {
    let (world, _) = pending().await;
    let late = world.cut(5..);
    world.wait(3600);
    world.stream.trim(START.plus_millis(3_600_000));
    let error = world.env().fails(&late).await;
    assert!(matches!(error, ProcessError::RangeGone { found: 0, expected: 4, .. }), "{error}");
}

#[tokio::test]
async fn a_range_that_is_not_the_stream_s_stops_the_shard() {
    let (world, _) = pending().await;
    world.wait(1);
    world.orders([5]).await;
    let place = |at: usize| world.cut(..).get(at).unwrap().sequence.to_owned();
    // A sequence number that no record has, right after another's.
    let next = |sequence: &str| {
        let (front, digit) = sequence.split_at(sequence.len() - 1);
        format!("{front}{}", digit.parse::<u8>().unwrap() + 1)
    };
    let key = crate::batch::cursor_key("p", "s", super::world::SHARD);
    let sound = String::from_utf8(world.state.objects()[&key].to_vec()).unwrap();
    let (first, last) = (place(2), place(5));
    let between = next(&place(1));
    for (from, to) in [
        (format!("\"first\":\"{first}\""), format!("\"first\":\"{between}\"")),
        (format!("\"last\":\"{last}\""), format!("\"last\":\"{}\"", next(&last))),
        ("\"records\":4".into(), "\"records\":5".into()),
    ] {
        assert!(sound.contains(&from), "{sound}");
        world.state.insert(&key, sound.replace(&from, &to));
        let error = world.env().fails(&world.cut(6..)).await;
        assert!(matches!(error, ProcessError::RangeGone { found: 4, .. }), "{to}: {error}");
        assert_eq!(world.rows().len(), 2, "{to}");
    }
}

#[tokio::test]
async fn each_is_finished_by_its_own_definition_whichever_was_loaded_before() {
    let (mut world, _) = pending().await;
    let inner = DEFINITION.replace("[output]", "join = \"inner\"\n[output]");
    world.definition = inner.replace("\"n\", ", "\"n\", \"dish\", ");
    let third = world.env();
    let load = definition_key("p", &Definition::parse(DEFINITION).unwrap().digest);
    third.done(&world.cut(2..6)).await;
    assert!(world.state.remove(&load), "it is not asked for again");
    world.definition = inner;
    world.send([order(5, "z"), order(6, "a")]).await;
    let dying = world.warm(&world.cut(..6)).await;
    dying.script("PUT", 0, Fault::CrashAfter);
    assert!(dying.batch(&world.cut(6..)).await.is_none());
    third.done(&world.cut(6..)).await;
    let mut rows = finished();
    rows.push(row(6, "v1", 1));
    assert_eq!(world.rows(), rows, "the left join, then the inner join");
}
