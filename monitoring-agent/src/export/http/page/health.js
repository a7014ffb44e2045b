// Is it well, and if not, why not: judgements, by the thresholds of the project's alerts.

const REMEMBERED = 300;
const LEVELS = ["critical", "warning", "info"];
const SIGNS = { critical: "✖", warning: "▲", info: "●" };
const HARMFUL = ["hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"];

const WORDS = (number, one, many) => `${whole(number)} ${number === 1 ? one : many}`;

// What is so now: [level, where, what].
function states({ now, between, pace }) {
  const found = [];
  const add = (level, where, what) => found.push([level, where, what]);
  const free = now.one("node_memory_available_bytes") / now.one("node_memory_total_bytes");
  if (free < 0.1) add("critical", "Memory", `only ${percent(free, 1)} is available`);
  for (const disk of filesystems(now)) {
    if (disk.avail / disk.size < 0.05) add("warning", disk.mount, `the file system is ${percent(1 - disk.avail / disk.size, 1)} full`);
  }
  const files = now.one("node_filefd_allocated") / now.one("node_filefd_maximum");
  if (files > 0.8) add("warning", "Files", `${percent(files)} of all file descriptors are taken`);
  for (const gpu of gpusOf(now)) {
    const where = `GPU ${gpu.id}`;
    if (gpu.lost) add("critical", where, "is lost: its driver cannot reach it");
    if (gpu.hottest > 85) add("critical", where, `${degrees(gpu.hottest)}, which is too hot`);
    const slow = gpu.throttled.filter((reason) => HARMFUL.includes(reason));
    if (slow.length) add("warning", where, `is slowed down: ${slow.join(", ").replaceAll("_", " ")}`);
    if (gpu.rows) add("warning", where, "has memory rows to be remapped");
  }
  for (const source of sourcesOf(now, between)) {
    if (source.state === "down") add("warning", `Source ${source.name}`, "is down: its figures are missing or old");
    if (source.losing > 0) add("warning", `Source ${source.name}`, `loses ${count(source.losing)} events a second`);
  }
  if (now.age > Math.max(30, 5 * pace)) add("warning", "Figures", `are ${duration(now.age)} old`);
  const slowest = (name, group, label) => between.histograms(name, (sample) => sample.labels.get(group), [0.99], label);
  for (const [agent, { q }] of slowest("sched_runqueue_latency_seconds", "agent")) {
    if (q[0] > 0.1) add("warning", agent, `waits for a CPU: ${duration(q[0])} in one of a hundred times`);
  }
  for (const [device, { q }] of slowest("block_io_duration_seconds", "device")) {
    if (q[0] > 0.25) add("warning", device, `is slow: ${duration(q[0])} for one of a hundred requests`);
  }
  return found;
}

// What happened since the snapshot before.
function happenings({ between }) {
  const found = [];
  const add = (level, name, labels, say) => {
    for (const event of between.events(name, labels)) {
      const get = (label) => event.labels.get(label);
      const [where, what] = say(get);
      found.push({ level, where, what, count: event.count });
    }
  };
  add("critical", "agent_crashes_total", {}, (get) => [get("agent"), `crashed by ${get("signal")}`]);
  add("critical", "agent_lifecycle_events_total", { event: "oom_kill" }, (get) => [get("agent"), "was killed for want of memory"]);
  add("critical", "gpu_xid_errors_total", {}, (get) => [`GPU ${get("device_id")}`, `reported XID ${get("xid")}`]);
  add("critical", "gpu_ecc_errors_total", { kind: "uncorrected", scope: "volatile" }, (get) => [`GPU ${get("device_id")}`, `has uncorrected memory errors (${get("location")})`]);
  add("critical", "block_io_errors_total", {}, (get) => [get("device"), `failed requests (${get("operation")})`]);
  add("warning", "cuda_errors_total", {}, (get) => [get("agent"), `${get("call")} failed: ${get("code")}`]);
  add("warning", "cuda_double_frees_total", {}, (get) => [get("agent"), "freed device memory twice"]);
  add("info", "monitoring_agent_series_limited_total", {}, (get) => [get("family"), "has more series than are shown"]);
  return found;
}

const remembered = new Map();

function drawHealth(moment, at) {
  for (const event of happenings(moment)) {
    const key = JSON.stringify([event.where, event.what]);
    const known = remembered.get(key);
    remembered.set(key, { ...event, count: event.count + (known?.count ?? 0), at, when: new Date() });
  }
  for (const [key, event] of remembered) if (at - event.at > REMEMBERED) remembered.delete(key);
  const findings = states(moment);
  for (const { level, where, what, count: times, when } of remembered.values()) {
    findings.push([level, where, `${what}${times > 1 ? `, ${whole(times)} times` : ""}, last seen at ${clock(when)}`]);
  }
  findings.sort(([a], [b]) => LEVELS.indexOf(a) - LEVELS.indexOf(b));
  const worst = findings[0]?.[0] ?? "good";
  setLevel(byId("verdict"), worst);
  const number = findings.filter(([level]) => level !== "info").length;
  setText(byId("judgement"), number ? `${WORDS(number, "thing", "things")} to look at.` : "Yes, as far as can be seen.");
  keyed(byId("findings"), findings, ([, where, what]) => `${where}\n${what.replace(/[\d.]+/g, "")}`, () => el("li", {}, el("span", { class: "sign" }), el("b"), el("span")), (line, [level, where, what]) => {
    setLevel(line, level);
    setText(line.children[0], SIGNS[level]);
    line.children[0].setAttribute("aria-label", level);
    line.children[0].setAttribute("role", "img");
    setText(line.children[1], where);
    setText(line.children[2], what);
  });
}
