// What the parts of the page are made of. Texts, foreign ones among them, are only ever set as text.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(given)) {
    if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// What is the same already stays as it is: a selection in it, too.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setLevel(element, level) {
  if (element.dataset.level !== (level ?? "")) element.dataset.level = level ?? "";
}

// The children of `parent`, one for each item, by key and in order. `make` makes one, `fill` updates.
function keyed(parent, items, keyOf, make, fill) {
  parent.byKey ??= new Map();
  const gone = new Set(parent.byKey.keys());
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    gone.delete(key);
    let child = parent.byKey.get(key);
    if (!child) {
      child = make(item);
      parent.byKey.set(key, child);
    }
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
    fill(child, item);
  }
  for (const key of gone) {
    parent.byKey.get(key).remove();
    parent.byKey.delete(key);
  }
}

// A line of the last values, with a gap where there is none. What it shows is said beside it.
class Spark {
  constructor() {
    this.element = document.createElementNS(SVG, "svg");
    for (const [key, value] of [["viewBox", "0 0 100 24"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"], ["class", "spark"]]) {
      this.element.setAttribute(key, value);
    }
    [this.area, this.line] = ["area", "line"].map((name) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      this.element.append(path);
      return path;
    });
  }

  // Without `most` the highest value is at the top.
  draw(values, most, length) {
    const top = most ?? Math.max(...values.filter((value) => value !== null), 0);
    const x = (n) => (100 * (n + length - values.length)) / (length - 1);
    const y = (value) => 23 - (top > 0 ? 22 * Math.min(value / top, 1) : 0);
    let [line, area, open] = ["", "", null];
    values.forEach((value, n) => {
      if (value === null) {
        open = null;
        return;
      }
      const point = `${x(n).toFixed(1)} ${y(value).toFixed(1)}`;
      if (open === null) line += `M${point}h.01`;
      else {
        line += `L${point}`;
        area += `M${open.x} 24L${open.point}L${point}L${x(n).toFixed(1)} 24Z`;
      }
      open = { x: x(n).toFixed(1), point };
    });
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }
}

// A bar that is filled to a ratio. Its number stands beside it.
function meter() {
  return el("span", { class: "meter", "aria-hidden": "true" }, el("i"));
}

function setMeter(element, ratio, level) {
  element.firstChild.style.width = `${(100 * Math.min(Math.max(ratio || 0, 0), 1)).toFixed(1)}%`;
  setLevel(element, level);
}

// A table with rows by key. A column is {title, of, show, ...}: `of` is what it is sorted by, and
// `show` makes its text, or {text, ratio, level, badge}.
class Table {
  constructor(parent, name, columns, { sort = null, down = true, empty = "" } = {}) {
    [this.columns, this.sort, this.down, this.sortable] = [columns, sort, down, sort !== null];
    this.rows = [];
    this.body = el("tbody");
    this.heads = columns.map((column, n) => this.head(column, n));
    const caption = el("caption", { class: "hidden", text: name });
    const table = el("table", {}, caption, el("thead", {}, el("tr", {}, ...this.heads)), this.body);
    this.frame = el("div", { class: "scroll", role: "region", "aria-label": name, tabindex: "0" }, table);
    this.empty = el("p", { class: "note", text: empty });
    parent.append(this.frame, this.empty);
    this.mark();
  }

  head(column, n) {
    const head = el("th", { scope: "col", class: this.classes(column, n) });
    if (column.hint) head.title = column.hint;
    if (!this.sortable) {
      head.textContent = column.title;
      return head;
    }
    const button = el("button", { type: "button", text: column.title });
    button.addEventListener("click", () => {
      this.down = this.sort === column.title ? !this.down : n > 0;
      this.sort = column.title;
      this.mark();
      this.update(this.rows);
    });
    head.append(button);
    return head;
  }

  classes(column, n) {
    return [n > 0 && !column.text ? "number" : "", column.minor ? "minor" : ""].join(" ").trim();
  }

  mark() {
    this.columns.forEach((column, n) => {
      if (column.title === this.sort) this.heads[n].setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else this.heads[n].removeAttribute("aria-sort");
    });
  }

  update(rows) {
    this.rows = rows;
    const by = this.columns.find((column) => column.title === this.sort);
    const sorted = by ? [...rows].sort((a, b) => (this.down ? -1 : 1) * compared(by.of(a), by.of(b), this.down)) : rows;
    this.frame.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0 || this.empty.textContent === "";
    keyed(this.body, sorted, (row) => row.key, () => this.row(), (line, row) => {
      this.columns.forEach((column, n) => fillCell(line.children[n], column.show(row)));
    });
  }

  row() {
    return el("tr", {}, ...this.columns.map((column, n) => {
      const given = { class: this.classes(column, n) };
      return n === 0 ? el("th", { ...given, scope: "row" }) : el("td", given);
    }));
  }
}

// What is not known comes last, whichever way is up.
function compared(a, b, down) {
  const missing = (value) => value === null || value === undefined || Number.isNaN(value);
  if (missing(a) || missing(b)) return (missing(b) - missing(a)) * (down ? 1 : -1);
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

function fillCell(cell, shown) {
  const { text, ratio, level, badge, title } = typeof shown === "string" ? { text: shown } : shown;
  if (!cell.firstChild) cell.append(el("span", { class: "text" }));
  setText(cell.firstChild, text);
  cell.firstChild.classList.toggle("badge", Boolean(badge));
  setLevel(cell.firstChild, level);
  if (title !== undefined && cell.title !== title) cell.title = title;
  if (ratio !== undefined) {
    if (!cell.children[1]) cell.append(meter());
    setMeter(cell.children[1], ratio, level);
  }
}

// A part of a section: a title, and what is below it.
function panel(title, ...children) {
  const made = el("section", { class: "panel" }, el("h3", { text: title }), ...children);
  made.setAttribute("aria-label", title);
  return made;
}
