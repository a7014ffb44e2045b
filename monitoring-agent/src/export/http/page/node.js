// The node: processors, memory, disks, network. The tiles at the top are its summary.

const POINTS = 90;

function filesystems(now) {
  const size = new Map(now.all("node_filesystem_size_bytes").map((sample) => [sample.labels.get("mountpoint"), sample]));
  return now.all("node_filesystem_avail_bytes")
    .map(({ labels, value }) => ({ mount: labels.get("mountpoint"), type: labels.get("fstype"), device: labels.get("device"), avail: value, size: size.get(labels.get("mountpoint"))?.value }))
    .filter((one) => one.size > 0);
}

// The part of a second that each CPU is not idle: cpu → ratio.
function busyCpus(between) {
  const idle = between.rates("node_cpu_seconds_total", "cpu", { mode: "idle" });
  const cpus = [...idle].map(([cpu, rate]) => [cpu, rate === null ? null : Math.min(Math.max(1 - rate, 0), 1)]);
  return new Map(cpus.sort(([a], [b]) => a - b));
}

const outside = (sample) => (sample.labels.get("device") === "lo" ? "inside" : "outside");
const mean = (values) => (values.length && !values.includes(null) ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

// The figures that are drawn over time.
function figures({ now, between }) {
  const total = now.one("node_memory_total_bytes");
  const available = now.one("node_memory_available_bytes");
  const gpus = gpusOf(now);
  const found = {
    cpu: mean([...busyCpus(between).values()]),
    memory: total === null ? null : 1 - available / total,
    read: between.rate("node_disk_read_bytes_total"),
    written: between.rate("node_disk_written_bytes_total"),
    received: between.rates("node_network_receive_bytes_total", outside).get("outside") ?? null,
    sent: between.rates("node_network_transmit_bytes_total", outside).get("outside") ?? null,
    active: now.has("agent_active") ? now.sum("agent_active") - (now.one("agent_active", { agent: "other" }) ?? 0) : null,
    gpus: mean(gpus.map((gpu) => gpu.busy).filter((busy) => busy !== null)),
    launches: between.rate("gpu_kernel_launches_total"),
    calls: between.rate("syscall_total"),
  };
  for (const gpu of gpus) found[`gpu ${gpu.id}`] = gpu.busy;
  return found;
}

const both = (a, b) => (a === null && b === null ? null : (a ?? 0) + (b ?? 0));

function tilesOf({ now }, found) {
  const load = now.one("node_load1");
  const total = now.one("node_memory_total_bytes");
  const gpus = gpusOf(now).length;
  const cpus = now.values("node_cpu_seconds_total", "cpu").size;
  const io = both(found.read, found.written);
  const net = both(found.received, found.sent);
  return [
    { key: "cpu", title: "CPU", text: percent(found.cpu), more: load === null ? "" : `load ${load.toFixed(2)} on ${WORDS(cpus, "CPU", "CPUs")}`, most: 1, level: found.cpu > 0.95 ? "warning" : "" },
    { key: "memory", title: "Memory", text: percent(found.memory), more: total === null ? "" : `${bytes(now.one("node_memory_available_bytes"))} of ${bytes(total)} available`, most: 1, level: found.memory > 0.9 ? "critical" : "" },
    { key: "disk", title: "Disk", text: perSecond(io ?? NaN), more: `${perSecond(found.read ?? NaN)} read, ${perSecond(found.written ?? NaN)} written`, value: io },
    { key: "net", title: "Network", text: perSecond(net ?? NaN), more: `${perSecond(found.received ?? NaN)} in, ${perSecond(found.sent ?? NaN)} out`, value: net },
    gpus
      ? { key: "gpus", title: "GPUs", text: percent(found.gpus), more: `mean of ${WORDS(gpus, "GPU", "GPUs")}`, most: 1 }
      : { key: "calls", title: "System calls", text: found.calls === null ? NONE : `${count(found.calls)}/s`, more: "no GPU on this node" },
    { key: "active", title: "Agents", text: whole(found.active ?? NaN), more: "processes of the watched groups" },
  ];
}

function drawTiles(moment, found) {
  keyed(byId("tiles"), tilesOf(moment, found), ({ key }) => key, () => {
    const spark = new Spark();
    const made = el("div", { class: "tile" }, el("h3"), el("b"), el("small"), spark.element);
    made.spark = spark;
    return made;
  }, (tile, { key, title, text, more, most, level }) => {
    [title, text, more].forEach((value, n) => setText(tile.children[n], value));
    setLevel(tile, level);
    tile.dataset.tile = key;
    tile.spark.draw(moment.history.of(key), most, POINTS);
  });
}

const hostParts = {};

function makeHost() {
  const p = hostParts;
  p.cpus = el("ol", { class: "cpus" });
  p.pressure = el("p", { class: "note" });
  p.memory = el("div", { class: "stack", "aria-hidden": "true" }, ...["used", "cached", "buffers"].map((name) => el("i", { class: name })));
  p.legend = el("ul", { class: "legend" });
  const filesystemsPart = el("div");
  const disksPart = el("div");
  const netPart = el("div");
  byId("host-parts").append(
    panel("Busy CPUs", p.cpus, p.pressure),
    panel("Memory", p.memory, p.legend),
    panel("File systems", filesystemsPart),
    panel("Disks", disksPart),
    panel("Network interfaces", netPart),
  );
  p.filesystems = new Table(filesystemsPart, "File systems", [
    { title: "Mounted at", show: (row) => ({ text: row.mount, title: `${row.device}, ${row.type}` }) },
    { title: "Free", show: (row) => ({ text: bytes(row.avail), title: `of ${bytes(row.size)}` }) },
    { title: "Full", show: (row) => ({ text: percent(1 - row.avail / row.size), ratio: 1 - row.avail / row.size, level: row.avail / row.size < 0.05 ? "warning" : "" }) },
  ], { empty: "None are told." });
  p.disks = new Table(disksPart, "Disks", [
    { title: "Device", show: (row) => row.key },
    { title: "Reads", show: (row) => perSecond(row.read) },
    { title: "Writes", show: (row) => perSecond(row.written) },
    { title: "Requests", show: (row) => `${count(row.requests)}/s`, minor: true },
    { title: "Busy", show: (row) => ({ text: percent(row.busy), ratio: row.busy }) },
  ], { empty: "None are told." });
  p.net = new Table(netPart, "Network interfaces", [
    { title: "Interface", show: (row) => row.key },
    { title: "In", show: (row) => perSecond(row.received) },
    { title: "Out", show: (row) => perSecond(row.sent) },
    { title: "Packets", show: (row) => `${count(row.packets)}/s`, minor: true },
    { title: "Errors", hint: "errors and drops since the node was started", show: (row) => ({ text: whole(row.errors), level: row.growing ? "warning" : "" }) },
  ], { empty: "None are told." });
}

function drawHost(moment) {
  const { now, between } = moment;
  const p = hostParts;
  keyed(p.cpus, [...busyCpus(between)], ([cpu]) => cpu, () => el("li", {}, el("span"), meter(), el("b")), (line, [cpu, busy]) => {
    setText(line.children[0], cpu);
    setMeter(line.children[1], busy, busy > 0.95 ? "warning" : "");
    setText(line.children[2], percent(busy ?? NaN));
  });
  const waits = ["cpu", "io", "memory"].map((of) => [of, between.rate(`node_pressure_${of}_waiting_seconds_total`)]);
  const told = waits.filter(([, rate]) => rate !== null);
  setText(p.pressure, told.length ? `Part of the time in which something waits: ${told.map(([of, rate]) => `${of === "cpu" ? "CPU" : of} ${percent(rate, 1)}`).join(", ")}.` : "");
  drawMemory(now);
  p.filesystems.update(filesystems(now).map((row) => ({ key: `${row.mount}\n${row.device}`, ...row })));
  const by = (metric) => between.rates(metric, "device");
  const [read, written, reads, writes, busy] = ["read_bytes", "written_bytes", "reads_completed", "writes_completed", "io_time_seconds"].map((name) => by(`node_disk_${name}_total`));
  p.disks.update([...now.values("node_disk_io_time_seconds_total", "device")].map((key) => ({ key, read: read.get(key) ?? NaN, written: written.get(key) ?? NaN, requests: (reads.get(key) ?? NaN) + (writes.get(key) ?? NaN), busy: busy.get(key) ?? NaN })));
  const [received, sent, inward, outward] = ["receive_bytes", "transmit_bytes", "receive_packets", "transmit_packets"].map((name) => by(`node_network_${name}_total`));
  const troubles = ["receive_errs", "transmit_errs", "receive_drop", "transmit_drop"].map((name) => `node_network_${name}_total`);
  p.net.update([...now.values("node_network_receive_bytes_total", "device")].map((key) => ({
    key,
    received: received.get(key) ?? NaN,
    sent: sent.get(key) ?? NaN,
    packets: (inward.get(key) ?? NaN) + (outward.get(key) ?? NaN),
    errors: troubles.reduce((sum, name) => sum + (now.one(name, { device: key }) ?? 0), 0),
    growing: troubles.some((name) => between.rate(name, { device: key }) > 0),
  })));
}

function drawMemory(now) {
  const get = (name) => now.one(`node_memory_${name}_bytes`);
  const total = get("total");
  if (total === null) return;
  const [free, cached, buffers] = [get("free"), get("cached"), get("buffers")];
  const used = Math.max(total - free - cached - buffers, 0);
  const swap = get("swap_total");
  [used, cached, buffers].forEach((value, n) => {
    hostParts.memory.children[n].style.width = `${((100 * value) / total).toFixed(2)}%`;
  });
  const rows = [["used", "Used", used], ["cached", "Cached", cached], ["buffers", "Buffers", buffers], ["free", "Free", free], ["", "Available", get("available")], ["", "In all", total]];
  if (swap > 0) rows.push(["", "Swapped", swap - get("swap_free")]);
  keyed(hostParts.legend, rows, ([, name]) => name, ([kind]) => el("li", {}, el("i", { class: kind }), el("span"), el("b")), (line, [, name, value]) => {
    setText(line.children[1], name);
    setText(line.children[2], bytes(value));
  });
}
