//! The arena by itself.

use super::*;

fn path(tree: &Tree, id: NodeId) -> Option<String> {
    let mut bytes = Vec::new();
    tree.path(id, &mut bytes).then(|| String::from_utf8(bytes).expect("names of the test"))
}

#[test]
fn renaming_a_directory_moves_every_path_below() {
    let mut tree = Tree::new();
    let a = tree.insert(tree.root(), b"a");
    let b = tree.insert(a, b"b");
    let c = tree.insert(b, b"c");
    let z = tree.insert(tree.root(), b"z");
    tree.detach(b);
    assert_eq!((path(&tree, c), tree.child(a, b"b"), tree.top(c)), (None, None, b));
    tree.attach(b, z, b"bb");
    assert_eq!(path(&tree, c).as_deref(), Some("z/bb/c"));
    assert_eq!((tree.child(z, b"bb"), tree.depth(c)), (Some(b), 3));
    assert!(tree.is_within(c, z) && !tree.is_within(c, a));
}

#[test]
fn removing_gives_back_every_watch_and_old_ids_are_dead() {
    let mut tree = Tree::new();
    let a = tree.insert(tree.root(), b"a");
    let b = tree.insert(a, b"b");
    tree.set_wd(a, Some(7));
    tree.set_wd(b, Some(8));
    let mut watches = Vec::new();
    tree.remove(a, |_, wd| watches.extend(wd));
    watches.sort_unstable();
    assert_eq!(watches, [7, 8]);
    assert_eq!((tree.len(), tree.watched(), tree.by_wd(8), tree.child(tree.root(), b"a")), (1, 0, None, None));
    let again = tree.insert(tree.root(), b"a");
    assert!(tree.is_live(again) && !tree.is_live(a) && !tree.is_live(b));
}

#[test]
fn paths_deeper_than_the_stack_buffer_are_whole() {
    let mut tree = Tree::new();
    let mut at = tree.root();
    let names: Vec<String> = (0..100).map(|n| format!("d{n}")).collect();
    for name in &names {
        at = tree.insert(at, name.as_bytes());
    }
    assert_eq!(path(&tree, at), Some(names.join("/")));
}

#[test]
fn a_wide_directory_finds_each_child_after_half_of_them_left() {
    let mut tree = Tree::new();
    let ids: Vec<NodeId> = (0..5000).map(|n: u32| tree.insert(tree.root(), &n.to_be_bytes())).collect();
    for id in ids.iter().step_by(2) {
        tree.remove(*id, |_, _| ());
    }
    for (n, id) in (0u32..).zip(&ids) {
        assert_eq!(tree.child(tree.root(), &n.to_be_bytes()), (n % 2 == 1).then_some(*id));
    }
    assert_eq!(tree.children(tree.root()).len(), 2500);
}
