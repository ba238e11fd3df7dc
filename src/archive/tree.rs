//! The tree that a list of paths makes, on a file system that may not tell upper from lower case.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::ArchiveError;

/// Every file and directory so far, by its lower-case path.
#[derive(Default)]
pub(super) struct Tree {
    nodes: HashMap<String, Node>,
}

struct Node {
    path: String,
    is_file: bool,
}

impl Tree {
    /// Takes in a file, or refuses it if it or one of its directories is another spelling or another kind of what is there.
    pub(super) fn insert(&mut self, path: &str) -> Result<(), ArchiveError> {
        for (end, _) in path.match_indices('/') {
            self.insert_node(&path[..end], path, false)?;
        }
        self.insert_node(path, path, true)
    }

    fn insert_node(&mut self, path: &str, whole: &str, is_file: bool) -> Result<(), ArchiveError> {
        match self.nodes.entry(path.to_lowercase()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Node { path: path.to_owned(), is_file });
                Ok(())
            }
            Entry::Occupied(node) if !is_file && !node.get().is_file && node.get().path == path => Ok(()),
            Entry::Occupied(node) => {
                Err(ArchiveError::Collision { first: node.get().path.clone(), second: whole.to_owned() })
            }
        }
    }
}
