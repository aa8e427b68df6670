//! What `SEMANTICS.md` says of log-keeper's numbers, held to its constants.

use std::fs;
use std::path::Path;

use crate::{floor, reconcile, snapshot};

/// The value beside each thing in the table below the heading.
fn numbers() -> Vec<(String, String)> {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SEMANTICS.md")).unwrap();
    let section = document.split("\n## log-keeper\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let (what, value) = row.trim_matches('|').split_once('|').unwrap();
        (what.trim().to_owned(), value.trim().to_owned())
    };
    rows.map(cells).collect()
}

#[test]
fn the_numbers_in_the_semantics_are_those_of_the_code() {
    let template = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml")).unwrap();
    assert_eq!(template.matches("rate(1 minute)").count(), 1);
    let hours = |duration: std::time::Duration| duration.as_secs() / 3_600;
    let day = hours(floor::DAY);
    let expected = [
        ("how often it runs, in the template", "every minute".to_owned()),
        ("change files since the newest snapshot file that make another one due", snapshot::MANY.to_string()),
        ("age of the newest snapshot file at which any change file does", format!("{} hour", hours(snapshot::OLD))),
        ("age of a snapshot file from which it may be given up", format!("{} hour", hours(floor::YOUNG))),
        (
            "age of what lies above the floor, more than",
            format!("the stream's retention ({day} hours at least) and {day} hours"),
        ),
        (
            "between two of the other snapshot files",
            format!("1/{} of their age, or of the age above if that is more", floor::STEPS),
        ),
        ("of a reference's rows that `reconcile` deletes without `force`, at most", "1/2".to_owned()),
        ("comparisons in one `reconcile`, at most", reconcile::ROUNDS.to_string()),
    ];
    assert_eq!(numbers(), expected.map(|(what, value)| (what.to_owned(), value)));
}
