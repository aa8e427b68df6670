//! The child process: started with Lambda's environment, watched until it ends, killed when nobody holds it.

use std::fs::OpenOptions;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};

use super::Program;
use super::host::Host;

/// A handle on a process. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Process {
    host: Arc<Host>,
    ended: watch::Receiver<bool>,
    kill: Arc<Notify>,
}

impl Process {
    /// Opens a Runtime API and starts the program under it.
    pub(super) async fn start(program: &Program) -> io::Result<Self> {
        let host = Host::bind().await?;
        let log = OpenOptions::new().create(true).append(true).open(&program.log)?;
        let name = program.binary.file_name().unwrap_or_default();
        let mut command = Command::new(&program.binary);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("AWS_LAMBDA_RUNTIME_API", host.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "local")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "local")
            .envs(program.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.binary.display())))?;
        let (tell, ended) = watch::channel(false);
        let kill = Arc::new(Notify::new());
        let (served, killed) = (host.clone(), kill.clone());
        tokio::spawn(async move {
            let status = attend(child, &killed).await;
            served.close(match status {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            });
            tell.send_replace(true);
        });
        Ok(Self { host, ended, kill })
    }

    pub(super) fn is_running(&self) -> bool {
        !self.host.is_closed()
    }

    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Kills it and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        self.kill.notify_one();
        // The sender is gone only when the watching task is.
        drop(self.ended.wait_for(|ended| *ended).await);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill.notify_one();
    }
}

/// Waits for the end of the child, or kills it when told.
async fn attend(mut child: Child, kill: &Notify) -> io::Result<ExitStatus> {
    use futures_util::future::{Either, select};
    {
        let wait = std::pin::pin!(child.wait());
        let killed = std::pin::pin!(kill.notified());
        if let Either::Left((status, _)) = select(wait, killed).await {
            return status;
        }
    }
    child.start_kill()?;
    child.wait().await
}
