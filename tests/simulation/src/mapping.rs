//! Event source mappings as AWS runs them: one batch of a shard at a time, in order; the checkpoint moves to the lowest
//! failure, and everything after it comes again in another cut; a batch may also come twice, even at the same time.

use std::collections::BTreeMap;

use crate::archive::ShardKey;

/// A shard of whichever stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Of the order stream.
    Orders(ShardKey),
    /// Of a table's change stream.
    Table(&'static str, usize),
}

/// Where a mapping stands in one shard, by places of records.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// All records before this one are done.
    pub checkpoint: usize,
    /// Whether a batch is under way.
    pub busy: bool,
    /// Batches that were delivered, to be delivered once more.
    pub delivered: Vec<(usize, usize)>,
}

/// All shards of all mappings.
#[derive(Debug, Default)]
pub struct Mappings(pub BTreeMap<Source, Place>);

/// One batch: records from the first place to before the second.
#[derive(Clone, Debug)]
pub struct Batch {
    pub source: Source,
    pub start: usize,
    pub end: usize,
    /// A second delivery, of which the mapping does not wait for an answer.
    pub again: bool,
    /// Whether it was delivered when nothing went wrong any more.
    pub calm: bool,
}

impl Mappings {
    pub fn place(&mut self, source: &Source) -> &mut Place {
        self.0.entry(source.clone()).or_default()
    }

    /// The batch is on its way.
    pub fn begin(&mut self, batch: &Batch) {
        if !batch.again {
            let place = self.place(&batch.source);
            place.busy = true;
            place.delivered.push((batch.start, batch.end));
        }
    }

    /// The batch is answered: done up to before `done`.
    pub fn end(&mut self, batch: &Batch, done: usize) {
        if !batch.again {
            let place = self.place(&batch.source);
            place.busy = false;
            // What has left the stream meanwhile does not come again.
            place.checkpoint = place.checkpoint.max(done);
        }
    }
}
