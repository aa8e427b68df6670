//! Which planted bug fell to which seed: the lowest of a hunt, which is tried first in the next one.

use freshjoin_core::bug::Bug;

/// Every bug, and the seed that catches it.
const CAUGHT: &[(Bug, u64)] = &[
    (Bug::TakenIsOwn, 1),
    (Bug::AdvanceOnConflict, 9),
    (Bug::AppendIgnoresFloor, 2103),
    (Bug::FaultIsMissing, 92),
    (Bug::AnyDigest, 19),
    (Bug::NoRelisting, 6),
    (Bug::RefusedIsTaken, 2),
    (Bug::PendingPassedOver, 1),
    (Bug::PendingByOwnDefinition, 8),
    (Bug::PendingToOwnOutput, 19),
    (Bug::PendingStepsForgotten, 19),
    (Bug::PendingNotReadAgain, 1),
    (Bug::CommitFirst, 1),
    (Bug::BlindSwap, 6),
    (Bug::NoSkipping, 1),
    (Bug::VersionFromMemory, 1),
    (Bug::ParentsForgotten, 5),
    (Bug::PinAtHead, 1),
    (Bug::PinAtOnce, 1),
    (Bug::PinIgnoresFloor, 2676),
    (Bug::BasesDoNotRaise, 2),
    (Bug::LabelsIgnored, 7),
    (Bug::NumbersAsText, 1),
    (Bug::OldNewsIsNews, 88),
    (Bug::ComparisonAlwaysCounts, 6),
    (Bug::AnyChangeCounts, 108),
    (Bug::HeadAfterScan, 51),
    (Bug::BaseOverwrites, 8),
    (Bug::BaseWithoutTombstones, 2),
    (Bug::SnapshotWithoutTombstones, 3),
    (Bug::SequencersUnpadded, 3),
    (Bug::LastObjectGoes, 6),
    (Bug::NoCopy, 3),
    (Bug::NoSecondLook, 196),
    (Bug::FloorIgnoresCursors, 117),
    (Bug::FloorIgnoresAge, 16),
    (Bug::FloorIgnoresBases, 12),
    (Bug::OnlyNewestSnapshot, 4),
];

/// The seed that a bug fell to.
#[must_use]
pub fn seed_of(bug: Bug) -> Option<u64> {
    CAUGHT.iter().find(|(known, _)| *known == bug).map(|(_, seed)| *seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_seed() {
        for bug in Bug::ALL {
            assert!(seed_of(*bug).is_some(), "{bug:?}");
        }
    }
}
