//! What a row says: kinds of joins, keys that match by value, values that try to break out of where they stand.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use freshjoin_core::ports::PutEntry;
use serde_json::json;

use crate::oracle::of_dish;
use crate::output::NULL;
use crate::trials;
use crate::world::{DISHES, Servers, World};

trials!("join":
    an_inner_join_drops_what_is_unmatched,
    several_rows_of_a_key_give_several_rows,
    numbers_match_by_value_with_every_digit,
    hostile_values_stay_where_they_stand,
    the_csv_is_right_to_the_byte,
);

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(digits: &str) -> AttributeValue {
    AttributeValue::N(digits.into())
}

async fn an_inner_join_drops_what_is_unmatched(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    world.deployment.pipeline = world.deployment.pipeline.replace("\"left\"", "\"inner\"");
    let (enricher, _) = world.enricher().await;
    world.order(100, &DISHES).await;
    enricher.drain().await.unwrap();
    let rows = world.rows().await;
    assert_eq!((rows.len(), of_dish(&rows, "donut").len()), (80, 0));
    assert_eq!(world.dead_letters().await.len(), 0, "what is unmatched is no dead letter");
}

async fn several_rows_of_a_key_give_several_rows(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    world.table.put("burger", 120, "high").await;
    world.table.put("burger", 80, "low").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(30, &["burger"]).await;
    enricher.drain().await.unwrap();
    world.verify().await;
    assert_eq!(of_dish(&world.rows().await, "burger").len(), 90);
}

async fn numbers_match_by_value_with_every_digit(servers: Arc<Servers>) {
    let mut world = World::empty(&servers, 1).await;
    let long = "12345678901234567890123456789012345678";
    for (item, price) in [("one", "1"), ("half", "0.5"), ("long", long), ("text", "7")] {
        world.table.put_item([("item", text(item)), ("price", number(price)), ("priority", text(item))]).await;
    }
    world.deployment.pipeline = format!(
        r#"
        name = "orders"
        [source]
        format = "json"
        [[reference]]
        dynamodb = "{}"
        on = {{ amount = "price" }}
        [output]
        columns = ["customer_id", "amount", "priority"]
        partition_by = []
        "#,
        world.table.name()
    );
    let amounts = [
        ("1", "one"),
        ("1.0", "one"),
        ("1e0", "one"),
        ("10E-1", "one"),
        ("0.50", "half"),
        ("5e-1", "half"),
        (long, "long"),
        ("12345678901234567890123456789012345678.0", "long"),
        // A neighbour that a double could not tell from it.
        ("12345678901234567890123456789012345679", ""),
        ("\"1\"", ""),
        ("\"text\"", ""),
        ("null", ""),
        ("true", ""),
        ("[1]", ""),
    ];
    let orders = amounts.iter().enumerate();
    world
        .send(orders.map(|(n, (amount, _))| format!(r#"{{"customer_id":{n},"amount":{amount}}}"#).into()).collect())
        .await;
    world.send(vec![r#"{"customer_id":99}"#.into()]).await;
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows.len(), amounts.len() + 1);
    for row in rows {
        let (amount, priority) = amounts.get(usize::try_from(row.customer()).unwrap()).copied().unwrap_or_default();
        assert_eq!(row.get("priority"), Some(priority), "{amount}");
        if amount.starts_with(|c: char| c.is_ascii_digit()) {
            // The stream's value is written as it stands there, unless the reference's takes its place.
            assert!(row.get("amount").is_some_and(|written| !written.is_empty()), "{row:?}");
        }
    }
}

/// Values that a CSV reader, a shell, a path or Hive would read something else into.
const HOSTILE: [&str; 20] = [
    "../../../etc/passwd",
    "..",
    ".",
    "a/b",
    "a=b/priority=high",
    "50% off",
    "%2e%2e%2f",
    "say \"cheese\"",
    "comma, and; semicolon",
    "line\nfeed",
    "carriage\r\nreturn",
    "tab\tand\u{1}control",
    "nul\u{0}byte",
    "=cmd|' /C calc'!A0",
    " leading and trailing ",
    "日本 🍔 é",
    "back\\slash:*?\"<>|",
    "#{[^]}`'",
    "\u{202e}right to left",
    "__HIVE_DEFAULT_PARTITION__x",
];

async fn hostile_values_stay_where_they_stand(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    for (n, value) in HOSTILE.into_iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        let price = u32::try_from(n).unwrap();
        world.table.put(value, price, value).await;
    }
    let columns = r#"columns      = ["cost", "note", "price", "priority", "customer_id", "item"]"#;
    let lines = world.deployment.pipeline.lines();
    world.deployment.pipeline =
        lines.map(|line| if line.starts_with("columns") { columns } else { line }).collect::<Vec<_>>().join("\n");
    let order = |(n, value): (usize, &&str)| {
        Bytes::from(json!({"dish": value, "cost": n, "note": value, "customer_id": n}).to_string())
    };
    world.send(HOSTILE.iter().enumerate().map(order).collect()).await;
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    assert_eq!(world.dead_letters().await.len(), 0);
    let rows = world.rows().await;
    assert_eq!(rows.len(), HOSTILE.len());
    for row in &rows {
        let n = usize::try_from(row.customer()).unwrap();
        let value = HOSTILE[n];
        assert_eq!(row.key.split('/').count(), 3, "{value:?} made another path: {}", row.key);
        assert!(row.key.bytes().all(|byte| byte >= b' ' && byte != 0x7f), "{:?}", row.key);
        assert_eq!(row.get("item"), Some(value));
        assert_eq!(row.get("note"), Some(value), "in the CSV");
        assert_eq!(row.get("priority"), Some(if n % 2 == 0 { value } else { NULL }));
    }
    // Nothing was written beside the output and the state.
    let all = crate::output::objects(&*world.open(&format!("s3://{}", world.bucket)), "").await;
    assert!(all.keys().all(|key| key.starts_with("output/") || key.starts_with("state/")), "{:?}", all.keys());
}

async fn the_csv_is_right_to_the_byte(servers: Arc<Servers>) {
    let mut world = World::empty(&servers, 1).await;
    world
        .table
        .put_item([
            ("item", text("burger")),
            ("price", number("100")),
            ("priority", text("high, \"very\"")),
            ("empty", text("")),
            ("tags", AttributeValue::L(vec![text("a"), number("1.50")])),
        ])
        .await;
    world.deployment.pipeline = format!(
        r#"
        name = "orders"
        [source]
        format = "json"
        [[reference]]
        dynamodb = "{}"
        on = {{ dish = "item" }}
        [output]
        columns = ["cost", "price as list_price", "priority", "tags", "empty", "nothing", "customer_id", "extra", "item"]
        partition_by = ["item"]
        "#,
        world.table.name()
    );
    let records = [
        r#"{"dish":"burger","cost":1.50,"customer_id":1,"extra":{"b":[1, 2],"a":"x,\"y\""}}"#,
        r#"{"dish":"burger","cost":12345678901234567890123,"customer_id":2,"extra":"line\nend"}"#,
        r#"{"dish":"burger","cost":-0.0,"customer_id":3,"extra":null}"#,
        r#"{"dish":"burger","cost":true,"customer_id":4,"extra":" ü "}"#,
    ];
    let mut numbers = Vec::new();
    for record in records {
        let entry = PutEntry { data: record.into(), partition_key: "x".into(), explicit_hash_key: None };
        world.stream.put(&[entry]).await.unwrap().remove(0).unwrap();
    }
    let page = world.stream.read("shardId-000000000000", &freshjoin_core::ports::Position::TrimHorizon).await.unwrap();
    numbers.extend(page.records.iter().map(|record| record.sequence.to_owned()));
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let objects = world.output_objects().await;
    let key = format!("item=burger/shardId-000000000000-{}-{}.csv", numbers[0], numbers[3]);
    assert_eq!(objects.keys().collect::<Vec<_>>(), [&key]);
    let expected = concat!(
        "cost,list_price,priority,tags,empty,nothing,customer_id,extra\n",
        r#"1.50,100,"high, ""very""","[""a"",1.50]","",,1,"{""b"":[1, 2],""a"":""x,\""y\""""}""#,
        "\n",
        r#"12345678901234567890123,100,"high, ""very""","[""a"",1.50]","",,2,"line"#,
        "\nend\"\n",
        r#"-0.0,100,"high, ""very""","[""a"",1.50]","",,3,"#,
        "\n",
        r#"true,100,"high, ""very""","[""a"",1.50]","",,4," ü ""#,
        "\n",
    );
    let body = std::str::from_utf8(&objects[&key]).unwrap();
    // RFC 4180 lets a field with spaces stand with or without quotes.
    assert_eq!(body, expected.replace("\" ü \"", if body.contains("\" ü \"") { "\" ü \"" } else { " ü " }));
}
