//! The rows of one directory beside its names, both in order of the bytes of the name.

use crate::{CatalogReader, Result};
use fulmar_model::{Name, Record, RelPath};

/// Rows read at once.
const PAGE: usize = 4096;

/// The rows of a directory from the first to the last, a page of 4096 in memory. Each page is one state of the file.
pub struct Rows<'a> {
    catalog: &'a CatalogReader,
    directory: &'a RelPath,
    page: std::iter::Peekable<std::vec::IntoIter<(Name, Record)>>,
    last: Option<Name>,
    end: bool,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(catalog: &'a CatalogReader, directory: &'a RelPath) -> Self {
        Self { catalog, directory, page: Vec::new().into_iter().peekable(), last: None, end: false }
    }

    /// The next row in front of `name`, or of all that are left.
    pub fn next_before(&mut self, name: Option<&Name>) -> Result<Option<(Name, Record)>> {
        self.fill()?;
        Ok(self.page.next_if(|(row, _)| name.is_none_or(|name| row < name)))
    }

    /// The record of `name`. Names are asked for in order; what is in front of them is passed over.
    pub fn record(&mut self, name: &Name) -> Result<Option<Record>> {
        while self.next_before(Some(name))?.is_some() {}
        Ok(self.page.next_if(|(row, _)| row == name).map(|(_, record)| record))
    }

    fn fill(&mut self) -> Result<()> {
        if self.page.peek().is_some() || self.end {
            return Ok(());
        }
        let rows = self.catalog.children(self.directory, self.last.as_ref(), PAGE)?;
        self.end = rows.len() < PAGE;
        self.last = rows.last().map(|(name, _)| name.clone());
        self.page = rows.into_iter().peekable();
        Ok(())
    }
}
