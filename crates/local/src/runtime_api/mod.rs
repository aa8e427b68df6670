//! Runs a real function binary as Lambda does: one process that asks a Runtime API on loopback for its invocations.
//!
//! What always holds: an environment takes one invocation at a time; a process that missed its deadline is killed; an
//! invocation that finds no process starts one, so a function that was killed comes back cold, as on Lambda.
//!
//! On failure of the process the invocation under way ends with [`InvokeError::Exited`]; what the process wrote to its
//! standard output and error is in the log file.

mod host;
mod process;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use freshjoin_core::ports::Clock;
use freshjoin_core::time::Timestamp;
use futures_util::future::{Either, select};
use tokio::sync::Mutex;

use crate::function::{Function, InvokeError};
use host::Host;
use process::Process;

/// What to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The bootstrap binary.
    pub binary: PathBuf,
    /// Its environment beside Lambda's own variables. Nothing is inherited from this process.
    pub variables: Vec<(String, String)>,
    /// Its standard output and error are appended here.
    pub log: PathBuf,
}

/// One execution environment around a real binary.
#[derive(Debug)]
pub struct Environment {
    program: Program,
    clock: Arc<dyn Clock>,
    process: Mutex<Option<Process>>,
    turn: Mutex<()>,
}

impl Environment {
    /// Opens the Runtime API on a free loopback port and starts the binary. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be bound, the log not opened or the binary not started.
    pub async fn start(program: Program, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let process = Mutex::new(Some(Process::start(&program).await?));
        Ok(Self { program, clock, process, turn: Mutex::new(()) })
    }

    /// Kills the process, at whatever it is. An invocation under way ends with [`InvokeError::Exited`].
    pub async fn kill(&self) {
        if let Some(process) = self.process.lock().await.as_mut() {
            process.kill().await;
        }
    }

    /// Whether a process is running.
    pub async fn is_running(&self) -> bool {
        self.process.lock().await.as_ref().is_some_and(Process::is_running)
    }

    /// What the function reported instead of asking for its first invocation, if it did: the body of `init/error`.
    pub async fn init_error(&self) -> Option<String> {
        self.process.lock().await.as_ref().and_then(|process| process.host().init_error())
    }

    /// The Runtime API of a running process. Each process has its own, so that what an earlier one left behind
    /// cannot take its invocations.
    async fn revive(&self) -> Result<Arc<Host>, InvokeError> {
        let mut process = self.process.lock().await;
        match process.as_ref() {
            Some(process) if process.is_running() => Ok(process.host().clone()),
            _ => {
                let started = Process::start(&self.program).await;
                let started = started.map_err(|error| InvokeError::Exited(error.to_string()))?;
                Ok(process.insert(started).host().clone())
            }
        }
    }
}

#[async_trait]
impl Function for Environment {
    async fn invoke(&self, event: Bytes, deadline: Timestamp) -> Result<Bytes, InvokeError> {
        let _turn = self.turn.lock().await;
        let host = self.revive().await?;
        let left = deadline.millis().saturating_sub(self.clock.now().millis());
        let time_out = self.clock.sleep(Duration::from_millis(u64::try_from(left).unwrap_or_default()));
        let answer = std::pin::pin!(host.invoke(event, deadline));
        match select(answer, time_out).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => {
                self.kill().await;
                Err(InvokeError::TimedOut)
            }
        }
    }
}

#[cfg(test)]
mod tests;
