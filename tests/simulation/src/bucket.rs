//! The buckets of reference objects: written, damaged, mended and removed by others at any time. S3 gives notice of each
//! change with a sequencer that rises object by object, its digits as S3 is free to write them.

use std::collections::{BTreeMap, BTreeSet};

use freshjoin_core::location::Location;
use freshjoin_core::memory::{MemoryStore, MemoryStores};
use sha2::{Digest, Sha256};

use crate::definitions::{AREAS, MENUS, hex};
use crate::events::About;
use crate::folded::rank;
use crate::rng::Rng;
use crate::table::{BUYERS, DISHES};

const PLACES: &str = "places";
const KITCHEN: &str = "kitchen";
const AREAS_KEY: &str = "areas.jsonl";
const MENU_KEYS: [&str; 3] = ["by day/one.jsonl", "by day/two.csv", "by day/later/three.jsonl"];
/// Beside the prefix, hidden, and of no known format: no reference has their rows.
const STRANGERS: [&str; 3] = ["other/one.jsonl", "by day/_part.jsonl", "by day/notes.txt"];
const NAMES: [&str; 4] = ["north", "at noon", "a=b/c", "south"];

/// Both buckets.
#[derive(Debug)]
pub struct Objects {
    stores: MemoryStores,
    /// Whether this run has any.
    pub active: bool,
    sequence: u64,
    damaged: BTreeSet<(&'static str, &'static str)>,
    /// All that S3 ever gave notice of, and the digest of what was there then.
    sent: Vec<(About, Option<String>)>,
}

impl Objects {
    /// Buckets with some objects that no notice tells of.
    pub fn new(stores: &MemoryStores, active: bool, rng: &mut Rng) -> Self {
        let mut objects =
            Self { stores: stores.clone(), active, sequence: 0x9F0, damaged: BTreeSet::new(), sent: Vec::new() };
        let mut keys = vec![(PLACES, AREAS_KEY)];
        keys.extend(MENU_KEYS.map(|key| (KITCHEN, key)));
        for (bucket, key) in keys {
            if active && rng.chance(850) {
                objects.write(bucket, key, false, rng);
            }
        }
        objects
    }

    fn bucket(&self, name: &str) -> MemoryStore {
        self.stores.store(&Location::new(format!("s3://{name}"))).expect("it is a location")
    }

    /// One change, or two at once; what to tell of it.
    pub fn change(&mut self, rng: &mut Rng) -> (String, Vec<About>) {
        let mut about = Vec::new();
        let mut told = String::new();
        for _ in 0..rng.between(1, 2) {
            let (bucket, key, removed) = match rng.below(20) {
                0 => (KITCHEN, *rng.pick(&STRANGERS), 300),
                1..=7 => (PLACES, AREAS_KEY, 200),
                _ => (KITCHEN, *rng.pick(&MENU_KEYS), 350),
            };
            let change = if rng.chance(removed) && self.bucket(bucket).remove(key) {
                self.damaged.remove(&(bucket, key));
                self.about(bucket, key, false, rng)
            } else {
                let damage = rng.chance(30);
                self.write(bucket, key, damage, rng);
                self.about(bucket, key, true, rng)
            };
            told.push_str(&format!(" {} {} written: {}", change.url(), change.sequencer, change.written));
            about.push(change);
        }
        (told, about)
    }

    /// Writes a content; few of them, so that they have rows in common and come again.
    fn write(&mut self, bucket: &'static str, key: &'static str, damage: bool, rng: &mut Rng) {
        let csv = key.ends_with(".csv");
        let mut text = if csv { "item,menu,cost\n".to_owned() } else { String::new() };
        for _ in 0..rng.weighted(&[1, 4, 4, 2]) {
            let name = rng.pick(&NAMES);
            if bucket == PLACES {
                text.push_str(&format!("{{\"customer\":{:?},\"area\":{name:?}}}\n", rng.pick(&BUYERS[..3])));
                continue;
            }
            let (item, cost) = (rng.pick(&DISHES[..4]), rng.between(1, 3));
            text.push_str(&match rng.below(8) {
                0 if csv => format!("{item},,{cost}\n"),
                _ if csv => format!("{item},{name},{cost}\n"),
                0 => format!("{{\"item\":{item:?},\"cost\":{cost}}}\n"),
                _ => format!("{{\"item\":{item:?},\"menu\":{name:?},\"cost\":{cost}}}\n"),
            });
        }
        self.damaged.remove(&(bucket, key));
        if damage {
            text.push_str(if csv { "burger\n" } else { "{\"item\":\n" });
            self.damaged.insert((bucket, key));
        }
        self.bucket(bucket).insert(key, text);
    }

    /// A notice with the next sequencer: hexadecimal, zeros at its end written or not.
    fn about(&mut self, bucket: &'static str, key: &str, written: bool, rng: &mut Rng) -> About {
        self.sequence += if rng.chance(200) { 16 - self.sequence % 16 } else { rng.between(1, 3) as u64 };
        let mut sequencer = format!("{:08X}", self.sequence);
        if rng.chance(300) {
            sequencer.push_str(&format!("{:03X}", rng.below(0x1000)));
        }
        let about = About { bucket, key: key.to_owned(), written, sequencer: respelled(&sequencer, rng) };
        let there = self.bucket(bucket).objects().remove(key);
        self.sent.push((about.clone(), there.map(|bytes| hex(&Sha256::digest(bytes)))));
        about
    }

    /// Some notice that there was before, its sequencer written in another way.
    pub fn any_notice(&self, rng: &mut Rng) -> Option<About> {
        let (about, _) = (!self.sent.is_empty()).then(|| rng.pick(&self.sent))?;
        Some(About { sequencer: respelled(&about.sequencer, rng), ..about.clone() })
    }

    /// Whether this was an object's content (none: it was not there) at the notice with a sequencer, or later.
    pub fn was(&self, object: &str, sha256: Option<&str>, sequencer: u128) -> bool {
        let since = self.sent.iter().skip_while(|(about, _)| rank(&about.sequencer) < sequencer);
        since.filter(|(about, _)| about.url() == object).any(|(_, there)| there.as_deref() == sha256)
    }

    /// Whatever is damaged becomes sound, and a reference that nobody has seen yet gets an object if it has none.
    pub fn mend(&mut self, reference: &str, seen: bool, rng: &mut Rng) -> Vec<About> {
        let (bucket, key) = if reference == AREAS { (PLACES, AREAS_KEY) } else { (KITCHEN, *rng.pick(&MENU_KEYS)) };
        let mut keys: Vec<_> = self.damaged.iter().filter(|(damaged, _)| *damaged == bucket).copied().collect();
        if self.active && self.below(reference).is_empty() && !(seen && rng.chance(500)) {
            keys.push((bucket, key));
        }
        keys.into_iter()
            .map(|(bucket, key)| {
                self.write(bucket, key, false, rng);
                self.about(bucket, key, true, rng)
            })
            .collect()
    }

    /// What belongs to a reference now, by URL.
    pub fn below(&self, reference: &str) -> BTreeMap<String, Vec<u8>> {
        let bucket = if reference == AREAS { PLACES } else { KITCHEN };
        let objects = self.bucket(bucket).objects().into_iter();
        let objects = objects.map(|(key, bytes)| (format!("s3://{bucket}/{key}"), bytes.to_vec()));
        objects.filter(|(url, _)| belongs(reference, url)).collect()
    }
}

/// The same sequencer with zeros at its end or without, and in either case.
fn respelled(sequencer: &str, rng: &mut Rng) -> String {
    let bare = sequencer.trim_end_matches('0');
    let text = format!("{bare}{}", "0".repeat(rng.below(3)));
    if rng.chance(300) { text.to_ascii_lowercase() } else { text.to_ascii_uppercase() }
}

/// Whether an object is part of a reference.
pub fn belongs(reference: &str, url: &str) -> bool {
    let menu = MENU_KEYS.iter().any(|key| url.strip_prefix("s3://kitchen/") == Some(key));
    if reference == MENUS { menu } else { url == reference }
}
