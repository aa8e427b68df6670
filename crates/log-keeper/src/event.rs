//! What the function is asked to do: by a schedule, or by a person.
//!
//! A schedule's event is any JSON without a task. What a person writes is taken at its word: a task or an option that does
//! not exist is refused, so that a slip of the pen never runs something else.

use serde::Deserialize;
use serde_json::Value;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// All that is due.
    Scheduled {},
    /// The newest flag into every open shard.
    Rebroadcast {},
    /// A snapshot file of the head.
    Snapshot {},
    /// A base for every reference without one.
    Bootstrap {},
    /// Past change files that cannot be read.
    Rebase {},
    /// The log put right after a gap.
    Reconcile {
        /// More than half of a reference's rows may go.
        #[serde(default)]
        force: bool,
        /// Only this one.
        #[serde(default)]
        reference: Option<String>,
    },
}

/// Options of tasks: without one they are a mistake.
const OPTIONS: [&str; 2] = ["force", "reference"];

/// The event asks for nothing that is known; nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// No such task, or one with an option that it does not have.
    #[error("the event asks for nothing that log-keeper does: {0}")]
    Unknown(#[source] serde_json::Error),
    /// Not JSON.
    #[error("the event is no JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// An option without a task.
    #[error("the event has {0:?} and no \"task\"; name the task it is for")]
    NoTask(&'static str),
}

impl Request {
    /// Reads an event's JSON text.
    ///
    /// # Errors
    /// [`EventError`], which says what there is to ask for.
    pub fn read(event: &str) -> Result<Self, EventError> {
        let event: Value = serde_json::from_str(event).map_err(EventError::Json)?;
        if event.get("task").is_some() {
            return serde_json::from_value(event).map_err(EventError::Unknown);
        }
        match OPTIONS.into_iter().find(|option| event.get(option).is_some()) {
            Some(option) => Err(EventError::NoTask(option)),
            None => Ok(Self::Scheduled {}),
        }
    }

    /// The task's name.
    #[must_use]
    pub fn task(&self) -> &'static str {
        match self {
            Self::Scheduled {} => "scheduled",
            Self::Rebroadcast {} => "rebroadcast",
            Self::Snapshot {} => "snapshot",
            Self::Bootstrap {} => "bootstrap",
            Self::Rebase {} => "rebase",
            Self::Reconcile { .. } => "reconcile",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_without_a_task_is_the_schedule() {
        let of_event_bridge = r#"{"version":"0","id":"53dc4d37","detail-type":"Scheduled Event","source":"aws.events",
            "account":"1","time":"2026-10-08T01:11:52Z","region":"eu-west-1","resources":[],"detail":{}}"#;
        for event in [of_event_bridge, "{}", "null", "[]", "\"x\"", r#"{"task":"scheduled"}"#] {
            assert_eq!(Request::read(event).unwrap(), Request::Scheduled {}, "{event}");
        }
    }

    #[test]
    fn a_task_is_taken_at_its_word() {
        let request = Request::read(r#"{"task":"rebroadcast"}"#).unwrap();
        assert_eq!((request.task(), request), ("rebroadcast", Request::Rebroadcast {}));
        let reconcile = Request::read(r#"{"task":"reconcile","force":true,"reference":"T"}"#).unwrap();
        assert_eq!(reconcile, Request::Reconcile { force: true, reference: Some("T".into()) });
        let reconcile = Request::read(r#"{"task":"reconcile"}"#).unwrap();
        assert_eq!(reconcile, Request::Reconcile { force: false, reference: None });
        for (event, says) in [
            (r#"{"task":"rebrodcast"}"#, "`rebroadcast`"),
            (r#"{"task":null}"#, "null"),
            (r#"{"task":"rebroadcast","froce":true}"#, "froce"),
            (r#"{"task":"rebroadcast","force":true}"#, "force"),
            (r#"{"task":"scheduled","x":1}"#, "`x`"),
            (r#"{"force":true}"#, "\"force\""),
            (r#"{"reference":"T"}"#, "\"reference\""),
            ("{", "JSON"),
        ] {
            let text = Request::read(event).unwrap_err().to_string();
            assert!(text.contains(says), "{event}: {text}");
        }
    }
}
