//! The join's meaning, row by row.

use super::*;
use crate::pipeline::Definition;
use crate::record::Records;
use crate::time::Timestamp;

mod typed;

const KEYS: KeyLimits = KeyLimits { key: 1024, component: usize::MAX, prefix: 0 };

struct World {
    plan: Plan,
    references: Vec<VersionedReference>,
}

impl World {
    fn new(definition: &str, rows: &[(usize, &str)]) -> Self {
        let plan = Plan::new(&Definition::parse(definition).unwrap());
        let fresh = |projection: &crate::reference::Projection| {
            VersionedReference::new(projection.clone(), Timestamp::default())
        };
        let mut references: Vec<_> = plan.projections().iter().map(fresh).collect();
        for (number, (reference, row)) in rows.iter().enumerate() {
            references[*reference]
                .load(&format!("{{\"n\":{number}}}"), Some(row), crate::reference::KnownChange::scanned(0))
                .unwrap();
        }
        Self { plan, references }
    }

    fn encode(&self, limits: Limits, keys: KeyLimits, data: &[&[u8]]) -> (Encoded, usize) {
        let mut records = Records::default();
        for (number, data) in data.iter().enumerate() {
            records.push(&number.to_string(), Timestamp::from_millis(1), data).unwrap();
        }
        let mut encoder = Encoder::new(&self.plan, "shard", keys, limits);
        let taken =
            records.iter().take_while(|record| encoder.take(*record, &self.references, 7) == Taken::Yes).count();
        (encoder.finish().unwrap(), taken)
    }

    fn run(&self, limits: Limits, keys: KeyLimits, data: &[&[u8]]) -> (Vec<(String, String)>, String, Counts, usize) {
        let (encoded, taken) = self.encode(limits, keys, data);
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut objects: Vec<_> = encoded.objects.into_iter().map(|(path, bytes)| (path, text(bytes))).collect();
        objects.sort();
        (objects, text(encoded.dead_letters), encoded.counts, taken)
    }

    fn rows(&self, data: &[&str]) -> Vec<(String, String)> {
        self.run(Limits::NONE, KEYS, &data.iter().map(|data| data.as_bytes()).collect::<Vec<_>>()).0
    }
}

fn definition(references: &str, output: &str) -> String {
    format!("name = \"t\"\n{references}\n[output]\n{output}\n")
}

fn one(path: &str, text: &str) -> Vec<(String, String)> {
    vec![(path.into(), text.into())]
}

const PRIORITY: &str = "[[reference]]\ndynamodb = \"P\"\non = { dish = \"item\" }";
const DEMO: &str = "columns = [\"cost\", \"price\", \"priority\", \"item\"]\npartition_by = [\"item\", \"priority\"]";

#[test]
fn a_hit_takes_the_row_and_a_miss_keeps_its_place() {
    let world = World::new(&definition(PRIORITY, DEMO), &[(0, r#"{"item":"burger","price":100,"priority":"high"}"#)]);
    let rows = world.rows(&[r#"{"dish":"burger","cost":1.50}"#, r#"{"dish":"donut","cost":2}"#, r#"{"cost":3}"#]);
    let expected = [
        ("item=__HIVE_DEFAULT_PARTITION__/priority=__HIVE_DEFAULT_PARTITION__/", "cost,price\n3,\n"),
        ("item=burger/priority=high/", "cost,price\n1.50,100\n"),
        ("item=donut/priority=__HIVE_DEFAULT_PARTITION__/", "cost,price\n2,\n"),
    ];
    assert_eq!(rows, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
}

#[test]
fn an_inner_join_drops_and_counts() {
    let text = definition(&format!("{PRIORITY}\njoin = \"inner\""), DEMO);
    let world = World::new(&text, &[(0, r#"{"item":"burger","price":1,"priority":"h"}"#)]);
    let (objects, _, counts, _) = world.run(Limits::NONE, KEYS, &[br#"{"dish":"burger"}"#, br#"{"dish":"donut"}"#]);
    assert_eq!(objects, one("item=burger/priority=h/", "cost,price\n,1\n"));
    assert_eq!((counts.enriched, counts.unmatched, counts.rows), (1, 1, 1));
}

#[test]
fn several_rows_of_a_key_give_several_rows() {
    let rows = [(0, r#"{"item":"a","price":1}"#), (0, r#"{"item":"a","price":2}"#)];
    let world = World::new(&definition(PRIORITY, "columns = [\"price\", \"item\"]"), &rows);
    let (objects, _, counts, _) = world.run(Limits::NONE, KEYS, &[br#"{"dish":"a"}"#]);
    assert_eq!(objects, one("", "price,item\n1,a\n2,a\n"));
    assert_eq!((counts.enriched, counts.rows), (1, 2));
}

#[test]
fn references_join_one_after_the_other_and_columns_are_resolved_in_order() {
    let references =
        format!("{PRIORITY}\n[[reference]]\ndynamodb = \"C\"\non = {{ category = \"id\", region = \"region\" }}");
    let columns = r#"columns = ["item", "x", "C.x as cx", "P.x as px", "name", "region", "id", "P.item as pi"]"#;
    let rows = [(0, r#"{"item":"a","category":7,"x":"p"}"#), (1, r#"{"id":7.0,"region":"eu","x":"c","name":"Seven"}"#)];
    let world = World::new(&definition(&references, columns), &rows);
    let out =
        world.rows(&[r#"{"dish":"a","region":"eu"}"#, r#"{"dish":"a","region":"eu","x":null}"#, r#"{"dish":"a"}"#]);
    let header = "item,x,cx,px,name,region,id,pi\n";
    let expected = format!("{header}a,p,c,p,Seven,eu,7,a\na,,c,p,Seven,eu,7,a\na,p,,p,,,7,a\n");
    assert_eq!(out, one("", &expected));
}

#[test]
fn provenance_says_which_record_and_version_made_a_row() {
    let text = definition(PRIORITY, "columns = [\"item\"]\nprovenance = true\nformat = \"jsonl\"");
    let out = World::new(&text, &[]).rows(&["{\"dish\":\"a\"}{\"dish\":\"b\"}"]);
    let row = |item, number| {
        format!(
            "{{\"item\":\"{item}\",\"_ref_version\":7,\"_shard_id\":\"shard\",\"_sequence_number\":\"0\",\
             \"_sub_sequence\":{number},\"_arrival\":\"1970-01-01T00:00:00.001Z\"}}\n"
        )
    };
    assert_eq!(out, one("", &(row("a", 0) + &row("b", 1))));
}

#[test]
fn a_sub_record_that_cannot_be_written_is_a_dead_letter_whole() {
    // Two rows: the first could be written, the second's key is too long; neither may stay.
    let long = "x".repeat(600);
    let rows =
        [(0, r#"{"item":"a","priority":"ok"}"#.to_owned()), (0, format!(r#"{{"item":"a","priority":"{long}"}}"#))];
    let rows: Vec<_> = rows.iter().map(|(reference, row)| (*reference, row.as_str())).collect();
    let text = definition(PRIORITY, "columns = [\"dish\", \"priority\"]\npartition_by = [\"priority\"]");
    let world = World::new(&text, &rows);
    let keys = KeyLimits { key: 700, component: usize::MAX, prefix: 10 };
    let (objects, dead, counts, taken) =
        world.run(Limits::NONE, keys, &[br#"{"dish":"b"}"#, br#"{"dish":"a"}{"dish":"c"}"#, br#"{"dish":"\ud800"}"#]);
    assert_eq!(objects, one("priority=__HIVE_DEFAULT_PARTITION__/", "dish\nb\nc\n"));
    assert_eq!((counts.dead_letters, counts.unmatched, counts.rows, taken), (2, 2, 2, 3));
    let letters: Vec<serde_json::Value> = dead.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters[0]["data"], "eyJkaXNoIjoiYSJ9");
    assert_eq!(letters[0]["sub_sequence"], 0);
    assert!(letters[0]["reason"].as_str().unwrap().contains("key"));
    assert_eq!(letters[1]["sequence"], "2");
    let narrow = KeyLimits { component: 20, ..KEYS };
    assert_eq!(world.run(Limits::NONE, narrow, &[br#"{"dish":"a"}"#]).2.dead_letters, 1);
}

#[test]
fn a_full_range_leaves_the_next_record_untouched() {
    let text = definition(PRIORITY, "columns = [\"cost\", \"dish\"]\npartition_by = [\"dish\"]");
    let world = World::new(&text, &[]);
    let data: [&[u8]; 4] =
        [br#"{"dish":"a"}{"dish":"b"}"#, br#"{"dish":"a"}"#, b"bad\n{\"dish\":\"a\"}\n{\"dish\":\"c\"}", b"{}"];
    let limits = Limits { objects: 2, ..Limits::NONE };
    let (objects, dead, counts, taken) = world.run(limits, KEYS, &data);
    assert_eq!(taken, 2);
    assert_eq!(objects, [("dish=a/".into(), "cost\n\n\n".into()), ("dish=b/".into(), "cost\n\n".into())]);
    assert_eq!((dead.as_str(), counts.records()), ("", 3));
    let first = world.run(Limits { objects: 1, ..Limits::NONE }, KEYS, &data);
    assert_eq!(first.3, 1, "a record that alone exceeds the limit is taken alone");
    assert_eq!(world.run(Limits { records: 1, ..Limits::NONE }, KEYS, &data).3, 1);
    assert_eq!(world.run(Limits { bytes: 1, ..Limits::NONE }, KEYS, &data).3, 1);
}

#[test]
fn a_record_full_of_dead_letters_costs_its_length() {
    // Were a sub-record found by counting from the record's start, this would take minutes.
    let world = World::new(&definition(PRIORITY, "columns = [\"dish\"]"), &[]);
    let data = r#"{"dish":"\ud800"}"#.repeat(30_000);
    let (objects, dead, counts, taken) = world.run(Limits::NONE, KEYS, &[data.as_bytes()]);
    assert_eq!((counts.dead_letters, dead.lines().count(), taken), (30_000, 30_000, 1));
    assert_eq!(objects, []);
}

#[test]
fn sub_records_of_an_aggregate_are_numbered_flat_and_a_flag_among_them_is_a_record() {
    let world = World::new(&definition(PRIORITY, "columns = [\"dish\"]\nprovenance = true"), &[]);
    let flag = br#"{"freshjoin":"change-flag/1","version":9,"digest":"sha256:00","dish":"flag"}"#;
    let records = [&b"{\"dish\":\"a\"}\noops"[..], b"", flag].map(Bytes::from_static);
    let aggregate = crate::record::pack("key", records);
    let (objects, dead, counts, taken) = world.run(Limits::NONE, KEYS, &[&aggregate, &aggregate[..30]]);
    let rows: Vec<_> = objects[0].1.lines().skip(1).map(|row| row.split(',').collect::<Vec<_>>()).collect();
    assert_eq!(rows.iter().map(|row| (row[0], row[4])).collect::<Vec<_>>(), [("a", "0"), ("flag", "3")]);
    let letters: Vec<serde_json::Value> = dead.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places = letters.iter().map(|letter| (letter["sequence"].as_str().unwrap(), letter["sub_sequence"].as_u64()));
    assert_eq!(places.collect::<Vec<_>>(), [("0", Some(1)), ("0", Some(2)), ("1", Some(0))]);
    assert_eq!(letters[0]["data"], "b29wcw==");
    assert_eq!(letters[1]["data"], "");
    assert_eq!(letters[2]["data"], base64_simd::STANDARD.encode_to_string(&aggregate[..30]));
    assert_eq!((counts.unmatched, counts.dead_letters, counts.flags, taken), (2, 3, 0, 2));
}

#[test]
fn dead_letters_fill_a_range_as_rows_do() {
    let world = World::new(&definition(PRIORITY, "columns = [\"dish\"]"), &[]);
    let limits = Limits { bytes: 1000, ..Limits::NONE };
    let (_, dead, _, taken) = world.run(limits, KEYS, &[&b"oops"[..]; 100]);
    assert!((1000..1200).contains(&dead.len()) && (2..10).contains(&taken), "{taken} of {} bytes", dead.len());
}

#[test]
fn a_record_of_too_many_sub_records_is_one_dead_letter_whole() {
    let world = World::new(&definition(PRIORITY, "columns = [\"dish\"]"), &[]);
    let most = usize::try_from(MAX_SUB_RECORDS).unwrap();
    let data = b"{}".repeat(most + 1);
    let (objects, dead, counts, taken) = world.run(Limits::NONE, KEYS, &[b"{}", &data, &data[2..]]);
    assert_eq!((counts.dead_letters, counts.unmatched, taken), (1, 1 + u64::from(MAX_SUB_RECORDS), 3));
    assert_eq!(objects[0].1.lines().count(), 1 + 1 + most);
    let letter: serde_json::Value = serde_json::from_str(&dead).unwrap();
    assert_eq!((&letter["sequence"], &letter["sub_sequence"]), (&"1".into(), &0.into()));
    assert_eq!(letter["data"], base64_simd::STANDARD.encode_to_string(&data));
}
