//! What names and sizes say of Maildirs.

mod support;

use fulmar_model::{Filter, Mailbox, Profile, Uids};
use fulmar_tree::audit::{Auditing, Meter, Scope, mailboxes};
use support::Fixture;

fn all(fixture: &Fixture) -> Vec<Mailbox> {
    let filter = Filter::new(Profile::Maildir, []).expect("no patterns");
    let how = Auditing {
        filter,
        scope: Scope::default(),
        trusted: true,
        threads: 2,
        rate: None,
        idle: false,
        records: None,
        depth: fulmar_model::Depth::Deep,
        links_only: false,
    };
    mailboxes(&fixture.tree, &how, &Meter::default()).expect("it can be read")
}

#[test]
fn what_is_cut_and_what_is_absent_is_found_in_every_mailbox() {
    let fixture = Fixture::new();
    fixture
        .file("ann/dovecot-uidlist", "3 V100 N4 Gabc\n1 W9 :1.M1.h,S=5:2,S\n2 :2.M1.h,S=4\n3 :3.M1.h\n")
        .file("ann/cur/1.M1.h,S=5:2,FS", "12345")
        .file("ann/new/2.M1.h,S=4", "123")
        .file("ann/.Sent/dovecot-uidlist", "a list of another kind")
        .file("ann/.Sent/cur/9.M1.h,S=700:2,", b"\x1f\x8b shorter by right")
        .file("ann/.Sent/cur/8.M1.h", "no size in its name")
        .mkdir("ann/.Empty/cur")
        .file("no/mailbox", "");
    let found = all(&fixture);
    let paths: Vec<String> = found.iter().map(|mailbox| mailbox.path.to_string()).collect();
    assert_eq!(paths, ["ann", "ann/.Empty", "ann/.Sent"]);
    let [inbox, empty, sent] = &found[..] else { panic!("{found:?}") };
    let names = |names: &[fulmar_model::Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(inbox.uids, Some(Uids { validity: 100, next: 4 }));
    assert_eq!((inbox.messages, inbox.listed, inbox.steady), (2, 3, true));
    assert_eq!((inbox.cut_count, names(&inbox.cut)), (1, vec!["2.M1.h,S=4".to_owned()]));
    assert_eq!((inbox.absent_count, names(&inbox.absent)), (1, vec!["3.M1.h".to_owned()]));
    assert_eq!((empty.messages, empty.uids), (0, None));
    assert_eq!((sent.messages, sent.uids, sent.cut_count), (2, None, 0));
}

#[test]
fn of_many_that_are_wrong_some_are_named_and_all_are_counted() {
    let fixture = Fixture::in_memory();
    let mut list = b"3 V1 N1\n".to_vec();
    for number in 0..1000 {
        fixture.file(&format!("cur/{number}.M1.h,S=1:2,"), "");
        list.extend_from_slice(format!("{number} :{number}.gone\n{number} :../{number}/\n").as_bytes());
    }
    fixture.file("dovecot-uidlist", list);
    let found = all(&fixture);
    let [mailbox] = &found[..] else { panic!("{found:?}") };
    assert_eq!((mailbox.cut_count, mailbox.cut.len()), (1000, 5));
    assert_eq!((mailbox.absent_count, mailbox.absent.len()), (2000, 5));
}
