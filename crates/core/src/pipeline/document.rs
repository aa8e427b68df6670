//! The TOML as it is written, with the places of what may be refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) name: Spanned<String>,
    pub(super) source: Option<SourceTable>,
    #[serde(default)]
    pub(super) reference: Vec<Spanned<ReferenceTable>>,
    pub(super) output: Spanned<OutputTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    pub(super) format: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceTable {
    pub(super) dynamodb: Option<Spanned<String>>,
    pub(super) s3: Option<Spanned<String>>,
    pub(super) on: Spanned<BTreeMap<String, Spanned<String>>>,
    pub(super) join: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputTable {
    pub(super) columns: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) partition_by: Vec<Spanned<String>>,
    pub(super) format: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) provenance: bool,
    pub(super) delivery: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) types: BTreeMap<Spanned<String>, Spanned<String>>,
}
