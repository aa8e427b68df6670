//! Object stores: memory, directories, S3 on versitygw and on moto.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use freshjoin_aws::S3Stores;
use freshjoin_core::location::Location;
use freshjoin_core::memory::{MemoryClock, MemoryStores};
use freshjoin_local::FsStores;
use freshjoin_tests::fixture::sdk_config;
use freshjoin_tests::harness;
use freshjoin_tests::suite::store::{Tags, World, cases};
use libtest_mimic::Trial;

use crate::Servers;

/// A bucket's name for a case.
fn bucket(case: &str) -> String {
    case.replace('_', "-")
}

pub(crate) fn trials(servers: &Arc<Servers>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(harness::case(format!("store::memory::{}", case.name), move || {
            (case.run)(World {
                stores: Arc::new(MemoryStores::new(&MemoryClock::default())),
                root: Location::new("s3://bucket/root"),
                lenient_races: None,
                tags: None,
            })
        }));
    }
    for case in cases() {
        trials.push(harness::case(format!("store::directory::{}", case.name), move || async move {
            let folder = tempfile::tempdir().unwrap();
            let root = Location::new(folder.path().to_str().unwrap());
            (case.run)(World { stores: Arc::new(FsStores::new()), root, lenient_races: None, tags: None }).await;
        }));
    }
    for case in cases() {
        trials.push(harness::case(format!("store::directory_buckets::{}", case.name), move || async move {
            let folder = tempfile::tempdir().unwrap();
            let stores = Arc::new(FsStores::with_buckets(folder.path()));
            (case.run)(World { stores, root: Location::new("s3://bucket/root"), lenient_races: None, tags: None })
                .await;
        }));
    }
    for case in cases() {
        let servers = Arc::clone(servers);
        trials.push(harness::case(format!("store::s3_versitygw::{}", case.name), move || async move {
            match servers.gateway() {
                Ok(_) if case.name == "no_key_leaves_its_location" => {
                    println!("not checked here: {} (versitygw resolves the dots of a URL; S3 does not)", case.name);
                }
                Ok(gateway) => (case.run)(s3(&gateway.url(), case.name, None).await).await,
                Err(missing) => println!("not checked here: {missing}"),
            }
        }));
    }
    for case in cases() {
        let servers = Arc::clone(servers);
        trials.push(harness::case(format!("store::s3_moto::{}", case.name), move || async move {
            let why = "moto promises nothing about racing writers";
            (case.run)(s3(&servers.moto().url(), case.name, Some(why)).await).await;
        }));
    }
    trials
}

async fn s3(endpoint: &str, case: &str, lenient_races: Option<&'static str>) -> World {
    let config = sdk_config(endpoint).await;
    let client = Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build());
    let bucket = bucket(case);
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    World {
        stores: Arc::new(S3Stores::new(&config)),
        root: Location::new(format!("s3://{bucket}/root")),
        lenient_races,
        tags: Some(Arc::new(OfBucket { client, bucket })),
    }
}

#[derive(Debug)]
struct OfBucket {
    client: Client,
    bucket: String,
}

#[async_trait]
impl Tags for OfBucket {
    async fn of(&self, key: &str) -> Vec<(String, String)> {
        let request = self.client.get_object_tagging().bucket(&self.bucket).key(format!("root/{key}"));
        match request.send().await {
            Ok(output) => output.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            // versitygw says so of an object without tags.
            Err(error) if error.as_service_error().and_then(|e| e.code()) == Some("NoSuchTagSet") => Vec::new(),
            Err(error) => panic!("{error:?}"),
        }
    }
}
