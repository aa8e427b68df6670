//! What an event source mapping is told, with AWS's names and meanings.

use std::time::Duration;

/// Data, complete and checked by its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingSettings {
    /// `BatchSize`: records of one event at most; 0 counts as 1.
    pub batch_size: usize,
    /// `MaximumBatchingWindowInSeconds`: how long a batch that is not full waits for more.
    pub window: Duration,
    /// `FunctionResponseTypes: [ReportBatchItemFailures]`; without it any answer is success.
    pub report_batch_item_failures: bool,
    /// `MaximumRetryAttempts`; `None` is unlimited.
    pub maximum_retry_attempts: Option<u32>,
    /// `MaximumRecordAgeInSeconds`; `None` is unlimited.
    pub maximum_record_age: Option<Duration>,
    /// `BisectBatchOnFunctionError`.
    pub bisect: bool,
    /// The function's `Timeout`: its deadline is so long after the invocation.
    pub timeout: Duration,
    /// How long a shard that has nothing new is left alone.
    pub poll: Duration,
    /// How often new shards are looked for.
    pub refresh: Duration,
    /// The wait before the first retry; it doubles up to a minute.
    pub backoff: Duration,
    /// What tests add to the world.
    pub chaos: Option<Chaos>,
}

/// Things that happen seldom with AWS, by a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chaos {
    /// Of all choices.
    pub seed: u64,
    /// A batch that comes again has another size, and so may the next ones.
    pub recut: bool,
    /// How many invocations of a hundred go to two environments at once; only one answer counts.
    pub race_percent: u8,
    /// How many answers of a hundred are lost, so that the whole batch comes again.
    pub lost_answer_percent: u8,
}

impl Default for MappingSettings {
    /// As the template deploys the enricher, but polling as a process that shares the machine can.
    fn default() -> Self {
        Self {
            batch_size: 1000,
            window: Duration::ZERO,
            report_batch_item_failures: true,
            maximum_retry_attempts: None,
            maximum_record_age: None,
            bisect: false,
            timeout: Duration::from_secs(30),
            poll: Duration::from_millis(20),
            refresh: Duration::from_secs(1),
            backoff: Duration::from_millis(50),
            chaos: None,
        }
    }
}
