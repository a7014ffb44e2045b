// The parts of the page that compute: text in, numbers out.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const files = ["parse", "rates", "format", "stacks"];
const source = files.map((name) => readFileSync(`${process.env.PAGE}/${name}.js`, "utf8")).join("");
const names = "parseMetrics, Snapshot, Interval, History, parseFolded, layout, matching, functions, shares, bytes, duration, count, percent";
const page = new Function(`${source}; return { ${names} };`)();

const START = "process_start_time_seconds 5\n";
const age = (seconds) => `# HELP monitoring_agent_snapshot_age_seconds a\nmonitoring_agent_snapshot_age_seconds ${seconds}\n`;
const interval = (before, after, seconds = 2) => {
  const [first, second] = [[before, 100], [after, 100 + seconds]].map(([text, at]) => new page.Snapshot(START + text + age(0), at));
  return new page.Interval(first, second);
};

test("labels with all that can be in them", () => {
  const text = String.raw`a_total{x="<b>",y="q\"\\\n,}{=",__proto__="p"} 3` + "\n# TYPE b gauge\nb +Inf\nc NaN 17\nd{} -1.5e-3\n";
  const metrics = page.parseMetrics(text);
  assert.deepEqual([...metrics.get("a_total")[0].labels], [["x", "<b>"], ["y", 'q"\\\n,}{='], ["__proto__", "p"]]);
  assert.deepEqual(["a_total", "b", "c", "d"].map((name) => metrics.get(name)[0].value), [3, Infinity, NaN, -0.0015]);
});

test("what is no sample is an error", () => {
  for (const line of ["a", "a{ 1", 'a{b="c} 1', 'a{b="c"}', "a x", "1a 1", "a 1 2 3", 'a{b="c"} ']) {
    assert.throws(() => page.parseMetrics(line), /line 1 /, line);
  }
});

test("rates by the snapshots' own time", () => {
  const one = interval('a_total{m="x"} 1\na_total{m="y"} 10\n', 'a_total{m="x"} 5\na_total{m="y"} 12\n');
  assert.equal(one.rate("a_total"), 3);
  assert.equal(one.rate("a_total", { m: "x" }), 2);
  assert.deepEqual([...one.rates("a_total", "m")], [["x", 2], ["y", 1]]);
  assert.equal(one.rate("none_total"), null);
  const aged = new page.Interval(new page.Snapshot(`${START}a 1\n${age(1)}`, 101), new page.Snapshot(`${START}a 4\n${age(0)}`, 103));
  assert.equal(aged.rate("a"), 1);
});

test("a counter that fell, a series that is new, another run", () => {
  const reset = interval('a{m="x"} 5\na{m="y"} 1\n', 'a{m="x"} 1\na{m="y"} 3\na{m="z"} 9\n');
  assert.equal(reset.rate("a"), null);
  assert.deepEqual([...reset.rates("a", "m")], [["x", null], ["y", 1]]);
  assert.deepEqual(reset.events("a").map(({ key, count }) => [key, count]), [['a{m="y"}', 2], ['a{m="z"}', 9]]);
  const restarted = new page.Interval(new page.Snapshot(`${START}a 1\n`, 1), new page.Snapshot("process_start_time_seconds 6\na 4\n", 3));
  assert.equal(restarted.rate("a"), null);
  assert.deepEqual(restarted.events("a"), []);
  assert.equal(new page.Interval(null, new page.Snapshot("a 4\n", 3)).rate("a"), null);
});

test("an answer of the same snapshot is known by all but its age", () => {
  const [first, again, other] = [["a 1\n", 1], ["a 1\n", 2], ["a 2\n", 2]].map(([text, seconds]) => new page.Snapshot(text + age(seconds), 10));
  assert.equal(again.isOf(first), true);
  assert.equal(other.isOf(first), false);
  assert.equal(first.isOf(null), false);
});

test("quantiles as Prometheus has them", () => {
  const buckets = (counts) => ["0.1", "1", "+Inf"].map((le, n) => `h_bucket{a="x",le="${le}"} ${counts[n]}\n`).join("") + `h_sum{a="x"} ${counts[3]}\n`;
  const one = interval(buckets([0, 0, 0, 0]), buckets([50, 100, 100, 8]));
  const found = one.histograms("h", (sample) => sample.labels.get("a"), [0.25, 0.5, 0.75, 1]).get("x");
  assert.deepEqual(found.q, [0.05, 0.1, 0.55, 1]);
  assert.deepEqual([found.rate, found.share], [50, 4]);
  const beyond = interval(buckets([0, 0, 0, 0]), buckets([0, 0, 4, 8]));
  assert.deepEqual(beyond.histograms("h", () => "", [0.5]).get("").q, [1]);
});

test("figures that are away leave a gap", () => {
  const history = new page.History(3);
  history.step({ a: 1 });
  history.step({});
  history.step({ a: 2, b: 3 });
  assert.deepEqual([history.of("a"), history.of("b"), history.of("c")], [[1, null, 2], [null, null, 3], []]);
  history.step({ a: NaN });
  assert.deepEqual(history.of("a"), [null, 2, null]);
});

test("stacks become a tree", () => {
  const root = page.parseFolded("p;a b;c 3\np;a b 1\np;d_[k] 4\n", false);
  const [ab, d] = root.list[0].list;
  assert.deepEqual([root.after, ab.name, ab.after, ab.ownAfter, d.name, d.isKernel], [8, "a b", 4, 1, "d", true]);
  assert.equal(page.matching(root, (name) => name === "a b"), 0.5);
  const placed = page.layout(ab, 0.1).map(([one, left, width]) => [one.name, left, width]);
  assert.deepEqual(placed, [["p", 0, 1], ["all", 0, 1], ["a b", 0, 1], ["c", 0, 0.75]]);
  assert.throws(() => page.parseFolded("no number\n", false), /not understood/);
});

test("two times of different length are compared by their parts", () => {
  const root = page.parseFolded("p;a 1 20\np;b 3 20\np;<gone> 4 0\n", true);
  const [gone, a] = root.list[0].list;
  assert.deepEqual(page.shares(root, a), { now: 0.5, past: 0.125, change: 0.375 });
  assert.deepEqual([gone.name, page.shares(root, gone).change], ["<gone>", -0.5]);
});

test("a function that calls itself counts once", () => {
  const found = page.functions(page.parseFolded("f;g;f 2\nh 2\n", false));
  const f = found.find(({ name }) => name === "f");
  assert.deepEqual([f.own, f.all], [0.5, 0.5]);
});

test("numbers for people", () => {
  const check = (show, pairs) => pairs.forEach(([value, want]) => assert.equal(show(value), want));
  check(page.bytes, [[0, "0 B"], [1023, "1023 B"], [1536, "1.50 KiB"], [NaN, "–"]]);
  check(page.duration, [[0, "0 s"], [0.0123, "12.3 ms"], [3700, "1 h 1 min"], [90061, "1 d 1 h"]]);
  check(page.count, [[12, "12"], [0.31, "0.3"], [12345, "12.3 k"], [1e6, "1.00 M"]]);
  check(page.percent, [[0.374, "37 %"], [null, "–"]]);
});
