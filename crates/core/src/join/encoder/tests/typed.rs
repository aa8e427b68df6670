//! Typed columns: what fits is written, what does not is a dead letter of its sub-record alone.

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::*;

const TYPED: &str = "columns = [\"dish\", \"cost\", \"price\", \"item\"]\npartition_by = [\"item\"]\nformat = \"parquet\"\n\
                     types = { cost = \"decimal(5,2)\", price = \"int64\", item = \"int64\" }";

/// Rows by the path of their object, each value as the reader shows it.
type Objects = Vec<(String, Vec<String>)>;

/// The objects, the dead letters' reasons, the counts.
fn typed(world: &World, limits: Limits, data: &[&str]) -> (Objects, Vec<String>, Counts) {
    let data: Vec<_> = data.iter().map(|data| data.as_bytes()).collect();
    let (encoded, _) = world.encode(limits, KEYS, &data);
    let rows = |object| {
        let reader = SerializedFileReader::new(object).unwrap();
        reader.get_row_iter(None).unwrap().map(|row| shown(&row.unwrap().into_columns())).collect()
    };
    let mut objects: Objects = encoded.objects.into_iter().map(|(path, object)| (path, rows(object))).collect();
    objects.sort();
    let letters = std::str::from_utf8(&encoded.dead_letters).unwrap().lines();
    let reason = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["reason"].as_str().unwrap().to_owned();
    (objects, letters.map(reason).collect(), encoded.counts)
}

fn shown(columns: &[(String, Field)]) -> String {
    columns.iter().map(|(name, field)| format!("{name}={field}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn values_of_records_and_of_rows_are_brought_into_their_types() {
    let rows = [(0, r#"{"item":"a","price":1e2}"#), (0, r#"{"item":"b","price":"7"}"#), (0, r#"{"item":"c"}"#)];
    let world = World::new(&definition(PRIORITY, TYPED), &rows);
    let data = [r#"{"dish":"a","cost":1.5}"#, r#"{"dish":"b","cost":null}"#, r#"{"dish":"c","cost":"2"}"#, "{}"];
    let (objects, reasons, counts) = typed(&world, Limits::NONE, &data);
    let expected = [
        ("item=__HIVE_DEFAULT_PARTITION__/", "dish=null cost=null price=null"),
        ("item=a/", "dish=\"a\" cost=1.50 price=100"),
        ("item=b/", "dish=\"b\" cost=null price=7"),
        ("item=c/", "dish=\"c\" cost=2.00 price=null"),
    ];
    assert_eq!(objects, expected.map(|(path, row)| (path.to_owned(), vec![row.to_owned()])));
    assert_eq!((reasons.len(), counts.enriched, counts.unmatched, counts.rows), (0, 3, 1, 4));
}

#[test]
fn a_value_that_does_not_fit_costs_its_sub_record_alone() {
    // Of two rows of a key the second does not fit: the first may not stay either.
    let rows = [
        (0, r#"{"item":"a","price":1}"#),
        (0, r#"{"item":"a","price":"1 €"}"#),
        (0, r#"{"item":"b","price":2}"#),
        (0, r#"{"item":"c","price":[3]}"#),
    ];
    let world = World::new(&definition(PRIORITY, TYPED), &rows);
    let long = format!(r#"{{"dish":"b","cost":"{}"}}"#, "9".repeat(100));
    let data = [
        r#"{"dish":"b","cost":1}{"dish":"a","cost":1}{"dish":"b","cost":0.001}"#,
        r#"{"dish":"c","cost":1}"#,
        r#"{"dish":"b","cost":2}"#,
        &long,
    ];
    let (objects, reasons, counts) = typed(&world, Limits::NONE, &data);
    let rows = ["dish=\"b\" cost=1.00 price=2", "dish=\"b\" cost=2.00 price=2"].map(str::to_owned);
    assert_eq!(objects, [("item=b/".to_owned(), rows.to_vec())]);
    assert_eq!(
        reasons,
        [
            r#"column "price": "1 €" does not fit int64"#.to_owned(),
            r#"column "cost": 0.001 does not fit decimal(5,2)"#.to_owned(),
            r#"column "price": [3] does not fit int64"#.to_owned(),
            format!(r#"column "cost": "{}… does not fit decimal(5,2)"#, "9".repeat(63)),
        ]
    );
    assert_eq!((counts.records(), counts.enriched, counts.dead_letters, counts.rows), (6, 2, 4, 2));
}

#[test]
fn a_bad_value_that_is_not_written_harms_nobody() {
    let columns = TYPED.replace("\"cost\", ", "").replace("cost = \"decimal(5,2)\", ", "");
    let world = World::new(&definition(PRIORITY, &columns), &[(0, r#"{"item":"a","price":"free"}"#)]);
    let (objects, reasons, counts) = typed(&world, Limits::NONE, &[r#"{"dish":"b","cost":"much"}"#]);
    assert_eq!(objects, [("item=b/".to_owned(), vec!["dish=\"b\" price=null".to_owned()])]);
    assert_eq!((reasons.len(), counts.records()), (0, 1));
}

#[test]
fn provenance_is_typed_where_a_definition_says_so() {
    let text = "columns = [\"item\"]\nprovenance = true\nformat = \"parquet\"\n\
                types = { _ref_version = \"int64\", _arrival = \"timestamp\" }";
    let (objects, ..) = typed(&World::new(&definition(PRIORITY, text), &[]), Limits::NONE, &[r#"{"dish":"a"}"#]);
    let row = "item=\"a\" _ref_version=7 _shard_id=\"shard\" _sequence_number=\"0\" _sub_sequence=\"0\" \
               _arrival=1970-01-01 00:00:00.001000 +00:00";
    assert_eq!(objects, [(String::new(), vec![row.to_owned()])]);
}

#[test]
fn a_full_range_leaves_the_next_record_untouched() {
    let world = World::new(&definition(PRIORITY, TYPED), &[]);
    let data = [r#"{"dish":"a"}"#, r#"{"dish":"a","cost":"x"}{"dish":"a"}{"dish":"b"}"#, r#"{"dish":"a"}"#];
    let (objects, reasons, counts) = typed(&world, Limits { objects: 1, ..Limits::NONE }, &data);
    assert_eq!(objects, [("item=a/".to_owned(), vec!["dish=\"a\" cost=null price=null".to_owned()])]);
    assert_eq!((reasons.len(), counts.records()), (0, 1));
    assert_eq!(typed(&world, Limits { bytes: 1, ..Limits::NONE }, &data).2.records(), 1);
}
