//! A snapshot file's form: a line that names the format, the tables' blocks, a directory, and a checksum of all that.
//!
//! Always: nothing is used of a file whose checksum is not right, so a file that is cut short or altered anywhere is an
//! error, and never fewer rows. The same entries make the same bytes.
//!
//! The directory is JSON, compressed, with its packed and unpacked length (four bytes each, little-endian) *before* it and
//! the length of both after it (eight bytes); the checksum is SHA-256 of everything before it, 32 bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::block::{append_part, take_part};
use super::column::{Packer, Unpacker};
use super::error::{OpenError, SnapshotError, WriteError};
use super::name::SnapshotName;
use super::table::TableSection;
use crate::change::Version;
use crate::ports::ObjectStore;
use crate::reference::{ObjectLine, Projection, VersionedReference};
use crate::time::Timestamp;

const FORMAT: &str = "freshjoin-snapshot/";
const NUMBER: &str = "1";
const CHECKSUM: usize = 32;

/// Which scan, or first look, *defines* a reference: all of it is known from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseInfo {
    /// The version that the base defined.
    pub version: Version,
    /// When the scan began.
    pub scan_started: Timestamp,
}

/// Where a table's blocks are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TablePlace {
    pub(super) reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<BaseInfo>,
    pub(super) entries: u64,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A reference's objects, in the order of their URLs; without a base: all that the log names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<BaseInfo>,
    pub(super) objects: Vec<ObjectLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Directory {
    version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Version>,
    tables: Vec<TablePlace>,
    manifests: Vec<Manifest>,
}

/// A snapshot file, checked.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    name: SnapshotName,
    bytes: Bytes,
    tables: Vec<TablePlace>,
    manifests: Vec<Manifest>,
}

/// The line that begins a file.
pub(super) fn begin() -> Vec<u8> {
    format!("{FORMAT}{NUMBER}\n").into_bytes()
}

/// Ends a file.
pub(super) fn end(
    mut bytes: Vec<u8>,
    name: SnapshotName,
    tables: Vec<TablePlace>,
    manifests: Vec<Manifest>,
    packer: &mut Packer,
) -> Result<Vec<u8>, WriteError> {
    let directory = Directory { version: name.version, from: name.from, tables, manifests };
    let start = bytes.len();
    append_part(&serde_json::to_vec(&directory)?, packer, &mut bytes)?;
    let length = (bytes.len() - start) as u64;
    bytes.extend_from_slice(&length.to_le_bytes());
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    Ok(bytes)
}

impl SnapshotFile {
    /// Reads what was found under a name. Checks all bytes, unpacks the directory only.
    ///
    /// # Errors
    /// [`SnapshotError`] for anything but this snapshot file, whole and unaltered.
    pub fn decode(name: SnapshotName, bytes: Bytes) -> Result<Self, SnapshotError> {
        let line = bytes.strip_prefix(FORMAT.as_bytes()).and_then(|rest| rest.split(|byte| *byte == b'\n').next());
        let number = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(SnapshotError::Foreign)?;
        if number != NUMBER {
            let newer = number.parse::<u32>().is_ok_and(|number| number > 1);
            return Err(if newer { SnapshotError::Newer(format!("{FORMAT}{number}")) } else { SnapshotError::Foreign });
        }
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(SnapshotError::Corrupt)?;
        if Sha256::digest(body).as_slice() != checksum.as_slice() {
            return Err(SnapshotError::Corrupt);
        }
        let directory = directory(body).ok_or(SnapshotError::Malformed { part: "directory" })?;
        let found = SnapshotName { version: directory.version, from: directory.from };
        if found != name {
            return Err(SnapshotError::Misplaced { found: found.key(), expected: name.key() });
        }
        Ok(Self { name, bytes, tables: directory.tables, manifests: directory.manifests })
    }

    /// Reads a snapshot file from the state; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(state: &dyn ObjectStore, name: SnapshotName) -> Result<Option<Self>, OpenError> {
        let Some(object) = state.get(&name.key()).await? else { return Ok(None) };
        let unsound = |source| OpenError::Unsound { key: name.key(), source };
        Self::decode(name, object.bytes).map(Some).map_err(unsound)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> SnapshotName {
        self.name
    }

    /// The version that it is the fold of the log to.
    #[must_use]
    pub fn version(&self) -> Version {
        self.name.version
    }

    /// As it stands in the store.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The base of a table or object that is here *complete*: all of it is known. `None` where it is not here, or only what
    /// the log names of it.
    #[must_use]
    pub fn base_of(&self, reference: &str) -> Option<BaseInfo> {
        let table = self.tables.iter().find(|table| table.reference == reference).and_then(|table| table.base);
        table.or_else(|| self.manifest(reference).and_then(|manifest| manifest.base))
    }

    /// The references that it holds complete.
    pub fn complete(&self) -> impl Iterator<Item = &str> {
        let tables = self.tables.iter().filter(|table| table.base.is_some()).map(|table| table.reference.as_str());
        tables.chain(self.object_references())
    }

    /// The tables that it holds, complete or not.
    pub fn tables(&self) -> impl Iterator<Item = TableSection<'_>> {
        self.tables.iter().map(|place| TableSection::new(place, &self.bytes))
    }

    /// One of them.
    #[must_use]
    pub fn table(&self, reference: &str) -> Option<TableSection<'_>> {
        self.tables().find(|table| table.reference() == reference)
    }

    /// Loads what a pipeline uses of a table; `None` where the table is not here complete.
    ///
    /// # Errors
    /// [`SnapshotError`]; another snapshot file may do.
    pub fn load_table(
        &self,
        reference: &str,
        projection: &Projection,
    ) -> Result<Option<VersionedReference>, SnapshotError> {
        let Some((table, base)) = self.table(reference).and_then(|table| Some((table, table.base()?))) else {
            return Ok(None);
        };
        table.load(base, projection).map(Some)
    }

    /// The references made of objects that it holds complete.
    pub fn object_references(&self) -> impl Iterator<Item = &str> {
        self.manifests.iter().filter(|manifest| manifest.base.is_some()).map(|manifest| manifest.reference.as_str())
    }

    /// The objects of such a reference; `None` where it is not here complete. What a [removed](ObjectLine::removed) one
    /// held counts for as long as the line has a digest.
    #[must_use]
    pub fn objects(&self, reference: &str) -> Option<&[ObjectLine]> {
        let manifest = self.manifest(reference).filter(|manifest| manifest.base.is_some());
        manifest.map(|manifest| manifest.objects.as_slice())
    }

    /// Every object that the log names, whatever reference it belongs to, with its newest change. Here a removed object's
    /// line keeps the digest of what it held last.
    #[must_use]
    pub fn named_objects(&self) -> &[ObjectLine] {
        let named = self.manifests.iter().find(|manifest| manifest.base.is_none());
        named.map(|manifest| manifest.objects.as_slice()).unwrap_or_default()
    }

    fn manifest(&self, reference: &str) -> Option<&Manifest> {
        self.manifests.iter().find(|manifest| manifest.reference == reference)
    }
}

fn directory(body: &[u8]) -> Option<Directory> {
    let (body, length) = body.split_last_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let mut part = body.get(body.len().checked_sub(length)?..)?;
    let directory = take_part(&mut part, &mut Unpacker::new().ok()?).ok()?;
    serde_json::from_slice(&directory).ok().filter(|_| part.is_empty())
}
