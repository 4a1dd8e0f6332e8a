//! Ranges to slots: an interval treap.
//!
//! A binary search tree of ranges by start (then end), balanced by random priorities. Each node
//! knows which range of its subtree ends last, so a search skips subtrees that end before the key.
//! Nodes are stored in one slab and refer to each other by number.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

use crate::registry::index::postings::{Added, PostingList, PostingLists, Removed};
use crate::registry::slab::{Slab, Slot};
use crate::selector::inline_key::InlineKey;

const NONE: u32 = u32::MAX;

/// One range. `end` is exclusive; `None` is no bound.
#[derive(Debug)]
struct Node {
    start: InlineKey,
    end: Option<InlineKey>,
    list: PostingList,
    priority: u32,
    left: u32,
    right: u32,
    /// The node of this subtree whose range ends last.
    furthest: u32,
}

#[derive(Debug)]
pub(crate) struct RangeIndex {
    nodes: Slab<Node>,
    root: u32,
    /// A client that chooses the ranges must not be able to predict the priorities.
    seed: foldhash::fast::RandomState,
    drawn: u64,
}

impl Default for RangeIndex {
    fn default() -> Self {
        Self {
            nodes: Slab::default(),
            root: NONE,
            seed: foldhash::fast::RandomState::default(),
            drawn: 0,
        }
    }
}

/// `None` is above every bound.
fn compare_ends(one: Option<&[u8]>, two: Option<&[u8]>) -> Ordering {
    match (one, two) {
        (Some(one), Some(two)) => one.cmp(two),
        (one, two) => one.is_none().cmp(&two.is_none()),
    }
}

impl RangeIndex {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.iter().count()
    }

    /// The order of a range relative to a node.
    fn compare(&self, start: &[u8], end: Option<&[u8]>, at: u32) -> Ordering {
        let node = &self.nodes[at];
        start
            .cmp(&node.start)
            .then_with(|| compare_ends(end, node.end.as_deref()))
    }

    fn find(&self, start: &[u8], end: Option<&[u8]>) -> Option<u32> {
        let mut at = self.root;
        while at != NONE {
            at = match self.compare(start, end, at) {
                Ordering::Less => self.nodes[at].left,
                Ordering::Greater => self.nodes[at].right,
                Ordering::Equal => return Some(at),
            };
        }
        None
    }

    pub(crate) fn matching(&self, key: &[u8], found: &mut impl FnMut(PostingList)) {
        // Checked here, inline: mostly there are no ranges, and this runs for each event.
        if self.root != NONE {
            self.visit(self.root, key, found);
        }
    }

    /// Recurses as deep as the tree: about 2 log2 n.
    fn visit(&self, at: u32, key: &[u8], found: &mut impl FnMut(PostingList)) {
        let above = |end: Option<&[u8]>| end.is_none_or(|end| key < end);
        if at == NONE || !above(self.nodes[self.nodes[at].furthest].end.as_deref()) {
            return;
        }
        let node = &self.nodes[at];
        self.visit(node.left, key, found);
        if *node.start <= *key {
            if above(node.end.as_deref()) {
                found(node.list);
            }
            self.visit(node.right, key, found);
        }
    }

    pub(crate) fn add(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        slot: Slot,
        lists: &mut PostingLists,
    ) -> Added {
        if let Some(at) = self.find(start, end) {
            return lists.add(&mut self.nodes[at].list, slot);
        }
        let (list, added) = PostingList::one(slot);
        self.drawn += 1;
        let mut hasher = self.seed.build_hasher();
        hasher.write_u64(self.drawn);
        let at = self.nodes.insert(|at| Node {
            start: InlineKey::from(start),
            end: end.map(InlineKey::from),
            list,
            priority: hasher.finish() as u32,
            left: NONE,
            right: NONE,
            furthest: at,
        });
        self.root = self.insert(self.root, at);
        added
    }

    pub(crate) fn remove(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        position: u32,
        lists: &mut PostingLists,
    ) -> Removed {
        let at = self.find(start, end).expect("the slot is in the index");
        let removed = lists.remove(&mut self.nodes[at].list, position);
        if removed.was_last {
            self.root = self.unlink(self.root, at, start, end);
            self.nodes.remove(at);
        }
        removed
    }

    /// Inserts `new` into the tree `at` and returns the tree's new root.
    fn insert(&mut self, at: u32, new: u32) -> u32 {
        if at == NONE {
            return new;
        }
        if self.nodes[new].priority > self.nodes[at].priority {
            let (left, right) = self.split(at, new);
            self.nodes[new].left = left;
            self.nodes[new].right = right;
            self.update(new);
            return new;
        }
        if self.goes_left(new, at) {
            let left = self.insert(self.nodes[at].left, new);
            self.nodes[at].left = left;
        } else {
            let right = self.insert(self.nodes[at].right, new);
            self.nodes[at].right = right;
        }
        // Only the new range can end after those that were there.
        self.nodes[at].furthest = self.later(self.nodes[at].furthest, new);
        at
    }

    /// The node of the two whose range ends later; the first one if they end together.
    fn later(&self, one: u32, two: u32) -> u32 {
        let end = |at: u32| self.nodes[at].end.as_deref();
        if compare_ends(end(one), end(two)) == Ordering::Less {
            two
        } else {
            one
        }
    }

    fn goes_left(&self, new: u32, at: u32) -> bool {
        let new = &self.nodes[new];
        self.compare(&new.start, new.end.as_deref(), at) == Ordering::Less
    }

    /// Splits the tree `at` into the nodes before `by` and those after it.
    fn split(&mut self, at: u32, by: u32) -> (u32, u32) {
        if at == NONE {
            return (NONE, NONE);
        }
        let halves = if self.goes_left(by, at) {
            let (before, after) = self.split(self.nodes[at].left, by);
            self.nodes[at].left = after;
            (before, at)
        } else {
            let (before, after) = self.split(self.nodes[at].right, by);
            self.nodes[at].right = before;
            (at, after)
        };
        self.update(at);
        halves
    }

    /// Merges two trees. All of `left` must be before all of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        let furthest = self.later(self.nodes[left].furthest, self.nodes[right].furthest);
        let top = if self.nodes[left].priority > self.nodes[right].priority {
            let merged = self.merge(self.nodes[left].right, right);
            self.nodes[left].right = merged;
            left
        } else {
            let merged = self.merge(left, self.nodes[right].left);
            self.nodes[right].left = merged;
            right
        };
        self.nodes[top].furthest = furthest;
        top
    }

    /// Removes the node `removed`, which has this range, from the tree `at` and returns the tree's new
    /// root.
    fn unlink(&mut self, at: u32, removed: u32, start: &[u8], end: Option<&[u8]>) -> u32 {
        match self.compare(start, end, at) {
            Ordering::Equal => {
                let (left, right) = (self.nodes[at].left, self.nodes[at].right);
                return self.merge(left, right);
            }
            Ordering::Less => {
                let left = self.unlink(self.nodes[at].left, removed, start, end);
                self.nodes[at].left = left;
            }
            Ordering::Greater => {
                let right = self.unlink(self.nodes[at].right, removed, start, end);
                self.nodes[at].right = right;
            }
        }
        if self.nodes[at].furthest == removed {
            self.update(at);
        }
        at
    }

    /// Sets a node's `furthest` from its own range and its children's.
    fn update(&mut self, at: u32) {
        let node = &self.nodes[at];
        let mut furthest = at;
        for child in [node.left, node.right] {
            if child != NONE {
                furthest = self.later(furthest, self.nodes[child].furthest);
            }
        }
        self.nodes[at].furthest = furthest;
    }
}
