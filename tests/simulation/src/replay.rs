//! Two readings of one stream, compared row by row: they may be cut into other ranges, and so into other objects.

use std::collections::BTreeMap;

use crate::check::outputs;
use crate::environment::World;
use crate::history::{Violation, holds};

/// Rows by partition, without their objects' names, each with how often it is there.
type Lines = BTreeMap<String, i64>;

/// Whether the first reading and the replay have the same rows.
pub fn same(world: &World) -> Result<(), Violation> {
    let (mut first, mut replayed) = (Lines::new(), Lines::new());
    for (key, bytes) in outputs(world).objects() {
        let Some((output, rest)) = key.split_once('/') else { continue };
        if key.ends_with("/_freshjoin.json") {
            continue;
        }
        let (partition, file) = rest.rsplit_once('/').unwrap_or(("", rest));
        let lines = if output == "replay" { &mut replayed } else { &mut first };
        let text = String::from_utf8_lossy(&bytes);
        for line in text.lines().skip(usize::from(file.ends_with(".csv"))) {
            *lines.entry(format!("{partition}: {line}")).or_default() += 1;
        }
    }
    let of = |lines: &Lines, line: &String| lines.get(line).copied().unwrap_or(0);
    let missing: Vec<&String> = first.keys().filter(|line| of(&first, line) > of(&replayed, line)).collect();
    let surplus: Vec<&String> = replayed.keys().filter(|line| of(&replayed, line) > of(&first, line)).collect();
    let same = missing.is_empty() && surplus.is_empty();
    holds!(same, "I4: the replay is not the first reading: missing {missing:#?}, too many {surplus:#?}");
    Ok(())
}
