//! What came of the slices of an audit for one replica, when the rest of it is made.

use super::flaws::Flaws;
use super::verdict::{Finding, Verdict};

/// See the head of this file.
pub struct Earlier {
    verdict: Verdict,
    flaws: Flaws,
}

impl Earlier {
    /// `verdict`: the sum of all slices ([`Verdict::add`]).
    pub fn new(verdict: Verdict) -> Self {
        Self { verdict, flaws: Flaws::default() }
    }

    /// Takes in a finding of a slice: all of them where mailboxes are to be judged, else none.
    pub fn note(&mut self, finding: &Finding) {
        self.flaws.note(finding);
    }

    /// With what the rest says before it compares: who is asked, and whether both sides see all attributes.
    pub(super) fn go_on(self, rest: Verdict) -> (Verdict, Flaws) {
        let (host, root, trusted) = (rest.host, rest.root, rest.trusted && self.verdict.trusted);
        (Verdict { host, root, trusted, links: false, ..self.verdict }, self.flaws)
    }
}
