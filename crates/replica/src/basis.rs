//! What a patch can start from: the file in the tree, or what an earlier session left of the one that is coming.

use fulmar_delta::{BlockLen, Signature, Signer};
use fulmar_model::{Hash, RelPath, Stat};
use fulmar_store::CatalogReader;
use fulmar_tree::{Partials, Reader, Tree, zeros};
use std::collections::VecDeque;

/// Read at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Answers that are remembered: more than a primary has files under way.
const REMEMBERED: usize = 16;

/// Something a patch can start from.
pub(crate) struct Found {
    pub(crate) hash: Hash,
    pub(crate) signature: Signature,
}

/// Where bases are looked for.
pub(crate) struct Bases {
    tree: Tree,
    catalog: CatalogReader,
    /// What the primary was told of, and how it looked then.
    told: VecDeque<(RelPath, Hash, Stat)>,
}

impl Bases {
    pub(crate) fn new(tree: Tree, catalog: CatalogReader) -> Self {
        Self { tree, catalog, told: VecDeque::new() }
    }

    /// The content of this hash at or for a path, if it is here. What the catalog or an earlier answer says of it is
    /// believed: the result is hashed.
    pub(crate) fn open(&self, path: &RelPath, hash: Hash, partials: &Partials) -> Option<Reader> {
        self.candidates(path, partials).find(|reader| {
            let stat = reader.stat();
            let told =
                |(at, what, then): &(RelPath, Hash, Stat)| at == path && *what == hash && then.same_version(stat);
            let recorded = || self.catalog.get(path).unwrap_or(None);
            self.told.iter().any(told)
                || recorded().is_some_and(|record| record.stat.same_version(stat) && record.hash == Some(hash))
        })
    }

    /// The largest that is here, read and signed; `None` when there is nothing, or it does not hold still.
    pub(crate) fn look(&mut self, path: &RelPath, partials: &Partials) -> Option<Found> {
        let mut reader = self.candidates(path, partials).max_by_key(|reader| reader.stat().size)?;
        let stat = *reader.stat();
        let mut signer = Signer::new(BlockLen::for_file(stat.size));
        let mut at = 0;
        while let Some(chunk) = reader.next_chunk(CHUNK_BYTES).ok()? {
            zeros(chunk.offset.saturating_sub(at)).for_each(|bytes| signer.update(bytes));
            signer.update(&chunk.bytes);
            at = chunk.offset.saturating_add(chunk.bytes.len() as u64);
            reader.reuse(chunk);
        }
        zeros(stat.size.saturating_sub(at)).for_each(|bytes| signer.update(bytes));
        let (hash, after) = reader.finish().ok().filter(|(_, after)| after.same_version(&stat))?;
        self.told.push_back((path.clone(), hash, after));
        if self.told.len() > REMEMBERED {
            self.told.pop_front();
        }
        Some(Found { hash, signature: signer.finish() })
    }

    /// What cannot be opened is no basis, whatever the reason.
    fn candidates(&self, path: &RelPath, partials: &Partials) -> impl Iterator<Item = Reader> {
        let (parent, name) = path.split().unzip();
        let here = parent.zip(name).and_then(|(parent, name)| self.tree.dir(&parent).ok()?.open_file(&name).ok());
        let left = partials.open(path).unwrap_or(None);
        here.into_iter().chain(left).filter(|reader| reader.stat().size > 0)
    }
}
