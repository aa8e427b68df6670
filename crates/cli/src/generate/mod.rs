//! `freshjoin generate`: records by a template of the Kinesis Data Generator, at a steady rate.
//!
//! What always holds: just as many records as were asked for, none earlier than the rate allows. On failure of the output
//! it ends; that a reader closed its end is no failure.

mod helper;
mod moment;
mod sink;
mod template;
mod words;

use std::io::{BufWriter, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
#[cfg(feature = "aws")]
use freshjoin_aws::KinesisStream;
use freshjoin_clock::SystemClock;
use freshjoin_core::ports::{Clock, Stream};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::failure::Failure;
use sink::{Aggregates, Lines, Shards, Sink};
use template::Template;

/// Records are written in so many portions a second.
const TICK: Duration = Duration::from_millis(20);

/// Generate records by a Kinesis Data Generator template.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A file, or the template itself: {{random.number({"min":10,"max":150})}} and the like are filled in.
    #[arg(long, value_name = "FILE|TEXT")]
    template: String,
    /// Records a second.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How many records.
    #[arg(long, value_name = "N", required_unless_present = "seconds", conflicts_with = "seconds")]
    count: Option<u64>,
    /// For how long.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Write a record a line to standard output; line breaks inside it become spaces.
    #[arg(long, required_unless_present = "stream", conflicts_with = "stream")]
    stdout: bool,
    /// Put the records into a Kinesis stream; needs a freshjoin that was built with --features aws.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Pack the records into aggregates of up to 50 KiB, as the Kinesis Producer Library does.
    #[arg(long, requires = "stream")]
    aggregate: bool,
}

/// Generates until all records are written.
pub(crate) async fn generate(arguments: Arguments) -> Result<(), Failure> {
    let template = Template::parse(&text(&arguments.template)?)
        .map_err(|problem| Failure::new(format!("the template has {problem}"), "see generate in the README"))?;
    let total = match (arguments.count, arguments.seconds) {
        (Some(count), _) => count,
        (None, seconds) => arguments.rate.saturating_mul(seconds.unwrap_or_default()),
    };
    let mut random = StdRng::seed_from_u64(rand::random());
    match &arguments.stream {
        Some(name) => {
            let mut shards = Shards::of(kinesis(name).await?);
            if arguments.aggregate {
                let mut aggregates = Aggregates::of(shards);
                return write(&template, arguments.rate, total, &mut random, &mut aggregates).await;
            }
            write(&template, arguments.rate, total, &mut random, &mut shards).await
        }
        None => {
            let mut lines = Lines::to(BufWriter::with_capacity(1 << 16, stdout().lock()));
            write(&template, arguments.rate, total, &mut random, &mut lines).await
        }
    }
}

#[cfg(feature = "aws")]
async fn kinesis(name: &str) -> Result<Arc<dyn Stream>, Failure> {
    let stream = KinesisStream::new(&freshjoin_aws::config::load().await, name);
    // Before anything is generated: is it there, and may we?
    stream.describe().await.map_err(Failure::from)?;
    Ok(Arc::new(stream))
}

#[cfg(not(feature = "aws"))]
async fn kinesis(name: &str) -> Result<Arc<dyn Stream>, Failure> {
    let cause = format!("--stream {name} needs AWS, which this freshjoin was built without");
    Err(Failure::new(cause, "build freshjoin-cli with --features aws, or use --stdout"))
}

async fn write(
    template: &Template,
    rate: u64,
    total: u64,
    random: &mut StdRng,
    sink: &mut impl Sink,
) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut written, mut record) = (0, String::new());
    loop {
        // What the next portion takes is due at its start: the first records come at once.
        let due = u128::from(rate) * (started.elapsed() + TICK).as_millis() / 1000;
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(total);
        while written < due && !sink.is_closed() {
            record.clear();
            template.render(random, SystemClock.now(), &mut record);
            sink.put(&record).await?;
            written += 1;
        }
        sink.flush().await?;
        if written >= total || sink.is_closed() {
            return Ok(());
        }
        SystemClock.sleep(TICK).await;
    }
}

/// A template given by its file or itself.
fn text(given: &str) -> Result<String, Failure> {
    // Records are JSON: a template has a brace, and the name of a file seldom.
    if given.contains('\n') || (given.contains('{') && !Path::new(given).is_file()) {
        return Ok(given.to_owned());
    }
    let read = std::fs::read_to_string(Path::new(given));
    read.map_err(|error| Failure::new(format!("{given}: {error}"), "name a file, or give a template with {{…}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_is_a_line_and_the_count_is_exact() {
        let template = "{ \"dish\": \"{{random.arrayElement([\"pizza\"])}}\"\n,\"cost\": {{random.number({\"min\":7,\"max\":7})}}\r\n}\n";
        let (mut random, mut out) = (StdRng::seed_from_u64(1), Vec::new());
        write(&Template::parse(template).unwrap(), 1_000_000, 123, &mut random, &mut Lines::to(&mut out))
            .await
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 123);
        assert!(text.lines().all(|line| line == "{ \"dish\": \"pizza\" ,\"cost\": 7 }"), "{text}");
    }
}
