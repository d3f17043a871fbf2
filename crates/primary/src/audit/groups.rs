//! Which names are one file: compared as sets of names, where a name is on both sides.
//!
//! Sides agree at once when a digest over all groups is equal. Else only buckets that differ are told. Names whose marks differ
//! lead to groups that touch each other; all names of those are looked at on both sides, until what is seen is the same, or
//! certain.

use super::PAUSES_MS;
use super::inspection::Visit;
use super::suspects::still;
use crate::{Error, Result};
use fulmar_model::{Aspect, Difference, Hash, Kind, Look, RelPath, Sighting, Value};
use fulmar_wire::{Answer, LOOKS_MAX, Question};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Names with other marks that are gone into; if there are more, groups count as not compared.
const NAMES_MAX: usize = 100_000;
/// Names of groups that touch each other that are looked at.
const CLUSTER_MAX: usize = 4096;

/// Names that are, or may be, one file on either side.
struct Cluster {
    paths: Vec<RelPath>,
    /// What was seen last, since when, by the numbers that change with it.
    held: Option<(Vec<u64>, Instant)>,
}

impl Visit {
    pub(super) async fn compare_links(&mut self, theirs: Option<Hash>) -> Result<()> {
        let (Some(ours), Some(theirs)) = (self.source.links().map(|links| links.digest()), theirs) else {
            return Ok(());
        };
        self.verdict.links = true;
        if ours == theirs {
            return Ok(());
        }
        let marks = self.differing_marks().await?;
        let mut left = self.clusters(marks);
        for pause in PAUSES_MS {
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let mut open = Vec::new();
            for mut cluster in left {
                let looks = self.look_all(&cluster.paths).await?;
                match cluster.judge(&looks) {
                    Some(Some(difference)) => {
                        let looks: Vec<_> = cluster.paths.into_iter().zip(looks).collect();
                        self.blame_links(difference, &looks).await?;
                    }
                    Some(None) => {}
                    None => open.push(cluster),
                }
            }
            left = open;
        }
        for cluster in left {
            if let Some(path) = cluster.paths.into_iter().next() {
                self.give_up(path).await?;
            }
        }
        Ok(())
    }

    async fn look_all(&mut self, paths: &[RelPath]) -> Result<Vec<(Look, Look)>> {
        let mut looks = Vec::new();
        for some in paths.chunks(LOOKS_MAX) {
            looks.extend(self.look(some.iter().map(|path| (path.clone(), false)).collect()).await?);
        }
        Ok(looks)
    }

    /// Names whose groups have other marks on both sides, or which are in a group on one side only.
    async fn differing_marks(&mut self) -> Result<BTreeMap<RelPath, [Option<u128>; 2]>> {
        self.far.ask(Question::Buckets).await?;
        let Answer::Buckets { digests } = self.far.answer().await? else {
            return Err(Error::Protocol("an answer to something else"));
        };
        let source = self.source.clone();
        let Some(links) = source.links() else { return Ok(BTreeMap::new()) };
        let ours = links.bucket_digests();
        if digests.len() != ours.len() {
            return Err(Error::Protocol("another number of buckets"));
        }
        let mut all = BTreeMap::new();
        for (bucket, (ours, theirs)) in (0..=u8::MAX).zip(ours.iter().zip(&digests)) {
            if ours == theirs {
                continue;
            }
            self.far.ask(Question::Names { bucket }).await?;
            let mut marks: BTreeMap<RelPath, [Option<u128>; 2]> = BTreeMap::new();
            for linked in self.far.names(bucket, NAMES_MAX).await? {
                marks.entry(linked.path).or_default()[1] = Some(u128::from_be_bytes(linked.mark));
            }
            for (path, mark) in links.bucket(bucket) {
                marks.entry(path.clone()).or_default()[0] = Some(mark);
            }
            marks.retain(|_, [here, there]| here != there);
            all.append(&mut marks);
            if all.len() > NAMES_MAX {
                self.verdict.links = false;
                break;
            }
        }
        Ok(all)
    }

    /// Groups that have a name in common, or a mark, belong together: all their names.
    fn clusters(&mut self, marks: BTreeMap<RelPath, [Option<u128>; 2]>) -> Vec<Cluster> {
        let mut number: HashMap<u128, usize> = HashMap::new();
        let mut above: Vec<usize> = Vec::new();
        for both in marks.values() {
            let mut ours = both.iter().flatten().map(|mark| {
                *number.entry(*mark).or_insert_with(|| {
                    above.push(above.len());
                    above.len() - 1
                })
            });
            if let (Some(a), Some(b)) = (ours.next(), ours.next()) {
                let (a, b) = (top(&above, a), top(&above, b));
                if let Some(parent) = above.get_mut(a) {
                    *parent = b;
                }
            }
        }
        let mut clusters: BTreeMap<usize, BTreeSet<RelPath>> = BTreeMap::new();
        let mut put = |path: &RelPath, mark: u128| {
            if let Some(number) = number.get(&mark) {
                clusters.entry(top(&above, *number)).or_default().insert(path.clone());
            }
        };
        for (path, both) in &marks {
            both.iter().flatten().for_each(|mark| put(path, *mark));
        }
        if let Some(links) = self.source.links() {
            links.groups(&number).for_each(|(path, mark)| put(path, mark));
        }
        if clusters.values().any(|names| names.len() > CLUSTER_MAX) {
            self.verdict.links = false;
        }
        let whole =
            |names: BTreeSet<RelPath>| Cluster { paths: names.into_iter().take(CLUSTER_MAX).collect(), held: None };
        clusters.into_values().map(whole).collect()
    }
}

/// The number that stands for all that belong together.
fn top(above: &[usize], mut at: usize) -> usize {
    while let Some(next) = above.get(at).filter(|next| **next != at) {
        at = *next;
    }
    at
}

impl Cluster {
    /// `None`: look again. `Some(None)`: the same sets.
    fn judge(&mut self, looks: &[(Look, Look)]) -> Option<Option<Difference>> {
        let now = Instant::now();
        let versions: Vec<u64> = looks.iter().flat_map(|(a, b)| [a.version, b.version]).collect();
        let since = self.held.take().filter(|(held, _)| *held == versions).map_or(now, |(_, since)| since);
        self.held = Some((versions, since));
        let common: Vec<_> = self.paths.iter().zip(looks).filter(|(_, (a, b))| same_kind(a, b)).collect();
        let (ours, theirs) = both_sets(common.iter().map(|(path, (a, b))| (*path, a, b)));
        if ours == theirs {
            return Some(None);
        }
        let certain = looks.iter().all(|(a, b)| still(a, now - since) && still(b, now - since));
        let path = common.first().map(|(path, _)| (*path).clone())?;
        let (source, replica) = (Value::Groups(ours), Value::Groups(theirs));
        certain.then_some(Some(Difference { path, aspect: Aspect::Links, source, replica }))
    }
}

type Sets = Vec<Vec<RelPath>>;

fn both_sets<'a>(looks: impl Iterator<Item = (&'a RelPath, &'a Look, &'a Look)> + Clone) -> (Sets, Sets) {
    let ours = sets(looks.clone().map(|(path, look, _)| (path, look)));
    (ours, sets(looks.map(|(path, _, look)| (path, look))))
}

/// Whether the same names are one file on both sides, as far as they are on both.
pub(super) fn same_sets(looks: &[(RelPath, (Look, Look))]) -> bool {
    let common = looks.iter().filter(|(_, (a, b))| same_kind(a, b));
    let (ours, theirs) = both_sets(common.map(|(path, (a, b))| (path, a, b)));
    ours == theirs
}

fn same_kind(source: &Look, replica: &Look) -> bool {
    match (&source.what, &replica.what) {
        (Sighting::There { entry: here, .. }, Sighting::There { entry: there, .. }) => {
            here.node.kind() == there.node.kind() && here.node.kind() != Kind::Directory
        }
        _ => false,
    }
}

/// Names that are one file, set by set, in order of their first names.
fn sets<'a>(looks: impl Iterator<Item = (&'a RelPath, &'a Look)>) -> Vec<Vec<RelPath>> {
    let (mut sets, mut at): (Vec<Vec<RelPath>>, HashMap<u64, usize>) = (Vec::new(), HashMap::new());
    for (path, look) in looks {
        let group = match &look.what {
            Sighting::There { entry, .. } => entry.group,
            _ => None,
        };
        let known = group.and_then(|group| at.get(&group.0).copied());
        match known.and_then(|known| sets.get_mut(known)) {
            Some(set) => set.push(path.clone()),
            None => {
                if let Some(group) = group {
                    at.insert(group.0, sets.len());
                }
                sets.push(vec![path.clone()]);
            }
        }
    }
    sets
}
