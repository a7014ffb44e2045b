// Folded stacks, and the tree that a flame graph is drawn of. Knows nothing of the page.

// A line is frames, root first, between semicolons; then a value, or two: before and after.
function parseFolded(text, compares) {
  const root = frame("all", null);
  const line = compares ? /^(.*) (-?\d+) (-?\d+)$/ : /^(.*) (-?\d+)$/;
  for (const one of text.split("\n")) {
    if (one === "") continue;
    const found = line.exec(one);
    if (!found) throw new Error(`a stack is not understood: ${one.slice(0, 80)}`);
    const before = compares ? Number(found[2]) : 0;
    const after = Number(found[found.length - 1]);
    grow(root, found[1].split(";"), before, after);
  }
  settle(root);
  return root;
}

function frame(name, parent) {
  const isKernel = name.endsWith("_[k]");
  return { name: isKernel ? name.slice(0, -4) : name, isKernel, parent, children: new Map(), before: 0, after: 0, ownBefore: 0, ownAfter: 0, depth: parent ? parent.depth + 1 : 0 };
}

function grow(root, names, before, after) {
  let at = root;
  root.before += before;
  root.after += after;
  for (const name of names) {
    let child = at.children.get(name);
    if (!child) {
      child = frame(name, at);
      at.children.set(name, child);
    }
    child.before += before;
    child.after += after;
    at = child;
  }
  at.ownBefore += before;
  at.ownAfter += after;
}

// Children in order: by name, so that two graphs look alike.
function settle(root) {
  for (const one of walk(root)) {
    one.list = [...one.children.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

function* walk(root) {
  const waiting = [root];
  while (waiting.length) {
    const one = waiting.pop();
    yield one;
    waiting.push(...one.children.values());
  }
}

// What is drawn: frames below and above the one that is zoomed to, as [frame, left, width] in parts
// of the whole, without those that are narrower than `least`.
function layout(focus, least) {
  const placed = [];
  for (let one = focus.parent; one; one = one.parent) placed.push([one, 0, 1]);
  const waiting = [[focus, 0, 1]];
  while (waiting.length) {
    const [one, left, width] = waiting.pop();
    placed.push([one, left, width]);
    let x = left;
    for (const child of one.list) {
      const own = one.after > 0 ? (width * child.after) / one.after : 0;
      if (own >= least) waiting.push([child, x, own]);
      x += own;
    }
  }
  return placed;
}

// Share of the whole now, and how much of it is new: in parts of the whole.
function shares(root, one) {
  const now = root.after > 0 ? one.after / root.after : 0;
  const past = root.before > 0 ? one.before / root.before : 0;
  return { now, past, change: now - past };
}

// The part of the whole that has a frame which matches; no stack counts twice.
function matching(root, matches) {
  let found = 0;
  const waiting = [root];
  while (waiting.length) {
    const one = waiting.pop();
    if (matches(one.name)) found += one.after;
    else waiting.push(...one.list);
  }
  return root.after > 0 ? found / root.after : 0;
}

// By function: what is in it itself, and with what it calls. One that calls itself counts once.
function functions(root) {
  const found = new Map();
  const visit = (one, above) => {
    const known = found.get(one.name) ?? { name: one.name, own: 0, ownPast: 0, all: 0 };
    known.own += one.ownAfter / (root.after || 1);
    known.ownPast += one.ownBefore / (root.before || 1);
    const isNew = !above.has(one.name);
    if (isNew) {
      known.all += one.after / (root.after || 1);
      above.add(one.name);
    }
    found.set(one.name, known);
    for (const child of one.list) visit(child, above);
    if (isNew) above.delete(one.name);
  };
  for (const child of root.list) visit(child, new Set());
  return [...found.values()];
}
