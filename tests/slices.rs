//! An audit in slices tells what an audit of the whole tree tells, each thing once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fulmar_link::Link;
use fulmar_model::{Aspect, Difference, Filter, Id, Kind, Profile, RelPath, ReplicaId, Tally, Value};
use fulmar_primary::{AuditSettings, Endpoint, Finding, Inspection, Target, Verdict};
use fulmar_testkit::{Random, fresh_seed};
use fulmar_tree::audit::Scope;

/// Names whose order by bytes is not the order of a walk when something is in them.
const NAMES: [&str; 8] = ["a", "a-", "a.b", "b", "b b", "c", "\u{e9}", "z"];

struct Pair {
    folder: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for side in ["source", "replica"] {
            fs::create_dir(folder.path().join(side)).unwrap();
        }
        Self { folder }
    }

    fn sides(&self) -> [PathBuf; 2] {
        ["source", "replica"].map(|side| self.folder.path().join(side))
    }
}

fn random_pair(random: &mut Random) -> Pair {
    let pair = Pair::new();
    let [source, replica] = pair.sides();
    fill(random, Some(&source), Some(&replica), 0);
    pair
}

/// Fills a directory of one side or both, mostly with the same.
fn fill(random: &mut Random, source: Option<&Path>, replica: Option<&Path>, depth: usize) {
    for name in NAMES {
        if !random.chance(45) {
            continue;
        }
        let (lacks, other) = (random.chance(8), random.chance(12));
        let here = source.filter(|_| !lacks || replica.is_none()).map(|at| at.join(name));
        let there = replica.filter(|_| !(random.chance(8) && here.is_some())).map(|at| at.join(name));
        let directory = depth < 4 && random.chance(55);
        match (directory, other) {
            (true, false) => {
                [&here, &there].into_iter().flatten().for_each(|at| fs::create_dir(at).unwrap());
                fill(random, here.as_deref(), there.as_deref(), depth + 1);
            }
            (true, true) => {
                if let Some(here) = &here {
                    fs::create_dir(here).unwrap();
                    fill(random, Some(here), None, depth + 1);
                }
                there.iter().for_each(|at| fs::write(at, "a file here").unwrap());
            }
            (false, other) => {
                let content = random.bytes(20);
                here.iter().for_each(|at| fs::write(at, &content).unwrap());
                match (other, random.below(3)) {
                    (false, _) => there.iter().for_each(|at| fs::write(at, &content).unwrap()),
                    (true, 0) => there.iter().for_each(|at| symlink("target", at).unwrap()),
                    (true, 1) => there.iter().for_each(|at| fs::write(at, "other").unwrap()),
                    (true, _) => there.iter().for_each(|at| fs::create_dir(at).unwrap()),
                }
            }
        }
    }
    for at in [source, replica].into_iter().flatten() {
        for entry in fs::read_dir(at).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                level(&entry.path());
            }
        }
        level(at);
        if random.chance(10) {
            fs::set_permissions(at, fs::Permissions::from_mode(0o750)).unwrap();
        }
    }
}

/// All of one time.
fn level(at: &Path) {
    fs::File::open(at).unwrap().set_modified(UNIX_EPOCH).unwrap();
}

fn settings(pair: &Pair, scope: Scope) -> AuditSettings {
    let [source, replica] = pair.sides();
    let runtime = tokio::runtime::Handle::current();
    let serve = move |link: Link, _| {
        let options = fulmar_replica::Options {
            fresh: ReplicaId(Id([2; 16])),
            boot: Id([3; 16]),
            clock: || 0,
            privileged: false,
            host: Vec::new,
        };
        let root = replica.clone();
        runtime.spawn(async move { fulmar_replica::serve(root, link, options).await });
    };
    AuditSettings {
        source,
        endpoints: vec![Endpoint { name: "replica".to_owned(), target: Target::Here(Arc::new(serve)) }],
        profile: Profile::Plain,
        patterns: Vec::new(),
        filter: Filter::default(),
        scope,
        threads: 2,
        rate: None,
        idle: false,
        boot: Id([3; 16]),
        privileged: false,
    }
}

async fn audit(pair: &Pair, scope: Scope) -> (Vec<Finding>, Verdict) {
    let (findings, mut found) = tokio::sync::mpsc::channel(16);
    let mut inspection = Inspection::start(settings(pair, scope), findings).await.unwrap();
    let gather = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some((_, finding)) = found.recv().await {
            all.push(finding);
        }
        all
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), inspection.next()).await;
    let verdict = ended.expect("it ends").expect("there is a replica").result.expect("a verdict");
    drop(inspection);
    (gather.await.unwrap(), verdict)
}

/// As text, with what several slices have of one directory put together.
fn told(findings: Vec<Finding>) -> Vec<String> {
    let mut further: BTreeMap<RelPath, Tally> = BTreeMap::new();
    for finding in &findings {
        if let Finding::Further { path, tally } = finding {
            further.entry(path.clone()).or_default().add(*tally);
        }
    }
    let sum = |path: &RelPath, value: Value| match value {
        Value::Entry { kind: Kind::Directory, size, below } => {
            let mut below = below.unwrap_or_default();
            below.add(further.get(path).copied().unwrap_or_default());
            Value::Entry { kind: Kind::Directory, size, below: Some(below) }
        }
        other => other,
    };
    let whole = |finding| match finding {
        Finding::Difference(Difference { path, aspect, source, replica }, why) => {
            let (source, replica) = (sum(&path, source), sum(&path, replica));
            Finding::Difference(Difference { path, aspect, source, replica }, why)
        }
        other => other,
    };
    let findings = findings.into_iter().filter(|finding| !matches!(finding, Finding::Further { .. }));
    let mut all: Vec<String> = findings.map(|finding| format!("{:?}", whole(finding))).collect();
    all.sort();
    all
}

/// Some paths of the tree, and some that are not there, in the order of a walk.
fn cuts(random: &mut Random) -> Vec<RelPath> {
    let mut cuts: Vec<RelPath> = (0..random.below(6))
        .map(|_| {
            let names: Vec<&str> = (0..random.below(4)).map(|_| *random.pick(&NAMES)).collect();
            RelPath::parse(names.join("/").as_bytes()).unwrap()
        })
        .collect();
    cuts.sort_by(RelPath::walk_cmp);
    cuts.dedup();
    cuts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_tell_together_what_an_audit_of_the_whole_tree_tells() {
    let seed = fresh_seed();
    let mut random = Random::new(seed);
    // All are made first: what differs is certain once it has been so for some seconds.
    let pairs: Vec<Pair> = (0..25).map(|_| random_pair(&mut random)).collect();
    let mut findings_seen = 0;
    for pair in &pairs {
        let (whole, all) = audit(pair, Scope::default()).await;
        for _ in 0..4 {
            let (mut sliced, mut sums) = (Vec::new(), [Tally::default(); 2]);
            let cuts = cuts(&mut random);
            let ends = cuts.iter().cloned().map(Some).chain([None]);
            let mut after = None;
            for upto in ends {
                let scope = Scope::between(after.clone(), upto.clone()).unwrap();
                let (found, verdict) = audit(pair, scope).await;
                sliced.extend(found);
                sums[0].add(verdict.source.tally);
                sums[1].add(verdict.replica.tally);
                after = upto;
            }
            let whole = told(whole.clone());
            findings_seen += whole.len();
            assert_eq!(told(sliced), whole, "seed {seed}, {:?} cut at {cuts:?}", pair.folder.path());
            assert_eq!(sums, [all.source.tally, all.replica.tally], "seed {seed}, cut at {cuts:?}");
        }
    }
    assert!(findings_seen > 100, "{findings_seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_one_file_are_compared_among_those_in_the_slice() {
    let pair = Pair::new();
    let [source, replica] = pair.sides();
    for side in [&source, &replica] {
        for at in ["a", "b"] {
            fs::create_dir(side.join(at)).unwrap();
        }
        fs::write(side.join("a/1"), "content").unwrap();
        level(&side.join("a/1"));
    }
    for at in ["a/2", "b/3", "b/4"] {
        fs::hard_link(source.join("a/1"), source.join(at)).unwrap();
    }
    // In the first directory as on the source, in the second two files, and none of the first.
    fs::hard_link(replica.join("a/1"), replica.join("a/2")).unwrap();
    for at in ["b/3", "b/4"] {
        fs::write(replica.join(at), "content").unwrap();
        level(&replica.join(at));
    }
    for at in ["a", "b", ""] {
        [&source, &replica].into_iter().for_each(|side| level(&side.join(at)));
    }
    let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
    let groups = |found: Vec<Finding>| -> BTreeSet<String> {
        let links = found.into_iter().map(|finding| match finding {
            Finding::Difference(difference, _) if difference.aspect == Aspect::Links => difference,
            other => panic!("{other:?}"),
        });
        links.map(|links| format!("{:?} {:?}", links.source, links.replica)).collect()
    };
    let first = audit(&pair, Scope::between(None, Some(path("a"))).unwrap()).await;
    let second = audit(&pair, Scope::between(Some(path("a")), None).unwrap()).await;
    assert_eq!(groups(first.0), BTreeSet::new());
    assert_eq!(groups(second.0), BTreeSet::from([r#"Groups([["b/3", "b/4"]]) Groups([["b/3"], ["b/4"]])"#.to_owned()]));
    assert!(first.1.links && second.1.links);
}
