//! References that are objects on S3: every format, replaced and removed, notices late, twice and out of order, versioned
//! buckets, what is damaged or too large, and several references of different kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use bytes::Bytes;
use freshjoin_core::ports::{ObjectStore, Precondition};
use freshjoin_local::mapping::{Mapping, MappingSettings};
use freshjoin_local::runtime_api::Environment;
use serde_json::{Value, json};

use crate::output::{NULL, Row, objects};
use crate::trials;
use crate::world::{Servers, World, s3_client, s3_event};
use crate::wrapped::gzip;

trials!("objects":
    an_object_of_any_format_is_followed,
    a_prefix_grows_and_shrinks_and_is_never_emptied,
    notices_come_late_twice_and_out_of_order,
    a_versioned_bucket_is_followed_version_by_version,
    what_is_damaged_or_too_large_is_refused_by_name,
    references_of_different_kinds_join_one_after_the_other,
);

fn compressed(text: &str) -> Bytes {
    gzip(text.as_bytes()).into()
}

fn json_lines(priorities: &[(&str, &str)]) -> String {
    let row =
        |(item, priority): &(&str, &str)| format!("{}\n", json!({"item": item, "price": 100, "priority": priority}));
    priorities.iter().map(row).collect()
}

fn csv(priorities: &[(&str, &str)]) -> String {
    let row = |(item, priority): &(&str, &str)| format!("{item},100,{priority}\n");
    "item,price,priority\n".to_owned() + &priorities.iter().map(row).collect::<String>()
}

/// The priorities that the orders of a dish were joined with, by customer: what came later is later.
fn priorities(rows: &[Row], dish: &str) -> BTreeMap<u64, String> {
    let of_dish = rows.iter().filter(|row| row.get("item") == Some(dish));
    of_dish.map(|row| (row.customer(), row.get("priority").unwrap().to_owned())).collect()
}

/// A pipeline over objects in a bucket of its own.
struct Shop {
    world: World,
    injector: Arc<Environment>,
    enricher: Arc<Mapping>,
    reference: Arc<dyn ObjectStore>,
}

impl Shop {
    /// Joins with `s3://<bucket>/reference/<object>`, which holds `content`; every shard has its cursor.
    async fn open(servers: &Servers, object: &str, first: &str, content: impl Into<Bytes>) -> Self {
        let mut world = World::new(servers).await;
        let reference = world.open(&format!("s3://{}/reference", world.bucket));
        put(&*reference, first, content).await;
        let dynamodb = format!("dynamodb = \"{}\"", world.table.name());
        let s3 = format!("s3 = \"s3://{}/reference/{object}\"", world.bucket);
        world.deployment.pipeline = world.deployment.pipeline.replace(&dynamodb, &s3);
        let injector = world.function("flag-injector").await;
        let (enricher, _) = world.enricher().await;
        world.touch(&enricher).await;
        Self { world, injector, enricher, reference }
    }

    fn event(&self, object: &str) -> Value {
        s3_event(&self.world.bucket, &format!("reference/{object}"))
    }

    /// Has flag-injector take the notice of an object, and then that of the change file that came of it.
    async fn notify(&self, event: &Value) {
        self.world.invoke(&self.injector, event).await.unwrap();
        self.world.announce(&self.injector).await;
    }

    async fn replace(&self, object: &str, content: impl Into<Bytes>) {
        put(&*self.reference, object, content).await;
        self.notify(&self.event(object)).await;
    }

    async fn remove(&self, servers: &Servers, object: &str) {
        let s3 = s3_client(&servers.s3()).await;
        s3.delete_object().bucket(&self.world.bucket).key(format!("reference/{object}")).send().await.unwrap();
        self.notify(&removed(self.event(object))).await;
    }

    /// Ten orders of a dish, and what they were joined with: one priority for all, or several rows each.
    async fn ordered(&self, dish: &str) -> BTreeSet<String> {
        let before = self.world.rows().await.len();
        self.world.order(10, &[dish]).await;
        self.enricher.drain().await.unwrap();
        let mut rows = self.world.rows().await;
        rows.sort_by_key(Row::customer);
        assert_eq!((rows.len() - before) % 10, 0, "the same for every order");
        rows.split_off(before).iter().map(|row| row.get("priority").unwrap().to_owned()).collect()
    }
}

async fn put(store: &dyn ObjectStore, key: &str, content: impl Into<Bytes>) {
    drop(store.put(key, content.into(), Precondition::None).await.unwrap());
}

fn removed(mut event: Value) -> Value {
    event["Records"][0]["eventName"] = "ObjectRemoved:Delete".into();
    event
}

fn one(priority: &str) -> BTreeSet<String> {
    BTreeSet::from([priority.to_owned()])
}

async fn an_object_of_any_format_is_followed(servers: Arc<Servers>) {
    let before = [("burger", "medium"), ("pizza", "low")];
    let after = [("burger", "high"), ("salad", "new")];
    let quoted = "item,price,priority\r\n\"burger\",100,\"high\"\r\n\"salad\",100,\"new\"\r\n";
    let cases: [(&str, Bytes, Bytes); 4] = [
        ("products.jsonl", json_lines(&before).into(), json_lines(&after).into()),
        ("pro ducts+é.csv", csv(&before).into(), quoted.into()),
        ("products.jsonl.gz", compressed(&json_lines(&before)), compressed(&json_lines(&after))),
        ("products.csv.gz", compressed(&csv(&before)), compressed(&csv(&after))),
    ];
    for (object, before, after) in cases {
        let shop = Shop::open(&servers, object, object, before).await;
        assert_eq!(shop.ordered("burger").await, one("medium"), "{object}");
        shop.replace(object, after.clone()).await;
        assert_eq!(shop.ordered("burger").await, one("high"), "{object}");
        assert_eq!((shop.ordered("pizza").await, shop.ordered("salad").await), (one(NULL), one("new")), "{object}");
        let files = shop.world.change_files().await;
        let file: Value = serde_json::from_slice(&files[0]).unwrap();
        assert_eq!((files.len(), &file["changes"][0]["op"]), (1, &json!("replace")));
        let copy = format!("objects/{}", file["changes"][0]["sha256"].as_str().unwrap());
        assert_eq!(shop.world.state.get(&copy).await.unwrap().unwrap().bytes, after);
        // The object is never read again: a cold environment loads its copies.
        let (cold, _) = shop.world.mapping(&[shop.world.function("enricher").await], MappingSettings::default());
        shop.reference.put(object, Bytes::from_static(b"unannounced"), Precondition::None).await.map(drop).unwrap();
        cold.drain().await.unwrap();
        assert_eq!(shop.world.dead_letters().await.len(), 0);
        let rows = shop.world.rows().await;
        assert_eq!(priorities(&rows, "burger").values().filter(|priority| *priority == "high").count(), 10);
    }
}

async fn a_prefix_grows_and_shrinks_and_is_never_emptied(servers: Arc<Servers>) {
    let shop = Shop::open(&servers, "", "a/one.jsonl", json_lines(&[("burger", "one")])).await;
    put(&*shop.reference, "_SUCCESS", "").await;
    shop.notify(&shop.event("_SUCCESS")).await;
    assert_eq!(shop.world.change_files().await.len(), 0, "nothing to join with");
    assert_eq!(shop.ordered("burger").await, one("one"));
    shop.replace("b/two.csv", csv(&[("burger", "two")])).await;
    assert_eq!(shop.ordered("burger").await, BTreeSet::from(["one".into(), "two".into()]));
    shop.remove(&servers, "a/one.jsonl").await;
    assert_eq!(shop.ordered("burger").await, one("two"));
    // The last one's removal would leave nothing: its rows stay until another object has some.
    shop.remove(&servers, "b/two.csv").await;
    assert_eq!(shop.ordered("burger").await, one("two"));
    shop.replace("three.csv", csv(&[("burger", "three")])).await;
    assert_eq!(shop.ordered("burger").await, one("three"));
    assert_eq!(shop.world.dead_letters().await.len(), 0);
}

async fn notices_come_late_twice_and_out_of_order(servers: Arc<Servers>) {
    let object = "products.jsonl";
    let shop = Shop::open(&servers, object, object, json_lines(&[("burger", "base")])).await;
    let (early, middle, late) = (shop.event(object), shop.event(object), shop.event(object));
    put(&*shop.reference, object, json_lines(&[("burger", "middle")])).await;
    shop.notify(&middle).await;
    shop.notify(&middle).await;
    assert_eq!(shop.world.change_files().await.len(), 1, "a notice that comes twice is one change");
    shop.notify(&early).await;
    assert_eq!(shop.ordered("burger").await, one("middle"));
    put(&*shop.reference, object, json_lines(&[("burger", "late")])).await;
    shop.notify(&late).await;
    for event in [&early, &removed(middle.clone()), &middle, &late] {
        shop.notify(event).await;
    }
    assert_eq!(shop.world.change_files().await.len(), 2);
    assert_eq!(shop.ordered("burger").await, one("late"));
}

async fn a_versioned_bucket_is_followed_version_by_version(servers: Arc<Servers>) {
    // Of the emulators moto keeps versions.
    let endpoint = servers.dynamodb();
    let s3 = s3_client(&endpoint).await;
    let mut world = World::new(&servers).await;
    let bucket = format!("versioned-{}", world.bucket);
    s3.create_bucket().bucket(&bucket).send().await.unwrap();
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    s3.put_bucket_versioning().bucket(&bucket).versioning_configuration(enabled).send().await.unwrap();
    world.use_s3(&endpoint).await;
    let key = "products.jsonl";
    let put = async |content: String| {
        let put = s3.put_object().bucket(&bucket).key(key).body(content.into_bytes().into());
        put.send().await.unwrap().version_id.unwrap()
    };
    let event = |version: &str, name: &str| {
        let mut event = s3_event(&bucket, key);
        event["Records"][0]["s3"]["object"]["versionId"] = version.into();
        event["Records"][0]["eventName"] = name.into();
        event
    };
    put(json_lines(&[("burger", "base")])).await;
    let dynamodb = format!("dynamodb = \"{}\"", world.table.name());
    world.deployment.pipeline = world.deployment.pipeline.replace(&dynamodb, &format!("s3 = \"s3://{bucket}/{key}\""));
    let injector = world.function("flag-injector").await;
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    let shop = Shop { reference: world.open(&format!("s3://{bucket}")), world, injector, enricher };
    let first = put(json_lines(&[("burger", "first")])).await;
    let first = (event(&first, "ObjectCreated:Put"), first);
    let second = put(json_lines(&[("burger", "second")])).await;
    let second_event = event(&second, "ObjectCreated:Put");
    // Each notice brings its own version, though another is current.
    shop.notify(&first.0).await;
    assert_eq!(shop.ordered("burger").await, one("first"));
    let files = shop.world.change_files().await;
    let file: Value = serde_json::from_slice(&files[0]).unwrap();
    assert_eq!(file["changes"][0]["version_id"], json!(first.1));
    shop.notify(&second_event).await;
    assert_eq!(shop.ordered("burger").await, one("second"));
    // The newest version is deleted for good: the one before it is what there is.
    s3.delete_object().bucket(&bucket).key(key).version_id(&second).send().await.unwrap();
    shop.notify(&event(&second, "ObjectRemoved:Delete")).await;
    assert_eq!(shop.ordered("burger").await, one("first"));
    // A delete marker is a removal, which would leave the reference empty.
    let marker = s3.delete_object().bucket(&bucket).key(key).send().await.unwrap().version_id.unwrap();
    shop.notify(&event(&marker, "ObjectRemoved:DeleteMarkerCreated")).await;
    assert_eq!(shop.ordered("burger").await, one("first"));
    let last: Value = serde_json::from_slice(shop.world.change_files().await.last().unwrap()).unwrap();
    assert_eq!(last["changes"][0]["op"], "remove");
    // A version that is gone by the time of its notice: what there is now counts.
    let third = put(json_lines(&[("burger", "third")])).await;
    let gone = event(&third, "ObjectCreated:Put");
    put(json_lines(&[("burger", "fourth")])).await;
    s3.delete_object().bucket(&bucket).key(key).version_id(&third).send().await.unwrap();
    shop.notify(&gone).await;
    assert_eq!(shop.ordered("burger").await, one("fourth"));
}

async fn what_is_damaged_or_too_large_is_refused_by_name(servers: Arc<Servers>) {
    let object = "products.jsonl";
    let shop = Shop::open(&servers, object, object, json_lines(&[("burger", "base")])).await;
    put(&*shop.reference, object, json_lines(&[("burger", "high")]) + "{\"item\":").await;
    let refused = shop.world.invoke(&shop.injector, &shop.event(object)).await.unwrap_err().to_string();
    assert!(refused.contains("reference/products.jsonl") && refused.contains("line 2"), "{refused}");
    let size = 6 << 20;
    put(&*shop.reference, object, " ".repeat(size)).await;
    let mut variables = shop.world.variables();
    variables.push(("AWS_LAMBDA_FUNCTION_MEMORY_SIZE".into(), "10".into()));
    let small = shop.world.function_with("flag-injector", variables.clone()).await;
    let refused = shop.world.invoke(&small, &shop.event(object)).await.unwrap_err().to_string();
    assert!(refused.contains(&size.to_string()) && refused.contains(&((10 << 20) / 4).to_string()), "{refused}");
    assert_eq!(shop.world.change_files().await.len(), 0);
    assert_eq!(shop.ordered("burger").await, one("base"));
    // What one function could hold, and another cannot: it waits, and says why.
    let many: Vec<_> = (0..30_000).map(|n| format!("item {n}")).collect();
    let mut rows: Vec<_> = many.iter().map(|item| (item.as_str(), "many")).collect();
    rows.push(("burger", "among many"));
    shop.replace(object, json_lines(&rows)).await;
    let (narrow, seen) = shop.world.mapping(
        &[shop.world.function_with("enricher", variables).await],
        MappingSettings { maximum_retry_attempts: Some(1), ..MappingSettings::default() },
    );
    narrow.drain().await.unwrap();
    assert!(seen.failed() > 0);
    let log = std::fs::read_to_string(shop.world.log("enricher")).unwrap();
    assert!(log.contains("give the function more memory"), "{log}");
    assert_eq!(shop.ordered("burger").await, one("among many"));
}

async fn references_of_different_kinds_join_one_after_the_other(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let bucket = world.bucket.clone();
    let reference = world.open(&format!("s3://{bucket}/reference"));
    put(&*reference, "countries.csv", "code,country\n1,one\n2,two\n").await;
    put(&*reference, "rates/2026.jsonl", "{\"priority\":\"medium\",\"rate\":1.50}\n").await;
    world.deployment.pipeline = format!(
        r#"
name = "orders"
[[reference]]
dynamodb = "{}"
on = {{ dish = "item" }}
[[reference]]
s3 = "s3://{bucket}/reference/countries.csv"
on = {{ code = "code" }}
[[reference]]
s3 = "s3://{bucket}/reference/rates/"
on = {{ priority = "priority" }}
[output]
columns = ["customer_id", "country", "rates.rate as rate", "item", "priority"]
partition_by = ["item", "priority"]
"#,
        world.table.name()
    );
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    let order = async |customer: u64| {
        world.send(vec![json!({"dish": "burger", "code": 1.0, "customer_id": customer}).to_string().into()]).await;
        enricher.drain().await.unwrap();
        let rows = world.rows().await;
        let row = rows.iter().find(|row| row.customer() == customer).unwrap();
        ["priority", "country", "rate"].map(|column| row.get(column).unwrap().to_owned())
    };
    assert_eq!(order(10_001).await, ["medium", "one", "1.50"]);
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    assert_eq!(order(10_002).await, ["high", "one", ""]);
    put(&*reference, "rates/2027.jsonl", "{\"priority\":\"high\",\"rate\":2.75}\n").await;
    world.invoke(&injector, &s3_event(&bucket, "reference/rates/2027.jsonl")).await.unwrap();
    assert_eq!(order(10_003).await, ["high", "one", "2.75"]);
    put(&*reference, "countries.csv", "code,country\n\"1\",first\n").await;
    world.invoke(&injector, &s3_event(&bucket, "reference/countries.csv")).await.unwrap();
    assert_eq!(order(10_004).await, ["high", "first", "2.75"]);
    let bases = objects(&*world.state, "snapshots/_base/").await;
    assert_eq!(bases.len(), 3, "{:?}", bases.keys());
    // A cold environment at the newest version sees the same.
    let (cold, _) = world.mapping(&[world.function("enricher").await], MappingSettings::default());
    world.send(vec![json!({"dish": "burger", "code": 1, "customer_id": 10_005}).to_string().into()]).await;
    cold.drain().await.unwrap();
    let rows = world.rows().await;
    let row = rows.iter().find(|row| row.customer() == 10_005).unwrap();
    assert_eq!((row.get("country"), row.get("rate")), (Some("first"), Some("2.75")));
}
