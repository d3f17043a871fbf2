//! Several shippers of one source, each for a replica that is played here.

use crate::chunks::{Delivered, Delivery, Parcel, STREAMS_EACH, Ship, Shipping};
use crate::preparations::Preparations;
use crate::signatures::Signatures;
use fulmar_delta::{BlockLen, Signature, Signer};
use fulmar_link::{Receiver, pair};
use fulmar_model::{Hash, Record, RelPath};
use fulmar_tree::{Lender, Tree, hash_bytes};
use fulmar_wire::{Basis, FromPrimary, chunk_cost};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

const MIB: usize = 1 << 20;
/// What the real replica grants.
const CREDIT_BYTES: u32 = 4 << 20;
/// As good as for ever, and less than [`DEADLINE`].
const PATIENT: Duration = Duration::from_secs(15);
const IMPATIENT: Duration = Duration::ZERO;
const DEADLINE: Duration = Duration::from_secs(30);
const ROOM: u64 = 1 << 30;
const REPLICAS: usize = 8;

/// A source with a file called `large`, and what its shippers share.
struct Source {
    place: tempfile::TempDir,
    preparations: Preparations,
}

impl Source {
    fn new(content: &[u8], room: u64, patience: Duration) -> Self {
        Self::within(tempfile::tempdir().expect("a directory"), content, room, patience)
    }

    fn within(place: tempfile::TempDir, content: &[u8], room: u64, patience: Duration) -> Self {
        for name in ["source", "state"] {
            fs::create_dir(place.path().join(name)).expect("a directory");
        }
        let preparations = Preparations::for_test(place.path().join("state"), REPLICAS, room, patience);
        let source = Self { place, preparations };
        fs::write(source.large(), content).expect("a file");
        source
    }

    fn large(&self) -> PathBuf {
        self.place.path().join("source/large")
    }

    fn signatures(&self) -> Signatures {
        Signatures::new(self.place.path().join("signatures"), || 0)
    }

    /// Remembers that this was shipped before.
    fn keep(&self, content: &[u8]) -> Hash {
        let hash = hash_bytes(content);
        self.signatures().put(hash, &signed(content));
        hash
    }

    /// A replica that shares with the others.
    fn replica(&self) -> Replica {
        self.replica_with(Some(self.preparations.another()))
    }

    fn replica_with(&self, preparations: Option<Preparations>) -> Replica {
        self.replica_of(preparations, |_| None)
    }

    fn replica_of(&self, preparations: Option<Preparations>, lender: fn(Tree) -> Option<Lender>) -> Replica {
        let tree = Tree::open(&self.place.path().join("source")).expect("a tree");
        let (near, far) = pair();
        let (to, lender) = ((near.sender, CREDIT_BYTES), lender(tree.clone()));
        let shipping = Shipping::start(tree, to, Some(self.signatures()), preparations, lender);
        Replica {
            shipping: shipping.expect("a thread"),
            link: far.receiver,
            has: None,
            refuses: false,
            owed: 0,
            held: 0,
            streams: BTreeMap::new(),
            chunks: 0,
            handed: 0,
        }
    }

    /// What the catalog says of the file when `hash` is what was recorded last, of another version.
    fn outdated(&self, hash: Hash) -> Record {
        let record = self.record(hash);
        Record { stat: fulmar_model::Stat { inode: record.stat.inode + 1, ..record.stat }, ..record }
    }

    /// The same of this version.
    fn record(&self, hash: Hash) -> Record {
        let tree = Tree::open(&self.place.path().join("source")).expect("a tree");
        let stat = tree.stat(&path()).expect("a look").expect("a file");
        Record { stat, xattrs: Default::default(), hash: Some(hash), group: None, settled: true }
    }
}

/// The far end of a shipper's link.
struct Replica {
    shipping: Shipping,
    link: Receiver,
    /// What it says when it is asked.
    has: Option<(Hash, Signature)>,
    /// Whether it clones nothing.
    refuses: bool,
    /// Credit that was spent, and how much of it is not given back for the time being.
    owed: u32,
    held: u32,
    /// What came in each stream, and where it ended.
    streams: BTreeMap<u64, (Vec<u8>, Option<u64>)>,
    chunks: u64,
    handed: u64,
}

impl Replica {
    fn ship(&mut self, known: Option<Record>) {
        let stream = 1 + self.handed * STREAMS_EACH;
        self.handed += 1;
        let ship = Ship { path: path(), stream, torn: false, known };
        self.shipping.tell(Parcel::Ship(ship)).expect("room");
    }

    /// Takes what comes until there is a delivery.
    async fn delivery(&mut self) -> Delivery {
        tokio::time::timeout(DEADLINE, async {
            loop {
                tokio::select! {
                    biased;
                    delivery = self.shipping.deliveries.recv() => {
                        return delivery.expect("the shipper lives").expect("nothing failed");
                    }
                    frame = self.link.receive() => self.take(FromPrimary::decode(frame.expect("a frame").body())),
                }
            }
        })
        .await
        .expect("a delivery in time")
    }

    /// Takes what comes until so many bytes of credit are spent and not given back.
    async fn owing(&mut self, bytes: u32) {
        self.held = bytes;
        while self.owed < bytes {
            let frame = tokio::time::timeout(DEADLINE, self.link.receive()).await.expect("more in time");
            self.take(FromPrimary::decode(frame.expect("a frame").body()));
        }
    }

    /// Gives back what was held.
    fn pay(&mut self) {
        self.held = 0;
        let owed = std::mem::take(&mut self.owed);
        self.shipping.tell(Parcel::Credit(owed)).expect("room");
    }

    fn take(&mut self, message: Result<FromPrimary, fulmar_wire::DecodeError>) {
        match message.expect("it can be understood") {
            FromPrimary::Chunk { stream, offset, bytes } => {
                self.chunks += 1;
                let (content, end) = self.streams.entry(stream).or_default();
                let at = usize::try_from(offset).expect("a small file");
                assert!(at >= content.len(), "each byte is sent once, in order");
                content.resize(at, 0);
                content.extend_from_slice(&bytes);
                if bytes.is_empty() {
                    *end = Some(offset);
                }
                self.owed += chunk_cost(bytes.len());
                let given = self.owed.saturating_sub(self.held);
                if given > 0 {
                    self.owed -= given;
                    self.shipping.tell(Parcel::Credit(given)).expect("room");
                }
            }
            FromPrimary::Offer(offer) => {
                let refused = |hash| self.has.as_ref().is_none_or(|(has, _)| *has != hash);
                if offer.basis.is_none_or(refused) {
                    let (hash, signature) = self.has.as_ref().map(|(hash, signed)| (*hash, signed.to_bytes())).unzip();
                    let signature = signature.unwrap_or_default().into();
                    let basis = Basis { stream: offer.stream, hash, signature, more: false };
                    self.shipping.tell(Parcel::Basis(basis)).expect("room");
                }
            }
            FromPrimary::Lend(lend) if self.refuses => {
                let nothing = Basis { stream: lend.stream, hash: None, signature: Box::default(), more: false };
                self.shipping.tell(Parcel::Basis(nothing)).expect("room");
            }
            FromPrimary::Abandon { .. } | FromPrimary::Lend(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// What came in the stream of this delivery, and where it ended.
    #[track_caller]
    fn got(&self, delivery: &Delivery) -> (&[u8], u64) {
        assert!(matches!(delivery.result, Delivered::Whole(_)));
        let (content, end) = self.streams.get(&delivery.stream).expect("the stream");
        (content, end.expect("an end"))
    }
}

fn path() -> RelPath {
    RelPath::parse(b"large").expect("a path")
}

fn signed(content: &[u8]) -> Signature {
    let mut signer = Signer::new(BlockLen::for_file(content.len() as u64));
    signer.update(content);
    signer.finish()
}

/// Bytes that do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// `before` with `count` short pieces of it changed.
fn changed(before: &[u8], count: usize, seed: u64) -> Vec<u8> {
    let mut content = before.to_vec();
    for number in 0..count {
        let at = number * content.len() / count;
        for (byte, new) in content.iter_mut().skip(at + 100).zip(noise(seed + number as u64, 4096)) {
            *byte = new;
        }
    }
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_made_once_for_eight_replicas() {
    let before = noise(1, 8 * MIB);
    let content = changed(&before, 100, 2);
    let source = Source::new(&content, ROOM, PATIENT);
    let hash = source.keep(&before);
    let mut replicas: Vec<_> = (0..8).map(|_| source.replica()).collect();
    for replica in &mut replicas {
        replica.has = Some((hash, signed(&before)));
        replica.ship(Some(source.outdated(hash)));
    }
    let all = replicas.into_iter().map(|mut replica| {
        tokio::spawn(async move {
            let delivery = replica.delivery().await;
            let Delivered::Whole(told) = &delivery.result else { panic!("not delivered") };
            assert_eq!(told.hash, Some(replica.got(&delivery).0.last_chunk::<32>().map(|hash| Hash(*hash)).unwrap()));
            replica.got(&delivery).0.to_vec()
        })
    });
    let mut patches = Vec::new();
    for one in all.collect::<Vec<_>>() {
        patches.push(one.await.expect("it ends well"));
    }
    assert_eq!(source.preparations.begun().await, 1);
    assert_eq!(source.preparations.kept().await, 0, "each has had it");
    assert!(patches.iter().all(|patch| *patch == patches[0]));
    assert!(patches[0].len() < MIB, "{} bytes", patches[0].len());
    assert!(patches[0].ends_with(&hash_bytes(&content).0));
    assert!(source.signatures().get(hash_bytes(&content)).is_some(), "its signature is kept");
    let mut alone = source.replica_with(None);
    alone.has = Some((hash, signed(&before)));
    alone.ship(Some(source.outdated(hash)));
    let delivery = alone.delivery().await;
    assert_eq!(alone.got(&delivery).0, patches[0], "what one would have been sent by himself");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_content_is_hashed_once_and_sent_as_it_is() {
    let content = noise(3, 6 * MIB + 123);
    let source = Source::new(&content, ROOM, PATIENT);
    let mut replicas: Vec<_> = (0..3).map(|_| source.replica()).collect();
    let mut chunks = Vec::new();
    for replica in &mut replicas {
        replica.ship(None);
        let delivery = replica.delivery().await;
        let (got, end) = replica.got(&delivery);
        assert_eq!((got == content, end), (true, content.len() as u64));
        let Delivered::Whole(told) = delivery.result else { panic!("not delivered") };
        assert_eq!(told.hash, Some(hash_bytes(&content)));
        chunks.push(replica.chunks);
    }
    assert_eq!((source.preparations.begun().await, source.preparations.kept().await), (1, 1), "others may come");
    assert_eq!(chunks, [chunks[0]; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_nothing_more_does_not_hold_back_the_others_nor_have_them_begin_anew() {
    for before in [None, Some(noise(4, 12 * MIB))] {
        let content = noise(5, 12 * MIB);
        let source = Source::new(&content, ROOM, PATIENT);
        let hash = before.as_ref().map(|before| source.keep(before));
        let known = hash.map(|hash| source.outdated(hash));
        let mut slow = source.replica();
        slow.has = before.as_ref().zip(hash).map(|(before, hash)| (hash, signed(before)));
        slow.ship(known.clone());
        // All of its credit is used, it leads, and waits.
        slow.owing(CREDIT_BYTES - CREDIT_BYTES / 8).await;
        assert_eq!(source.preparations.begun().await, 1);
        let mut fast = source.replica();
        fast.has = before.as_ref().zip(hash).map(|(before, hash)| (hash, signed(before)));
        fast.ship(known);
        let delivery = fast.delivery().await;
        assert!(fast.got(&delivery).0.len() >= content.len());
        assert_eq!(source.preparations.begun().await, 1);
        assert!(slow.shipping.deliveries.try_recv().is_err());
        slow.pay();
        let slowly = slow.delivery().await;
        assert_eq!(slow.got(&slowly), fast.got(&delivery));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_stuck_does_not_hold_back_the_others() {
    let content = noise(6, 8 * MIB);
    let source = Source::new(&content, ROOM, IMPATIENT);
    let mut stuck = source.replica();
    stuck.ship(None);
    // Nothing is read any more, and the lane is full before the credit is used.
    stuck.owing(MIB as u32).await;
    let mut replica = source.replica();
    replica.ship(None);
    let delivery = replica.delivery().await;
    assert!(replica.got(&delivery).0 == content);
    assert_eq!(source.preparations.begun().await, 2);
    stuck.pay();
    let delivery = stuck.delivery().await;
    assert!(stuck.got(&delivery).0 == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_dies_a_follower_goes_on_where_it_was() {
    let before = noise(7, 12 * MIB);
    for hash in [false, true] {
        let content = noise(8, 12 * MIB);
        let source = Source::new(&content, ROOM, PATIENT);
        let hash = hash.then(|| source.keep(&before));
        let known = hash.map(|hash| source.outdated(hash));
        let has = hash.map(|hash| (hash, signed(&before)));
        let [mut dies, mut first, mut second] = [0; 3].map(|_| source.replica());
        for replica in [&mut dies, &mut first, &mut second] {
            replica.has = has.clone();
            replica.ship(known.clone());
            // Who comes first leads. None of them can send all of it.
            replica.owing(2 * MIB as u32).await;
        }
        assert_eq!(source.preparations.begun().await, 1);
        drop(dies);
        let (sent_first, sent_second) = (first.chunks, second.chunks);
        first.pay();
        second.pay();
        let (a, b) = tokio::join!(first.delivery(), second.delivery());
        assert!(first.got(&a).0.len() >= content.len());
        assert_eq!(first.got(&a), second.got(&b));
        assert_eq!((a.stream, b.stream), (1, 1), "nothing is sent again");
        assert!(first.chunks > sent_first && second.chunks > sent_second);
        assert_eq!(source.preparations.begun().await, 2, "one takes the leader's place, the other follows it");
        match hash {
            None => assert!(first.got(&a).0 == content),
            Some(_) => assert!(first.got(&a).0.ends_with(&hash_bytes(&content).0)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_for_those_alone_who_have_it_before_them() {
    let content = noise(9, 8 * MIB);
    let source = Source::new(&content, ROOM, PATIENT);
    let mut leader = source.replica();
    leader.ship(None);
    let mut late = source.replica();
    leader.delivery().await;
    late.ship(None);
    late.owing(2 * MIB as u32).await;
    // While it is sent to the second.
    let file = fs::File::options().write(true).open(source.large()).expect("the file");
    file.write_all_at(&noise(10, MIB), 7 * MIB as u64).expect("written");
    drop(file);
    late.pay();
    assert!(matches!(late.delivery().await.result, Delivered::Moving));
    assert_eq!(source.preparations.begun().await, 1);
    let mut third = source.replica();
    third.ship(None);
    let delivery = third.delivery().await;
    assert!(third.got(&delivery).0 == fs::read(source.large()).expect("the file"));
    assert_eq!(source.preparations.begun().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_in_the_tick_in_which_it_is_read_is_prepared_for_nobody_else() {
    // A file system whose times have ticks: what is written in the same one has the same times.
    let content = noise(11, MIB);
    let place = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let source = Source::within(place, &content, ROOM, PATIENT);
    let mut replica = source.replica();
    let mut tries = 0;
    loop {
        let before = source.preparations.begun().await;
        fs::write(source.large(), &content).expect("a file");
        replica.ship(None);
        assert!(matches!(replica.delivery().await.result, Delivered::Whole(_)));
        if source.preparations.begun().await == before {
            return;
        }
        // The tick had passed when it was read.
        tries += 1;
        assert!(tries < 500, "it was shared each time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_room_for_a_patch_everyone_makes_his_own() {
    let before = noise(11, 8 * MIB);
    let content = noise(12, 8 * MIB);
    // Of what the first has left behind when room runs out nothing is lost.
    let source = Source::new(&content, 6 * MIB as u64, PATIENT);
    let hash = source.keep(&before);
    let mut replicas = [0; 3].map(|_| source.replica());
    for replica in &mut replicas {
        replica.has = Some((hash, signed(&before)));
        replica.ship(Some(source.outdated(hash)));
        replica.owing(CREDIT_BYTES - CREDIT_BYTES / 8).await;
    }
    let [mut first, mut second, mut third] = replicas;
    second.pay();
    third.pay();
    let (b, c) = tokio::join!(second.delivery(), third.delivery());
    first.pay();
    let a = first.delivery().await;
    assert!(first.got(&a).0.ends_with(&hash_bytes(&content).0));
    assert_eq!(first.got(&a), second.got(&b));
    assert_eq!(first.got(&a), third.got(&c));
    assert_eq!(source.preparations.begun().await, 1);
    assert_eq!(source.place.path().join("state").read_dir().expect("a folder").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_another_basis_get_another_patch() {
    let before = noise(13, 4 * MIB);
    let drifted = changed(&before, 3, 14);
    let content = changed(&before, 20, 15);
    let source = Source::new(&content, ROOM, PATIENT);
    let hash = source.keep(&before);
    let mut replicas = [0; 4].map(|_| source.replica());
    let mut got = Vec::new();
    for (replica, has) in replicas.iter_mut().zip([&before, &drifted, &before, &drifted]) {
        replica.has = Some((hash_bytes(has), signed(has)));
        replica.ship(Some(source.outdated(hash)));
        let delivery = replica.delivery().await;
        got.push((delivery.stream, replica.got(&delivery).0.to_vec()));
    }
    assert_eq!([got[0].0, got[1].0], [1, 2], "the second is refused once");
    assert_eq!((&got[0], &got[1]), (&got[2], &got[3]));
    assert_ne!(got[0].1, got[1].1);
    assert!(got.iter().all(|(_, patch)| patch.len() < MIB && patch.ends_with(&hash_bytes(&content).0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_lies_is_for_the_patch_of_who_told_it() {
    let before = noise(16, 4 * MIB);
    let content = changed(&before, 5, 17);
    let source = Source::new(&content, ROOM, PATIENT);
    let known = source.outdated(hash_bytes(&before));
    let [mut liar, mut honest] = [0; 2].map(|_| source.replica());
    liar.has = Some((hash_bytes(&before), signed(&content)));
    honest.has = Some((hash_bytes(&before), signed(&before)));
    let mut patches = Vec::new();
    for replica in [&mut liar, &mut honest] {
        replica.ship(Some(known.clone()));
        let delivery = replica.delivery().await;
        patches.push(replica.got(&delivery).0.to_vec());
    }
    assert_eq!(source.preparations.begun().await, 2);
    assert!(patches[0].len() < 1000 && patches[1].len() > 5 * 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_did_not_make_use_of_is_read_anew() {
    let content = noise(18, MIB);
    let source = Source::new(&content, ROOM, PATIENT);
    let mut replicas = [0; 2].map(|_| source.replica());
    for (number, begun) in [(0, 1), (1, 1), (1, 2), (0, 2), (0, 3)] {
        replicas[number].ship(None);
        replicas[number].delivery().await;
        assert_eq!(source.preparations.begun().await, begun);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_prepares_it_and_whenever_he_is_left_what_is_sent_is_the_same() {
    for seed in 0..24_u64 {
        let before = noise(100 + seed, 3 * MIB + 1000 * seed as usize);
        let content = changed(&before, 1 + seed as usize * 7, 200 + seed);
        let patience = if seed % 2 == 0 { IMPATIENT } else { PATIENT };
        let source = Source::new(&content, ROOM, patience);
        if seed % 3 == 0 {
            // With holes.
            let file = fs::File::options().write(true).open(source.large()).expect("the file");
            file.set_len(5 * MIB as u64).expect("a hole");
            file.write_all_at(b"behind it", 5 * MIB as u64 + seed * 1000).expect("written");
        }
        let content = fs::read(source.large()).expect("the file");
        let hash = (seed % 4 < 2).then(|| source.keep(&before));
        let known = hash.map(|hash| source.outdated(hash));
        let mut replicas: Vec<_> = (0..4).map(|_| source.replica()).collect();
        replicas.push(source.replica_with(None));
        let all = replicas.into_iter().enumerate().map(|(number, mut replica)| {
            let known = known.clone();
            replica.has = hash.map(|hash| (hash, signed(&before)));
            tokio::spawn(async move {
                replica.ship(known);
                if number % 2 == 1 {
                    // Is behind the others for a while.
                    replica.owing(if hash.is_some() { 4096 } else { MIB as u32 }).await;
                    replica.pay();
                }
                let delivery = replica.delivery().await;
                let (got, end) = replica.got(&delivery);
                (got.to_vec(), end)
            })
        });
        let mut got = Vec::new();
        for one in all.collect::<Vec<_>>() {
            got.push(one.await.expect("it ends well"));
        }
        assert!(got.iter().all(|one| *one == got[0]), "seed {seed}");
        match hash {
            None => assert!(got[0].0 == content, "seed {seed}"),
            Some(_) => assert!(got[0].0.ends_with(&hash_bytes(&content).0), "seed {seed}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lent_to_eight_replicas_is_read_once() {
    let content = noise(60, 8 * MIB);
    let source = Source::new(&content, ROOM, PATIENT);
    let lent = || source.replica_of(Some(source.preparations.another()), |tree| Some(Lender::new(tree)));
    let mut replicas: Vec<_> = (0..8).map(|_| lent()).collect();
    replicas[3].refuses = true;
    let all = replicas.into_iter().map(|mut replica| {
        replica.ship(None);
        tokio::spawn(async move {
            let delivery = replica.delivery().await;
            (replica.refuses, replica.got(&delivery).0.to_vec())
        })
    });
    for one in all.collect::<Vec<_>>() {
        let (refuses, got) = one.await.expect("it ends well");
        assert!(if refuses { got == content } else { got == hash_bytes(&content).0 }, "{} bytes", got.len());
    }
    // Where the one that refuses was first, another one has taken its place; and that gets the bytes.
    let begun = source.preparations.begun().await;
    assert!((2..=3).contains(&begun), "{begun} times");
}
