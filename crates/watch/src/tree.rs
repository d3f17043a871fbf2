//! The watch tree: which directories are known, where they stand, and which watch belongs to which.
//!
//! An arena: a directory names its parent, so renaming one is one step whatever is below it, and paths are built by
//! walking up. Children are found through one table over all directories keyed by a hash of (parent, name), and are
//! listed through links between siblings: about 100 bytes a directory besides its name.
//!
//! Invariants: only the root has no parent among the attached; a detached directory keeps what is below it and has no
//! path; there are no cycles; a watch descriptor belongs to at most one directory.

use crate::kernel::Wd;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

const NONE: u32 = u32::MAX;

/// A directory. Stays distinguishable after the directory was removed and its slot used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId {
    index: u32,
    generation: u32,
}

impl NodeId {
    pub(crate) fn index(self) -> u32 {
        self.index
    }
}

struct Node {
    parent: u32,
    first_child: u32,
    next: u32,
    previous: u32,
    /// Next directory with the same hash of (parent, name).
    chain: u32,
    generation: u32,
    /// The listing that saw it last; see `Tree::mark`.
    mark: u32,
    /// Watch descriptors are positive; 0 is none, -1 marks a free slot.
    wd: Wd,
    name: Box<[u8]>,
    /// See `Tree::veil`.
    veiled: bool,
}

const FREE: Wd = -1;
const UNWATCHED: Wd = 0;

pub(crate) struct Tree {
    nodes: Vec<Node>,
    free: Vec<u32>,
    by_wd: HashMap<Wd, u32>,
    by_name: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Tree {
    /// A tree of nothing but its root, unwatched.
    pub(crate) fn new() -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            by_wd: HashMap::new(),
            by_name: HashMap::new(),
            hasher: RandomState::new(),
        };
        tree.allocate(b"");
        tree
    }

    pub(crate) fn root(&self) -> NodeId {
        NodeId { index: 0, generation: 0 }
    }

    /// Directories known, the detached ones included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub(crate) fn watched(&self) -> usize {
        self.by_wd.len()
    }

    pub(crate) fn is_live(&self, id: NodeId) -> bool {
        self.nodes.get(id.index as usize).is_some_and(|node| node.generation == id.generation && node.wd != FREE)
    }

    pub(crate) fn by_wd(&self, wd: Wd) -> Option<NodeId> {
        self.by_wd.get(&wd).map(|index| self.id(*index))
    }

    pub(crate) fn wd(&self, id: NodeId) -> Option<Wd> {
        Some(self.node(id.index).wd).filter(|wd| *wd > 0 && self.is_live(id))
    }

    /// Gives the directory a watch or takes it away; gives back the one it had.
    pub(crate) fn set_wd(&mut self, id: NodeId, wd: Option<Wd>) -> Option<Wd> {
        let before = self.wd(id);
        if let Some(before) = before {
            self.by_wd.remove(&before);
        }
        self.node_mut(id.index).wd = wd.unwrap_or(UNWATCHED);
        if let Some(wd) = wd {
            self.by_wd.insert(wd, id.index);
        }
        before
    }

    pub(crate) fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let mut at = self.by_name.get(&self.hash(parent.index, name)).copied()?;
        while at != NONE {
            let node = self.node(at);
            if node.parent == parent.index && *node.name == *name {
                return Some(self.id(at));
            }
            at = node.chain;
        }
        None
    }

    pub(crate) fn children(&self, id: NodeId) -> Vec<NodeId> {
        let mut all = Vec::new();
        let mut at = self.node(id.index).first_child;
        while at != NONE {
            all.push(self.id(at));
            at = self.node(at).next;
        }
        all
    }

    /// `None` for the root and for a detached directory.
    pub(crate) fn parent(&self, id: NodeId) -> Option<NodeId> {
        Some(self.node(id.index).parent).filter(|parent| *parent != NONE).map(|parent| self.id(parent))
    }

    pub(crate) fn name(&self, id: NodeId) -> &[u8] {
        &self.node(id.index).name
    }

    /// The uppermost directory over `id`: the root, or the detached directory that carries it.
    pub(crate) fn top(&self, id: NodeId) -> NodeId {
        let mut at = id.index;
        while self.node(at).parent != NONE {
            at = self.node(at).parent;
        }
        self.id(at)
    }

    /// Whether `below` is `above` or below it.
    pub(crate) fn is_within(&self, below: NodeId, above: NodeId) -> bool {
        let mut at = below.index;
        while at != above.index && at != NONE {
            at = self.node(at).parent;
        }
        at == above.index
    }

    /// Number of names in its path.
    pub(crate) fn depth(&self, id: NodeId) -> usize {
        std::iter::successors(self.parent(id), |at| self.parent(*at)).count()
    }

    /// Puts the path of the directory into `path`; false when it is detached.
    pub(crate) fn path(&self, id: NodeId, path: &mut Vec<u8>) -> bool {
        let mut names: [u32; 32] = [0; 32];
        let mut deeper = Vec::new();
        let mut depth = 0;
        let mut at = id.index;
        while self.node(at).parent != NONE {
            match names.get_mut(depth) {
                Some(slot) => *slot = at,
                None => deeper.push(at),
            }
            depth += 1;
            at = self.node(at).parent;
        }
        path.clear();
        let downwards = deeper.iter().rev().chain(names.iter().take(depth).rev());
        for index in downwards {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&self.node(*index).name);
        }
        at == 0
    }

    /// Remembers that the listing with this number has seen the directory.
    pub(crate) fn mark(&mut self, id: NodeId, listing: u32) {
        self.node_mut(id.index).mark = listing;
    }

    pub(crate) fn is_marked(&self, id: NodeId, listing: u32) -> bool {
        self.node(id.index).mark == listing
    }

    /// Remembers that a directory in this one was excluded, if one was: in another place it may not be.
    pub(crate) fn veil(&mut self, id: NodeId, excluded: bool) {
        self.node_mut(id.index).veiled |= excluded;
    }

    pub(crate) fn is_veiled(&self, id: NodeId) -> bool {
        self.node(id.index).veiled
    }

    /// Adds an unwatched directory. The place must be free.
    pub(crate) fn insert(&mut self, parent: NodeId, name: &[u8]) -> NodeId {
        let id = self.allocate(name);
        self.link(id.index, parent.index);
        id
    }

    /// Takes the directory, with all below, from its place; the root stays.
    pub(crate) fn detach(&mut self, id: NodeId) {
        if self.node(id.index).parent != NONE {
            self.unlink(id.index);
        }
    }

    /// Puts the directory to a place, which must be free and not within it.
    pub(crate) fn attach(&mut self, id: NodeId, parent: NodeId, name: &[u8]) {
        debug_assert!(!self.is_within(parent, id), "a directory cannot stand below itself");
        debug_assert!(self.child(parent, name).is_none(), "the place must be free");
        self.detach(id);
        self.node_mut(id.index).name = name.into();
        self.link(id.index, parent.index);
    }

    /// Forgets the directory and all below; `each` gets every one of them with the watch it had.
    pub(crate) fn remove(&mut self, id: NodeId, mut each: impl FnMut(NodeId, Option<Wd>)) {
        self.detach(id);
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            let children = self.children(id);
            for child in &children {
                // Its parent goes too, so of the links only those of the name table matter.
                self.unchain(child.index);
            }
            doomed.extend(children);
            let wd = self.set_wd(id, None);
            each(id, wd);
            let node = self.node_mut(id.index);
            node.wd = FREE;
            node.generation = node.generation.wrapping_add(1);
            node.name = Box::default();
            node.first_child = NONE;
            self.free.push(id.index);
        }
    }

    fn id(&self, index: u32) -> NodeId {
        NodeId { index, generation: self.node(index).generation }
    }

    fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    fn allocate(&mut self, name: &[u8]) -> NodeId {
        let blank = |generation| Node {
            parent: NONE,
            first_child: NONE,
            next: NONE,
            previous: NONE,
            chain: NONE,
            generation,
            mark: 0,
            wd: UNWATCHED,
            name: name.into(),
            veiled: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                *self.node_mut(index) = blank(self.node(index).generation);
                index
            }
            None => {
                let index = u32::try_from(self.nodes.len()).expect("the kernel has fewer than 2^31 watches");
                self.nodes.push(blank(0));
                index
            }
        };
        self.id(index)
    }

    fn link(&mut self, index: u32, parent: u32) {
        let hash = self.hash(parent, &self.node(index).name);
        let chain = self.by_name.insert(hash, index).unwrap_or(NONE);
        let next = std::mem::replace(&mut self.node_mut(parent).first_child, index);
        if next != NONE {
            self.node_mut(next).previous = index;
        }
        let node = self.node_mut(index);
        (node.parent, node.chain, node.next, node.previous) = (parent, chain, next, NONE);
    }

    fn unlink(&mut self, index: u32) {
        self.unchain(index);
        let Node { parent, next, previous, .. } = *self.node(index);
        match previous {
            NONE => self.node_mut(parent).first_child = next,
            previous => self.node_mut(previous).next = next,
        }
        if next != NONE {
            self.node_mut(next).previous = previous;
        }
        let node = self.node_mut(index);
        (node.parent, node.next, node.previous) = (NONE, NONE, NONE);
    }

    /// Takes the directory out of the name table.
    fn unchain(&mut self, index: u32) {
        let node = self.node(index);
        let (hash, after) = (self.hash(node.parent, &node.name), node.chain);
        let first = self.by_name.get(&hash).copied().unwrap_or(NONE);
        if first == index {
            if after == NONE {
                self.by_name.remove(&hash);
            } else {
                self.by_name.insert(hash, after);
            }
        } else {
            let mut at = first;
            while at != NONE && self.node(at).chain != index {
                at = self.node(at).chain;
            }
            if at != NONE {
                self.node_mut(at).chain = after;
            }
        }
        self.node_mut(index).chain = NONE;
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
