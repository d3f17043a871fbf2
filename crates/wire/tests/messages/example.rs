//! One value of each kind of message, as its bytes are kept in fixtures/wire.

use crate::path;
use bytes::Bytes;
use fulmar_model::{
    Below, DeletePolicy, Depth, Device, Durability, Entry, Found, Hash, HeldReason, Id, LinkGroup, Look, Mailbox, Name,
    Node, Outcome, Profile, QueueId, Recorded, ReplicaId, Seq, Sighting, Standing, Tally, Term, Timestamp, TreeId,
    Uids, Unread, XattrDigest, Xattrs,
};
use fulmar_wire::{
    Ancestor, Answer, Basis, Begin, Begun, Content, Digest, FromPrimary, FromReplica, Hello, Lend, Linked, Offer,
    Operation, Page, Print, Question, Refusal, Segment, Trust, Want, Welcome,
};

fn mtime() -> Timestamp {
    Timestamp { seconds: 1_700_000_000, nanos: 5 }
}

/// A file of three bytes with two names.
pub fn file() -> Entry {
    Entry {
        node: Node::File { size: 3, hash: Some(Hash([7; 32])) },
        mode: 0o644,
        uid: 1000,
        gid: 100,
        mtime: mtime(),
        xattrs: XattrDigest::default(),
        group: None,
    }
}

fn node(node: Node) -> Entry {
    Entry { node, mode: 0o4755, group: Some(LinkGroup(1 << 63)), xattrs: XattrDigest([3; 16]), ..file() }
}

fn xattrs() -> Xattrs {
    Xattrs::new(vec![
        (Box::from(&b"user.a"[..]), Box::from(&b"\0\xff"[..])),
        (Box::from(&b"user.b"[..]), Box::default()),
    ])
}

fn hello() -> Hello {
    let ancestor = |inode| Ancestor { device: Device { major: 8, minor: 1 }, inode };
    Hello {
        tree: TreeId(Id([1; 16])),
        term: Term(2),
        queue: QueueId(Id([3; 16])),
        boot: Id([4; 16]),
        ancestors: vec![ancestor(u64::MAX), ancestor(2)],
        source: Box::from(&b"/srv/mail\xff"[..]),
        adopt: true,
        dry_run: false,
        durability: Durability::Each,
        delete: DeletePolicy::Keep,
    }
}

fn page() -> Page {
    let device = Device { major: 5, minor: 1 };
    let before_1970 = Timestamp { seconds: -1, nanos: 999_999_999 };
    let nodes = [
        ("block", node(Node::BlockDevice(device))),
        ("char", node(Node::CharDevice(device))),
        ("directory", node(Node::Directory)),
        ("fifo", node(Node::Fifo)),
        ("file", file()),
        ("old\n\u{e9}", Entry { node: Node::File { size: u64::MAX, hash: None }, mtime: before_1970, ..file() }),
        ("symlink", node(Node::Symlink { target: Box::from(&b"../\xff"[..]) })),
    ];
    let entries = nodes.map(|(name, entry)| (Name::parse(name.as_bytes()).expect("a name"), entry)).into();
    Page { page: 6, directory: path("a/b"), part: (1, 4), more: true, entries }
}

/// Each message of a primary, and the name of its file.
pub fn from_primary() -> Vec<(&'static str, FromPrimary)> {
    let operations = [
        (
            "put-inline",
            Operation::Put {
                path: path(b"cur/1\xff:2,S"),
                entry: file(),
                xattrs: xattrs(),
                content: Content::Inline(vec![Segment { offset: 4096, bytes: Bytes::from_static(b"abc") }]),
            },
        ),
        (
            "put-stream",
            Operation::Put { path: path("b"), entry: file(), xattrs: Xattrs::default(), content: Content::Stream(300) },
        ),
        (
            "put-none",
            Operation::Put { path: path(""), entry: node(Node::Directory), xattrs: xattrs(), content: Content::None },
        ),
        ("metadata", Operation::Metadata { path: path("c"), entry: file(), xattrs: xattrs() }),
        ("rename", Operation::Rename { from: path("d"), to: path("e/f"), entry: file(), xattrs: Xattrs::default() }),
        ("link", Operation::Link { path: path("g"), target: path("h"), entry: file(), xattrs: Xattrs::default() }),
        ("remove", Operation::Remove { path: path("i") }),
    ];
    let mut messages = vec![
        ("hello", FromPrimary::Hello(hello())),
        ("page", FromPrimary::Page(page())),
        ("listed", FromPrimary::Listed),
        ("extras-first", FromPrimary::Extras { after: None }),
        ("extras-next", FromPrimary::Extras { after: Some(path("a/b")) }),
        ("commit", FromPrimary::Commit { batch: 7, position: Some(Seq(u64::MAX)) }),
        ("commit-no-position", FromPrimary::Commit { batch: 8, position: None }),
        ("chunk", FromPrimary::Chunk { stream: 9, offset: 1 << 40, bytes: Bytes::from_static(b"chunk") }),
        ("abandon", FromPrimary::Abandon { stream: 9 }),
        ("ping", FromPrimary::Ping),
        (
            "offer",
            FromPrimary::Offer(Offer { stream: 9, path: path("a/b"), size: 1 << 40, basis: Some(Hash([7; 32])) }),
        ),
        ("offer-question", FromPrimary::Offer(Offer { stream: 10, path: path("c"), size: 5, basis: None })),
        ("survey", FromPrimary::Survey { subtree: path("a/b") }),
        (
            "prints",
            FromPrimary::Prints {
                page: 6,
                prints: vec![
                    Print { directory: path("a"), part: (0, 1), fingerprint: Some(Hash([7; 32])) },
                    Print { directory: path("a/b"), part: (1, 3), fingerprint: None },
                ],
            },
        ),
    ];
    messages.extend(operations.map(|(name, operation)| (name, FromPrimary::Operate(operation))));
    messages.push(("doubt", FromPrimary::Doubt { paths: vec![path("a/b"), path(b"\xff")] }));
    messages.push(("lend", FromPrimary::Lend(Lend { stream: 9, path: path("a/b"), size: 1 << 40 })));
    messages.extend(questions().map(|(name, question)| (name, FromPrimary::Audit(question))));
    messages
}

fn questions() -> [(&'static str, Question); 10] {
    let Hello { boot, ancestors, source, .. } = hello();
    let (profile, patterns) = (Profile::Maildir, vec![Box::from(&b"*.tmp"[..]), Box::from(&b"\xff"[..])]);
    let begin = Begin {
        boot,
        ancestors,
        source,
        profile,
        patterns,
        privileged: true,
        idle: true,
        rate: Some(10 << 20),
        after: Some(path("a/b")),
        upto: Some(path(b"b/\xff")),
        trust: None,
        links_only: None,
    };
    let trust = Some(Trust { tree: hello().tree, depth: Depth::Quick });
    let trusting = Begin { trust, rate: None, after: None, upto: None, ..begin.clone() };
    let links = Begin { links_only: Some(true), ..begin.clone() };
    [
        ("audit-begin", Question::Begin(begin)),
        ("audit-begin-trust", Question::Begin(trusting)),
        ("audit-begin-links", Question::Begin(links)),
        ("audit-list", Question::List { question: 6, directory: path("a/b"), part: (1, 3) }),
        ("audit-look", Question::Look { question: 7, paths: vec![(path("a"), true), (path(b"b/\xff"), false)] }),
        ("audit-buckets", Question::Buckets),
        ("audit-names", Question::Names { bucket: 255 }),
        ("audit-unread", Question::Unread),
        ("audit-mailboxes-all", Question::Mailboxes { paths: Vec::new() }),
        ("audit-mailboxes", Question::Mailboxes { paths: vec![path("a"), path("b/c")] }),
    ]
}

fn below() -> Below {
    Below { digest: Hash([7; 32]), names: 70_000, tally: Tally { entries: 70_001, files: 3, bytes: 1 << 40 } }
}

fn mailbox() -> Mailbox {
    let name = |name: &str| Name::parse(name.as_bytes()).expect("a name");
    Mailbox {
        path: path("ann"),
        uids: Some(Uids { validity: 1_275_660_208, next: 25_022 }),
        messages: 70_000,
        listed: 70_001,
        absent: vec![name("1.gone")],
        absent_count: 1,
        cut: vec![name("2.M1.h,S=5"), name("3.M1.h,S=5")],
        cut_count: 70_000,
        steady: true,
        age_ms: 7000,
    }
}

fn answers() -> Vec<(&'static str, Answer)> {
    let directory = node(Node::Directory);
    let found =
        |name: &str, entry: Entry, below| Found { name: Name::parse(name.as_bytes()).expect("a name"), entry, below };
    let look = |what| Look { what, steady: true, version: u64::MAX, age_ms: 7000, recorded: None };
    let recorded = Some(Recorded { standing: Standing::Corrupt, hash: Some(Hash([5; 32])) });
    let there = Sighting::There { entry: node(Node::Fifo), xattrs: Some(xattrs()) };
    let begun =
        Begun { host: Box::from(*b"mail2"), root: Box::from(&b"/srv/mail\xff"[..]), privileged: false, recalls: None };
    let digest = Digest {
        entry: directory.clone(),
        below: below(),
        links: Some(Hash([8; 32])),
        unread: 2,
        mounts: 1,
        read: None,
    };
    let entries = vec![found("a", directory, Some(below())), found("b", file(), None)];
    let linked = Linked { path: path("a/b"), mark: [9; 16] };
    vec![
        ("audit-begun-recalls", Answer::Begun(Begun { recalls: Some(true), ..begun.clone() })),
        ("audit-begun", Answer::Begun(begun)),
        ("audit-progress", Answer::Progress { files: 70_000, bytes: 1 << 40 }),
        ("audit-digest-no-links", Answer::Digest(Digest { links: None, ..digest.clone() })),
        ("audit-digest-read", Answer::Digest(Digest { read: Some(1 << 50), ..digest.clone() })),
        ("audit-digest", Answer::Digest(digest)),
        ("audit-entries", Answer::Entries { question: 6, more: true, entries, errno: None }),
        ("audit-entries-none", Answer::Entries { question: 6, more: false, entries: Vec::new(), errno: Some(13) }),
        ("audit-seen-absent", Answer::Seen { question: 7, look: look(Sighting::Absent) }),
        ("audit-seen-unreadable", Answer::Seen { question: 7, look: look(Sighting::Unreadable { errno: 5 }) }),
        ("audit-seen-recorded", Answer::Seen { question: 7, look: Look { recorded, ..look(Sighting::Absent) } }),
        ("audit-seen", Answer::Seen { question: 7, look: look(there) }),
        ("audit-buckets", Answer::Buckets { digests: vec![Hash([1; 32]), Hash([2; 32])] }),
        ("audit-names", Answer::Names { bucket: 255, more: false, names: vec![linked] }),
        ("audit-unread", Answer::Unread { more: false, paths: vec![Unread { path: path("c"), errno: 13 }] }),
        ("audit-mailboxes", Answer::Mailboxes { more: true, mailboxes: vec![mailbox()] }),
    ]
}

/// Each message of a replica, and the name of its file.
pub fn from_replica() -> Vec<(&'static str, FromReplica)> {
    let welcome = Welcome {
        replica: ReplicaId(Id([5; 16])),
        position: Some((QueueId(Id([3; 16])), Seq(70_000))),
        owners: true,
        credit: 1 << 20,
        quarantined: 2,
    };
    let outcomes = vec![
        (0, Outcome::Done),
        (1, Outcome::NeedContent),
        (2, Outcome::NeedCompare { depth: 3 }),
        (3, Outcome::Held { reason: HeldReason::DiskFull, errno: 28 }),
    ];
    let audit = answers().into_iter().map(|(name, answer)| (name, FromReplica::Audit(answer)));
    let messages = vec![
        ("welcome-first", FromReplica::Welcome(Welcome { position: None, owners: false, ..welcome.clone() })),
        ("welcome", FromReplica::Welcome(welcome)),
        ("refused", FromReplica::Refused { reason: Refusal::OldTerm, text: "term 3 was seen \u{e9}".into() }),
        (
            "wanted",
            FromReplica::Wanted {
                page: 6,
                wants: vec![Want { index: 0, have: None }, Want { index: 511, have: Some(Hash([7; 32])) }],
            },
        ),
        ("compared", FromReplica::Compared { extras: 3 }),
        ("extras", FromReplica::Extras { paths: vec![path("a"), path(b"b/\xff")] }),
        ("committed", FromReplica::Committed { batch: 7, outcomes, quarantined: 2 }),
        ("credit", FromReplica::Credit { bytes: 65_536 }),
        ("failed", FromReplica::Failed { text: "the database cannot be written".into() }),
        ("pong", FromReplica::Pong),
        (
            "basis",
            FromReplica::Basis(Basis {
                stream: 9,
                hash: Some(Hash([7; 32])),
                signature: Box::from(*b"sums"),
                more: true,
            }),
        ),
        ("basis-none", FromReplica::Basis(Basis { stream: 10, hash: None, signature: Box::default(), more: false })),
        ("surveyed", FromReplica::Surveyed { fingerprint: Some(Hash([7; 32])) }),
        ("surveyed-unknown", FromReplica::Surveyed { fingerprint: None }),
        ("differing", FromReplica::Differing { page: 6, prints: vec![0, 511] }),
    ];
    messages.into_iter().chain(audit).collect()
}
