//! `fulmar sync --verify --profile maildir`: what names, sizes and lists of UIDs say of each mailbox.

use std::fs;
use std::path::Path;

use fulmar_testkit::{Cluster, Finished, Value, fixture};

/// Two mailboxes of three messages each, on both sides, none of them young.
fn cluster() -> Cluster {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    for user in ["ann", "bob"] {
        let maildir = cluster.source().join(user);
        ["cur", "new", "tmp"].iter().for_each(|folder| fs::create_dir_all(maildir.join(folder)).unwrap());
        fs::write(maildir.join("dovecot-uidlist"), "3 V100 N4 Gabc\n1 :1.M1.h,S=4\n2 :2.M1.h,S=4\n3 :3.M1.h,S=4\n")
            .unwrap();
        for name in ["cur/1.M1.h,S=4:2,S", "cur/2.M1.h,S=4:2,", "new/3.M1.h,S=4"] {
            fs::write(maildir.join(name), "mail").unwrap();
        }
    }
    cluster.sync(&["--profile", "maildir"]).expect(0);
    cluster
}

fn verify(cluster: &Cluster, extra: &[&str]) -> Finished {
    cluster.sync(&[&["--verify", "--profile", "maildir"], extra].concat())
}

/// Lines about mailboxes, and the summary of the only replica.
fn found(finished: &Finished) -> (Vec<Value>, Value) {
    let (mut lines, summary) = finished.report();
    lines.retain(|line| line["type"] == "mailbox");
    (lines, summary["replicas"][0].clone())
}

/// Path, verdict and troubles of each.
fn verdicts(lines: &[Value]) -> Vec<String> {
    let one =
        |line: &Value| format!("{} {} {}", line["path"], line["verdict"].as_str().unwrap_or("?"), line["troubles"]);
    lines.iter().map(one).collect()
}

/// Content of a file, with its times as they were.
fn quietly(path: &Path, content: &str) {
    let before = path.metadata().unwrap().modified().unwrap();
    fs::write(path, content).unwrap();
    let since = before.duration_since(std::time::UNIX_EPOCH).unwrap();
    fixture::set_mtime(path, since.as_secs() as i64, since.subsec_nanos());
}

#[test]
fn every_mailbox_that_is_well_is_told_to_be_equal_and_a_table_counts_them() {
    let cluster = cluster();
    let finished = verify(&cluster, &["--format", "json"]);
    finished.expect(0);
    let (lines, replica) = found(&finished);
    assert_eq!(verdicts(&lines), [r#""ann" equal []"#, r#""bob" equal []"#], "{finished}");
    assert_eq!((&lines[0]["on_source"]["messages"], &lines[0]["on_replica"]["uidvalidity"]), (&3.into(), &100.into()));
    let count = |word: &str| replica["mailboxes"][word].as_u64().unwrap();
    assert_eq!(["count", "equal", "troubled", "busy"].map(count), [2, 2, 0, 0]);
    let table = verify(&cluster, &[]);
    assert!(table.stdout.contains("mail     2 mailboxes: 2 equal, 0 troubled\n"), "{table}");
    assert!(!table.stdout.contains("ann"), "{table}");
    let page = verify(&cluster, &["--format", "html", "--limit", "1"]).stdout;
    let row = r#"<tr><td class="name">ann</td><td class="good">equal</td><td class="count">3</td></tr>"#;
    assert!(page.contains("<summary>2 equal</summary>") && page.contains(row), "{page}");
    assert!(!page.contains("bob") && page.contains("<p>and 1 more</p>\n</details>"), "{page}");
    // Elsewhere nobody looks for them.
    let plain = cluster.sync(&["--verify", "--format", "json"]);
    assert!(found(&plain).1["mailboxes"].is_null(), "{plain}");
}

#[test]
fn what_is_wrong_with_a_mailbox_is_told_with_what_both_sides_have() {
    let cluster = cluster();
    let (ann, bob) = (cluster.replica(0).join("ann"), cluster.replica(0).join("bob"));
    quietly(&ann.join("cur/1.M1.h,S=4:2,S"), "ma");
    fs::remove_file(ann.join("new/3.M1.h,S=4")).unwrap();
    quietly(&bob.join("dovecot-uidlist"), "3 V999 N1 Gabc\n");
    fs::create_dir_all(cluster.replica(0).join("carl/cur")).unwrap();
    let finished = verify(&cluster, &["--format", "json"]);
    finished.expect(1);
    let (mut lines, replica) = found(&finished);
    lines.sort_by_key(|line| line["path"].to_string());
    assert_eq!(
        verdicts(&lines),
        [
            r#""ann" troubled ["cut-on-replica","absent","differs"]"#,
            r#""bob" troubled ["uidvalidity","differs"]"#,
            r#""carl" troubled ["extra"]"#
        ],
        "{finished}"
    );
    let [ann, bob, carl] = &lines[..] else { panic!("{finished}") };
    assert_eq!((&ann["on_source"]["cut"], &ann["on_replica"]["cut"]), (&0.into(), &1.into()));
    assert_eq!(ann["on_replica"]["cut_names"][0], "1.M1.h,S=4:2,S");
    assert_eq!(ann["on_replica"]["absent_names"][0], "3.M1.h,S=4");
    assert_eq!((&bob["on_source"]["next_uid"], &bob["on_replica"]["uidvalidity"]), (&4.into(), &999.into()));
    assert!(carl["on_source"].is_null(), "{carl}");
    assert_eq!((&replica["mailboxes"]["count"], &replica["mailboxes"]["troubled"]), (&3.into(), &3.into()));
    let table = verify(&cluster, &[]);
    for text in [
        "mailboxes in which something is wrong (3 of 3)",
        "1 message of another size than the name says, on the replica: 1.M1.h,S=4:2,S",
        "1 message in the replica's dovecot-uidlist and not in its folders: 3.M1.h,S=4",
        "another UIDVALIDITY",
        "source 3 messages, UIDVALIDITY 100, next UID 4; replica 3 messages, UIDVALIDITY 999, next UID 1",
        "only on the replica",
    ] {
        assert!(table.stdout.contains(text), "{text}\n{table}");
    }
    let page = verify(&cluster, &["--format", "html"]).stdout;
    assert!(page.contains("Mail: 3 mailboxes: 0 equal, 3 troubled") && page.contains("UIDVALIDITY 999"), "{page}");
}

#[test]
fn damage_that_was_replicated_faithfully_is_told_though_both_sides_are_equal() {
    let cluster = cluster();
    fs::write(cluster.source().join("ann/cur/2.M1.h,S=4:2,"), "m").unwrap();
    cluster.sync(&["--profile", "maildir"]).expect(0);
    let finished = verify(&cluster, &["--format", "json"]);
    finished.expect(0);
    let (lines, replica) = found(&finished);
    assert_eq!(replica["verdict"], "equal");
    assert_eq!(
        verdicts(&lines),
        [r#""ann" troubled ["cut-on-source","cut-on-replica"]"#, r#""bob" equal []"#],
        "{finished}"
    );
}

#[test]
fn a_mailbox_whose_names_and_list_agree_is_not_equal_while_a_message_in_it_differs() {
    let cluster = cluster();
    quietly(&cluster.replica(0).join("bob/cur/2.M1.h,S=4:2,"), "liam");
    let finished = verify(&cluster, &["--format", "json"]);
    finished.expect(1);
    let (lines, replica) = found(&finished);
    assert_eq!(verdicts(&lines), [r#""ann" equal []"#, r#""bob" troubled ["differs"]"#], "{finished}");
    let count = |word: &str| replica["mailboxes"][word].as_u64().unwrap();
    assert_eq!(["count", "equal", "troubled", "busy"].map(count), [2, 1, 1, 0]);
    let table = verify(&cluster, &[]);
    assert!(table.stdout.contains("mail     2 mailboxes: 1 equal, 1 troubled\n"), "{table}");
    assert!(table.stdout.contains("  bob\n") && !table.stdout.contains("  ann\n"), "{table}");
    let page = verify(&cluster, &["--format", "html"]).stdout;
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(at(r#"bob</td><td class="bad">troubled"#) < at(r#"ann</td><td class="good">equal"#), "{page}");
}
