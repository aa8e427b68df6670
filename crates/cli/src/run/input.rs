//! The input: lines of a file or of standard input, dealt to the shards in turn.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use freshjoin_local::EmbeddedStream;
use memchr::{memchr_iter, memrchr};

use crate::failure::Failure;

use super::ROOM;

/// As much is read at a time.
const BLOCK: usize = 1 << 20;

/// An open input and the part of a line that was read last.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    name: String,
    rest: Vec<u8>,
    ended: bool,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let reader: Box<dyn Read + Send> = if name == "-" {
            Box::new(std::io::stdin())
        } else {
            let opened = File::open(path);
            Box::new(opened.map_err(|error| Failure::new(format!("{name} cannot be read: {error}"), "check --input"))?)
        };
        Ok(Self { reader, name, rest: Vec::new(), ended: false })
    }

    /// Some whole lines, each with its line feed (which the last line of all may lack); none at the end.
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

/// Writes the whole input to the shards, waiting for room, and then ends the shards.
pub(super) async fn feed(mut input: Input, stream: Arc<EmbeddedStream>, shards: Vec<String>) -> Result<(), Failure> {
    let mut turn = 0;
    loop {
        let read;
        (input, read) = tokio::task::spawn_blocking(move || {
            let block = input.block();
            (input, block)
        })
        .await?;
        let block = read?;
        if block.is_empty() {
            break;
        }
        let mut count = 0;
        for (index, shard) in shards.iter().enumerate() {
            stream.room(shard, ROOM).await?;
            // The line that comes next goes to the shard whose turn it is.
            let skip = (index + shards.len() - turn) % shards.len();
            let counted = lines(&block).inspect(|_| count += usize::from(index == 0));
            if index == 0 {
                stream.append_all(shard, dealt(counted, skip, shards.len()))?;
            } else {
                stream.append_all(shard, dealt(lines(&block), skip, shards.len()))?;
            }
        }
        turn = (turn + count) % shards.len();
    }
    for shard in &shards {
        stream.end(shard)?;
    }
    Ok(())
}

fn dealt<'a>(lines: impl Iterator<Item = &'a [u8]>, skip: usize, of: usize) -> impl Iterator<Item = &'a [u8]> {
    lines.enumerate().filter_map(move |(index, line)| (index % of == skip).then_some(line))
}
