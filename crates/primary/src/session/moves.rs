//! Directory renames that were sent and not answered yet. What turns out to be left over below such a directory has another
//! place by then, and means nothing where it was: the directory is compared under its new name.

use super::flight::Left;
use fulmar_model::RelPath;
use fulmar_store::{Outstanding, Work};
use std::collections::VecDeque;

/// With the batch each was sent in, in order.
#[derive(Default)]
pub(super) struct Moves(VecDeque<Move>);

struct Move {
    batch: u64,
    from: RelPath,
    to: RelPath,
}

impl Moves {
    /// A rename is sent.
    pub(super) fn note(&mut self, batch: u64, from: RelPath, to: RelPath) {
        self.0.push_back(Move { batch, from, to });
    }

    /// A batch was answered, and leaves this over: adds what is to be compared because of the renames that were sent with it or
    /// behind it. `stayed`: the old names of those in it that were refused, and took nothing along.
    pub(super) fn follow(&mut self, batch: u64, stayed: &[RelPath], left: &mut Vec<Outstanding>) {
        self.0.retain(|sent| sent.batch != batch || !stayed.contains(&sent.from));
        let mut compare = Vec::new();
        for row in left.iter() {
            let mut path = row.path.clone();
            // Subtrees that are to be compared, wherever parts of them go.
            let mut covered: Vec<_> = (row.work == Work::Compare).then(|| path.clone()).into_iter().collect();
            for Move { from, to, .. } in self.0.iter().filter(|sent| sent.batch >= batch) {
                if let Some(below) = path.strip(from) {
                    path = below.under(to);
                    covered.push(to.clone());
                    compare.push((to.clone(), row.since_ms));
                } else if covered.iter().any(|at| from.starts_with(at) || at.starts_with(from)) {
                    // Out of it, or along with it: what came out of it may be in another directory by then.
                    covered.push(to.clone());
                    compare.push((to.clone(), row.since_ms));
                }
            }
        }
        for (path, since_ms) in compare {
            left.retain(|row| row.path != path);
            left.push(Left::new(Work::Compare, 0).at(path, since_ms));
        }
        while self.0.front().is_some_and(|sent| sent.batch <= batch) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    /// What is to be compared when batch 1 leaves `work` over at a path, and these renames were sent in these batches.
    fn compared(work: Work, at: &str, moves: &[(u64, &str, &str)]) -> Vec<String> {
        compared_where(&[], work, at, moves)
    }

    /// The same where these directories stayed.
    fn compared_where(stayed: &[&str], work: Work, at: &str, moves: &[(u64, &str, &str)]) -> Vec<String> {
        let mut sent = Moves::default();
        moves.iter().for_each(|(batch, from, to)| sent.note(*batch, path(from), path(to)));
        let mut left = vec![Left::new(work, 0).at(path(at), 5)];
        sent.follow(1, &stayed.iter().map(|at| path(at)).collect::<Vec<_>>(), &mut left);
        assert!(left.iter().all(|row| row.since_ms == 5));
        left.into_iter().filter(|row| row.work == Work::Compare).map(|row| row.path.to_string()).collect()
    }

    #[test]
    fn what_is_left_over_is_compared_where_its_directory_went() {
        let moves = [(1, "a", "b"), (2, "b/c", "d"), (3, "x", "y")];
        assert_eq!(compared(Work::Again, "a/c/file", &moves), ["b", "d"]);
        assert_eq!(compared(Work::Again, "file", &moves), [""; 0]);
    }

    #[test]
    fn a_directory_that_was_not_renamed_goes_where_the_one_above_it_goes() {
        let moves = [(1, "a/b", "c"), (2, "a", "d")];
        assert_eq!(compared_where(&["a/b"], Work::Gone { approved: false }, "a/b", &moves), ["d"]);
        assert_eq!(compared_where(&["a/b"], Work::Compare, "c", &moves), ["c"]);
    }

    #[test]
    fn what_leaves_a_subtree_that_is_to_be_compared_is_compared_where_it_went() {
        // The first rename left the comparison over.
        let moves = [(1, "a", "b"), (2, "b/c", "d"), (3, "d/e", "f"), (3, "x", "y")];
        assert_eq!(compared(Work::Compare, "b", &moves), ["b", "d", "f"]);
    }

    #[test]
    fn what_left_a_subtree_that_is_to_be_compared_is_compared_wherever_it_is_taken() {
        let moves = [(1, "a", "b"), (2, "b/c", "p/d"), (3, "p", "q"), (4, "q/d", "e"), (4, "x", "y")];
        assert_eq!(compared(Work::Compare, "b", &moves), ["b", "p/d", "q", "e"]);
    }

    #[test]
    fn a_comparison_that_moves_as_a_whole_takes_what_is_below_along() {
        let moves = [(2, "b", "c"), (3, "c/d", "e")];
        assert_eq!(compared(Work::Compare, "b", &moves), ["b", "c", "e"]);
    }
}
