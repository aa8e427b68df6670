//! What a run writes, in each format, is reference data that another run reads as it was: every digit, null, empty
//! string, quote, line break and letter.

#[cfg(test)]
mod round_trip {
    use std::fs;
    use std::io::Write;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use serde_json::Value;
    use tempfile::TempDir;

    /// A value that some format could lose, in each row; the third has none.
    const ROWS: &str = r#"{"id":"a","number":1.10,"whole":9007199254740993,"long":12345678901234567890.123456789012345678,"far":1E400,"empty":"","text":"say \"hi\",\r\nthen\nleave"}
{"id":"b","number":-0.50,"whole":-9223372036854775808,"long":99999999999999999999999999999999999999,"far":"1E400","empty":"\u0000 ","text":"naïve, 日本, 🍔\u2028"}
{"id":"c","number":null,"text":null}
{"id":"d","number":0,"whole":0,"long":-1,"far":1e-7,"empty":"\"\"","text":"\""}
"#;
    const COLUMNS: [&str; 7] = ["id", "number", "whole", "long", "far", "empty", "text"];

    struct World(TempDir);

    impl World {
        fn new() -> Self {
            let world = Self(tempfile::tempdir().unwrap());
            fs::write(world.path("rows.jsonl"), ROWS).unwrap();
            let orders: String = ["a", "b", "c", "d"].iter().map(|id| format!("{{\"id\":\"{id}\"}}\n")).collect();
            fs::write(world.path("in.jsonl"), orders).unwrap();
            world
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Joins every row of a reference file; the object so written gets a name that may be a reference again.
        fn run(&self, reference: &str, format: &str, types: &str, name: &str) -> String {
            let definition = format!(
                "name = \"p\"\n[source]\nformat = \"json\"\n[[reference]]\ndynamodb = \"R\"\non = {{ id = \"id\" }}\n\
                 [output]\ncolumns = {COLUMNS:?}\nformat = \"{format}\"\n{types}"
            );
            fs::write(self.path("p.toml"), definition).unwrap();
            let output = format!("out-{name}");
            let run = Command::new(env!("CARGO_BIN_EXE_freshjoin"))
                .current_dir(self.0.path())
                .args(["run", "--pipeline", "p.toml", "--reference", &format!("R={reference}")])
                .args(["--input", "in.jsonl", "--output", &output, "--json"])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(run.status.success(), "{run:?}");
            let summary: Value = serde_json::from_slice(&run.stdout).unwrap();
            assert_eq!((&summary["enriched"], &summary["dead_letters"]), (&4.into(), &0.into()), "{name}");
            fs::rename(object(&self.path(&output), format), self.path(name)).unwrap();
            name.to_owned()
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap()
        }
    }

    /// The only object of an output.
    fn object(output: &Path, format: &str) -> PathBuf {
        let entries = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path());
        let mut objects = entries.filter(|path| path.extension().is_some_and(|extension| extension == format));
        let object = objects.next().unwrap();
        assert_eq!(objects.next(), None);
        object
    }

    /// The rows as CSV has them: all text.
    const CSV: &str = "id,number,whole,long,far,empty,text\n\
        a,1.10,9007199254740993,12345678901234567890.123456789012345678,1E400,\"\",\"say \"\"hi\"\",\r\nthen\nleave\"\n\
        b,-0.50,-9223372036854775808,99999999999999999999999999999999999999,1E400,\u{0} ,\"naïve, 日本, 🍔\u{2028}\"\n\
        c,,,,,,\n\
        d,0,0,-1,1e-7,\"\"\"\"\"\",\"\"\"\"\n";

    #[test]
    fn csv_comes_back_as_it_was() {
        let world = World::new();
        let first = world.run("rows.jsonl", "csv", "", "1.csv");
        assert_eq!(world.text(&first), CSV);
        let second = world.run(&first, "csv", "", "2.csv");
        assert_eq!(world.text(&second), CSV);
        let lines = world.run(&second, "jsonl", "", "3.jsonl");
        let row: Value = serde_json::from_str(world.text(&lines).lines().nth(2).unwrap()).unwrap();
        assert!(row["id"] == "c" && COLUMNS[1..].iter().all(|column| row[column] == Value::Null), "{row}");
        let fourth = world.run(&lines, "csv", "", "4.csv");
        assert_eq!(world.text(&fourth), CSV);
    }

    #[test]
    fn json_lines_come_back_as_they_were() {
        let world = World::new();
        let first = world.run("rows.jsonl", "jsonl", "", "1.jsonl");
        let text = world.text(&first);
        let written = text.lines().next().unwrap();
        assert!(written.contains(
            "\"number\":1.10,\"whole\":9007199254740993,\"long\":12345678901234567890.123456789012345678,\"far\":1E400,"
        ));
        let second = world.run(&first, "jsonl", "", "2.jsonl");
        assert_eq!(world.text(&second), text);
        assert_eq!(world.text(&world.run(&second, "csv", "", "3.csv")), CSV);
    }

    #[test]
    fn parquet_of_strings_comes_back_as_it_was() {
        let world = World::new();
        let first = world.run("rows.jsonl", "parquet", "", "1.parquet");
        let second = world.run(&first, "parquet", "", "2.parquet");
        let third = world.run(&second, "csv", "", "3.csv");
        assert_eq!(world.text(&third), CSV);
        let fourth = world.run(&third, "parquet", "", "4.parquet");
        for again in [&second, &fourth] {
            assert_eq!(fs::read(world.path(again)).unwrap(), fs::read(world.path(&first)).unwrap());
        }
    }

    #[test]
    fn parquet_with_types_comes_back_as_it_was() {
        let world = World::new();
        let types = r#"types = { number = "decimal(3,2)", whole = "int64", long = "decimal(38,18)", far = "float64", empty = "bool", text = "timestamp" }"#;
        let rows = [
            r#"{"id":"a","number":1.10,"whole":9007199254740993,"long":12345678901234567890.123456789012345678,"far":0.1,"empty":true,"text":"2026-11-23T10:00:00.000001Z"}"#,
            r#"{"id":"b","number":-0.05,"whole":-9223372036854775808,"long":-0.000000000000000001,"far":-2.5,"empty":false,"text":"1969-12-31T23:59:59.5Z"}"#,
            r#"{"id":"c","number":null,"whole":null,"long":null,"far":null,"empty":null,"text":null}"#,
            r#"{"id":"d","number":9.99,"whole":9223372036854775807,"long":99999999999999999999.999999999999999999,"far":5e-324,"empty":true,"text":"1970-01-01T00:00:00Z"}"#,
        ]
        .map(|row| format!("{row}\n"))
        .concat();
        fs::write(world.path("rows.jsonl"), &rows).unwrap();
        let first = world.run("rows.jsonl", "parquet", types, "1.parquet");
        let second = world.run(&first, "jsonl", "", "2.jsonl");
        assert_eq!(world.text(&second), rows);
        let third = world.run(&first, "parquet", types, "3.parquet");
        assert_eq!(fs::read(world.path(&third)).unwrap(), fs::read(world.path(&first)).unwrap());
    }

    #[test]
    fn a_packed_file_is_read_as_the_same_rows() {
        let world = World::new();
        for (name, text) in [("rows.jsonl.gz", ROWS), ("rows.csv.GZ", CSV)] {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packed.write_all(text.as_bytes()).unwrap();
            fs::write(world.path(name), packed.finish().unwrap()).unwrap();
            let output = world.run(name, "csv", "", &format!("{}.csv", name.len()));
            assert_eq!(world.text(&output), CSV, "{name}");
        }
    }
}
