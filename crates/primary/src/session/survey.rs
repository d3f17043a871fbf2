//! What comes before the listing of a whole tree: both sides go through theirs at the same time and compare what it comes to.
//! Where that is equal, nothing is listed; where it is not, the directories that differ are.

use super::comparing::{Comparing, PAGES_MAX, Stage};
use super::visit::Visit;
use crate::listing::Choice;
use crate::{Error, Result};
use fulmar_link::Lane;
use fulmar_model::{Hash, RelPath};
use fulmar_tree::{Part, Printed, fingerprint_of};
use fulmar_wire::{FRAME_BYTES_MAX, FromPrimary, PAGE_ENTRIES_MAX, Print};
use std::collections::HashMap;
use tokio::sync::mpsc;

/// What a print takes in a frame besides its path.
const PRINT_BYTES: usize = 64;

/// Its state.
pub(super) struct Survey {
    /// Has room for the one that is made.
    choices: mpsc::Sender<Choice>,
    ours: Option<Vec<Printed>>,
    theirs: Option<Hash>,
    /// How many of ours were sent.
    sent: usize,
    /// By number of the page: index of its first.
    unanswered: HashMap<u32, usize>,
    differing: Vec<(RelPath, Part)>,
}

impl Survey {
    pub(super) fn new(choices: mpsc::Sender<Choice>) -> Self {
        let (unanswered, differing) = (HashMap::new(), Vec::new());
        Self { choices, ours: None, theirs: None, sent: 0, unanswered, differing }
    }

    /// The next page; `None` when all were sent, or as many as may be without an answer.
    fn page(&mut self) -> Option<Vec<Print>> {
        let rest = self.ours.as_ref()?.get(self.sent..)?;
        if rest.is_empty() || self.unanswered.len() >= PAGES_MAX {
            return None;
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        for printed in rest.iter().take(PAGE_ENTRIES_MAX) {
            bytes += printed.directory.as_bytes().len() + PRINT_BYTES;
            if bytes > FRAME_BYTES_MAX / 2 && !page.is_empty() {
                break;
            }
            let (part, directory) = ((printed.part.index(), printed.part.of()), printed.directory.clone());
            page.push(Print { directory, part, fingerprint: printed.fingerprint });
        }
        Some(page)
    }
}

impl Visit<'_> {
    /// The lister is through; `None`: there are too many directories.
    pub(super) async fn surveyed_here(&mut self, ours: Option<Vec<Printed>>) -> Result<()> {
        let Some(survey) = self.survey() else { return Ok(()) };
        if ours.is_none() {
            return self.choose(Choice::All);
        }
        survey.ours = ours;
        self.weigh().await
    }

    /// The replica is through; `None`: it does not know.
    pub(super) async fn surveyed_there(&mut self, theirs: Option<Hash>) -> Result<()> {
        // Ours may have ended it already.
        let Some(survey) = self.survey() else { return Ok(()) };
        if survey.theirs.is_some() {
            return Err(Error::Protocol("a second answer to a survey"));
        }
        if theirs.is_none() {
            // It may know of some directories, or of none: an empty one says so at once.
            return self.choose(Choice::All);
        }
        survey.theirs = theirs;
        self.weigh().await
    }

    async fn weigh(&mut self) -> Result<()> {
        let Some(Survey { ours: Some(ours), theirs: Some(theirs), .. }) = self.survey() else { return Ok(()) };
        if fingerprint_of(ours) == Some(*theirs) {
            return self.choose(Choice::Only(Vec::new()));
        }
        self.send_prints().await
    }

    pub(super) async fn differing(&mut self, page: u32, prints: &[u32]) -> Result<()> {
        let stray = Error::Protocol("an answer to fingerprints that were not sent");
        let Some(survey) = self.survey() else { return Err(stray) };
        let Some(first) = survey.unanswered.remove(&page) else { return Err(stray) };
        let ours = survey.ours.as_deref().unwrap_or_default();
        for at in prints {
            let printed = usize::try_from(*at).ok().and_then(|at| ours.get(first + at));
            let printed = printed.ok_or(Error::Protocol("a directory that was not named"))?;
            survey.differing.push((printed.directory.clone(), printed.part));
        }
        if survey.unanswered.is_empty() && survey.sent == ours.len() {
            let differing = std::mem::take(&mut survey.differing);
            tracing::debug!(directories = differing.len(), "to be listed");
            return self.choose(Choice::Only(differing));
        }
        self.send_prints().await
    }

    async fn send_prints(&mut self) -> Result<()> {
        while let Some((page, prints)) = self.next_prints() {
            self.sender.send(Lane::Urgent, FromPrimary::Prints { page, prints }.encode()?).await?;
        }
        Ok(())
    }

    fn next_prints(&mut self) -> Option<(u32, Vec<Print>)> {
        let page = self.next_page;
        let survey = self.survey()?;
        let prints = survey.page()?;
        survey.unanswered.insert(page, survey.sent);
        survey.sent += prints.len();
        self.next_page = page.wrapping_add(1);
        Some((page, prints))
    }

    /// Goes on to the listing.
    fn choose(&mut self, choice: Choice) -> Result<()> {
        let Some(Comparing { stage, survey, .. }) = &mut self.comparing else { return Ok(()) };
        *stage = Stage::Listing;
        survey.take().map_or(Ok(()), |survey| survey.choices.try_send(choice).map_err(|_| Error::Gone))
    }

    fn survey(&mut self) -> Option<&mut Survey> {
        self.comparing.as_mut()?.survey.as_mut()
    }
}
