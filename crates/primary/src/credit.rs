//! Credit, as a shipper keeps it: what was spent and what came back, counted from the beginning of the session.
//!
//! A replica gives credit back in the order in which it was spent. So everything that was sent up to a moment is dealt with
//! when as much has come back as was spent by then, whatever was sent since.

use crate::chunks::UNUSED;
use crate::{Error, Result};

/// Of one session, in bytes.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Under way at most.
    full: u32,
    spent: u64,
    returned: u64,
}

impl Credit {
    /// Nothing is under way.
    pub(crate) fn new(full: u32) -> Self {
        Self { full, spent: 0, returned: 0 }
    }

    /// Whether so much may be spent.
    pub(crate) fn covers(&self, cost: u32) -> bool {
        // What is under way is at most what was granted.
        (self.spent - self.returned).saturating_add(cost.into()) <= self.full.into()
    }

    /// Spends what is covered. An error: more than anybody could have sent.
    pub(crate) fn spend(&mut self, cost: u32) -> Result<()> {
        self.spent = self.spent.checked_add(cost.into()).ok_or(Error::Protocol("credit without end"))?;
        Ok(())
    }

    /// Some of it came back. An error: more than was under way.
    pub(crate) fn give_back(&mut self, bytes: u32) -> Result<()> {
        let returned = self.returned.checked_add(bytes.into()).filter(|returned| *returned <= self.spent);
        self.returned = returned.ok_or(UNUSED)?;
        Ok(())
    }

    /// All that was spent so far: to be compared with what has come [`back`](Self::is_back).
    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// Whether all that was spent up to `mark` has come back.
    pub(crate) fn is_back(&self, mark: u64) -> bool {
        self.returned >= mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_comes_back_than_was_spent_and_no_more_is_spent_than_was_granted() {
        let mut credit = Credit::new(100);
        assert!(credit.covers(100) && !credit.covers(101));
        credit.spend(60).expect("it is covered");
        let first = credit.spent();
        credit.spend(40).expect("it is covered");
        assert!(!credit.covers(1));
        credit.give_back(59).expect("it was spent");
        assert!(!credit.is_back(first) && credit.covers(59) && !credit.covers(60));
        credit.give_back(1).expect("it was spent");
        assert!(credit.is_back(first) && !credit.is_back(credit.spent()));
        assert!(credit.give_back(41).is_err());
        credit.give_back(40).expect("it was spent");
        assert!(credit.is_back(credit.spent()));
    }
}
