//! What may go wrong or happen from outside, by name: counted, so that a kind that never comes is seen, and switched off
//! by name, so that a failing run can be made smaller.

use std::collections::{BTreeMap, BTreeSet};

/// What may become of a call.
pub const FAULTS: [&str; 12] = [
    "crash before",
    "crash after",
    "lost answer",
    "500 on",
    "403 on",
    "503 on",
    "409 on",
    "412 on",
    "late write of",
    "partial",
    "short",
    "hang in",
];

/// Calls to ports.
pub const OPERATIONS: [&str; 11] = [
    "GET",
    "PUT",
    "LIST",
    "EXPIRE",
    "DescribeStream",
    "ListShards",
    "GetRecords",
    "PutRecords",
    "DescribeTable",
    "Scan",
    "BatchGetItem",
];

/// Whether a fault makes sense for an operation.
pub fn possible(fault: &str, operation: &str) -> bool {
    match fault {
        "409 on" | "412 on" | "late write of" => operation == "PUT",
        "partial" => operation == "PutRecords",
        "short" => matches!(operation, "LIST" | "Scan" | "BatchGetItem" | "GetRecords"),
        _ => true,
    }
}

/// What others do, and what comes together by chance.
pub const EVENTS: &[&str] = &[
    "a batch comes twice",
    "a batch is cut anew",
    "a cursor is corrupt",
    "a change file is corrupt",
    "a base is corrupt",
    "a change file that is given up",
    "a change file under the floor",
    "a day-old stream at the first deployment",
    "a deadline in change-capture",
    "a deadline in flag-injector",
    "a deadline in log-keeper",
    "a deadline in the enricher",
    "a delay of a call",
    "a floor that rises",
    "a floor that rises while somebody is stalled",
    "a first pin that lands days late",
    "a forged flag",
    "a gap in a table's stream",
    "a killed environment",
    "a late notice",
    "a log-keeper beside another one",
    "a lost notice",
    "a mass deletion that is refused",
    "a merge",
    "a merge during a broadcast",
    "a missed notice of an object",
    "a notice that comes twice",
    "a range that left the stream",
    "a reference on S3",
    "a recreated stream",
    "a recreated table",
    "a redeployment while a range is pending: columns",
    "a redeployment while a range is pending: output",
    "a redeployment while a range is pending: references",
    "a replay under a new name",
    "a scan's part that is given up",
    "a snapshot file is corrupt",
    "a snapshot file that is given up",
    "a split",
    "a split during a broadcast",
    "a stale change around a reconcile",
    "a stale change that comes again",
    "a stalled environment",
    "a table that is emptied or restored",
    "a wrapped record",
    "an invocation beside another one of its shard",
    "days that pass",
    "delivery at least once",
    "log-keeper",
    "records that left the stream unread",
    "somebody sleeps for days",
    "something that was given up vanishes",
];

/// All names, of faults and of events.
pub fn all() -> Vec<String> {
    let faults = FAULTS.iter().flat_map(|fault| {
        let operations = OPERATIONS.iter().filter(move |operation| possible(fault, operation));
        operations.map(move |operation| format!("{fault} {operation}"))
    });
    faults.chain(EVENTS.iter().map(|event| (*event).to_owned())).collect()
}

/// How often each kind came.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    faults: [[u64; OPERATIONS.len()]; FAULTS.len()],
    events: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// A fault met a call.
    pub fn fault(&mut self, fault: &str, operation: &str) {
        let places =
            FAULTS.iter().position(|known| *known == fault).zip(OPERATIONS.iter().position(|o| *o == operation));
        let (fault, operation) = places.unwrap_or_else(|| panic!("no kind is called {fault} {operation}"));
        self.faults[fault][operation] += 1;
    }

    /// Something happened.
    pub fn event(&mut self, event: &'static str) {
        debug_assert!(EVENTS.contains(&event), "no kind is called {event}");
        *self.events.entry(event).or_default() += 1;
    }

    /// Every kind with how often it came.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let mut counts = Vec::new();
        for (fault, row) in FAULTS.iter().zip(&self.faults) {
            for (operation, count) in OPERATIONS.iter().zip(row) {
                if possible(fault, operation) {
                    counts.push((format!("{fault} {operation}"), *count));
                }
            }
        }
        counts.extend(EVENTS.iter().map(|event| ((*event).to_owned(), self.events.get(event).copied().unwrap_or(0))));
        counts
    }
}

impl std::ops::AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        for (row, more) in self.faults.iter_mut().zip(&other.faults) {
            row.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
        for (event, more) in &other.events {
            *self.events.entry(event).or_default() += more;
        }
    }
}

/// The kinds that are switched off: by whole names or the beginnings of several, or all but those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Off {
    names: BTreeSet<String>,
    all_but: bool,
}

impl Off {
    /// These names are off, or, with `all_but`, all others; each must be one, or the beginning of one.
    pub fn new(names: impl IntoIterator<Item = String>, all_but: bool) -> Result<Self, String> {
        let (names, all): (BTreeSet<String>, _) = (names.into_iter().collect(), all());
        match names.iter().find(|name| !all.iter().any(|known| known.starts_with(name.as_str()))) {
            Some(name) => Err(format!("no kind is called {name:?}, nor begins so; they are: {}", all.join(", "))),
            None => Ok(Self { names, all_but }),
        }
    }

    /// Nothing but these.
    pub fn all_but(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect(), all_but: true }
    }

    /// With one more.
    pub fn with(&self, name: &str) -> Self {
        let mut names = self.names.clone();
        if self.all_but {
            names.retain(|known| !known.starts_with(name));
        } else {
            names.insert(name.to_owned());
        }
        Self { names, ..*self }
    }

    /// Whether a kind may come.
    pub fn allows(&self, name: &str) -> bool {
        let named = || self.names.iter().any(|known| name.starts_with(known.as_str()));
        (self.names.is_empty() && !self.all_but) || named() == self.all_but
    }

    /// Whether a fault may meet an operation.
    pub fn allows_fault(&self, fault: &str, operation: &str) -> bool {
        (self.names.is_empty() && !self.all_but) || self.allows(&format!("{fault} {operation}"))
    }

    /// Whether nothing is.
    pub fn is_nothing(&self) -> bool {
        self.names.is_empty() && !self.all_but
    }

    /// As they are given on the command line.
    pub fn options(&self) -> String {
        let option = if self.all_but { "only" } else { "without" };
        let none = if self.all_but && self.names.is_empty() { " --calm" } else { "" };
        let names: String = self.names.iter().map(|name| format!(" --{option} {name:?}")).collect();
        none.to_owned() + &names
    }
}
