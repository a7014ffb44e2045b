// Numbers for people. What is not known is a dash.

const NONE = "–";

function scaled(value, steps, digits) {
  if (!Number.isFinite(value)) return NONE;
  const [factor, unit] = steps.find(([least]) => Math.abs(value) >= least) ?? steps[steps.length - 1];
  const text = factor === 1 && Number.isInteger(value) ? String(value) : short(value / factor, digits);
  return `${text} ${unit}`.trimEnd();
}

function short(value, digits = 3) {
  const size = Math.abs(value);
  const whole = size >= 1 ? Math.floor(Math.log10(size)) + 1 : 1;
  return value.toFixed(Math.max(0, Math.min(digits - whole, 2)));
}

const powers = (base, units) => units.map((unit, n) => [base ** (units.length - 1 - n), unit]);
const BINARY = powers(1024, ["PiB", "TiB", "GiB", "MiB", "KiB", "B"]);
const DECIMAL = powers(1000, ["PB/s", "TB/s", "GB/s", "MB/s", "kB/s", "B/s"]);
const COUNTS = [[1e9, "G"], [1e6, "M"], [1e4, "k"], [0, ""]];
const TIMES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];

const bytes = (value) => (value === 0 ? "0 B" : scaled(value, BINARY));
const perSecond = (value) => (value === 0 ? "0 B/s" : scaled(value, DECIMAL));
const hertz = (value) => scaled(value, [[1e9, "GHz"], [1e6, "MHz"], [1, "Hz"]]);
const percent = (ratio, digits = 0) => (Number.isFinite(ratio) ? `${(100 * ratio).toFixed(digits)} %` : NONE);
const degrees = (value) => (Number.isFinite(value) ? `${value.toFixed(0)} °C` : NONE);
const watts = (value) => (Number.isFinite(value) ? `${value.toFixed(0)} W` : NONE);
const whole = (value) => (Number.isFinite(value) ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : NONE);

function count(value) {
  if (!Number.isFinite(value)) return NONE;
  const [, unit] = COUNTS.find(([least]) => Math.abs(value) >= least);
  const factor = { G: 1e9, M: 1e6, k: 1e3 }[unit];
  if (factor) return `${short(value / factor)} ${unit}`;
  return value.toFixed(Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : 1);
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  if (seconds === 0) return "0 s";
  if (Math.abs(seconds) < 120) return scaled(seconds, TIMES);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"]];
  const at = parts.findIndex(([size]) => seconds >= size);
  const [size, unit] = parts[at];
  const first = Math.floor(seconds / size);
  const next = parts[at + 1];
  const rest = next ? Math.floor((seconds - first * size) / next[0]) : 0;
  return rest ? `${first} ${unit} ${rest} ${next[1]}` : `${first} ${unit}`;
}

const clock = (date) => date.toLocaleTimeString("en-GB");
