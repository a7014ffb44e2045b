// The watched groups of processes, and what is left of the node.

let agentsTable;
let agentsRows = [];

function agentsOf({ now, between }) {
  const names = now.values("agent_active", "agent");
  for (const name of now.values("agent_cpu_seconds_total", "agent")) names.add(name);
  const cpu = between.rates("agent_cpu_seconds_total", "agent");
  const offered = (metric, label) => between.rates(metric, "agent", label);
  const [messages, traffic, calls] = ["agent_messages_total", "net_socket_bytes_total", "syscall_total"].map((name) => offered(name));
  const waits = between.histograms("sched_runqueue_latency_seconds", (sample) => sample.labels.get("agent"), [0.99]);
  return [...names].map((key) => ({
    key,
    active: now.one("agent_active", { agent: key }),
    cpu: cpu.get(key) ?? null,
    memory: now.one("agent_memory_bytes", { agent: key, kind: "rss" }),
    threads: now.one("agent_threads", { agent: key }),
    files: now.one("agent_open_fds", { agent: key }),
    messages: messages.get(key) ?? null,
    traffic: traffic.get(key) ?? null,
    calls: calls.get(key) ?? null,
    waits: waits.get(key)?.q[0] ?? null,
    device: now.sum("gpu_process_memory_bytes", { agent: key }),
    crashes: now.sum("agent_crashes_total", { agent: key }),
  }));
}

function makeAgents() {
  const known = (value, show) => (value === null ? NONE : show(value));
  agentsTable = new Table(byId("agents-table"), "Agents", [
    { title: "Agent", of: (row) => row.key, show: (row) => ({ text: row.key, title: row.key }) },
    { title: "Processes", of: (row) => row.active, show: (row) => known(row.active, whole) },
    { title: "CPUs", of: (row) => row.cpu, show: (row) => known(row.cpu, (value) => value.toFixed(2)), hint: "CPU seconds a second" },
    { title: "Memory", of: (row) => row.memory, show: (row) => known(row.memory, bytes) },
    { title: "On GPUs", of: (row) => row.device, show: (row) => known(row.device, bytes), minor: true },
    { title: "Threads", of: (row) => row.threads, show: (row) => known(row.threads, whole), minor: true },
    { title: "Files", of: (row) => row.files, show: (row) => known(row.files, whole), minor: true, hint: "open file descriptors" },
    { title: "Network", of: (row) => row.traffic, show: (row) => known(row.traffic, perSecond), minor: true },
    { title: "Messages", of: (row) => row.messages, show: (row) => known(row.messages, (value) => `${count(value)}/s`), minor: true },
    { title: "System calls", of: (row) => row.calls, show: (row) => known(row.calls, (value) => `${count(value)}/s`), minor: true },
    { title: "Waits for CPU", of: (row) => row.waits, show: (row) => known(row.waits, duration), minor: true, hint: "99 of 100 waits are shorter" },
    { title: "Crashes", of: (row) => row.crashes, show: (row) => ({ text: known(row.crashes, whole), level: row.crashes > 0 ? "warning" : "" }), hint: "since the agent began" },
  ], { sort: "CPUs", empty: "No agent is shown." });
  byId("agents-filter").addEventListener("input", () => showAgents());
}

function drawAgents(moment) {
  agentsRows = agentsOf(moment);
  showAgents();
}

function showAgents() {
  const wanted = byId("agents-filter").value.toLowerCase();
  const rows = agentsRows.filter((row) => row.key.toLowerCase().includes(wanted));
  agentsTable.update(rows);
  setText(byId("agents-count"), wanted ? `${rows.length} of ${agentsRows.length}` : "");
}
