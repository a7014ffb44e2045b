//! A profile of the last seconds as a tree of calls, and where in it one looks. Knows folded stacks,
//! and nothing of how it is drawn.

use std::collections::HashMap;

use super::figures::short;

/// Deeper calls are cut off. The agent's stacks have at most 200 frames and those of the kernel.
const DEEPEST: usize = 512;

/// So many frames are kept apart; the agent's profiles have some ten thousand.
const MOST: usize = 500_000;

/// Longest name of a frame, in characters: wider than terminals are.
const LONGEST: usize = 300;

/// Where a node's profile is.
#[derive(Debug, Default)]
pub(super) enum Flame {
    /// Nobody has asked.
    #[default]
    None,
    /// It is being taken.
    Taking,
    /// There is none, for a reason, and with advice.
    Refused(String),
    /// Here it is.
    Taken(Looked),
}

/// A profile that one looks at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) tree: Tree,
    /// The frame that is marked.
    pub(super) selected: usize,
    /// The frame that is as wide as the screen.
    pub(super) zoom: usize,
}

impl Looked {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            tree,
            selected: ROOT,
            zoom: ROOT,
        }
    }

    /// Marks the caller.
    pub(super) fn up(&mut self) {
        let frame = &self.tree.frames[self.selected];
        if self.selected != self.zoom {
            self.selected = frame.parent;
        }
    }

    /// Marks what takes most of those that it calls.
    pub(super) fn down(&mut self) {
        if let Some(first) = self.tree.frames[self.selected].children.first() {
            self.selected = *first;
        }
    }

    /// Marks the one beside it, that takes less or more.
    pub(super) fn beside(&mut self, less: bool) {
        if self.selected == self.zoom {
            return;
        }
        let frame = &self.tree.frames[self.selected];
        let siblings = &self.tree.frames[frame.parent].children;
        let Some(at) = siblings.iter().position(|one| *one == self.selected) else {
            return;
        };
        let next = if less {
            at.checked_add(1)
        } else {
            at.checked_sub(1)
        };
        if let Some(next) = next.and_then(|next| siblings.get(next)) {
            self.selected = *next;
        }
    }

    /// Makes the marked frame as wide as the screen.
    pub(super) fn zoom_in(&mut self) {
        self.zoom = self.selected;
    }

    /// Shows what calls what is shown.
    pub(super) fn zoom_out(&mut self) {
        self.zoom = self.tree.frames[self.zoom].parent;
        self.selected = self.zoom;
    }
}

/// The frame that calls all others.
pub(super) const ROOT: usize = 0;

/// Calls, from those that call to those that are called.
#[derive(Debug)]
pub(super) struct Tree {
    /// The first one is [`ROOT`].
    pub(super) frames: Vec<Frame>,
}

/// A function, by the way on which it was called.
#[derive(Debug)]
pub(super) struct Frame {
    /// As harmless text.
    pub(super) name: String,
    /// Nanoseconds, with those that it calls.
    pub(super) value: u64,
    pub(super) parent: usize,
    /// Those that take most first.
    pub(super) children: Vec<usize>,
}

impl Tree {
    /// Reads folded stacks: `outer;inner 12`, a line for each. Lines that are none are left out:
    /// they are counted by nobody, because a profile of the agent has none.
    ///
    /// Nothing if there is no stack at all.
    pub(super) fn read(folded: &str) -> Option<Self> {
        let mut frames = vec![Frame {
            name: "all".to_owned(),
            value: 0,
            parent: ROOT,
            children: Vec::new(),
        }];
        let mut known: HashMap<(usize, &str), usize> = HashMap::new();
        for line in folded.lines().filter(|line| !line.starts_with("# ")) {
            let Some((stack, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<u64>() else {
                continue;
            };
            let mut at = ROOT;
            frames[ROOT].value = frames[ROOT].value.saturating_add(value);
            for name in stack.split(';').take(DEEPEST) {
                let next = match known.get(&(at, name)) {
                    Some(next) => *next,
                    None if frames.len() < MOST => {
                        frames.push(Frame {
                            name: short(name, LONGEST),
                            value: 0,
                            parent: at,
                            children: Vec::new(),
                        });
                        let next = frames.len() - 1;
                        frames[at].children.push(next);
                        known.insert((at, name), next);
                        next
                    }
                    None => break,
                };
                at = next;
                frames[at].value = frames[at].value.saturating_add(value);
            }
        }
        let values: Vec<u64> = frames.iter().map(|frame| frame.value).collect();
        for frame in &mut frames {
            frame
                .children
                .sort_by(|one, two| values[*two].cmp(&values[*one]));
        }
        (values[ROOT] > 0).then_some(Self { frames })
    }

    /// How deep a frame is.
    pub(super) fn depth(&self, mut frame: usize) -> usize {
        let mut depth = 0;
        while frame != ROOT {
            frame = self.frames[frame].parent;
            depth += 1;
        }
        depth
    }
}

/// What to do about an answer that is no profile.
pub(super) fn advice(status: Option<u16>) -> &'static str {
    match status {
        Some(403) => {
            "Profiles are for the node itself. Use a tunnel, ssh -L 9090:localhost:9090 NODE, and \
             watch --url localhost:9090; or set access = \"everywhere\" in [sources.profile] there."
        }
        Some(404) => {
            "Either it is no agent that answers there, or profiling is off: see profiling_enabled \
             in the agent's configuration."
        }
        Some(501) => "The agent cannot take profiles there; its log says why.",
        Some(503) => "Others are taking profiles: press f to try again.",
        _ => "Press f to try again.",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(tree: &Tree, frames: &[usize]) -> Vec<String> {
        let name =
            |frame: &usize| format!("{} {}", tree.frames[*frame].name, tree.frames[*frame].value);
        frames.iter().map(name).collect()
    }

    #[test]
    fn stacks_become_a_tree() {
        let folded = "a;b 1\n# note\na;c;b 5\n\nnonsense\nd\x1b 2\na 3\na;b 1\n";
        let tree = Tree::read(folded).unwrap();
        let root = &tree.frames[ROOT];
        assert_eq!(root.value, 12);
        assert_eq!(names(&tree, &root.children), ["a 10", r"d\u{1b} 2"]);
        let first = root.children[0];
        assert_eq!(names(&tree, &tree.frames[first].children), ["c 5", "b 2"]);
        assert_eq!(tree.depth(tree.frames[first].children[0]), 2);
        assert!(Tree::read("").is_none());
        assert!(Tree::read("<html>\n").is_none());
        assert!(Tree::read("a 0\n").is_none());
    }

    #[test]
    fn one_moves_within_what_is_shown() {
        let mut looked = Looked::new(Tree::read("a;b 5\na;c 3\nd 1\n").unwrap());
        let at = |looked: &Looked| looked.tree.frames[looked.selected].name.clone();
        looked.up();
        looked.beside(true);
        assert_eq!(at(&looked), "all");
        looked.down();
        assert_eq!(at(&looked), "a");
        looked.beside(true);
        looked.beside(true);
        assert_eq!(at(&looked), "d");
        looked.beside(false);
        looked.down();
        looked.beside(true);
        assert_eq!(at(&looked), "c");
        looked.down();
        assert_eq!(at(&looked), "c");
        looked.up();
        looked.zoom_in();
        looked.up();
        looked.beside(true);
        assert_eq!(at(&looked), "a", "what is not shown is not marked");
        looked.zoom_out();
        assert_eq!((looked.zoom, at(&looked).as_str()), (ROOT, "all"));
    }

    proptest! {
        #[test]
        fn children_take_no_more_than_their_caller(folded in "([a-c]{0,1}(;[a-c]){0,4} [0-9]{1,9}\n){0,20}|\\PC{0,99}") {
            if let Some(tree) = Tree::read(&folded) {
                for frame in &tree.frames {
                    let children: u64 = frame.children.iter().map(|child| tree.frames[*child].value).sum();
                    prop_assert!(children <= frame.value);
                }
            }
        }
    }
}
