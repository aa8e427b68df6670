//! `freshjoin generate`: records by a template of the Kinesis Data Generator, at a steady rate.
//!
//! What always holds: just as many records as were asked for, none earlier than the rate allows. On failure of the output
//! it ends; that a reader closed its end is no failure.

mod helper;
mod moment;
mod template;
mod words;

use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use freshjoin_clock::SystemClock;
use freshjoin_core::ports::Clock;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::failure::Failure;
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
    /// Put the records into a Kinesis stream.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Pack them as the Kinesis Producer Library does.
    #[arg(long, requires = "stream")]
    aggregate: bool,
}

/// Generates until all records are written.
pub(crate) async fn generate(arguments: Arguments) -> Result<(), Failure> {
    if let Some(stream) = &arguments.stream {
        let cause = format!("--stream {stream} needs AWS, which this freshjoin was built without");
        return Err(Failure::new(cause, "build freshjoin-cli with --features aws, or use --stdout"));
    }
    let template = Template::parse(&text(&arguments.template)?)
        .map_err(|problem| Failure::new(format!("the template has {problem}"), "see generate in the README"))?;
    let total = match (arguments.count, arguments.seconds) {
        (Some(count), _) => count,
        (None, seconds) => arguments.rate.saturating_mul(seconds.unwrap_or_default()),
    };
    let mut random = StdRng::seed_from_u64(rand::random());
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    match write(&template, arguments.rate, total, &mut random, &mut out).await {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // What is buffered has no reader any more.
            drop(out.into_parts());
            Ok(())
        }
        written => Ok(written?),
    }
}

async fn write(
    template: &Template,
    rate: u64,
    total: u64,
    random: &mut StdRng,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let started = Instant::now();
    let (mut written, mut line) = (0, String::new());
    loop {
        // What the next portion takes is due at its start: the first records come at once.
        let due = u128::from(rate) * (started.elapsed() + TICK).as_millis() / 1000;
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(total);
        while written < due {
            line.clear();
            template.render(random, SystemClock.now(), &mut line);
            let record = one_line(&mut line);
            writeln!(out, "{record}")?;
            written += 1;
        }
        out.flush()?;
        if written >= total {
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

/// The record with its line breaks as spaces; those at its end are the file's.
fn one_line(record: &mut String) -> &str {
    if record.contains(['\n', '\r']) {
        *record = record.trim_end_matches(['\n', '\r']).replace("\r\n", " ").replace(['\n', '\r'], " ");
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_is_a_line_and_the_count_is_exact() {
        let template = "{ \"dish\": \"{{random.arrayElement([\"pizza\"])}}\"\n,\"cost\": {{random.number({\"min\":7,\"max\":7})}}\r\n}\n";
        let (mut random, mut out) = (StdRng::seed_from_u64(1), Vec::new());
        write(&Template::parse(template).unwrap(), 1_000_000, 123, &mut random, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 123);
        assert!(text.lines().all(|line| line == "{ \"dish\": \"pizza\" ,\"cost\": 7 }"), "{text}");
    }
}
