//! The pipeline definitions that a run deploys one after the other, each as TOML and as the model understands it.
//!
//! They share the pipeline's name, so they share its cursors; they differ in columns, partitions, format, references and
//! kind of join, so that a range finished by the wrong one shows.

use std::collections::BTreeSet;
use std::ops::Range;

use sha2::{Digest, Sha256};

/// The reference tables.
pub const PRIORITIES: &str = "ProductPriority";
pub const CUSTOMERS: &str = "Customers";
/// The references on S3: one object, and all below a prefix, with a character that notices encode.
pub const AREAS: &str = "s3://places/areas.jsonl";
pub const MENUS: &str = "s3://kitchen/by day/";
/// Definitions before this one have tables only.
const WITH_OBJECTS: usize = 5;
const KINDS: usize = 10;
pub const PIPELINE: &str = "orders";
/// The same definitions again under this name: so far behind them.
pub const REPLAY: &str = "orders-once-more";

/// Where a column's value comes from.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Stream(&'static str),
    Reference(usize, &'static str),
}

/// One reference of the join, on one pair of fields.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// The table's name, or the object's or prefix's URL.
    pub reference: &'static str,
    pub stream: &'static str,
    pub field: &'static str,
    pub inner: bool,
}

/// One definition.
#[derive(Clone, Debug)]
pub struct Definition {
    pub joins: Vec<Join>,
    pub columns: Vec<(&'static str, Place)>,
    pub partition_by: Vec<&'static str>,
    pub csv: bool,
    pub toml: String,
    pub digest: String,
}

impl Definition {
    fn new(joins: &[Join], columns: &[(&'static str, Place)], partition_by: &[&'static str], csv: bool) -> Self {
        let toml = String::new();
        let (joins, columns, partition_by) = (joins.to_vec(), columns.to_vec(), partition_by.to_vec());
        Self { joins, columns, partition_by, csv, digest: String::new(), toml }
    }

    /// With its text.
    fn written(mut self, name: &str, guarded: bool) -> Self {
        let Self { joins, columns, partition_by, csv, .. } = &self;
        let quoted = |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let references: String = joins
            .iter()
            .map(|join| {
                let Join { reference, stream, field, inner } = join;
                let source = if is_object(reference) { "s3" } else { "dynamodb" };
                let kind = if *inner { "inner" } else { "left" };
                format!("[[reference]]\n{source} = {reference:?}\non = {{ {stream} = {field:?} }}\njoin = {kind:?}\n")
            })
            .collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let toml = format!(
            "name = {name:?}\n{references}[output]\ncolumns = [{}]\npartition_by = [{}]\nformat = {:?}\nprovenance = true\ndelivery = {:?}\n",
            quoted(&names),
            quoted(partition_by),
            if *csv { "csv" } else { "jsonl" },
            if guarded { "exactly-once" } else { "at-least-once" },
        );
        self.digest = hex(&Sha256::digest(toml.as_bytes()));
        self.toml = toml;
        self
    }

    /// What it is joined with.
    pub fn references(&self) -> BTreeSet<&'static str> {
        self.joins.iter().map(|join| join.reference).collect()
    }

    pub fn extension(&self) -> &'static str {
        if self.csv { "csv" } else { "jsonl" }
    }
}

/// Whether a reference is one on S3.
pub fn is_object(reference: &str) -> bool {
    reference.starts_with("s3://")
}

/// Which definitions a run may begin with, and which it may go on with.
pub fn choices(objects: bool) -> (Range<usize>, Range<usize>) {
    if objects { (WITH_OBJECTS..KINDS, 3..KINDS) } else { (0..3, 0..WITH_OBJECTS) }
}

/// The place of the same definition under the other name.
pub fn replayed(definition: usize) -> usize {
    definition + KINDS
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All definitions, delivered exactly once or at least once: under the one name, and then under the other.
pub fn all(guarded: bool) -> Vec<Definition> {
    let under = |name| kinds().into_iter().map(move |kind| kind.written(name, guarded));
    under(PIPELINE).chain(under(REPLAY)).collect()
}

fn kinds() -> [Definition; KINDS] {
    use Place::{Reference, Stream};
    let priorities = |inner| Join { reference: PRIORITIES, stream: "dish", field: "item", inner };
    let customers = |inner| Join { reference: CUSTOMERS, stream: "customer", field: "customer", inner };
    let areas = |inner| Join { reference: AREAS, stream: "customer", field: "customer", inner };
    let menus = |inner| Join { reference: MENUS, stream: "dish", field: "item", inner };
    let id = ("id", Stream("id"));
    let item = ("item", Stream("dish"));
    let customer = ("customer", Stream("customer"));
    let price = ("price", Reference(0, "price"));
    let priority = ("priority", Reference(0, "priority"));
    let tier = ("tier", Reference(1, "tier"));
    let area = |index| ("area", Reference(index, "area"));
    let menu = |index| ("menu", Reference(index, "menu"));
    let cost = |index| ("cost", Reference(index, "cost"));
    [
        Definition::new(&[priorities(false)], &[id, customer, price, priority, item], &["item", "priority"], true),
        Definition::new(&[priorities(false)], &[customer, item, id, priority, price], &["priority"], false),
        Definition::new(&[priorities(true)], &[priority, id, item, price], &[], true),
        Definition::new(
            &[priorities(false), customers(false)],
            &[id, tier, item, price, priority, customer],
            &["tier", "item"],
            true,
        ),
        Definition::new(&[priorities(false), customers(true)], &[id, price, item, priority, tier], &["item"], false),
        // From here on with objects.
        Definition::new(&[menus(false)], &[id, item, menu(0), cost(0), customer], &["item"], true),
        Definition::new(&[areas(false)], &[id, customer, area(0)], &["area"], false),
        Definition::new(&[priorities(false), areas(false)], &[id, item, priority, area(1), customer], &["area"], true),
        Definition::new(&[priorities(true), menus(true)], &[cost(1), priority, id, menu(1), item], &[], false),
        Definition::new(
            &[menus(false), customers(false), areas(false)],
            &[id, tier, item, menu(0), cost(0), area(2), customer],
            &["menu"],
            true,
        ),
    ]
}
