//! What a run has in it: drawn for each seed anew, so that every combination comes, and simple runs too.

use crate::kinds::Off;
use crate::rng::Rng;

/// What may happen in a run, apart from faults of calls.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// References on S3.
    pub objects: bool,
    /// Whether it is delivered exactly once.
    pub guarded: bool,
    /// Other definitions and outputs.
    pub redeployments: bool,
    /// A first deployment onto streams that have a day behind them.
    pub day_old: bool,
    /// Tables that are deleted and made again.
    pub recreated_tables: bool,
    /// The order stream deleted and made again.
    pub recreated_stream: bool,
    /// Hours and days go by, and what is old leaves its stream.
    pub days: bool,
    /// What is in the state rots, and is mended.
    pub rot: bool,
    /// log-keeper runs.
    pub keeper: bool,
    /// Changes that nobody hears of, and reconciles.
    pub gaps: bool,
    /// Records in gzip or aggregates.
    pub wrapped: bool,
    /// Invocations that reach their deadlines, in a thousand.
    pub cuts: usize,
}

impl Features {
    pub fn draw(rng: &mut Rng, off: &Off) -> Self {
        let mut chance = |per_thousand, kind: &str| rng.chance(per_thousand) & off.allows(kind);
        let keeper = chance(450, "log-keeper");
        Self {
            keeper,
            gaps: keeper & chance(350, ""),
            objects: chance(350, "a reference on S3"),
            guarded: !chance(40, "delivery at least once"),
            redeployments: chance(650, "a redeployment"),
            day_old: chance(100, "a day-old stream at the first deployment"),
            recreated_tables: chance(150, "a recreated table"),
            recreated_stream: chance(60, "a recreated stream"),
            days: chance(if keeper { 450 } else { 130 }, "days that pass"),
            rot: chance(150, ""),
            wrapped: chance(150, "a wrapped record"),
            cuts: if chance(400, "a deadline") { 40 } else { 0 },
        }
    }
}
