//! `SEMANTICS.md` held to the code: its example is run, its numbers are compared with the constants, its costs are counted,
//! and the tests that it names are there.

#[cfg(test)]
mod semantics {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;

    use bytes::Bytes;
    use freshjoin_core::batch::{Consumer, ConsumerDeps, ConsumerSettings, LogObserver, Progress};
    use freshjoin_core::location::Location;
    use freshjoin_core::log::FRESH;
    use freshjoin_core::memory::{Gate, MemoryClock, MemoryStores, MemoryStream, MemoryTables, NoFaults};
    use freshjoin_core::pipeline::Definition;
    use freshjoin_core::ports::{PutEntry, Stream};
    use freshjoin_core::record::Records;
    use freshjoin_core::reference::{RING, SCAN_GRACE_MILLIS};
    use freshjoin_core::settings::AsOf;
    use freshjoin_core::time::Timestamp;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    fn document() -> String {
        fs::read_to_string(Path::new(ROOT).join("SEMANTICS.md")).unwrap()
    }

    /// The text of the one fenced block of a kind.
    fn block(document: &str, kind: &str) -> String {
        let begin = format!("\n```{kind}\n");
        let mut blocks = document.split(&begin).skip(1);
        let text = blocks.next().unwrap_or_else(|| panic!("no block of {kind}"));
        assert!(blocks.next().is_none(), "two blocks of {kind}");
        format!("{}\n", text.split("\n```").next().unwrap())
    }

    /// The cells of the table below a heading, its own headings left out.
    fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
        let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
        let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let rows: Vec<Vec<String>> = rows.map(cells).collect();
        assert!(!rows.is_empty(), "no table in {heading}");
        rows
    }

    #[test]
    fn the_example_gives_the_output_that_it_shows() {
        let (document, folder) = (document(), tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for (kind, file) in [("toml", "p.toml"), ("menu", "menu.jsonl"), ("staff", "staff.jsonl"), ("records", "in")] {
            fs::write(path(file), block(&document, kind)).unwrap();
        }
        let (menu, staff) = (format!("Menu={}", path("menu.jsonl")), format!("Staff={}", path("staff.jsonl")));
        let run = Command::new(env!("CARGO_BIN_EXE_freshjoin"))
            .args(["run", "--pipeline", &path("p.toml"), "--reference", &menu, "--reference", &staff])
            .args(["--input", &path("in"), "--output", &path("out"), "--json"])
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let summary: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        let counts = ["records", "enriched", "unmatched", "dead_letters"].map(|name| summary[name].as_u64().unwrap());
        assert_eq!(counts, [6, 2, 3, 1], "{summary}");
        let objects = fs::read_dir(path("out")).unwrap().map(|entry| entry.unwrap().path());
        let outputs: Vec<_> = objects.filter(|path| path.extension().is_some_and(|ending| ending == "csv")).collect();
        assert_eq!(outputs.len(), 1);
        assert_eq!(fs::read_to_string(&outputs[0]).unwrap(), block(&document, "output"));
    }

    #[test]
    fn the_numbers_are_those_of_the_code() {
        let limits = ConsumerSettings::new(Location::new("s3://out"), AsOf::Flag).limits;
        let thousands = |number: u64| match (number / 1000, number % 1000) {
            (0, rest) => rest.to_string(),
            (thousands, rest) => format!("{thousands},{rest:03}"),
        };
        let expected = [
            ("records in a range, at most", thousands(limits.records as u64)),
            ("output objects in a range, about", thousands(limits.objects as u64)),
            ("bytes of output in a range, about", format!("{} MiB", limits.bytes >> 20)),
            ("versions below the newest that an environment keeps at least", thousands(RING)),
            (
                "how old a change may be to count against a first scan",
                format!("{} minutes", SCAN_GRACE_MILLIS / 60_000),
            ),
            ("for how long a floor that was read is believed", format!("{} hour", FRESH.as_secs() / 3_600)),
        ];
        let found: Vec<_> =
            table(&document(), "Numbers").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        assert_eq!(found, expected.map(|(what, value)| (what.to_owned(), value)));
    }

    /// GETs and PUTs of a warm batch beside its output object.
    async fn cost(as_of: AsOf, delivery: &str) -> String {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let (stores, tables) = (MemoryStores::new(&clock), MemoryTables::new(&clock));
        let stream = MemoryStream::new("s", 1, &clock);
        tables.create("T", &["item"]);
        tables.put("T", r#"{"item":"a","n":1}"#).unwrap();
        let gate = Gate::new(Arc::new(NoFaults));
        let deps = ConsumerDeps {
            state: Arc::new(stores.store(&Location::new("s3://state")).unwrap().through(&gate)),
            stores: Arc::new(stores.through(&gate)),
            tables: Arc::new(tables.through(&gate)),
            stream: Arc::new(stream.through(&gate)),
            clock: Arc::new(clock.clone()),
            observer: Arc::new(LogObserver),
        };
        let definition = format!(
            "name = \"p\"\n[[reference]]\ndynamodb = \"T\"\non = {{ item = \"item\" }}\n[output]\ncolumns = [\"item\", \
             \"n\"]\ndelivery = \"{delivery}\"\n"
        );
        let settings = ConsumerSettings::new(Location::new("s3://out"), as_of);
        let consumer = Consumer::new(Definition::parse(&definition).unwrap(), deps, settings);
        for _ in 0..2 {
            gate.reset();
            let data = Bytes::from_static(br#"{"item":"a"}"#);
            let entry = PutEntry { data, partition_key: "x".into(), explicit_hash_key: None };
            for answer in stream.put(&[entry]).await.unwrap() {
                answer.unwrap();
            }
            let all = stream.records("shardId-000000000000");
            let newest = all.get(all.len() - 1).unwrap();
            let mut batch = Records::default();
            batch.push(newest.sequence, newest.arrival, newest.data).unwrap();
            consumer.process("shardId-000000000000", &batch, &Progress::default()).await.unwrap();
        }
        let (gets, puts) = (gate.count("GET"), gate.count("PUT") - 1);
        assert_eq!(gate.counts().values().sum::<u64>(), gets + puts + 1, "{:?}", gate.counts());
        format!("{gets} GET {puts} PUT")
    }

    #[tokio::test]
    async fn the_costs_of_a_batch_are_those_that_are_counted() {
        let rows: BTreeMap<_, _> =
            table(&document(), "What it costs").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        assert!(rows["exactly once"].starts_with("1 GET and 2 PUTs a batch"));
        assert_eq!(cost(AsOf::Flag, "exactly-once").await, "1 GET 2 PUT");
        assert!(rows["`latest`"].starts_with("1 GET more a batch"));
        assert_eq!(cost(AsOf::Latest, "exactly-once").await, "2 GET 2 PUT");
        assert!(rows["`at-least-once`"].starts_with("no cursor: 1 GET a batch"));
        assert_eq!(cost(AsOf::Latest, "at-least-once").await, "1 GET 0 PUT");
    }

    #[test]
    fn the_tests_that_it_names_are_there() {
        let rows = table(&document(), "How it is held");
        let named: Vec<_> = (1..=13).map(|number| format!("I{number}")).collect();
        assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), named);
        for row in rows {
            let tests: Vec<_> = row[2].split('`').skip(1).step_by(2).collect();
            assert!(!tests.is_empty(), "{row:?}");
            for test in tests {
                let (file, name) = test.split_once(": ").unwrap_or_else(|| panic!("{test} is no file: name"));
                let source =
                    fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
                assert!(source.contains(&format!("fn {name}(")), "{file} has no {name}");
            }
        }
    }
}
