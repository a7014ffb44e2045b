// The text format of Prometheus: text in, samples out. Knows no metric.

const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(,?)/y;
const ESCAPES = { n: "\n", "\\": "\\", '"': '"' };
const SPECIAL = { "+Inf": Infinity, "-Inf": -Infinity, NaN: NaN };

// Samples by metric: name → [{key, labels, value}]. The key is the series as it is written.
function parseMetrics(text) {
  const metrics = new Map();
  let number = 0;
  for (const line of text.split("\n")) {
    number += 1;
    if (line === "" || line.startsWith("#")) continue;
    const sample = parseSample(line);
    if (!sample) throw new Error(`line ${number} of the metrics is not understood: ${line.slice(0, 80)}`);
    const known = metrics.get(sample.name);
    if (known) known.push(sample);
    else metrics.set(sample.name, [sample]);
  }
  return metrics;
}

function parseSample(line) {
  const name = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)?.[0];
  if (!name) return null;
  const labels = new Map();
  let at = name.length;
  if (line[at] === "{") {
    at += 1;
    while (line[at] !== "}") {
      LABEL.lastIndex = at;
      const found = LABEL.exec(line);
      if (!found) return null;
      labels.set(found[1], unescaped(found[2]));
      at = LABEL.lastIndex;
    }
    at += 1;
  }
  const key = line.slice(0, at);
  // A time may follow, in milliseconds.
  const [value, , ...more] = line.slice(at).trim().split(/\s+/);
  const read = parseValue(value);
  if (read === null || more.length > 0) return null;
  return { name, key, labels, value: read };
}

function unescaped(text) {
  return text.includes("\\") ? text.replace(/\\(.)/g, (whole, c) => ESCAPES[c] ?? whole) : text;
}

function parseValue(text) {
  if (Object.hasOwn(SPECIAL, text)) return SPECIAL[text];
  return /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text) ? Number(text) : null;
}
