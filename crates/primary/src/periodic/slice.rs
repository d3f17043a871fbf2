//! Cuts the tree into slices of bounded work, by the catalog, without holding the tree: from where the last slice ended the end
//! of the next one is found. A directory is never split, so one that is larger than a slice is one by itself.
//!
//! The catalog only says where to cut. What is in a slice is what both sides have there when it is compared; what has grown since
//! belongs to the slice its directory is in, and the last slice has no end.

use crate::{Error, Result};
use fulmar_model::{Kind, Name, RelPath};
use fulmar_store::{CatalogReader, Measure};

/// Rows of the catalog read at once.
const ROWS: usize = 512;

/// A range of directories: from behind the last one up to and with `upto`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// `None`: to the end of the tree.
    pub(crate) upto: Option<RelPath>,
    /// What the catalog has in it.
    pub(crate) size: Measure,
}

/// The slice behind `after` (`None`: from the root on) of at most `most`, and one directory at least. Given up when `ended` says
/// so: a directory may be large.
pub(crate) fn cut(
    catalog: &CatalogReader,
    after: Option<&RelPath>,
    most: Measure,
    ended: &dyn Fn() -> bool,
) -> Result<Slice> {
    let mut slice = Slice { upto: None, size: Measure::default() };
    let mut next = following(catalog, after)?;
    while let Some(directory) = next {
        if ended() {
            return Err(Error::Gone);
        }
        let own = own(catalog, &directory)?;
        let mut size = slice.size;
        size.add(own);
        if slice.upto.is_some() && (size.entries > most.entries || size.bytes > most.bytes) {
            return Ok(slice);
        }
        next = following(catalog, Some(&directory))?;
        slice = Slice { upto: Some(directory), size };
    }
    Ok(Slice { upto: None, ..slice })
}

/// What the catalog has in the directories behind `after`.
pub(crate) fn measure(catalog: &CatalogReader, after: Option<&RelPath>, ended: &dyn Fn() -> bool) -> Result<Measure> {
    let everything = Measure { entries: u64::MAX, bytes: u64::MAX };
    Ok(cut(catalog, after, everything, ended)?.size)
}

/// What is in a directory itself.
fn own(catalog: &CatalogReader, directory: &RelPath) -> Result<Measure> {
    let (mut sum, mut after) = (Measure::default(), None);
    loop {
        let rows = catalog.children(directory, after.as_ref(), ROWS)?;
        for (_, record) in &rows {
            let bytes = if record.stat.kind == Kind::File { record.stat.size } else { 0 };
            sum.add(Measure { entries: 1, bytes });
        }
        if rows.len() < ROWS {
            return Ok(sum);
        }
        after = rows.into_iter().last().map(|(name, _)| name);
    }
}

/// The directory that a walk meets next behind a path, which need not exist.
fn following(catalog: &CatalogReader, after: Option<&RelPath>) -> Result<Option<RelPath>> {
    let Some(after) = after else { return Ok(Some(RelPath::root())) };
    if let Some(child) = directory_in(catalog, after, None)? {
        return Ok(Some(after.join(&child)));
    }
    let mut at = after.split();
    while let Some((parent, name)) = at {
        if let Some(sibling) = directory_in(catalog, &parent, Some(name))? {
            return Ok(Some(parent.join(&sibling)));
        }
        at = parent.split();
    }
    Ok(None)
}

/// The first directory in another one behind a name.
fn directory_in(catalog: &CatalogReader, directory: &RelPath, mut after: Option<Name>) -> Result<Option<Name>> {
    loop {
        let rows = catalog.children(directory, after.as_ref(), ROWS)?;
        let full = rows.len() == ROWS;
        after = rows.last().map(|(name, _)| name.clone());
        if let Some((name, _)) = rows.into_iter().find(|(_, record)| record.stat.kind == Kind::Directory) {
            return Ok(Some(name));
        }
        if !full {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_model::{Device, Record, Stat, Timestamp, XattrDigest};
    use fulmar_store::Catalog;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    fn record(kind: Kind, inode: u64, size: u64) -> Record {
        let stat = Stat {
            kind,
            device: Device::default(),
            inode,
            links: 1,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size,
            allocated: 0,
            mtime: Timestamp::new(1, 0),
            ctime: Timestamp::new(1, 0),
            node: Device::default(),
        };
        Record { stat, xattrs: XattrDigest::default(), hash: None, group: None, settled: true }
    }

    /// Directories with so many files of so many bytes each.
    fn catalog(directories: &[(&str, u64, u64)]) -> (tempfile::TempDir, Catalog) {
        let folder = tempfile::tempdir().expect("a directory");
        let (mut catalog, _) = Catalog::open(&folder.path().join("catalog.db")).expect("a catalog");
        let mut inode = 1;
        catalog.begin().expect("begin");
        for (directory, files, bytes) in directories {
            inode += 1;
            catalog.put(&path(directory), &record(Kind::Directory, inode, 4096)).expect("put");
            for file in 0..*files {
                inode += 1;
                let name = Name::parse(format!("f{file}").as_bytes()).expect("a name");
                catalog.put(&path(directory).join(&name), &record(Kind::File, inode, *bytes)).expect("put");
            }
        }
        catalog.commit().expect("commit");
        (folder, catalog)
    }

    /// The ends of all slices, and their sizes.
    fn slices(catalog: &Catalog, most: Measure) -> Vec<(String, u64, u64)> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let slice = cut(catalog, after.as_ref(), most, &|| false).expect("a slice");
            let Slice { upto, size } = slice;
            all.push((upto.as_ref().map_or("end".to_owned(), ToString::to_string), size.entries, size.bytes));
            match upto {
                Some(upto) => after = Some(upto),
                None => return all,
            }
        }
    }

    fn expect(found: &[(String, u64, u64)], expected: &[(&str, u64, u64)]) {
        let found: Vec<_> = found.iter().map(|(upto, entries, bytes)| (upto.as_str(), *entries, *bytes)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_slice_ends_before_the_directory_that_would_make_it_too_large() {
        let (_folder, catalog) = catalog(&[("", 1, 10), ("a", 2, 10), ("a/b", 3, 10), ("a-", 4, 10), ("c", 1, 500)]);
        let by_entries = Measure { entries: 7, bytes: u64::MAX };
        // The root has a file and three directories.
        expect(&slices(&catalog, by_entries), &[("a", 7, 30), ("a-", 7, 70), ("end", 1, 500)]);
        let by_bytes = Measure { entries: u64::MAX, bytes: 60 };
        expect(&slices(&catalog, by_bytes), &[("a/b", 10, 60), ("a-", 4, 40), ("end", 1, 500)]);
        let everything = Measure { entries: u64::MAX, bytes: u64::MAX };
        expect(&slices(&catalog, everything), &[("end", 15, 600)]);
        assert_eq!(measure(&catalog, None, &|| false).expect("measured"), Measure { entries: 15, bytes: 600 });
        let rest = measure(&catalog, Some(&path("a/b")), &|| false).expect("measured");
        assert_eq!(rest, Measure { entries: 5, bytes: 540 });
    }

    #[test]
    fn a_directory_that_is_larger_than_a_slice_is_one_by_itself() {
        let (_folder, catalog) = catalog(&[("", 0, 0), ("a", 1, 1), ("b", 2000, 1), ("c", 1, 1)]);
        let most = Measure { entries: 5, bytes: u64::MAX };
        expect(&slices(&catalog, most), &[("a", 4, 1), ("b", 2000, 2000), ("end", 1, 1)]);
    }

    #[test]
    fn an_empty_tree_is_one_slice_and_a_beginning_that_is_gone_is_none_the_less_one() {
        let (_folder, empty) = catalog(&[("", 0, 0)]);
        let most = Measure { entries: 1, bytes: 1 };
        expect(&slices(&empty, most), &[("end", 0, 0)]);
        let (_folder, catalog) = catalog(&[("", 0, 0), ("a", 1, 1), ("a/b", 1, 1), ("b", 1, 1)]);
        for (after, upto) in [("a/a", Some("a/b")), ("a/b/c/d", None), ("a/c", None), ("z", None)] {
            let slice = cut(&catalog, Some(&path(after)), most, &|| false).expect("a slice");
            assert_eq!(slice.upto, upto.map(path), "behind {after}");
        }
    }

    #[test]
    fn it_is_given_up_when_the_primary_ends() {
        let (_folder, catalog) = catalog(&[("", 0, 0), ("a", 1, 1)]);
        assert!(matches!(measure(&catalog, None, &|| true), Err(Error::Gone)));
    }
}
