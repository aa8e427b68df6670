//! How many appends a second one log carries, by how many writers race for it, against bare conditional PUTs of as many
//! bytes under numbers of their own on the same server in the same turn.
//!
//! `scripts/bench log` runs it. Every append is checked to be in the log once before a figure is printed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use freshjoin_aws::S3Stores;
use freshjoin_clock::SystemClock;
use freshjoin_core::change::{Change, Origin, RowChange};
use freshjoin_core::location::Location;
use freshjoin_core::log::ChangeLog;
use freshjoin_core::ports::{ObjectStore, Precondition, PutOutcome, Stores};
use freshjoin_core::time::Timestamp;
use freshjoin_tests::fixture::{S3Gateway, sdk_config};
use futures_util::future::join_all;

/// So many turns, of which the median counts.
const TURNS: usize = 9;
/// So many appends a turn, by all writers together.
const APPENDS: usize = 240;
/// Changes an append.
const CHANGES: usize = 10;

fn changes(writer: usize, number: usize) -> (Origin, Vec<Change>) {
    let raw = |text: String| serde_json::value::RawValue::from_string(text).unwrap();
    let origin = Origin { source: format!("{writer}"), label: "l".into(), range: format!("{number}") };
    let change = |item: usize| {
        Change::Row(RowChange {
            table: "ProductPriority".into(),
            key: raw(format!(r#"{{"item":"dish-{item}"}}"#)),
            row: Some(raw(format!(r#"{{"item":"dish-{item}","price":{number},"priority":"high","kitchen":"north"}}"#))),
            label: "l".into(),
            sequence: format!("{number}").as_str().into(),
            at: Timestamp::default(),
            unless_after: None,
        })
    };
    (origin, (0..CHANGES).map(change).collect())
}

/// Appends a second.
async fn appends(store: &Arc<dyn ObjectStore>, writers: usize) -> f64 {
    let logs: Vec<_> = (0..writers).map(|_| ChangeLog::new(Arc::clone(store), Arc::new(SystemClock))).collect();
    let start = Instant::now();
    let versions = join_all(logs.iter().enumerate().map(async |(writer, log)| {
        let mut versions = Vec::new();
        for number in 0..APPENDS / writers {
            let (origin, changes) = changes(writer, number);
            versions.push(log.append(origin, changes).await.unwrap().version);
        }
        versions
    }))
    .await;
    let seconds = start.elapsed().as_secs_f64();
    let versions: BTreeSet<_> = versions.into_iter().flatten().collect();
    assert_eq!(versions.len(), APPENDS / writers * writers, "an append is not in the log once");
    versions.len() as f64 / seconds
}

/// Conditional PUTs a second.
async fn puts(store: &Arc<dyn ObjectStore>, writers: usize, bytes: &Bytes) -> f64 {
    let start = Instant::now();
    join_all((0..writers).map(async |writer| {
        for number in 0..APPENDS / writers {
            let key = format!("bare/{writer}-{number}");
            let outcome = store.put(&key, bytes.clone(), Precondition::Absent).await.unwrap();
            assert!(matches!(outcome, PutOutcome::Written(_)));
        }
    }))
    .await;
    (APPENDS / writers * writers) as f64 / start.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main]
async fn main() {
    let gateway = S3Gateway::start().expect("versitygw: scripts/tools installs it where there is Go");
    let config = sdk_config(&gateway.url()).await;
    let client = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    aws_sdk_s3::Client::from_conf(client).create_bucket().bucket("log").send().await.unwrap();
    let stores = S3Stores::new(&config);
    let (origin, changed) = changes(0, 0);
    let file = freshjoin_core::change::ChangeFile { version: 1, id: "x".repeat(64), origin, changes: changed };
    let bytes = Bytes::from(file.encode().unwrap());
    println!("| writers | appends a second | bare PUTs a second | ratio |\n| --: | --: | --: | --: |");
    for writers in [1, 4, 16] {
        let mut turns = Vec::new();
        for turn in 0..TURNS {
            let store = stores.open(&Location::new(format!("s3://log/{writers}/{turn}"))).unwrap();
            turns.push((appends(&store, writers).await, puts(&store, writers, &bytes).await));
        }
        let (appended, put): (Vec<_>, Vec<_>) = turns.iter().copied().unzip();
        let ratio = median(turns.iter().map(|(appended, put)| appended / put).collect());
        println!("| {writers} | {:.0} | {:.0} | {ratio:.2} |", median(appended), median(put));
    }
}
