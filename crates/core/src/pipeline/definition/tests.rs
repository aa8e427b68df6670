//! Definitions that hold, and every kind that does not, with its line.

use super::*;

const DEMO: &str = r#"name = "orders"
[source]
format = "json"
[[reference]]
dynamodb = "ProductPriority"
on = { dish = "item" }
join = "left"
[output]
columns = ["cost", "price", "ProductPriority.priority as prio", "customer_id", "item"]
partition_by = ["item", "prio"]
format = "csv"
"#;

#[test]
fn the_demo_s_definition_is_understood() {
    let definition = Definition::parse(DEMO).unwrap();
    assert_eq!(definition.references[0].source, Source::Table("ProductPriority".into()));
    assert_eq!(definition.references[0].on, [JoinPair { stream: "dish".into(), reference: "item".into() }]);
    let column = &definition.output.columns[2];
    assert_eq!((column.reference, column.field.as_str(), column.name.as_str()), (Some(0), "priority", "prio"));
    assert_eq!(definition.digest.len(), 64);
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_a_mend() {
    for (from, to, line, problem) in [
        ("name = \"orders\"", "name = \"a/b\"", 1, "object key"),
        ("name = \"orders\"", "name = \"..\"", 1, "object key"),
        ("format = \"json\"", "format = \"avro\"", 3, "avro"),
        ("format = \"json\"", "fromat = \"json\"", 3, "fromat"),
        ("on = { dish = \"item\" }", "on = {}", 6, "without join fields"),
        ("on = { dish = \"item\" }", "on = { a = \"item\", b = \"item\" }", 6, "joined twice"),
        ("join = \"left\"", "join = \"outer\"", 7, "outer"),
        ("join = \"left\"", "s3 = \"s3://b/k\"", 7, "both"),
        ("\"cost\", ", "\"cost\", \"cost\", ", 9, "twice"),
        ("\"item\", \"prio\"]", "\"item\", \"priority\"]", 10, "no output column"),
        ("\"item\", \"prio\"]", "\"item\", \"item\"]", 10, "twice"),
        ("format = \"csv\"", "format = \"orc\"", 11, "orc"),
        ("format = \"csv\"", "delivery = \"at-most-once\"", 11, "at-most-once"),
        ("format = \"csv\"", "types = { nope = \"int64\" }", 11, "nope"),
        ("format = \"csv\"", "types = { cost = \"decimal(40,2)\" }", 11, "decimal(40,2)"),
        ("format = \"csv\"", "types = { cost = \"decimal(2,3)\" }", 11, "decimal(2,3)"),
        ("format = \"csv\"", "types = { _arrival = \"timestamp\" }", 11, "no output column"),
        ("format = \"csv\"", "provenance = true\ntypes = { _shard_id = \"int64\" }", 12, "cannot be int64"),
        ("format = \"csv\"", "format = ", 11, ""),
    ] {
        let text = DEMO.replacen(from, to, 1);
        let error = Definition::parse(&text).unwrap_err();
        assert_eq!(error.line, Some(line), "{to}: {error}");
        assert!(error.problem.contains(problem), "{to}: {error}");
        assert!(!error.mend.is_empty());
    }
    let without = DEMO.replace("dynamodb = \"ProductPriority\"\n", "");
    assert!(Definition::parse(&without).unwrap_err().problem.contains("neither"));
    let twice = DEMO.replace("[output]", "[[reference]]\ndynamodb = \"ProductPriority\"\non = { x = \"y\" }\n[output]");
    assert!(Definition::parse(&twice).unwrap_err().problem.contains("twice"));
    let nothing = "name = \"x\"\n[output]\ncolumns = [\"a\"]\n";
    assert!(Definition::parse(nothing).unwrap_err().problem.contains("nothing to join"));
    let only_partitions = DEMO.replace("\"cost\", \"price\", ", "").replace("\"customer_id\", ", "");
    assert!(Definition::parse(&only_partitions).unwrap_err().problem.contains("no column is left"));
    let clash = DEMO.replace("\"cost\", ", "\"cost as _arrival\", ").replace("format = \"csv\"", "provenance = true");
    assert!(Definition::parse(&clash).unwrap_err().problem.contains("provenance"));
}

#[test]
fn an_object_is_named_by_its_stem_and_a_prefix_by_its_folder() {
    for (url, name) in [
        ("s3://b/reference/products.jsonl", "products"),
        ("s3://b/reference/products.csv.gz", "products"),
        ("s3://b/reference/products/", "products"),
    ] {
        assert_eq!(reference_name(&Source::Object(url.into())), name);
    }
}

#[test]
fn types_are_given_by_column_and_everything_else_is_a_string() {
    let to =
        "format = \"parquet\"\nprovenance = true\n[output.types]\ncost = \"decimal(10,2)\"\n_arrival = \"timestamp\"\n";
    let output = Definition::parse(&DEMO.replace("format = \"csv\"", to)).unwrap().output;
    assert_eq!((output.format, output.format.extension()), (Format::Parquet, "parquet"));
    assert_eq!(output.type_of("cost"), ColumnType::Decimal { precision: 10, scale: 2 });
    assert_eq!(output.type_of("_arrival"), ColumnType::Timestamp);
    assert_eq!(output.type_of("price"), ColumnType::String);
    let csv = DEMO.replace("format = \"csv\"", "format = \"csv\"\ntypes = { cost = \"int64\" }");
    assert!(Definition::parse(&csv).is_ok(), "types may wait for the day the format changes");
}
