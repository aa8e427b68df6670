//! The references of a definition, given as files: each becomes a table of the embedded stack.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use freshjoin_clock::SystemClock;
use freshjoin_core::content::ContentFormat;
use freshjoin_core::pipeline::{Definition, Source};
use freshjoin_local::EmbeddedTable;
use freshjoin_local::table::{ROW_KEY, read_rows};

use crate::failure::Failure;

/// `NAME=FILE`.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceFile {
    name: String,
    path: PathBuf,
}

impl FromStr for ReferenceFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.into(), path: path.into() })
            }
            _ => Err("expected NAME=FILE, NAME being the table's name or the object's stem".into()),
        }
    }
}

/// A reference's table and the file that it mirrors.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) table: Arc<EmbeddedTable>,
    pub(crate) path: PathBuf,
}

/// Loads each reference of a definition from its file, and lets the definition mean the tables so made.
pub(crate) fn load(definition: &mut Definition, files: &[ReferenceFile]) -> Result<Vec<Mirror>, Failure> {
    for file in files {
        if !definition.references.iter().any(|reference| reference.name == file.name) {
            let names: Vec<_> = definition.references.iter().map(|reference| reference.name.as_str()).collect();
            let mend = format!("its references are {}", names.join(", "));
            return Err(Failure::new(format!("--reference {}: the pipeline has no such reference", file.name), mend));
        }
    }
    let mut mirrors = Vec::new();
    for reference in &mut definition.references {
        let mut given = files.iter().filter(|file| file.name == reference.name);
        let Some(file) = given.next() else {
            let cause = format!("reference {} has no file", reference.name);
            return Err(Failure::new(cause, format!("add --reference {}=FILE", reference.name)));
        };
        if given.next().is_some() {
            let cause = format!("reference {} is given twice", reference.name);
            return Err(Failure::new(cause, "put its rows into one file"));
        }
        let table = Arc::new(EmbeddedTable::new(&reference.name, &[ROW_KEY], Arc::new(SystemClock)));
        table.load(read_rows(&file.path)?)?;
        reference.source = Source::Table(reference.name.clone());
        reference.untyped = ContentFormat::of_name(&file.path.to_string_lossy()).is_some_and(ContentFormat::untyped);
        mirrors.push(Mirror { table, path: file.path.clone() });
    }
    Ok(mirrors)
}
