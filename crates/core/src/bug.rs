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
    /// A flag is believed without comparing the digest of its change file.
    AnyDigest,
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
