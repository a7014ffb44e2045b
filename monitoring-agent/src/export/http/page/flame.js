// Draws a tree of stacks: zoom, search, differences, by mouse and by keys.

const ROW = 20;
const NARROWEST = 2;
const MOST_FUNCTIONS = 12;

class Flame {
  constructor(place, { detail, found, search, reset, key, top }) {
    Object.assign(this, { place, detail, found, search, reset, key });
    this.show = () => "";
    search.addEventListener("input", () => this.mark());
    reset.addEventListener("click", () => this.zoom(this.root));
    place.addEventListener("click", (event) => this.frameAt(event) && this.zoom(this.frameAt(event)));
    place.addEventListener("mouseover", (event) => this.describe(this.frameAt(event)));
    place.addEventListener("focusin", (event) => this.describe(this.frameAt(event)));
    place.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.root && this.width !== place.clientWidth && this.draw()).observe(place);
    this.top = new Table(top, "Functions", [
      { title: "Function", show: (row) => ({ text: row.name, title: row.name }) },
      { title: "Itself", show: (row) => ({ text: percent(row.own, 1), ratio: row.own }) },
      { title: "With its calls", show: (row) => percent(row.all, 1), minor: true },
      { title: "Before", show: (row) => (this.compares ? percent(row.ownPast, 1) : NONE), minor: true },
      { title: "Change", show: (row) => (this.compares ? signed(row.own - row.ownPast) : NONE) },
    ]);
  }

  // `show` makes a text of a value.
  set(root, compares, show) {
    [this.root, this.focus, this.current, this.compares, this.show] = [root, root, root, compares, show];
    const own = functions(root);
    own.sort((a, b) => (compares ? Math.abs(b.own - b.ownPast) - Math.abs(a.own - a.ownPast) : b.own - a.own));
    this.top.update(own.slice(0, MOST_FUNCTIONS).map((row) => ({ key: row.name, ...row })));
    setText(this.key, compares ? "Red: a larger part than before. Blue: a smaller one. What is gone has no width, and is in the table below." : "Warm: programs. Blue: the kernel. Width: its part of the whole.");
    this.draw();
  }

  draw() {
    this.width = this.place.clientWidth;
    const placed = layout(this.focus, NARROWEST / Math.max(this.width, 1));
    placed.sort(([a, x], [b, y]) => a.depth - b.depth || x - y);
    this.buttons = new Map();
    this.levels = [];
    const made = placed.map(([one, left, width]) => {
      const button = this.button(one, left, width);
      this.buttons.set(one, button);
      (this.levels[one.depth] ??= []).push(one);
      return button;
    });
    this.place.replaceChildren(...made);
    this.place.style.height = `${ROW * this.levels.length}px`;
    this.reset.disabled = this.focus === this.root;
    if (!this.buttons.has(this.current)) this.current = this.focus;
    this.buttons.get(this.current).tabIndex = 0;
    this.mark();
    this.describe(this.current);
  }

  button(one, left, width) {
    const button = el("button", { type: "button", tabindex: "-1" });
    if (width * this.width > 24) button.textContent = one.name;
    button.setAttribute("aria-label", this.said(one));
    button.style.left = `${(100 * left).toFixed(4)}%`;
    button.style.width = `${(100 * width).toFixed(4)}%`;
    button.style.top = `${ROW * one.depth}px`;
    const { change, now } = shares(this.root, one);
    if (this.compares) {
      // A tenth of the whole is as strong as it gets.
      const strength = Math.min(Math.sqrt(Math.abs(change) / 0.1), 1);
      button.dataset.kind = change > 0 ? "more" : "less";
      button.style.setProperty("--strength", `${(90 * (now > 0 ? strength : 0)).toFixed(0)}%`);
    } else {
      button.dataset.kind = one.isKernel ? "kernel" : "program";
      button.style.setProperty("--shade", String(shade(one.name)));
    }
    if (one.depth < this.focus.depth) button.dataset.above = "";
    button.frame = one;
    return button;
  }

  frameAt(event) {
    return event.target.closest("button")?.frame;
  }

  said(one) {
    const { now, past, change } = shares(this.root, one);
    const compared = this.compares ? `, before ${percent(past, 1)}, ${signed(change)}` : "";
    return `${one.name}${one.isKernel ? " (kernel)" : ""}: ${percent(now, 1)}, ${this.show(one.after)}${compared}`;
  }

  describe(one) {
    if (one) setText(this.detail, this.said(one));
  }

  zoom(one) {
    this.focus = one;
    this.current = one;
    const focused = this.place.contains(document.activeElement);
    this.draw();
    if (focused) this.go(one);
  }

  go(one) {
    const next = this.buttons.get(one);
    if (!next) return;
    this.buttons.get(this.current).tabIndex = -1;
    this.current = one;
    next.tabIndex = 0;
    next.focus();
  }

  press(event) {
    const one = this.current;
    const level = this.levels[one.depth] ?? [];
    const widest = () => one.list.reduce((most, child) => (child.after > (most?.after ?? 0) ? child : most), null);
    const goals = {
      ArrowDown: widest,
      ArrowUp: () => one.parent,
      ArrowLeft: () => level[level.indexOf(one) - 1],
      ArrowRight: () => level[level.indexOf(one) + 1],
      Home: () => this.focus,
    };
    if (event.key === "Escape") this.zoom(this.root);
    else if (Object.hasOwn(goals, event.key)) {
      const goal = goals[event.key]();
      if (goal) this.go(goal);
    } else return;
    event.preventDefault();
  }

  mark() {
    if (!this.root) return;
    const text = this.search.value.trim();
    const matches = matcher(text);
    this.search.setAttribute("aria-invalid", String(matches === null));
    for (const [one, button] of this.buttons) {
      button.classList.toggle("found", Boolean(matches?.(one.name)));
    }
    this.place.classList.toggle("searched", Boolean(text && matches));
    setText(this.found, text === "" ? "" : matches ? `${percent(matching(this.root, matches), 1)} of the whole` : "no regular expression");
  }
}

const signed = (change) => `${change < 0 ? "−" : "+"}${Math.abs(100 * change).toFixed(1)} points`;

// What a search means: a part of a name, or between slashes a regular expression.
function matcher(text) {
  if (text === "") return () => false;
  const expression = /^\/(.+)\/$/.exec(text);
  if (!expression) {
    const part = text.toLowerCase();
    return (name) => name.toLowerCase().includes(part);
  }
  try {
    const compiled = new RegExp(expression[1], "i");
    return (name) => compiled.test(name);
  } catch {
    return null;
  }
}

// The same for the same name, so that a function is found again.
function shade(name) {
  let sum = 0;
  for (let n = 0; n < name.length; n += 1) sum = (sum * 31 + name.charCodeAt(n)) % 1009;
  return sum % 40;
}
