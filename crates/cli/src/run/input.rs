//! The input: lines of a file or of standard input, dealt to the shards in turn.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freshjoin_clock::SystemClock;
use freshjoin_core::ports::Clock;
use freshjoin_local::EmbeddedStream;
use memchr::{memchr_iter, memrchr};
use tokio::sync::watch;

use crate::failure::Failure;

use super::ROOM;

/// As much is read at a time.
const BLOCK: usize = 1 << 20;
/// The wait at the end of a file that may grow.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An open input and the part of a line that was read last.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    name: String,
    rest: Vec<u8>,
    grows: bool,
    ended: bool,
}

impl Input {
    /// Opens a file, or standard input for `-`. A file that is followed may grow, so its end is not the end.
    pub(super) fn open(path: &Path, follow: bool) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let reader: Box<dyn Read + Send> = if name == "-" {
            Box::new(std::io::stdin())
        } else {
            let opened = File::open(path);
            Box::new(opened.map_err(|error| Failure::new(format!("{name} cannot be read: {error}"), "check --input"))?)
        };
        let grows = follow && name != "-";
        Ok(Self { reader, name, rest: Vec::new(), grows, ended: false })
    }

    /// Some whole lines, each with its line feed (which the last line of all may lack). None at the end, or where there
    /// is nothing more yet.
    fn block(&mut self) -> Result<Vec<u8>, Failure> {
        let mut block = std::mem::take(&mut self.rest);
        while !self.ended {
            let start = block.len();
            block.resize(start + BLOCK, 0);
            let read = block.get_mut(start..).map_or(Ok(0), |room| self.reader.read(room));
            let read = match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    block.truncate(start);
                    continue;
                }
                read => read.map_err(|error| Failure::new(format!("{}: {error}", self.name), "check --input"))?,
            };
            block.truncate(start + read);
            if read == 0 && self.grows {
                self.rest = block;
                return Ok(Vec::new());
            }
            self.ended = read == 0;
            // What was there before the read holds no line feed.
            if let Some(last) = block.get(start..).and_then(|new| memrchr(b'\n', new)) {
                self.rest = block.split_off(start + last + 1);
                return Ok(block);
            }
        }
        Ok(block)
    }
}

fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr_iter(b'\n', block).chain((block.last() != Some(&b'\n')).then_some(block.len()));
    ends.filter_map(move |end| {
        let line = block.get(start..end);
        start = end + 1;
        line
    })
}

/// Writes the input to the shards, waiting for room, until it ends or `stop` becomes true; and then ends the shards.
pub(super) async fn feed(
    mut input: Input,
    stream: Arc<EmbeddedStream>,
    shards: Vec<String>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut turn = 0;
    loop {
        // A file answers at once; standard input may have nothing to say for good.
        let waits = !input.grows;
        let reading = tokio::task::spawn_blocking(move || {
            let block = input.block();
            (input, block)
        });
        let read;
        (input, read) = tokio::select! {
            read = reading => read?,
            _ = stop.wait_for(|stop| *stop), if waits => break,
        };
        let block = read?;
        let stopped = *stop.borrow();
        if !block.is_empty() {
            turn = (turn + deal(&stream, &shards, turn, &block).await?) % shards.len().max(1);
        } else if input.ended {
            break;
        } else if stopped {
            // The last line of a file may lack its line feed.
            let last = std::mem::take(&mut input.rest);
            if !last.is_empty() {
                deal(&stream, &shards, turn, &last).await?;
            }
        } else {
            SystemClock.sleep(LOOK_AGAIN).await;
        }
        if stopped {
            break;
        }
    }
    for shard in &shards {
        stream.end(shard)?;
    }
    Ok(())
}

/// Gives the first line to the shard whose turn it is, and so on. Answers how many lines there were.
async fn deal(stream: &EmbeddedStream, shards: &[String], turn: usize, block: &[u8]) -> Result<usize, Failure> {
    let of = shards.len();
    for (index, shard) in shards.iter().enumerate() {
        stream.room(shard, ROOM).await?;
        stream.append_all(shard, lines(block).skip((index + of - turn) % of).step_by(of))?;
    }
    Ok(lines(block).count())
}

#[cfg(test)]
mod tests {
    use freshjoin_core::ports::{Position, Stream};

    use super::*;

    #[tokio::test]
    async fn the_last_line_of_a_followed_file_is_a_record_once_it_is_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("in");
        std::fs::write(&path, "0\nlast").unwrap();
        let stream = Arc::new(EmbeddedStream::new("s", 1, Arc::new(SystemClock)));
        let shards: Vec<String> = stream.shards().await.unwrap().into_iter().map(|shard| shard.id).collect();
        let (interrupt, stop) = watch::channel(false);
        let mut input = Input::open(&path, true).unwrap();
        assert_eq!(input.block().unwrap(), b"0\n");
        interrupt.send_replace(true);
        feed(input, stream.clone(), shards.clone(), stop).await.unwrap();
        let page = stream.read(&shards[0], &Position::TrimHorizon).await.unwrap();
        assert_eq!(page.records.iter().map(|record| record.data).collect::<Vec<_>>(), [b"last"]);
    }

    #[tokio::test]
    async fn every_line_is_a_record_and_shards_take_turns() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("in");
        let long = "x".repeat(3 * BLOCK);
        std::fs::write(&path, format!("0\n1\n\n{long}\n4\n5")).unwrap();
        let stream = Arc::new(EmbeddedStream::new("s", 2, Arc::new(SystemClock)));
        let shards: Vec<String> = stream.shards().await.unwrap().into_iter().map(|shard| shard.id).collect();
        let (_keep, stop) = watch::channel(false);
        feed(Input::open(&path, false).unwrap(), stream.clone(), shards.clone(), stop).await.unwrap();
        let mut lengths = Vec::new();
        for shard in &shards {
            let page = stream.read(shard, &Position::TrimHorizon).await.unwrap();
            assert!(page.next.is_none(), "the shard has ended");
            lengths.push(page.records.iter().map(|record| record.data.len()).collect::<Vec<_>>());
        }
        assert_eq!(lengths, [[1, 0, 1], [1, long.len(), 1]]);
    }

    #[test]
    fn a_file_that_is_followed_has_no_end_and_no_half_lines() {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "a\nb").unwrap();
        let mut input = Input::open(file.path(), true).unwrap();
        assert_eq!(input.block().unwrap(), b"a\n");
        assert_eq!(input.block().unwrap(), b"");
        write!(file, "c\nd").unwrap();
        assert_eq!(input.block().unwrap(), b"bc\n");
        assert_eq!(input.block().unwrap(), b"");
        assert!(!input.ended);
    }
}
