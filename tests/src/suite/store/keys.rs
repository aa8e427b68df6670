//! Keys that a careless adapter would decode, encode twice, or walk out of its location with.

use freshjoin_core::ports::Precondition;

use super::super::cases;
use super::{World, keys_of, read, write};

cases!(World:
    keys_are_taken_literally,
    no_key_leaves_its_location,
    keys_as_long_as_the_limits_say_are_held,
);

async fn keys_are_taken_literally(world: World) {
    let store = world.store();
    let mut keys = vec![
        "item=burger/priority=very high/x.csv",
        "item=a+b/x",
        "item=a b/x",
        "item=a%20b/x",
        "item=a%2Fb/x",
        "item=a%2fb/x",
        "item=%/x",
        "item=ä/日本/🍔",
        "item=\"quoted\"/x",
        "item='&<>;,@$!()*/x",
        "item=__HIVE_DEFAULT_PARTITION__/x",
        "item=#fragment/?query=1",
        "item=a:b~c^d`e/x",
        "item=..dots.../.hidden",
    ];
    for key in &keys {
        write(&*store, key, (*key).to_owned()).await;
    }
    for key in &keys {
        assert_eq!(read(&*store, key).await.as_deref(), Some(key.as_bytes()), "{key}");
    }
    keys.sort_unstable();
    assert_eq!(keys_of(&*store, "").await, keys);
    assert_eq!(keys_of(&*store, "item=a%2").await, ["item=a%20b/x", "item=a%2Fb/x", "item=a%2fb/x"]);
    let after = store.list("item=a", Some("item=a b/x")).await.unwrap();
    assert_eq!(after[0].key, "item=a%20b/x");
}

async fn no_key_leaves_its_location(world: World) {
    let (store, neighbour) = (world.at("inside"), world.at("outside"));
    for key in ["../outside/escaped", "a/../../outside/escaped", "/../outside/escaped", "..", "./../outside/escaped"] {
        // Refused, or held under just this key.
        if store.put(key, "x".into(), Precondition::None).await.is_ok() {
            assert_eq!(read(&*store, key).await, Some("x".into()), "{key}");
        }
        assert_eq!(keys_of(&*neighbour, "").await, [""; 0], "{key}");
    }
}

async fn keys_as_long_as_the_limits_say_are_held(world: World) {
    let store = world.store();
    let limits = store.limits();
    // File systems below an S3 gateway hold no more than 255 bytes between slashes.
    let component = limits.component.min(200);
    let mut key = String::new();
    while limits.prefix + key.len() < limits.key {
        let room = limits.key - limits.prefix - key.len();
        key.push_str(&"k".repeat(component.min(room)));
        if limits.prefix + key.len() + 2 <= limits.key {
            key.push('/');
        }
    }
    assert_eq!(limits.prefix + key.len(), limits.key);
    write(&*store, &key, "long").await;
    assert_eq!(read(&*store, &key).await, Some("long".into()));
    assert_eq!(keys_of(&*store, "").await, [key]);
}
