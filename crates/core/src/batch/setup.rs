//! What a consumer knows of its surroundings: which stream it is, whose the output prefix is, which definition a range
//! was begun with.
//!
//! Everything here is put once and never altered, so it may be repeated, and a racing environment finds the same.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use crate::bug::{Bug, planted};
use crate::pipeline::Definition;
use crate::ports::{ObjectStore, Precondition, PutOutcome, StreamDescription};

use super::consumer::{ATTEMPTS, BUSY_PAUSE, Consumer};
use super::cursor::definition_key;
use super::engine::Engine;
use super::error::ProcessError;

/// Says whose output a prefix holds.
const OUTPUT_CLAIM: &str = "_freshjoin.json";
/// For so long the stream is taken to be the one that was seen last.
const STREAM_MEMORY_MILLIS: i64 = 60_000;

impl Consumer {
    /// The engine of a definition by its digest: this consumer's own, or one that an earlier deployment left behind.
    pub(super) async fn engine_of(&self, digest: &str) -> Result<Arc<Engine>, ProcessError> {
        if self.engine.definition.digest == digest || planted(Bug::PendingByOwnDefinition) {
            return Ok(Arc::clone(&self.engine));
        }
        let mut other = self.other.lock().await;
        if let Some(engine) = other.as_ref().filter(|engine| engine.definition.digest == digest) {
            return Ok(Arc::clone(engine));
        }
        let key = definition_key(&self.engine.definition.name, digest);
        let Some(object) = self.deps.state.get(&key).await? else { return Err(ProcessError::DefinitionGone { key }) };
        let text = String::from_utf8_lossy(&object.bytes);
        let found = Definition::parse(&text);
        let definition = found.map_err(|source| ProcessError::Definition { key: key.clone(), source })?;
        if definition.digest != digest {
            return Err(ProcessError::DefinitionAltered { key });
        }
        let engine = Arc::new(Engine::new(definition, Arc::clone(&self.deps.observer)));
        *other = Some(Arc::clone(&engine));
        Ok(engine)
    }

    /// The stream's name and creation time, asked for again now and then: it may have been deleted and made anew.
    pub(super) async fn stream(&self) -> Result<StreamDescription, ProcessError> {
        let now = self.deps.clock.now();
        let known = self.stream.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((description, asked)) = known
            && (0..STREAM_MEMORY_MILLIS).contains(&(now.millis() - asked.millis()))
        {
            return Ok(description);
        }
        self.describe().await
    }

    pub(super) async fn describe(&self) -> Result<StreamDescription, ProcessError> {
        let now = self.deps.clock.now();
        let description = self.deps.stream.describe().await?;
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some((description.clone(), now));
        Ok(description)
    }

    /// Once per environment: the definition is put where whoever finishes our ranges finds it, and the output prefix is
    /// claimed.
    pub(super) async fn prepare(&self, stream: &StreamDescription) -> Result<(), ProcessError> {
        let definition = &self.engine.definition;
        let key = definition_key(&definition.name, &definition.digest);
        let found = self.put_if_absent(&*self.deps.state, &key, Bytes::from(definition.text.clone())).await?;
        if found != definition.text {
            return Err(ProcessError::DefinitionAltered { key });
        }
        let output = self.deps.stores.open(&self.settings.output)?;
        let claim = serde_json::json!({
            "freshjoin": "output/1", "pipeline": definition.name, "stream": stream.name,
        });
        let found = self.put_if_absent(&*output, OUTPUT_CLAIM, Bytes::from(claim.to_string())).await?;
        let owner: serde_json::Value = serde_json::from_slice(&found).unwrap_or_default();
        if ["pipeline", "stream"].iter().all(|member| owner.get(member) == claim.get(member)) {
            return Ok(());
        }
        Err(ProcessError::OutputTaken {
            output: self.settings.output.clone(),
            owner: String::from_utf8_lossy(&found).into_owned(),
        })
    }

    /// What is under the key in the end.
    async fn put_if_absent(&self, store: &dyn ObjectStore, key: &str, bytes: Bytes) -> Result<Bytes, ProcessError> {
        for _ in 0..ATTEMPTS {
            if let Some(object) = store.get(key).await? {
                return Ok(object.bytes);
            }
            match store.put(key, bytes.clone(), Precondition::Absent).await? {
                PutOutcome::Written(_) => return Ok(bytes),
                PutOutcome::PreconditionFailed => {}
                PutOutcome::Busy => self.deps.clock.sleep(BUSY_PAUSE).await,
            }
        }
        Err(ProcessError::Contended(key.into()))
    }
}
