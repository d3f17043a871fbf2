//! Arbitrary values of everything that is sent.

use fulmar_model::{
    Below, DeletePolicy, Depth, Device, Durability, Entry, Found, Hash, HeldReason, Id, LinkGroup, Look, Mailbox, Name,
    Node, Outcome, Profile, QueueId, Recorded, RelPath, ReplicaId, Seq, Sighting, Standing, Tally, Term, Timestamp,
    TreeId, Uids, Unread, Xattr, XattrDigest, Xattrs,
};
use fulmar_wire::{
    Ancestor, Answer, Basis, Begin, Begun, Content, Digest, FromPrimary, FromReplica, Hello, Lend, Linked, Offer,
    Operation, Page, Print, Question, Refusal, Segment, Trust, Want, Welcome,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Box<[u8]>> {
    vec(any::<u8>(), length).prop_map(Vec::into_boxed_slice)
}

pub fn name() -> impl Strategy<Value = Name> {
    let lengths = prop_oneof![4 => 1usize..12, 1 => 200usize..256];
    lengths.prop_flat_map(|length| vec(any::<u8>(), length)).prop_map(|mut bytes| {
        bytes.iter_mut().filter(|b| matches!(b, b'/' | 0)).for_each(|b| *b = b'\n');
        Name::parse(&bytes).unwrap_or_else(|_| Name::parse(b"...").expect("three dots are a name"))
    })
}

pub fn path() -> impl Strategy<Value = RelPath> {
    vec(name(), 0..6).prop_map(|names| names.iter().fold(RelPath::root(), |at, name| at.join(name)))
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn device() -> impl Strategy<Value = Device> {
    any::<(u32, u32)>().prop_map(|(major, minor)| Device { major, minor })
}

fn link_target() -> impl Strategy<Value = Box<[u8]>> {
    prop_oneof![4 => 1usize..40, 1 => 4000usize..4096]
        .prop_flat_map(|length| vec(1u8..=255, length))
        .prop_map(Into::into)
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        (any::<u64>(), option::of(hash())).prop_map(|(size, hash)| Node::File { size, hash }),
        Just(Node::Directory),
        link_target().prop_map(|target| Node::Symlink { target }),
        Just(Node::Fifo),
        device().prop_map(Node::CharDevice),
        device().prop_map(Node::BlockDevice),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let mtime = (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos });
    (node(), any::<(u16, u32, u32)>(), mtime, any::<[u8; 16]>(), option::of(any::<u64>())).prop_map(
        |(node, (mode, uid, gid), mtime, xattrs, group)| Entry {
            node,
            mode,
            uid,
            gid,
            mtime,
            xattrs: XattrDigest(xattrs),
            group: group.map(LinkGroup),
        },
    )
}

fn xattrs() -> impl Strategy<Value = Xattrs> {
    let name = vec(1u8..=255, 1..256).prop_map(Vec::into_boxed_slice);
    vec((name, bytes(0..300)), 0..4).prop_map(|pairs: Vec<Xattr>| Xattrs::new(pairs))
}

fn content() -> impl Strategy<Value = Content> {
    let segment = (any::<u64>(), bytes(0..500)).prop_map(|(offset, bytes)| Segment { offset, bytes: bytes.into() });
    prop_oneof![
        Just(Content::None),
        vec(segment, 0..4).prop_map(Content::Inline),
        any::<u64>().prop_map(Content::Stream),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let state = || (path(), entry(), xattrs());
    prop_oneof![
        (state(), content()).prop_map(|((path, entry, xattrs), content)| Operation::Put {
            path,
            entry,
            xattrs,
            content
        }),
        state().prop_map(|(path, entry, xattrs)| Operation::Metadata { path, entry, xattrs }),
        (path(), state()).prop_map(|(from, (to, entry, xattrs))| Operation::Rename { from, to, entry, xattrs }),
        (path(), state()).prop_map(|(target, (path, entry, xattrs))| Operation::Link { path, target, entry, xattrs }),
        path().prop_map(|path| Operation::Remove { path }),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let ancestor = (device(), any::<u64>()).prop_map(|(device, inode)| Ancestor { device, inode });
    let ids = any::<([u8; 16], u64, [u8; 16], [u8; 16])>();
    let durability = prop_oneof![Just(Durability::Batch), Just(Durability::Each), Just(Durability::None)];
    let delete = prop_oneof![Just(DeletePolicy::Quarantine), Just(DeletePolicy::Remove), Just(DeletePolicy::Keep)];
    (ids, vec(ancestor, 0..9), bytes(0..300), any::<(bool, bool)>(), durability, delete).prop_map(
        |((tree, term, queue, boot), ancestors, source, (adopt, dry_run), durability, delete)| Hello {
            tree: TreeId(Id(tree)),
            term: Term(term),
            queue: QueueId(Id(queue)),
            boot: Id(boot),
            ancestors,
            source,
            adopt,
            dry_run,
            durability,
            delete,
        },
    )
}

fn page() -> impl Strategy<Value = Page> {
    (any::<u32>(), path(), any::<(u32, u32)>(), any::<bool>(), vec((name(), entry()), 0..5))
        .prop_map(|(page, directory, part, more, entries)| Page { page, directory, part, more, entries })
}

fn print() -> impl Strategy<Value = Print> {
    (path(), any::<(u32, u32)>(), option::of(hash())).prop_map(|(directory, part, fingerprint)| Print {
        directory,
        part,
        fingerprint,
    })
}

pub fn from_primary() -> impl Strategy<Value = FromPrimary> {
    prop_oneof![
        hello().prop_map(FromPrimary::Hello),
        page().prop_map(FromPrimary::Page),
        Just(FromPrimary::Listed),
        option::of(path()).prop_map(|after| FromPrimary::Extras { after }),
        operation().prop_map(FromPrimary::Operate),
        (any::<u64>(), option::of(any::<u64>().prop_map(Seq)))
            .prop_map(|(batch, position)| FromPrimary::Commit { batch, position }),
        (any::<u64>(), any::<u64>(), bytes(0..2000)).prop_map(|(stream, offset, bytes)| FromPrimary::Chunk {
            stream,
            offset,
            bytes: bytes.into(),
        }),
        any::<u64>().prop_map(|stream| FromPrimary::Abandon { stream }),
        Just(FromPrimary::Ping),
        (any::<(u64, u64)>(), path(), option::of(hash()))
            .prop_map(|((stream, size), path, basis)| { FromPrimary::Offer(Offer { stream, path, size, basis }) }),
        path().prop_map(|subtree| FromPrimary::Survey { subtree }),
        (any::<u32>(), vec(print(), 0..9)).prop_map(|(page, prints)| FromPrimary::Prints { page, prints }),
        question().prop_map(FromPrimary::Audit),
        vec(path(), 0..9).prop_map(|paths| FromPrimary::Doubt { paths }),
        (any::<u64>(), path(), any::<u64>()).prop_map(|(stream, path, size)| FromPrimary::Lend(Lend {
            stream,
            path,
            size
        })),
    ]
}

fn mailbox() -> impl Strategy<Value = Mailbox> {
    let uids = option::of(any::<(u32, u32)>().prop_map(|(validity, next)| Uids { validity, next }));
    let names = || (vec(name(), 0..3), any::<u64>());
    (path(), uids, any::<(u64, u64, bool, u64)>(), names(), names()).prop_map(
        |(path, uids, (messages, listed, steady, age_ms), (absent, absent_count), (cut, cut_count))| Mailbox {
            path,
            uids,
            messages,
            listed,
            absent,
            absent_count,
            cut,
            cut_count,
            steady,
            age_ms,
        },
    )
}

fn question() -> impl Strategy<Value = Question> {
    let profile = prop_oneof![Just(Profile::Plain), Just(Profile::Maildir), Just(Profile::Webroot)];
    let begin = (any::<[u8; 16]>(), bytes(0..300), profile, vec(bytes(0..40), 0..4), any::<(bool, bool)>());
    let depth = prop_oneof![Just(Depth::Quick), Just(Depth::Deep)];
    let trust = (any::<[u8; 16]>(), depth).prop_map(|(tree, depth)| Trust { tree: TreeId(Id(tree)), depth });
    prop_oneof![
        (
            begin,
            (option::of(any::<u64>()), option::of(path()), option::of(path()), option::of(trust)),
            option::of(any::<bool>())
        )
            .prop_map(|(begin, more, links_only)| {
                let ((boot, source, profile, patterns, (privileged, idle)), (rate, after, upto, trust)) = (begin, more);
                Question::Begin(Begin {
                    boot: Id(boot),
                    ancestors: vec![Ancestor { device: Device::default(), inode: 7 }],
                    source,
                    profile,
                    patterns,
                    privileged,
                    idle,
                    rate,
                    after,
                    upto,
                    trust,
                    links_only,
                })
            }),
        (any::<u32>(), path(), any::<(u32, u32)>()).prop_map(|(question, directory, part)| Question::List {
            question,
            directory,
            part
        }),
        (any::<u32>(), vec((path(), any::<bool>()), 0..9))
            .prop_map(|(question, paths)| Question::Look { question, paths }),
        vec(path(), 0..4).prop_map(|paths| Question::Mailboxes { paths }),
        Just(Question::Buckets),
        any::<u8>().prop_map(|bucket| Question::Names { bucket }),
        Just(Question::Unread),
    ]
}

fn below() -> impl Strategy<Value = Below> {
    (hash(), any::<(u64, u64, u64, u64)>()).prop_map(|(digest, (names, entries, files, bytes))| Below {
        digest,
        names,
        tally: Tally { entries, files, bytes },
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let found = (name(), entry(), option::of(below())).prop_map(|(name, entry, below)| Found { name, entry, below });
    let what = prop_oneof![
        Just(Sighting::Absent),
        any::<i32>().prop_map(|errno| Sighting::Unreadable { errno }),
        (entry(), option::of(xattrs())).prop_map(|(entry, xattrs)| Sighting::There { entry, xattrs }),
    ];
    let standing = prop_oneof![Just(Standing::Kept), Just(Standing::Changed), Just(Standing::Corrupt)];
    let recorded = (standing, option::of(hash())).prop_map(|(standing, hash)| Recorded { standing, hash });
    let look = (what, any::<(bool, u64, u64)>(), option::of(recorded))
        .prop_map(|(what, (steady, version, age_ms), recorded)| Look { what, steady, version, age_ms, recorded });
    let linked = (path(), any::<[u8; 16]>()).prop_map(|(path, mark)| Linked { path, mark });
    let unread = (path(), any::<i32>()).prop_map(|(path, errno)| Unread { path, errno });
    prop_oneof![
        (bytes(0..40), bytes(0..40), any::<bool>(), any::<Option<bool>>())
            .prop_map(|(host, root, privileged, recalls)| Answer::Begun(Begun { host, root, privileged, recalls })),
        any::<(u64, u64)>().prop_map(|(files, bytes)| Answer::Progress { files, bytes }),
        (entry(), below(), option::of(hash()), any::<(u64, u64, Option<u64>)>()).prop_map(
            |(entry, below, links, (unread, mounts, read))| {
                Answer::Digest(Digest { entry, below, links, unread, mounts, read })
            }
        ),
        (any::<(u32, bool)>(), vec(found, 0..5), option::of(any::<i32>()))
            .prop_map(|((question, more), entries, errno)| Answer::Entries { question, more, entries, errno }),
        (any::<u32>(), look).prop_map(|(question, look)| Answer::Seen { question, look }),
        (any::<bool>(), vec(mailbox(), 0..3)).prop_map(|(more, mailboxes)| Answer::Mailboxes { more, mailboxes }),
        vec(hash(), 0..9).prop_map(|digests| Answer::Buckets { digests }),
        (any::<(u8, bool)>(), vec(linked, 0..9)).prop_map(|((bucket, more), names)| Answer::Names {
            bucket,
            more,
            names
        }),
        (any::<bool>(), vec(unread, 0..9)).prop_map(|(more, paths)| Answer::Unread { more, paths }),
    ]
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let position = option::of(any::<([u8; 16], u64)>().prop_map(|(queue, seq)| (QueueId(Id(queue)), Seq(seq))));
    (any::<[u8; 16]>(), position, any::<(bool, u32, u64)>()).prop_map(
        |(replica, position, (owners, credit, quarantined))| Welcome {
            replica: ReplicaId(Id(replica)),
            position,
            owners,
            credit,
            quarantined,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done),
        Just(Outcome::NeedContent),
        any::<u16>().prop_map(|depth| Outcome::NeedCompare { depth }),
        (1u8..=12, any::<i32>()).prop_map(|(code, errno)| Outcome::Held { reason: HeldReason::from_code(code), errno }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    use Refusal::{Busy, Nested, NotEmpty, OldTerm, OtherTree, Unusable};
    proptest::sample::select(vec![NotEmpty, OtherTree, OldTerm, Nested, Busy, Unusable])
}

pub fn from_replica() -> impl Strategy<Value = FromReplica> {
    let want = (any::<u32>(), option::of(hash())).prop_map(|(index, have)| Want { index, have });
    prop_oneof![
        welcome().prop_map(FromReplica::Welcome),
        (refusal(), any::<String>()).prop_map(|(reason, text)| FromReplica::Refused { reason, text }),
        (any::<u32>(), vec(want, 0..9)).prop_map(|(page, wants)| FromReplica::Wanted { page, wants }),
        any::<u64>().prop_map(|extras| FromReplica::Compared { extras }),
        vec(path(), 0..9).prop_map(|paths| FromReplica::Extras { paths }),
        (any::<u64>(), vec((any::<u32>(), outcome()), 0..9), any::<u64>())
            .prop_map(|(batch, outcomes, quarantined)| FromReplica::Committed { batch, outcomes, quarantined }),
        any::<u32>().prop_map(|bytes| FromReplica::Credit { bytes }),
        any::<String>().prop_map(|text| FromReplica::Failed { text }),
        Just(FromReplica::Pong),
        (any::<(u64, bool)>(), option::of(hash()), bytes(0..300)).prop_map(|((stream, more), hash, signature)| {
            FromReplica::Basis(Basis { stream, hash, signature, more })
        }),
        option::of(hash()).prop_map(|fingerprint| FromReplica::Surveyed { fingerprint }),
        (any::<u32>(), vec(any::<u32>(), 0..9)).prop_map(|(page, prints)| FromReplica::Differing { page, prints }),
        answer().prop_map(FromReplica::Audit),
    ]
}
