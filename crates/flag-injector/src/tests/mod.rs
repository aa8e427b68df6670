//! The function as Lambda calls it, on memory ports.

mod objects;

use freshjoin_core::change::{ChangeFile, Flag, Origin, change_key};
use freshjoin_core::memory::{Call, Fault, Faults, Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, Script};

use super::*;
use crate::notice::tests::{TEST_EVENT, eventbridge, s3, sns, sns_envelope, sqs};

const CREATED: &str = "ObjectCreated:Put";

struct World {
    clock: MemoryClock,
    stores: MemoryStores,
    store: MemoryStore,
    stream: MemoryStream,
    script: Arc<Script>,
}

impl World {
    fn new() -> Self {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let stores = MemoryStores::new(&clock);
        let store = stores.store(&Location::new("s3://amzn-s3-demo-bucket/st ate")).unwrap();
        for version in 1..=12 {
            let file = ChangeFile {
                version,
                id: version.to_string(),
                origin: Origin { source: "s".into(), label: String::new(), range: String::new() },
                changes: Vec::new(),
            };
            store.insert(&change_key(version), file.encode().unwrap());
        }
        Self { stream: MemoryStream::new("orders", 4, &clock), clock, stores, store, script: Arc::default() }
    }

    fn deps(&self, faults: Arc<dyn Faults>) -> FlagInjector {
        let gate = Gate::new(faults);
        FlagInjector::new(InjectorDeps {
            state: Location::new("s3://amzn-s3-demo-bucket/st ate"),
            store: Arc::new(self.store.through(&gate)),
            stores: Arc::new(self.stores.through(&gate)),
            stream: Arc::new(self.stream.through(&gate)),
            clock: Arc::new(self.clock.clone()),
            content_limit: 1_000,
        })
    }

    async fn handle(&self, event: &str) -> Result<InjectorResponse, InjectError> {
        handle(event, &self.deps(self.script.clone()), self.clock.now().plus_millis(30_000)).await
    }

    /// The messages to come again.
    async fn failed(&self, bodies: &[&str]) -> Vec<String> {
        match self.handle(&sqs(bodies)).await.unwrap() {
            InjectorResponse::Queue(response) => response.identifiers().map(str::to_owned).collect(),
            InjectorResponse::Done { .. } => panic!("from a queue"),
        }
    }

    /// The versions of the flags of each shard.
    fn flags(&self) -> Vec<Vec<Version>> {
        let flags = |n| {
            let records = self.stream.records(&format!("shardId-{n:012}"));
            records.iter().map(|record| Flag::decode(record.data).unwrap().version).collect()
        };
        (0..4).map(flags).collect()
    }
}

fn encoded(version: Version) -> String {
    format!("st+ate/{}", change_key(version))
}

fn created(version: Version) -> String {
    s3(CREATED, &encoded(version))
}

#[tokio::test]
async fn every_wrapping_becomes_a_flag_in_every_shard() {
    let plain = eventbridge("Object Created", &format!("st ate/{}", change_key(12)));
    for event in [created(12), plain.clone(), sns(&created(12))] {
        let world = World::new();
        assert_eq!(world.handle(&event).await.unwrap(), InjectorResponse::Done { flag: Some(12) });
        assert_eq!(world.flags(), vec![vec![12]; 4]);
        let bytes = world.store.objects()[&change_key(12)].clone();
        let records = world.stream.records("shardId-000000000002");
        assert_eq!(Flag::decode(records.get(0).unwrap().data).unwrap(), Flag::of(12, &bytes));
    }
    let world = World::new();
    assert!(world.failed(&[&created(9), &plain, &sns_envelope(&created(12)), TEST_EVENT]).await.is_empty());
    assert_eq!(world.flags(), vec![vec![12]; 4], "one flag, of the newest");
}

#[tokio::test]
async fn the_rest_of_the_state_and_what_left_it_mean_nothing() {
    let world = World::new();
    for event in [
        TEST_EVENT.to_owned(),
        s3("ObjectRemoved:Delete", &encoded(3)),
        s3("ObjectTagging:Put", &encoded(3)),
        s3(CREATED, "st+ate/floor.json"),
        s3(CREATED, "st+ate/cursors/orders/orders/shardId-000000000000.json"),
        s3(CREATED, "st+ate/changes/3.json"),
        eventbridge("Object Deleted", &format!("st ate/{}", change_key(3))),
        r#"{"Records":[]}"#.to_owned(),
    ] {
        assert_eq!(world.handle(&event).await.unwrap(), InjectorResponse::Done { flag: None }, "{event}");
    }
    assert_eq!(world.flags(), vec![Vec::<Version>::new(); 4]);
}

#[tokio::test]
async fn a_missing_change_file_is_an_error_unless_it_has_expired() {
    let world = World::new();
    assert!(matches!(world.handle(&created(13)).await, Err(InjectError::Missing { version: 13 })));
    assert_eq!(world.failed(&[&created(13), &created(4)]).await, ["m0"]);
    assert_eq!(world.flags(), vec![vec![4]; 4]);
    world.store.insert("floor.json", r#"{"freshjoin":"floor/1","version":13}"#);
    assert_eq!(world.handle(&created(13)).await.unwrap(), InjectorResponse::Done { flag: None });
    world.script.add("GET", [Fault::None, Fault::Fail]);
    assert!(matches!(world.handle(&created(13)).await, Err(InjectError::Floor(_))));
}

#[tokio::test]
async fn a_damaged_change_file_is_never_announced() {
    let world = World::new();
    world.store.insert(&change_key(12), "garbage");
    assert!(matches!(world.handle(&created(12)).await, Err(InjectError::Read(ReadError::Poison { .. }))));
    assert_eq!(world.failed(&[&created(12), &created(11)]).await, ["m0"]);
    assert_eq!(world.flags(), vec![vec![11]; 4]);
}

#[tokio::test]
async fn faults_are_retried_by_message_or_as_a_whole() {
    let world = World::new();
    world.script.add("GET", [Fault::Fail]);
    assert!(matches!(world.handle(&created(12)).await, Err(InjectError::Read(_))));
    assert_eq!(world.failed(&["not JSON", &created(12)]).await, ["m0"]);
    world.script.add("ListShards", vec![Fault::Fail; 1000]);
    assert!(matches!(world.handle(&created(12)).await, Err(InjectError::Broadcast { version: 12, .. })));
    assert_eq!(world.failed(&[&created(12), &created(11), TEST_EVENT]).await, ["m0", "m1"]);
    assert!(matches!(world.handle("{}").await, Err(InjectError::Notice(_))));
}

#[tokio::test]
async fn what_hangs_ends_before_the_deadline() {
    for operation in ["GET", "PutRecords"] {
        let world = World::new();
        let deps = world.deps(Arc::new(
            move |call: &Call<'_>| {
                if call.operation == operation { Fault::Hang } else { Fault::None }
            },
        ));
        let deadline = world.clock.now().plus_millis(30_000);
        assert!(handle(&created(12), &deps, deadline).await.is_err());
        assert_eq!(world.clock.now(), deadline.plus_millis(-500), "{operation}");
    }
}

#[test]
fn the_work_can_be_spawned() {
    fn spawnable(_: impl Future + Send) {}
    let world = World::new();
    spawnable(handle("", &world.deps(world.script.clone()), Timestamp::default()));
}
