//! How much searching a file is worth.
//!
//! Looking at every position costs ten times as much as comparing blocks where they are expected. That is repaid when content was
//! moved, and lost on content that is new. So the search has patience for a number of positions, gets it back with every
//! block it finds, and when it has lost it, looks at one block length in [`SAMPLE_EVERY`] only, and in fewer the longer that is in vain.
//! Moved content of more than [`SAMPLE_EVERY_MAX`] blocks is still met, for any block length of positions has the beginning of a block
//! among them. A sample costs several times what the same positions cost in a row: what passed by meanwhile has taken the
//! index out of the caches.
//!
//! Strong sums are rationed too. A position that has a weak sum of the basis costs a block of hashing, and in hostile or
//! very regular content that is every position. The ration grows by a byte with every position.

/// Positions that are searched without finding anything, before only samples are.
const PATIENCE: u64 = 8 * 1024 * 1024;

/// One block length in so many is searched when patience is lost, ...
const SAMPLE_EVERY: u64 = 16;

/// ... and after so many samples in vain one in twice as many, ...
const SAMPLES_IN_VAIN: u64 = 64;

/// ... but no fewer than this.
const SAMPLE_EVERY_MAX: u64 = 64;

/// Blocks that may be hashed for nothing before the ration matters.
const RATION_BLOCKS: u64 = 64;

/// What the search may still cost.
#[derive(Debug)]
pub(crate) struct Effort {
    block: u64,
    /// Positions to search, before `pass` are passed over.
    search: u64,
    /// Positions to pass over, before a block length of them is searched.
    pass: u64,
    /// Samples in vain.
    samples: u64,
    /// Bytes that may be hashed on suspicion.
    ration: u64,
}

/// What to do with the positions ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look at so many of them, one by one.
    Search(u64),
    /// Leave out so many.
    Pass(u64),
}

impl Effort {
    /// Full of hope.
    pub(crate) fn new(block: u64) -> Self {
        Self { block, search: PATIENCE, pass: 0, samples: 0, ration: RATION_BLOCKS * block }
    }

    /// What to do with the next positions, at most `most`; they count as done.
    pub(crate) fn next(&mut self, most: u64) -> Next {
        if self.search == 0 && self.pass == 0 {
            let doubled = (self.samples / SAMPLES_IN_VAIN).min(u64::from(u32::BITS));
            let every = (SAMPLE_EVERY << doubled).min(SAMPLE_EVERY_MAX);
            self.samples += 1;
            self.pass = (every - 1) * self.block;
        }
        if self.search > 0 {
            let count = most.min(self.search);
            self.search -= count;
            return Next::Search(count);
        }
        let count = most.min(self.pass);
        self.pass -= count;
        if self.pass == 0 {
            self.search = self.block;
        }
        Next::Pass(count)
    }

    /// The search found a block.
    pub(crate) fn found(&mut self) {
        (self.search, self.pass, self.samples) = (PATIENCE, 0, 0);
        self.ration = self.ration.saturating_add(self.block);
    }

    /// Positions were searched.
    pub(crate) fn searched(&mut self, positions: u64) {
        self.ration = self.ration.saturating_add(positions).min(RATION_BLOCKS * self.block);
    }

    /// Whether one more block may be hashed on suspicion; if so, it counts as hashed.
    pub(crate) fn may_hash(&mut self) -> bool {
        let left = self.ration.checked_sub(self.block);
        self.ration = left.unwrap_or(self.ration);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_in_vain_becomes_samples_until_it_finds_something() {
        let mut effort = Effort::new(1024);
        assert_eq!(effort.next(PATIENCE - 1), Next::Search(PATIENCE - 1));
        assert_eq!(effort.next(5000), Next::Search(1));
        for _ in 0..3 {
            assert_eq!(effort.next(5000), Next::Pass(5000));
            assert_eq!(effort.next(1 << 40), Next::Pass(15 * 1024 - 5000));
            assert_eq!(effort.next(1000), Next::Search(1000));
            assert_eq!(effort.next(1000), Next::Search(24));
        }
        effort.found();
        assert_eq!(effort.next(u64::MAX), Next::Search(PATIENCE));
    }

    #[test]
    fn samples_become_fewer_until_something_is_found() {
        let mut effort = Effort::new(1024);
        let mut samples = |count: usize| -> Vec<u64> {
            assert!(matches!(effort.next(u64::MAX), Next::Search(_)));
            let passed = (0..count).map(|_| match (effort.next(u64::MAX), effort.next(1023)) {
                (Next::Pass(positions), Next::Search(1023)) if effort.next(1) == Next::Search(1) => {
                    positions / 1024 + 1
                }
                other => panic!("not a sample: {other:?}"),
            });
            let passed = passed.collect();
            effort.found();
            passed
        };
        for _ in 0..2 {
            assert_eq!(
                samples(300),
                [[16; 64], [32; 64], [64; 64], [64; 64]].concat().into_iter().chain([64; 44]).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn hashing_in_vain_is_rationed_by_the_way_that_was_searched() {
        let mut effort = Effort::new(1024);
        let hashes = |effort: &mut Effort| (0..1000).take_while(|_| effort.may_hash()).count();
        assert_eq!(hashes(&mut effort), 64);
        effort.searched(2047);
        assert_eq!(hashes(&mut effort), 1);
        effort.searched(1);
        assert_eq!(hashes(&mut effort), 1);
        effort.searched(1 << 40);
        assert_eq!(hashes(&mut effort), 64);
    }
}
