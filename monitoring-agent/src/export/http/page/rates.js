// A snapshot of the agent's metrics, and what happened between two of them.

const AGE = "monitoring_agent_snapshot_age_seconds";

class Snapshot {
  // `at` is when the answer came, in seconds of any clock that goes evenly.
  constructor(text, at) {
    // The age ends every answer, and differs in answers of one snapshot.
    const tail = text.lastIndexOf(`# HELP ${AGE}`);
    this.body = tail < 0 ? text : text.slice(0, tail);
    this.metrics = parseMetrics(text);
    this.age = this.one(AGE) ?? 0;
    this.taken = at - this.age;
  }

  isOf(other) {
    return this.body === other?.body;
  }

  // Samples of a metric whose labels have these values.
  all(name, labels = {}) {
    const wanted = Object.entries(labels);
    const samples = this.metrics.get(name) ?? [];
    return samples.filter((sample) => wanted.every(([key, value]) => sample.labels.get(key) === value));
  }

  has(name) {
    return this.metrics.has(name);
  }

  one(name, labels) {
    return this.all(name, labels)[0]?.value ?? null;
  }

  // Absent where there is no sample: nothing is not zero.
  sum(name, labels) {
    const samples = this.all(name, labels);
    return samples.length ? samples.reduce((sum, sample) => sum + sample.value, 0) : null;
  }

  values(name, label, labels) {
    return new Set(this.all(name, labels).map((sample) => sample.labels.get(label)));
  }
}

// Between two snapshots of one run of the agent. A counter that fell was begun anew: what happened
// is not known, and is null.
class Interval {
  constructor(before, after) {
    this.before = before;
    this.after = after;
    this.seconds = before ? after.taken - before.taken : 0;
    const start = "process_start_time_seconds";
    this.known = this.seconds > 0 && before.one(start) === after.one(start);
    this.index = new Map();
  }

  // What each series grew by, by what `group` makes of it.
  growths(name, group, labels) {
    const grown = new Map();
    if (!this.known) return grown;
    const before = this.earlier(name);
    for (const sample of this.after.all(name, labels)) {
      const past = before.get(sample.key);
      // One that is new has no beginning to count from.
      if (past === undefined) continue;
      const key = group(sample);
      const growth = sample.value >= past && grown.get(key) !== null ? sample.value - past : null;
      grown.set(key, growth === null ? null : (grown.get(key) ?? 0) + growth);
    }
    return grown;
  }

  earlier(name) {
    if (!this.index.has(name)) {
      this.index.set(name, new Map(this.before.all(name).map((sample) => [sample.key, sample.value])));
    }
    return this.index.get(name);
  }

  // Per second, of all series with these labels together.
  rate(name, labels) {
    const growth = this.growths(name, () => "", labels).get("");
    return growth == null ? null : growth / this.seconds;
  }

  // Per second, by a label or by what a function makes of a sample.
  rates(name, by, labels) {
    const group = typeof by === "string" ? (sample) => sample.labels.get(by) : by;
    const grown = this.growths(name, group, labels);
    for (const [key, growth] of grown) grown.set(key, growth === null ? null : growth / this.seconds);
    return grown;
  }

  // Events: series appear with the first one, and count from nothing.
  events(name, labels) {
    if (!this.known) return [];
    const before = this.earlier(name);
    return this.after.all(name, labels)
      .map((sample) => ({ ...sample, count: sample.value - (before.get(sample.key) ?? 0) }))
      .filter((event) => event.count > 0);
  }

  // Quantiles of a histogram, as Prometheus has them: {count per second, mean, q: [...]}, by group.
  histograms(name, group, quantiles, labels) {
    const buckets = new Map();
    const grown = this.growths(`${name}_bucket`, (sample) => `${sample.labels.get("le")} ${group(sample)}`, labels);
    for (const [key, growth] of grown) {
      const space = key.indexOf(" ");
      const own = key.slice(space + 1);
      if (!buckets.has(own)) buckets.set(own, []);
      buckets.get(own).push([parseValue(key.slice(0, space)), growth]);
    }
    const sums = this.growths(`${name}_sum`, group, labels);
    const found = new Map();
    for (const [key, own] of buckets) {
      if (own.some(([, growth]) => growth === null)) continue;
      own.sort(([a], [b]) => a - b);
      const count = own[own.length - 1][1];
      found.set(key, {
        rate: count / this.seconds,
        share: (sums.get(key) ?? 0) / this.seconds,
        q: quantiles.map((wanted) => quantile(own, wanted)),
      });
    }
    return found;
  }
}

// `buckets` are [upper bound, how many up to there], in order.
function quantile(buckets, wanted) {
  const count = buckets[buckets.length - 1][1];
  if (!(count > 0)) return null;
  const rank = wanted * count;
  const at = buckets.findIndex(([, upTo]) => upTo >= rank);
  const [bound, upTo] = buckets[at];
  if (bound === Infinity) return at > 0 ? buckets[at - 1][0] : null;
  const [low, below] = at > 0 ? buckets[at - 1] : [0, 0];
  return upTo > below ? low + ((bound - low) * (rank - below)) / (upTo - below) : bound;
}

// The last values of a figure; null is a gap.
class Series {
  constructor(length) {
    this.length = length;
    this.values = [];
  }

  push(value) {
    this.values.push(Number.isFinite(value) ? value : null);
    if (this.values.length > this.length) this.values.shift();
  }
}

// Figures over time, by name. All go forward together, so that a figure that is away has a gap.
class History {
  constructor(length) {
    this.length = length;
    this.series = new Map();
    this.steps = 0;
  }

  step(figures) {
    for (const name of Object.keys(figures)) {
      if (!this.series.has(name)) {
        const series = new Series(this.length);
        for (let n = Math.min(this.steps, this.length); n > 0; n -= 1) series.push(null);
        this.series.set(name, series);
      }
    }
    for (const [name, series] of this.series) series.push(figures[name] ?? null);
    for (const [name, series] of this.series) {
      if (series.values.every((value) => value === null)) this.series.delete(name);
    }
    this.steps += 1;
  }

  of(name) {
    return this.series.get(name)?.values ?? [];
  }
}
