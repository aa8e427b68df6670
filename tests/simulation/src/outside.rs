//! What others do meanwhile: producers, forgers, operators.

use freshjoin_core::change::{Flag, Version};
use freshjoin_core::ports::{PutEntry, Shard, Stream};
use freshjoin_core::reference::base_key;

use crate::definitions::{AREAS, MENUS};
use crate::environment::Deployment;
use crate::events::About;
use crate::schedule::{Run, limits, now};

impl Run {
    pub fn put_orders(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let known = self.orders.known.len();
            let data = self.orders.draw(self.features.wrapped, &mut self.rng);
            if self.orders.known.len() > known && matches!(data.first(), Some(0x1F | 0xF3)) {
                self.world.weather.happened("a wrapped record");
            }
            self.put(data);
            if self.rng.chance(20) {
                // A producer that did not hear the answer.
                let (data, _) = self.orders.known.iter().next_back().expect("there is one");
                self.put(data.clone());
            }
        }
    }

    /// One order for each dish and each buyer.
    pub fn put_every_order(&mut self) {
        for data in self.orders.every() {
            self.put(data);
        }
    }

    pub fn put(&mut self, data: Vec<u8>) {
        let partition_key = self.rng.below(1_000_000).to_string();
        let entry = PutEntry { data: data.into(), partition_key, explicit_hash_key: None };
        let answers = now(self.world.stream.put(&[entry])).expect("nothing fails here");
        assert!(answers.iter().all(Result::is_ok));
        self.world.weather.streamed();
    }

    /// An object or two are written or removed, of which S3 gives notice, sometimes more than once.
    pub fn change_objects(&mut self) {
        let (told, about) = self.objects.change(&mut self.rng);
        self.world.trace.note(format_args!("objects{told}"));
        let missed = "a missed notice of an object";
        if self.features.gaps && self.rng.chance(250) && self.world.weather.allows(missed) {
            self.world.weather.happened(missed);
            return;
        }
        self.notify_objects(&about);
    }

    fn notify_objects(&mut self, about: &[About]) {
        let together = self.rng.chance(500);
        for part in about.chunks(if together { about.len().max(1) } else { 1 }) {
            for _ in 0..1 + self.rng.weighted(&[700, 200, 100]) {
                self.notify(part);
            }
        }
    }

    /// S3 gives notice once more, perhaps of what was long ago.
    pub fn repeat_notice(&mut self) {
        if let Some(about) = self.objects.any_notice(&mut self.rng) {
            self.notify(&[about]);
        }
    }

    /// Before the calm: objects that nobody can read are mended, and a reference that nobody has looked at has something
    /// to look at.
    pub fn mend_objects(&mut self) {
        for reference in [AREAS, MENUS] {
            let seen = self.history.fixed.contains_key(&base_key(reference));
            let about = self.objects.mend(reference, seen, &mut self.rng);
            self.notify_objects(&about);
        }
        for _ in 0..if self.objects.active { self.rng.below(6) } else { 0 } {
            self.repeat_notice();
        }
    }

    /// Flags that nobody of ours wrote: some true, most not.
    pub fn forge(&mut self) {
        let head = self.history.head();
        let version = self.rng.below(head as usize + 4) as Version;
        let bytes = self.history.files.get(&version).map(|(bytes, _)| bytes.clone()).unwrap_or_default();
        let data = match self.rng.below(8) {
            0 => br#"{"freshjoin":"change-flag/1"}"#.to_vec(),
            1 => br#"{"freshjoin":"change-flag/2","version":1,"digest":"sha256:00"}"#.to_vec(),
            2 => br#"{"freshjoin":"change-flag/1","version":-1,"digest":"sha256:00"}"#.to_vec(),
            3 => Flag::of(Version::MAX, b"x").encode().expect("it encodes"),
            4 | 5 => Flag::of(version, b"forged").encode().expect("it encodes"),
            _ => Flag::of(version, &bytes).encode().expect("it encodes"),
        };
        if !self.world.weather.allows("a forged flag") {
            return;
        }
        self.world.weather.happened("a forged flag");
        self.world.trace.note(format_args!("forged {}", String::from_utf8_lossy(&data)));
        self.put(data);
    }

    pub fn kill(&mut self) {
        if !self.environments.is_empty() {
            let environment = self.rng.pick(&self.environments);
            self.world.trace.note(format_args!("{} is killed", environment.name));
            if !self.world.weather.allows("a killed environment") {
                return;
            }
            self.world.weather.happened("a killed environment");
            environment.kill();
        }
        self.environments.retain(|environment| environment.busy > 0 || !environment.is_dead());
    }

    pub fn redeploy(&mut self) {
        let last = self.deployments[self.deployments.len() - 1];
        let mut deployment = Deployment {
            definition: self.rng.between(self.choice.start, self.choice.end - 1),
            output: if self.rng.chance(500) { "s3://out/a" } else { "s3://out/b" },
            limits: limits(&mut self.rng),
            ..last
        };
        let [was, is] = [last, deployment].map(|deployment| &self.world.definitions[deployment.definition]);
        let references = was.references() != is.references();
        let columns = was.digest != is.digest && !references;
        let output = last.output != deployment.output;
        let pending = self.history.shards.values().any(|known| known.cursor.pending.is_some());
        for (changed, kind) in [
            (references, "a redeployment while a range is pending: references"),
            (columns, "a redeployment while a range is pending: columns"),
            (output, "a redeployment while a range is pending: output"),
        ] {
            if !changed {
                continue;
            }
            if !self.world.weather.allows(kind) {
                deployment = Deployment { limits: deployment.limits, ..last };
            } else if pending {
                self.world.weather.happened(kind);
            }
        }
        self.world.trace.note(format_args!("deployed {}: {deployment:?}", self.deployments.len()));
        self.deployments.push(deployment);
    }

    /// Environments of older deployments go away.
    pub fn retire(&mut self) {
        let newest = self.deployments.len() - 1;
        self.environments.retain(|environment| environment.busy > 0 || environment.deployed == newest);
    }

    pub fn reshard(&mut self) {
        let open = self.open_shards();
        if open.len() < 5 && self.rng.chance(500) {
            let parent = self.rng.pick(&open).clone();
            self.split(&parent);
        } else if open.len() > 1 {
            let place = self.rng.below(open.len() - 1);
            self.merge(&open[place], &open[place + 1]);
        }
    }

    /// No shard stays as it is: neighbours merge, and who is left over splits.
    pub fn reshard_all(&mut self) {
        for shards in self.open_shards().chunks(2) {
            match shards {
                [lower, upper] => self.merge(lower, upper),
                shards => shards.iter().for_each(|parent| self.split(parent)),
            }
        }
    }

    /// In the order of their hash keys.
    fn open_shards(&self) -> Vec<String> {
        let mut open: Vec<&Shard> = self.shards.iter().filter(|shard| shard.open).collect();
        open.sort_by_key(|shard| shard.starting_hash_key.parse::<u128>().unwrap_or_default());
        open.into_iter().map(|shard| shard.id.clone()).collect()
    }

    fn split(&mut self, parent: &str) {
        if self.world.weather.allows("a split") {
            let children = self.world.stream.split(parent).expect("it is open");
            self.world.trace.note(format_args!("{parent} splits into {children:?}"));
            self.resharded("a split", "a split during a broadcast");
        }
    }

    fn merge(&mut self, lower: &str, upper: &str) {
        if self.world.weather.allows("a merge") {
            let child = self.world.stream.merge(lower, upper).expect("they are neighbours");
            self.world.trace.note(format_args!("{lower} and {upper} merge into {child}"));
            self.resharded("a merge", "a merge during a broadcast");
        }
    }

    fn resharded(&mut self, event: &'static str, during: &'static str) {
        self.world.weather.happened(event);
        self.list_shards();
        if self.world.weather.resharded() {
            self.world.weather.happened(during);
        }
    }

    /// A table is deleted and made again.
    pub fn recreate_table(&mut self) {
        self.features.recreated_tables = self.rng.chance(300);
        self.world.weather.happened("a recreated table");
        // Whoever makes a table again puts every row, or has log-keeper look at what became of them.
        let whole = !(self.features.gaps && self.rng.chance(500));
        let table = self.references.recreate(whole, &mut self.rng);
        self.world.trace.note(format_args!("{table} is made again"));
    }
}
