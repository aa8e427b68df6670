//! The pipeline definitions that a run deploys one after the other, each as TOML and as the model understands it.
//!
//! They share the pipeline's name, so they share its cursors; they differ in columns, partitions, format, references and
//! kind of join, so that a range finished by the wrong one shows.

use sha2::{Digest, Sha256};

/// The reference tables.
pub const PRIORITIES: &str = "ProductPriority";
pub const CUSTOMERS: &str = "Customers";
pub const PIPELINE: &str = "orders";

/// Where a column's value comes from.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Stream(&'static str),
    Reference(usize, &'static str),
}

/// One reference of the join, on one pair of fields.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    pub table: &'static str,
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
        let quoted = |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let references: String = joins
            .iter()
            .map(|join| {
                let Join { table, stream, field, inner } = join;
                let kind = if *inner { "inner" } else { "left" };
                format!("[[reference]]\ndynamodb = {table:?}\non = {{ {stream} = {field:?} }}\njoin = {kind:?}\n")
            })
            .collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let toml = format!(
            "name = {PIPELINE:?}\n{references}[output]\ncolumns = [{}]\npartition_by = [{}]\nformat = {:?}\nprovenance = true\n",
            quoted(&names),
            quoted(partition_by),
            if csv { "csv" } else { "jsonl" },
        );
        Self {
            joins: joins.to_vec(),
            columns: columns.to_vec(),
            partition_by: partition_by.to_vec(),
            csv,
            digest: hex(&Sha256::digest(toml.as_bytes())),
            toml,
        }
    }

    pub fn extension(&self) -> &'static str {
        if self.csv { "csv" } else { "jsonl" }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All definitions.
pub fn all() -> Vec<Definition> {
    use Place::{Reference, Stream};
    let priorities = |inner| Join { table: PRIORITIES, stream: "dish", field: "item", inner };
    let customers = |inner| Join { table: CUSTOMERS, stream: "customer", field: "customer", inner };
    let id = ("id", Stream("id"));
    let item = ("item", Stream("dish"));
    let customer = ("customer", Stream("customer"));
    let price = ("price", Reference(0, "price"));
    let priority = ("priority", Reference(0, "priority"));
    let tier = ("tier", Reference(1, "tier"));
    vec![
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
    ]
}
