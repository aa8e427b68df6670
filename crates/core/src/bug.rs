//! Deliberate bugs, for tests of the tests: each switches one rule off, on the thread that planted it.
//!
//! Always: without the cargo feature `seeded-bugs`, which only the simulation asks for, nothing can be planted and every
//! question is answered with a constant, so that what ships holds none of it. The rule asks where it stands:
//! `if planted(Bug::…)`. A bug that the simulation does not catch means that the simulation is too weak.

/// What a bug's name, its words and all of them are made of.
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident,)+) => {
        /// A rule that is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug),+];

            /// In words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$bug => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

bugs! {
    /// A number that is taken (412) counts as one's own without looking whose it is.
    TakenIsOwn,
    /// After a 409 the next number is tried instead of the same one.
    AdvanceOnConflict,
    /// The floor is not read after an append.
    AppendIgnoresFloor,
    /// A flag whose change file could not be read means that there is none.
    FaultIsMissing,
    /// A flag is believed without comparing the digest of its change file.
    AnyDigest,
    /// The shards are not listed again after a broadcast.
    NoRelisting,
    /// A record that the stream refused counts as broadcast.
    RefusedIsTaken,
    /// A pending range is passed over, and another decided in its place.
    PendingPassedOver,
    /// A pending range is finished by the definition of whoever finds it.
    PendingByOwnDefinition,
    /// A pending range is finished to the output of whoever finds it.
    PendingToOwnOutput,
    /// A pending range is finished with one version for all its records.
    PendingStepsForgotten,
    /// A pending range is finished with the records that were handed over, whatever is missing.
    PendingNotReadAgain,
    /// A range is committed before its objects are written.
    CommitFirst,
    /// The cursor is overwritten whoever changed it meanwhile.
    BlindSwap,
    /// What is committed is written again under the next range.
    NoSkipping,
    /// The version in force is what the environment has loaded, not what the cursor says.
    VersionFromMemory,
    /// A child shard does not look at its parents' versions.
    ParentsForgotten,
    /// A shard starts at the head of the log, whenever its first record arrived.
    PinAtHead,
    /// A shard's first pin does not wait for the second of its first record to pass.
    PinAtOnce,
    /// A pin that the floor has overtaken counts.
    PinIgnoresFloor,
    /// A definition that adds a reference does not raise the version to its base.
    BasesDoNotRaise,
    /// A later stream of a table does not rank before an earlier one.
    LabelsIgnored,
    /// Sequence numbers are compared as text.
    NumbersAsText,
    /// A change from long before the first scan is news to what that scan found.
    OldNewsIsNews,
    /// What a comparison found counts although its key has changed since.
    ComparisonAlwaysCounts,
    /// A change without effect makes what a comparison found not count.
    AnyChangeCounts,
    /// The head of the log is noted after the first scan.
    HeadAfterScan,
    /// A base is put over the one that another environment was faster with.
    BaseOverwrites,
    /// A base does not keep what the log says was deleted.
    BaseWithoutTombstones,
    /// A snapshot file does not keep what was deleted.
    SnapshotWithoutTombstones,
    /// Sequencers of one object are compared without padding the shorter one.
    SequencersUnpadded,
    /// The removal of a reference's last object empties the reference.
    LastObjectGoes,
    /// A change file names a copy that was not written.
    NoCopy,
    /// The floor is raised without a second look after its announcement.
    NoSecondLook,
    /// The floor does not heed pending ranges and cursors.
    FloorIgnoresCursors,
    /// The floor does not heed how old change files are.
    FloorIgnoresAge,
    /// The floor comes to stand on a snapshot file that lacks a reference.
    FloorIgnoresBases,
    /// Only the newest snapshot file is kept.
    OnlyNewestSnapshot,
}

#[cfg(feature = "seeded-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// From now on this thread has this bug and no other.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this thread has this bug.
    #[must_use]
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "seeded-bugs"))]
mod switch {
    use super::Bug;

    /// Whether this thread has this bug: never, in what ships.
    #[must_use]
    pub const fn planted(_: Bug) -> bool {
        false
    }
}

pub use switch::*;
