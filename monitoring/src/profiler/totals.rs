//! Trees of any number of threads, added up: by path, and by scope.
//!
//! Times are in ticks of the clock, as in the trees. Knows no thread.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    histogram::Durations,
    tree::{OTHER, PATHS, Scope, Tree},
};

/// What has been added up.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) scopes: Vec<ScopeTotal>,
    pub(super) paths: Vec<PathTotal>,
    /// Outermost scopes that were left out by chance.
    pub(super) sampled_out: u64,
    names: HashMap<Arc<str>, usize>,
    /// By parent and scope.
    children: HashMap<(Option<usize>, usize), usize>,
}

/// One scope, wherever it was entered.
#[derive(Clone, Debug)]
pub(super) struct ScopeTotal {
    pub(super) name: Arc<str>,
    pub(super) durations: Durations,
}

/// One path.
#[derive(Clone, Debug)]
pub(super) struct PathTotal {
    /// The place of the path without its last scope, which is before this one.
    pub(super) parent: Option<usize>,
    /// The place of the last scope.
    pub(super) scope: usize,
    pub(super) count: u64,
    pub(super) total: u64,
    pub(super) own: u64,
}

impl Totals {
    /// Adds what a thread has come to so far.
    pub(super) fn add(&mut self, tree: &Tree) {
        let nodes = tree.nodes();
        let mut paths: Vec<Option<usize>> = Vec::with_capacity(nodes.len());
        let mut seen: HashSet<*const Scope> = HashSet::new();
        for node in &nodes {
            let Some(parent) = &node.parent else {
                paths.push(None);
                continue;
            };
            let scope = self.scope(&node.scope.name);
            if seen.insert(Arc::as_ptr(&node.scope)) {
                self.scopes[scope].durations.add(&node.scope.histogram);
            }
            let parent = paths[parent.number as usize];
            let (path, is_within_itself) = self.path(parent, scope);
            let total = &mut self.paths[path];
            total.count += node.count.load(Relaxed);
            total.own += node.own.load(Relaxed);
            if !is_within_itself {
                total.total += node.total.load(Relaxed);
            }
            paths.push(Some(path));
        }
        self.sampled_out += tree.sampled_out.load(Relaxed);
    }

    fn scope(&mut self, name: &Arc<str>) -> usize {
        if let Some(scope) = self.names.get(name) {
            return *scope;
        }
        let scope = self.scopes.len();
        self.scopes.push(ScopeTotal {
            name: Arc::clone(name),
            durations: Durations::default(),
        });
        self.names.insert(Arc::clone(name), scope);
        scope
    }

    /// The path, or the one that stands for it where there is no room; and whether that is one that
    /// the path begins with, whose time has this time in it already.
    fn path(&mut self, parent: Option<usize>, scope: usize) -> (usize, bool) {
        let mut above = parent;
        while let Some(path) = above {
            if self.paths[path].scope == scope {
                return (path, true);
            }
            above = self.paths[path].parent;
        }
        if let Some(path) = self.children.get(&(parent, scope)) {
            return (*path, false);
        }
        // Threads have no more paths than this each, and different ones may have others.
        if self.paths.len() >= PATHS && *self.scopes[scope].name != *OTHER {
            let other = self.scope(&OTHER.into());
            return self.path(parent, other);
        }
        let path = self.paths.len();
        self.paths.push(PathTotal {
            parent,
            scope,
            count: 0,
            total: 0,
            own: 0,
        });
        self.children.insert((parent, scope), path);
        (path, false)
    }
}
