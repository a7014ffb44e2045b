//! The calls of one thread: a node for each path of scopes, and where on it the thread is.
//!
//! Only its own thread enters and leaves; any thread may read meanwhile. All cells are atomic, so
//! that this rule is one of counting right and not of soundness. Knows no other thread.

use std::{
    collections::HashMap,
    fmt, ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    histogram::{Histogram, add},
    registry::Core,
    sampling::Sampling,
};
use crate::clock::{self, Ticks};

/// Paths of one thread, and of all that have ended. One costs 200 bytes. Beyond this, what is
/// entered counts as [`OTHER`].
pub(super) const PATHS: usize = 4096;

/// The scope that stands for all for which there is no room.
pub(super) const OTHER: &str = "other";

/// Children that a node finds without a look into the index, by where their name lies.
const KNOWN: usize = 8;

/// A scope, as one thread enters it.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: Arc<str>,
    pub(super) histogram: Histogram,
}

impl Scope {
    fn new(name: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            name,
            histogram: Histogram::new(),
        })
    }
}

/// One path. No scope is on it twice: who is entered again further down is the same node.
pub(super) struct Node {
    pub(super) scope: Arc<Scope>,
    /// Its place in the order in which nodes were made; parents precede their children.
    pub(super) number: u32,
    pub(super) parent: Option<Arc<Node>>,
    /// How often the thread is within it at this moment.
    open: AtomicU32,
    /// Ticks that what was entered directly from here took, since this was last entered.
    within: AtomicU64,
    /// How often it was left.
    pub(super) count: AtomicU64,
    /// Ticks within it, once for each moment.
    pub(super) total: AtomicU64,
    /// Ticks within it and within nothing that was entered from it.
    pub(super) own: AtomicU64,
    known: [AtomicPtr<Self>; KNOWN],
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.as_ref().map(|parent| parent.number);
        let (name, count) = (&self.scope.name, &self.count);
        write!(f, "{}: {name:?} below {parent:?}, {count:?}", self.number)
    }
}

impl Node {
    fn new(scope: Arc<Scope>, number: u32, parent: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            scope,
            number,
            // Nothing is outside of the root.
            open: AtomicU32::new(parent.is_none().into()),
            parent,
            within: AtomicU64::new(0),
            count: AtomicU64::new(0),
            total: AtomicU64::new(0),
            own: AtomicU64::new(0),
            known: [const { AtomicPtr::new(ptr::null_mut()) }; KNOWN],
        })
    }

    /// Where a child may be that is entered by a text at this address: most are literals.
    #[inline]
    fn known(&self, name: &str) -> &AtomicPtr<Self> {
        let at = (name.as_ptr().addr() ^ name.len()) as u64;
        let slot = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - KNOWN.ilog2());
        #[allow(clippy::cast_possible_truncation, reason = "three bits")]
        &self.known[slot as usize]
    }
}

/// A scope that was entered, for the one call that leaves it.
#[derive(Debug)]
pub(super) struct Frame {
    /// Null where the scope is not recorded.
    node: *const Node,
    caller: *const Node,
    /// What `within` of the node was before.
    within: u64,
    entered: Ticks,
}

impl Frame {
    #[inline]
    pub(super) fn unrecorded() -> Self {
        Self {
            node: ptr::null(),
            caller: ptr::null(),
            within: 0,
            entered: Ticks(0),
        }
    }

    /// Whether what happens in the scope is recorded.
    pub(super) fn is_recorded(&self) -> bool {
        !self.node.is_null()
    }
}

/// What a scope that is left adds to its histogram.
#[derive(Clone, Copy, Debug)]
pub(super) enum Observed {
    /// The time since it was entered.
    Elapsed,
    /// These ticks: it was entered for the last of several times.
    Ticks(u64),
    /// Nothing: it will be entered again.
    Nothing,
}

/// The calls of one thread.
#[derive(Debug)]
pub(super) struct Tree {
    /// Scopes that are open, recorded or not.
    open: AtomicU32,
    /// Whether the outermost scope is not recorded, and with it none.
    skipping: AtomicBool,
    /// Whether the thread has ended but for the scopes that are still open.
    is_orphan: AtomicBool,
    current: AtomicPtr<Node>,
    root: *const Node,
    sampling: Sampling,
    pub(super) sampled_out: AtomicU64,
    pub(super) core: Weak<Core>,
    index: Mutex<Index>,
}

// SAFETY: `root` points into a node that `index` owns for as long as the tree lives, and of which
// all that changes is atomic.
unsafe impl Send for Tree {}
// SAFETY: as above.
unsafe impl Sync for Tree {}

#[derive(Debug)]
struct Index {
    nodes: Vec<Arc<Node>>,
    scopes: Vec<Arc<Scope>>,
    /// Where in `scopes` a name is.
    numbers: HashMap<Arc<str>, u32>,
    /// By the numbers of parent and scope.
    children: HashMap<(u32, u32), Arc<Node>>,
}

impl Tree {
    pub(super) fn new(core: Weak<Core>, sampling: Sampling) -> Arc<Self> {
        let root = Node::new(Scope::new("".into()), 0, None);
        Arc::new(Self {
            open: AtomicU32::new(0),
            skipping: AtomicBool::new(false),
            is_orphan: AtomicBool::new(false),
            current: AtomicPtr::new(Arc::as_ptr(&root).cast_mut()),
            root: Arc::as_ptr(&root),
            sampling,
            sampled_out: AtomicU64::new(0),
            core,
            index: Mutex::new(Index {
                nodes: vec![root],
                scopes: Vec::new(),
                numbers: HashMap::new(),
                children: HashMap::new(),
            }),
        })
    }

    /// Enters a scope. `decided` is whether an outermost one is recorded, where that is not to be
    /// left to chance.
    #[inline]
    pub(super) fn enter(&self, name: &str, decided: Option<bool>) -> Frame {
        let open = self.open.load(Relaxed);
        self.open.store(open + 1, Relaxed);
        if open == 0 && (decided.is_some() || !self.sampling.is_always()) {
            self.decide(decided);
        }
        if self.skipping.load(Relaxed) {
            return Frame::unrecorded();
        }
        // SAFETY: `current` is always a node of this tree, which keeps all of its nodes.
        let caller = unsafe { &*self.current.load(Relaxed) };
        let known = caller.known(name).load(Relaxed).cast_const();
        // SAFETY: what is known is null or a node of this tree.
        let node = match unsafe { known.as_ref() } {
            Some(node) if *node.scope.name == *name => node,
            // SAFETY: what is found is a node of this tree.
            _ => unsafe { &*self.find(caller, name) },
        };
        node.open.store(node.open.load(Relaxed) + 1, Relaxed);
        let within = node.within.load(Relaxed);
        node.within.store(0, Relaxed);
        self.current.store(ptr::from_ref(node).cast_mut(), Relaxed);
        Frame {
            node,
            caller,
            within,
            entered: clock::now(),
        }
    }

    /// Leaves a scope, in whatever order. Returns whether this was the last of an orphan, which is
    /// then to be [retired](Core::retire).
    ///
    /// # Safety
    ///
    /// The frame must be of this tree.
    #[inline]
    pub(super) unsafe fn leave(&self, frame: &Frame, observed: Observed) -> bool {
        // SAFETY: a frame's pointers are null or nodes of its tree, which keeps all of its nodes.
        if let Some(node) = unsafe { frame.node.as_ref() } {
            let took = clock::now().since(frame.entered);
            // SAFETY: as above.
            let caller = unsafe { &*frame.caller };
            let open = node.open.load(Relaxed) - 1;
            node.open.store(open, Relaxed);
            if open == 0 {
                add(&node.total, took);
            }
            add(&node.own, took.saturating_sub(node.within.load(Relaxed)));
            node.within.store(frame.within, Relaxed);
            add(&caller.within, took);
            let observed = match observed {
                Observed::Elapsed => Some(took),
                Observed::Ticks(ticks) => Some(ticks),
                Observed::Nothing => None,
            };
            if let Some(ticks) = observed {
                add(&node.count, 1);
                node.scope.histogram.record(ticks);
            }
            if ptr::eq(self.current.load(Relaxed), node) {
                let open = nearest_open(caller);
                self.current.store(ptr::from_ref(open).cast_mut(), Relaxed);
            }
        }
        let open = self.open.load(Relaxed) - 1;
        self.open.store(open, Relaxed);
        open == 0 && self.is_left()
    }

    /// No scope is open any more.
    #[inline]
    fn is_left(&self) -> bool {
        self.current.store(self.root.cast_mut(), Relaxed);
        self.skipping.store(false, Relaxed);
        self.is_orphan.load(Relaxed)
    }

    /// Whether what is entered now is recorded, whatever chance says.
    pub(super) fn is_recording(&self) -> bool {
        self.open.load(Relaxed) > 0 && !self.skipping.load(Relaxed)
    }

    /// From now on, what is entered is recorded although the outermost scope is not. Returns whether
    /// it was not before.
    pub(super) fn resume(&self) -> bool {
        let is_skipping = self.skipping.load(Relaxed);
        self.skipping.store(false, Relaxed);
        is_skipping
    }

    /// The outermost scope decides again, if it is still open.
    pub(super) fn skip_again(&self) {
        self.skipping.store(self.open.load(Relaxed) > 0, Relaxed);
    }

    /// The thread ends. Returns whether nothing is open; otherwise the last scope to be left says
    /// so.
    pub(super) fn orphan(&self) -> bool {
        self.is_orphan.store(true, Relaxed);
        self.open.load(Relaxed) == 0
    }

    #[cold]
    fn decide(&self, decided: Option<bool>) {
        if !decided.unwrap_or_else(|| self.sampling.draw()) {
            self.skipping.store(true, Relaxed);
            // What was decided elsewhere is counted there.
            add(&self.sampled_out, decided.is_none().into());
        }
    }

    /// The node that is entered by a name from another one, which stays alive as long as the tree.
    #[cold]
    fn find(&self, caller: &Node, name: &str) -> *const Node {
        let mut index = self.index();
        let node = index.child(caller, name, |name| {
            let core = self.core.upgrade()?;
            core.name(name)
        });
        if *node.scope.name == *name {
            let known = Arc::as_ptr(&node).cast_mut();
            caller.known(name).store(known, Relaxed);
        }
        Arc::as_ptr(&node)
    }

    /// All nodes that there are so far, in the order of their numbers; the first is the root.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.index().nodes.clone()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // What a panic for want of memory leaves behind lacks an entry at the most.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node itself if the thread is within it, otherwise the nearest above: its caller may have
/// been left before it.
#[inline]
fn nearest_open(node: &Node) -> &Node {
    let mut node = node;
    while node.open.load(Relaxed) == 0
        && let Some(parent) = &node.parent
    {
        node = parent;
    }
    node
}

impl Index {
    /// `allowed` is the name to keep, or nothing where there is no room for one more.
    fn child(
        &mut self,
        caller: &Node,
        name: &str,
        allowed: impl FnOnce(&str) -> Option<Arc<str>>,
    ) -> Arc<Node> {
        let known = self.numbers.get(name).copied();
        let scope = known.or_else(|| Some(self.add_scope(allowed(name)?)));
        let node = scope.and_then(|scope| self.child_of(caller, scope));
        node.unwrap_or_else(|| {
            let other = self.numbers.get(OTHER).copied();
            let other = other.unwrap_or_else(|| self.add_scope(OTHER.into()));
            self.child_of(caller, other)
                .expect("there is room for the scope that stands for all without")
        })
    }

    /// `None` where there is no room.
    fn child_of(&mut self, caller: &Node, scope: u32) -> Option<Arc<Node>> {
        if let Some(child) = self.children.get(&(caller.number, scope)) {
            return Some(Arc::clone(child));
        }
        let scope_of = Arc::clone(&self.scopes[scope as usize]);
        let parent = Arc::clone(&self.nodes[caller.number as usize]);
        let mut above = Some(&parent);
        while let Some(node) = above {
            if Arc::ptr_eq(&node.scope, &scope_of) {
                return Some(Arc::clone(node));
            }
            above = node.parent.as_ref();
        }
        // One `other` for each path keeps times where they belong, and doubles the room at most.
        if self.nodes.len() >= PATHS && *scope_of.name != *OTHER {
            return None;
        }
        let number = u32::try_from(self.nodes.len()).expect("paths are few");
        let node = Node::new(scope_of, number, Some(parent));
        self.children
            .insert((caller.number, scope), Arc::clone(&node));
        self.nodes.push(Arc::clone(&node));
        Some(node)
    }

    fn add_scope(&mut self, name: Arc<str>) -> u32 {
        let number = u32::try_from(self.scopes.len()).expect("scopes are few");
        self.scopes.push(Scope::new(Arc::clone(&name)));
        self.numbers.insert(name, number);
        number
    }
}
