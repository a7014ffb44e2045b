// How long things take: waits of the node, calls into CUDA, system calls.

const MOST_CALLS = 10;
const QUANTILES = [0.5, 0.99];

// [family, name for people, label that tells apart]
const WAITS = [
  ["sched_runqueue_latency_seconds", "Waiting for a CPU", "agent"],
  ["block_io_duration_seconds", "Disk", "operation"],
  ["block_io_queue_seconds", "Disk queue", "operation"],
  ["tcp_rtt_seconds", "TCP round trip", "agent"],
  ["tcp_connect_duration_seconds", "TCP connect", "agent"],
  ["cluster_peer_rtt_seconds", "Round trip to", "peer"],
  ["gpu_kernel_execution_seconds", "CUDA kernels", "agent"],
];

const latencyTables = {};

function makeLatencies() {
  const columns = (title) => [
    { title, show: (row) => ({ text: row.name, title: row.name }) },
    { title: "Rate", show: (row) => `${count(row.rate)}/s` },
    { title: "Median", show: (row) => (row.q[0] === null ? NONE : duration(row.q[0])), hint: "half of them are shorter" },
    { title: "p99", show: (row) => (row.q[1] === null ? NONE : duration(row.q[1])), hint: "99 of 100 are shorter" },
    { title: "Time", show: (row) => `${duration(row.share)}/s`, minor: true, hint: "seconds spent a second" },
  ];
  const empty = "Nothing happened since the last figures.";
  for (const [key, title, head] of [["waits", "Waits", "Of"], ["cuda", "Calls into CUDA", "Call"], ["calls", "System calls that take most time", "Call"]]) {
    const place = el("div");
    byId("latency-parts").append(panel(title, place));
    latencyTables[key] = new Table(place, title, columns(head), { empty });
  }
}

function drawLatencies({ between }) {
  const rows = [];
  for (const [family, title, label] of WAITS) {
    for (const [own, found] of between.histograms(family, (sample) => sample.labels.get(label), QUANTILES)) {
      if (found.rate > 0) rows.push({ key: `${family} ${own}`, name: `${title}: ${own}`, ...found });
    }
  }
  latencyTables.waits.update(rows);
  for (const [table, family, label] of [["cuda", "cuda_call_duration_seconds", "call"], ["calls", "syscall_duration_seconds", "syscall"]]) {
    const found = [...between.histograms(family, (sample) => sample.labels.get(label), QUANTILES)];
    const called = found.filter(([, { rate }]) => rate > 0).sort(([, a], [, b]) => b.share - a.share);
    latencyTables[table].update(called.slice(0, MOST_CALLS).map(([name, own]) => ({ key: name, name, ...own })));
  }
}
