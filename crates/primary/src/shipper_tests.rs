//! A shipper at work for a replica that is played here, at the far end of a link in memory.

use crate::chunks::{Delivered, Delivery, Parcel, SHIPPING_MAX, STREAMS_EACH, Ship, Shipping};
use crate::signatures::Signatures;
use bytes::Bytes;
use fulmar_delta::{BlockLen, Signer};
use fulmar_link::{Link, pair};
use fulmar_model::{Record, RelPath};
use fulmar_tree::{Lender, Tree};
use fulmar_wire::{Basis, FromPrimary, Lend, chunk_cost};
use std::path::Path;
use std::time::Duration;

/// What the real replica grants.
const CREDIT_BYTES: u32 = 4 << 20;

/// A source, and a shipper of it whose far end does nothing by itself.
struct Played {
    place: tempfile::TempDir,
    shipping: Shipping,
    link: Link,
    handed: u64,
}

impl Played {
    fn new() -> Self {
        Self::of(|_| None)
    }

    /// As one in this process.
    fn lending() -> Self {
        Self::of(|tree| Some(Lender::new(tree)))
    }

    fn of(lender: fn(Tree) -> Option<Lender>) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(place.path().join("source")).expect("a directory");
        let tree = Tree::open(&place.path().join("source")).expect("a tree");
        let signatures = Signatures::new(place.path().join("signatures"), || 0);
        let (near, link) = pair();
        let lender = lender(tree.clone());
        let shipping = Shipping::start(tree, (near.sender, CREDIT_BYTES), Some(signatures), None, lender);
        let shipping = shipping.expect("a thread");
        Self { place, shipping, link, handed: 0 }
    }

    fn source(&self) -> std::path::PathBuf {
        self.place.path().join("source")
    }

    /// Hands over a file, of which the signature of `known` was kept.
    fn ship(&mut self, name: &str, known: Option<&[u8]>) {
        let path = RelPath::parse(name.as_bytes()).expect("a path");
        let known = known.map(|content| self.known(&self.source().join(name), content));
        let stream = 1 + self.handed * STREAMS_EACH;
        self.handed += 1;
        self.shipping.tell(Parcel::Ship(Ship { path, stream, torn: false, known })).expect("room");
    }

    fn known(&self, file: &Path, content: &[u8]) -> Record {
        let tree = Tree::open(file.parent().expect("a directory")).expect("a tree");
        let name = file.file_name().expect("a name").as_encoded_bytes();
        let stat = tree.stat(&RelPath::parse(name).expect("a path")).expect("a look").expect("a file");
        let hash = fulmar_tree::hash_bytes(content);
        let mut signer = Signer::new(BlockLen::for_file(content.len() as u64));
        signer.update(content);
        Signatures::new(self.place.path().join("signatures"), || 0).put(hash, &signer.finish());
        // Of another version of the file: it says nothing of what is there.
        let stat = fulmar_model::Stat { inode: stat.inode + 1, ..stat };
        Record { stat, xattrs: Default::default(), hash: Some(hash), group: None, settled: true }
    }

    async fn hear(&mut self) -> FromPrimary {
        let frame = tokio::time::timeout(Duration::from_secs(20), self.link.receiver.receive()).await;
        let frame = frame.expect("the shipper goes on without an answer").expect("it is there");
        FromPrimary::decode(frame.body()).expect("it can be understood")
    }

    /// Hears until this stream has ended; gives the credit that was spent.
    async fn hear_end(&mut self, stream: u64) -> u32 {
        let mut spent = 0;
        loop {
            if let FromPrimary::Chunk { stream: heard, bytes, .. } = self.hear().await {
                spent += chunk_cost(bytes.len());
                if heard == stream && bytes.is_empty() {
                    return spent;
                }
            }
        }
    }

    async fn delivered(&mut self) -> Delivery {
        let delivery = tokio::time::timeout(Duration::from_secs(20), self.shipping.deliveries.recv()).await;
        delivery.expect("a delivery").expect("the shipper lives").expect("nothing failed")
    }
}

#[tokio::test]
async fn files_are_sent_while_those_before_them_are_being_acknowledged() {
    let mut played = Played::new();
    for number in 0..SHIPPING_MAX {
        std::fs::write(played.source().join(number.to_string()), vec![b'x'; 300_000]).expect("a file");
        played.ship(&number.to_string(), None);
    }
    let mut spent = Vec::new();
    for number in 0..SHIPPING_MAX as u64 {
        spent.push(played.hear_end(1 + number * STREAMS_EACH).await);
    }
    assert!(played.shipping.deliveries.try_recv().is_err(), "none of them was acknowledged");
    for (number, spent) in spent.into_iter().enumerate() {
        played.shipping.tell(Parcel::Credit(spent - 1)).expect("room");
        played.shipping.tell(Parcel::Credit(1)).expect("room");
        let delivery = played.delivered().await;
        assert_eq!(delivery.path.as_bytes(), number.to_string().as_bytes());
        assert!(matches!(delivery.result, Delivered::Whole(_)));
        assert_eq!(delivery.stream, 1 + number as u64 * STREAMS_EACH);
        assert!(delivery.sent > 300_000 && delivery.sent < 301_000, "{} bytes", delivery.sent);
    }
}

#[tokio::test]
async fn a_file_is_delivered_when_the_credit_of_its_last_byte_is_back_and_not_before() {
    let mut played = Played::new();
    for name in ["a", "b"] {
        std::fs::write(played.source().join(name), vec![b'x'; 300_000]).expect("a file");
        played.ship(name, None);
    }
    let (first, second) = (played.hear_end(1).await, played.hear_end(1 + STREAMS_EACH).await);
    played.shipping.tell(Parcel::Credit(first + second - 1)).expect("room");
    assert_eq!(played.delivered().await.path.as_bytes(), b"a");
    // Whoever has been handed another file has taken everything that was told before it.
    played.ship("none", None);
    assert_eq!(played.delivered().await.path.as_bytes(), b"none");
    assert!(played.shipping.deliveries.try_recv().is_err(), "a byte is missing");
    played.shipping.tell(Parcel::Credit(1)).expect("room");
    assert_eq!(played.delivered().await.path.as_bytes(), b"b");
}

#[tokio::test]
async fn a_patch_that_is_refused_when_it_has_long_been_sent_is_followed_by_another_one() {
    let mut played = Played::new();
    let before = vec![b'a'; 400_000];
    let content = [&before[..], b"more"].concat();
    for name in ["first", "second"] {
        std::fs::write(played.source().join(name), &content).expect("a file");
        played.ship(name, Some(&before));
    }
    let (first, second) = (played.hear_end(1).await, played.hear_end(1 + STREAMS_EACH).await);
    assert!(first + second < 300_000, "patches");

    // The replica has something else than the first one's basis.
    let other = [b"less", &before[..]].concat();
    let mut signer = Signer::new(BlockLen::for_file(other.len() as u64));
    signer.update(&other);
    let (hash, signature) = (fulmar_tree::hash_bytes(&other), signer.finish().to_bytes());
    let (front, back) = signature.split_at(signature.len() / 2);
    for (part, more) in [(front, true), (back, false)] {
        let part = Basis { stream: 1, hash: Some(hash), signature: part.into(), more };
        played.shipping.tell(Parcel::Basis(part)).expect("room");
    }
    played.shipping.tell(Parcel::Credit(first)).expect("room");
    loop {
        match played.hear().await {
            FromPrimary::Abandon { stream } => assert_eq!(stream, 1),
            FromPrimary::Offer(offer) => {
                assert_eq!((offer.stream, offer.path.as_bytes(), offer.basis), (2, &b"first"[..], Some(hash)));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let again = played.hear_end(2).await;
    assert!(again < 100_000, "a patch");
    played.shipping.tell(Parcel::Credit(second)).expect("room");
    assert_eq!(played.delivered().await.path.as_bytes(), b"second");

    // And it leads nowhere: then comes the whole.
    let nothing = Basis { stream: 2, hash: None, signature: Box::default(), more: false };
    played.shipping.tell(Parcel::Basis(nothing)).expect("room");
    played.shipping.tell(Parcel::Credit(again)).expect("room");
    let whole = played.hear_end(3).await;
    assert!(whole as usize > content.len(), "{whole} bytes");
    played.shipping.tell(Parcel::Credit(whole)).expect("room");
    let delivery = played.delivered().await;
    assert_eq!((delivery.path.as_bytes(), delivery.stream), (&b"first"[..], 3));
    assert!(matches!(delivery.result, Delivered::Whole(_)));
}

#[tokio::test]
async fn of_what_is_lent_the_hash_goes_and_the_whole_when_the_clone_has_another() {
    let mut played = Played::lending();
    let content = vec![b'x'; 600_000];
    for name in ["first", "second"] {
        std::fs::write(played.source().join(name), &content).expect("a file");
        played.ship(name, None);
    }
    for (name, stream) in [("first", 1), ("second", 1 + STREAMS_EACH)] {
        let lend = Lend { stream, path: RelPath::parse(name.as_bytes()).expect("a path"), size: 600_000 };
        assert_eq!(played.hear().await, FromPrimary::Lend(lend));
        let hash = Bytes::copy_from_slice(&fulmar_tree::hash_bytes(&content).0);
        assert_eq!(played.hear().await, FromPrimary::Chunk { stream, offset: 0, bytes: hash });
        assert_eq!(played.hear().await, FromPrimary::Chunk { stream, offset: 32, bytes: Bytes::new() });
    }
    // Refused with its end, when the one behind it has been sent.
    let nothing = Basis { stream: 1, hash: None, signature: Box::default(), more: false };
    played.shipping.tell(Parcel::Basis(nothing)).expect("room");
    played.shipping.tell(Parcel::Credit(2 * chunk_cost(32))).expect("room");
    assert_eq!(played.hear().await, FromPrimary::Abandon { stream: 1 });
    let whole = played.hear_end(2).await;
    assert!(whole as usize > content.len(), "{whole} bytes");
    played.shipping.tell(Parcel::Credit(2 * chunk_cost(32))).expect("room");
    assert_eq!(played.delivered().await.path.as_bytes(), b"second");
    played.shipping.tell(Parcel::Credit(whole)).expect("room");
    let delivery = played.delivered().await;
    assert_eq!((delivery.path.as_bytes(), delivery.stream), (&b"first"[..], 2));
    assert!(matches!(delivery.result, Delivered::Whole(_)));
}
