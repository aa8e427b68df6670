//! `freshjoin`: the join on one machine, without AWS.
//!
//! What always holds: data goes to standard output and everything else to standard error. On failure the exit code is 1
//! and one line on standard error names the cause and the mend; wrong usage is 2.

mod demo;
mod failure;
mod functions;
mod generate;
mod output;
mod references;
mod run;
mod tally;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use failure::Failure;

/// Join a stream with reference data that keeps changing.
#[derive(Debug, Parser)]
#[command(name = "freshjoin", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Demo(demo::Arguments),
    Generate(generate::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    match execute(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed, the exit code has to do.
            drop(writeln!(stderr(), "freshjoin: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match command {
            Command::Run(arguments) => run::run(arguments).await,
            Command::Demo(arguments) => demo::demo(arguments).await,
            Command::Generate(arguments) => generate::generate(arguments).await,
        }
    });
    // A read of standard input that is still waiting must not keep the process.
    runtime.shutdown_background();
    done
}

/// Warnings and errors by default; `FRESHJOIN_LOG` says otherwise.
fn log_to_stderr() {
    #[allow(clippy::disallowed_methods, reason = "the binary owns its environment")]
    let filter = std::env::var(freshjoin_core::settings::LOG).unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}
