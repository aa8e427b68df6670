//! The command line as a user meets it: the built program, its exit codes, its two outputs and its objects.

#[cfg(test)]
mod command_line {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output, Stdio};
    use std::time::Duration;

    use serde_json::Value;
    use tempfile::TempDir;

    const DEFINITION: &str = r#"name = "orders"
[source]
format = "json"
[[reference]]
dynamodb = "ProductPriority"
on = { dish = "item" }
[output]
columns = ["cost", "price", "priority", "customer_id", "item"]
partition_by = ["item", "priority"]
"#;
    const ROWS: &str = r#"{"item":"burger","price":100,"priority":"medium"}
{"item":"pizza","price":100,"priority":"low"}
"#;

    struct World(TempDir);

    impl World {
        fn new() -> Self {
            let world = Self(tempfile::tempdir().unwrap());
            fs::write(world.path("p.toml"), DEFINITION).unwrap();
            fs::write(world.path("rows.jsonl"), ROWS).unwrap();
            world
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn command(&self, arguments: &[&str]) -> Command {
            let mut command = Command::new(env!("CARGO_BIN_EXE_freshjoin"));
            command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null()).env_remove("FRESHJOIN_LOG");
            command
        }

        fn run(&self, more: &[&str]) -> Output {
            let fixed = ["run", "--pipeline", "p.toml", "--reference", "ProductPriority=rows.jsonl"];
            self.command(&[fixed.as_slice(), more].concat()).output().unwrap()
        }

        /// Every object's rows, by its folder; several objects of a folder in the order of their names.
        fn objects(&self, output: &str) -> BTreeMap<String, String> {
            fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
                let mut entries: Vec<PathBuf> =
                    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
                entries.sort();
                for path in entries {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    if path.is_dir() {
                        walk(root, &path, found);
                    } else if name != "_freshjoin.json" {
                        let key = folder.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                        found.entry(key).or_default().push_str(&fs::read_to_string(&path).unwrap());
                    }
                }
            }
            let mut found = BTreeMap::new();
            walk(&self.path(output), &self.path(output), &mut found);
            found
        }
    }

    fn last_json(output: &[u8]) -> Value {
        serde_json::from_str(std::str::from_utf8(output).unwrap().lines().last().unwrap()).unwrap()
    }

    fn one_line_of(output: &Output) -> String {
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
        text
    }

    #[test]
    fn a_run_joins_keeps_what_is_unmatched_and_sets_aside_what_is_broken() {
        let world = World::new();
        let input = "{\"dish\":\"burger\",\"cost\":1,\"customer_id\":1}\nnot json\n\n{\"dish\":\"donut\",\"cost\":2,\"customer_id\":2}";
        fs::write(world.path("in.jsonl"), input).unwrap();
        let output = world.run(&["--input", "in.jsonl", "--output", "out", "--json"]);
        assert!(output.status.success(), "{output:?}");
        let summary = last_json(&output.stdout);
        for (member, count) in [("records", 4), ("enriched", 1), ("unmatched", 1), ("dead_letters", 2), ("rows", 2)] {
            assert_eq!(summary[member], count, "{member}");
        }
        let objects = world.objects("out");
        assert_eq!(objects["item=burger/priority=medium"], "cost,price,customer_id\n1,100,1\n");
        assert_eq!(objects["item=donut/priority=__HIVE_DEFAULT_PARTITION__"], "cost,price,customer_id\n2,,2\n");
        let letters: Vec<Value> = objects["_dead-letters/orders/run/shardId-000000000000"]
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(letters[0]["data"], "bm90IGpzb24=");
        assert_eq!(letters[1]["data"], "");
    }

    #[test]
    fn csv_keys_match_strings_by_text_and_numbers_by_value() {
        let world = World::new();
        fs::write(world.path("rows.csv"), "item,price,priority\n7,1,seven\n1.0,2,one\n").unwrap();
        let inputs = ["7", "7.0", "\"7\"", "1", "\"1.0\"", "\"1\""].map(|dish| format!("{{\"dish\":{dish}}}\n"));
        fs::write(world.path("in.jsonl"), inputs.concat()).unwrap();
        let reference = ["--reference", "ProductPriority=rows.csv"];
        let rest = ["--input", "in.jsonl", "--output", "out", "--json"];
        let output =
            world.command(&[&["run", "--pipeline", "p.toml"], &reference[..], &rest].concat()).output().unwrap();
        let summary = last_json(&output.stdout);
        assert_eq!((&summary["enriched"], &summary["unmatched"]), (&5.into(), &1.into()), "only text \"1\" has no row");
    }

    #[test]
    fn the_same_input_gives_the_same_objects_in_any_number_of_shards() {
        let world = World::new();
        let input: String = (0..120_000)
            .map(|n| {
                format!("{{\"dish\":\"{}\",\"cost\":{n},\"customer_id\":{n}}}\n", ["burger", "pizza", "tofu"][n % 3])
            })
            .collect();
        fs::write(world.path("in.jsonl"), input).unwrap();
        for (output, shards) in [("a", "1"), ("b", "1"), ("c", "3")] {
            let run = world.run(&["--input", "in.jsonl", "--output", output, "--shards", shards]);
            assert!(run.status.success() && run.stdout.is_empty(), "{run:?}");
        }
        assert_eq!(world.objects("a"), world.objects("b"));
        let rows = |output: &str| {
            let mut rows: Vec<String> = world
                .objects(output)
                .iter()
                .flat_map(|(key, text)| text.lines().map(move |line| format!("{key} {line}")))
                .filter(|line| !line.ends_with("customer_id"))
                .collect();
            rows.sort();
            rows
        };
        assert_eq!(rows("a").len(), 120_000);
        assert_eq!(rows("a"), rows("c"));
    }

    #[test]
    fn what_fails_says_why_on_one_line_and_wrong_usage_is_another_matter() {
        let world = World::new();
        fs::write(world.path("in.jsonl"), "").unwrap();
        fs::create_dir(world.path("full")).unwrap();
        fs::write(world.path("full/x"), "").unwrap();
        let refused = world.run(&["--input", "in.jsonl", "--output", "full"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(one_line_of(&refused).contains("full is not empty"));
        let missing = world.run(&["--input", "nothing", "--output", "out"]);
        assert_eq!(missing.status.code(), Some(1));
        assert!(one_line_of(&missing).contains("nothing cannot be read"));
        fs::write(world.path("p.toml"), DEFINITION.replace("[output]", "[output]\ncolour = 1")).unwrap();
        let unsound = world.run(&["--input", "in.jsonl", "--output", "out"]);
        assert_eq!(unsound.status.code(), Some(1));
        assert!(one_line_of(&unsound).contains("p.toml"));
        fs::write(world.path("p.toml"), DEFINITION.replace("[output]", "[output]\ndelivery = \"at-least-once\""))
            .unwrap();
        let loose = world.run(&["--input", "in.jsonl", "--output", "out"]);
        assert!(one_line_of(&loose).contains("exactly-once"));
        assert_eq!(world.run(&["--input", "in.jsonl"]).status.code(), Some(2));
        assert_eq!(world.command(&["no-such-thing"]).output().unwrap().status.code(), Some(2));
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn what_needs_aws_says_how_to_get_it() {
        let world = World::new();
        let stream = ["generate", "--template", "{{random.uuid}}", "--rate", "1", "--count", "1", "--stream", "s"];
        let stream = world.command(&stream).output().unwrap();
        assert_eq!(stream.status.code(), Some(1));
        assert!(one_line_of(&stream).contains("--features aws"));
    }

    #[test]
    fn an_edited_reference_changes_the_join_of_what_follows() {
        let world = World::new();
        let (fixed, more) = (
            ["run", "--pipeline", "p.toml", "--reference", "ProductPriority=rows.jsonl"],
            ["--input", "-", "--output", "out", "--shards", "2", "--follow", "--json"],
        );
        let mut child = world
            .command(&[fixed.as_slice(), more.as_slice()].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut orders = child.stdin.take().unwrap();
        let mut sent = 0;
        // Orders keep coming until one of them is seen in the partition.
        let mut until = |partition: &str| {
            for _ in 0..600 {
                writeln!(orders, "{{\"dish\":\"burger\",\"cost\":1,\"customer_id\":{sent}}}").unwrap();
                sent += 1;
                if world.path("out").join(partition).exists() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            panic!("no order came to {partition}");
        };
        until("item=burger/priority=medium");
        fs::write(world.path("new.jsonl"), ROWS.replace("medium", "high")).unwrap();
        fs::rename(world.path("new.jsonl"), world.path("rows.jsonl")).unwrap();
        until("item=burger/priority=high");
        drop(orders);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let summary = last_json(&output.stdout);
        assert_eq!((&summary["records"], &summary["flags"], &summary["rows"]), (&sent.into(), &2.into(), &sent.into()));
    }

    #[test]
    fn the_demo_counts_every_order_and_the_change_reaches_every_shard() {
        let world = World::new();
        let demo =
            world.command(&["demo", "--seconds", "2", "--rate", "400", "--output", "out", "--json"]).output().unwrap();
        assert!(demo.status.success() && demo.stderr.is_empty(), "{demo:?}");
        let summary = last_json(&demo.stdout);
        assert_eq!(summary["records"], 800);
        for none in ["lost", "duplicated", "stale", "dead_letters"] {
            assert_eq!(summary[none], 0, "{none}");
        }
        let count = |member: &str| summary[member].as_u64().unwrap();
        assert_eq!(count("enriched") + count("unmatched"), 800);
        // Each way brings one flag to each shard: the direct one, and the notice's.
        assert_eq!((count("flags"), count("versions")), (8, 1));
        assert!(summary["freshness_ms"]["max"].is_u64());
        let objects = world.objects("out");
        assert!(
            objects.contains_key("item=burger/priority=medium") && objects.contains_key("item=burger/priority=high")
        );
        assert!(objects.contains_key("item=donut/priority=__HIVE_DEFAULT_PARTITION__"));
    }

    #[test]
    fn what_is_generated_can_be_piped_into_a_run() {
        let world = World::new();
        let template =
            "{ \"dish\": \"{{random.arrayElement([\"burger\",\"donut\"])}}\"\n, \"cost\": {{random.number(9)}} }";
        let mut generate = world
            .command(&["generate", "--template", template, "--rate", "100000", "--count", "500", "--stdout"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Vec<String> = BufReader::new(generate.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        assert!(generate.wait().unwrap().success());
        assert_eq!(lines.len(), 500);
        fs::write(world.path("in.jsonl"), lines.join("\n")).unwrap();
        let run = world.run(&["--input", "in.jsonl", "--output", "out", "--json"]);
        let summary = last_json(&run.stdout);
        assert_eq!((&summary["records"], &summary["dead_letters"]), (&500.into(), &0.into()));
    }
}
