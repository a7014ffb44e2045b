// The agent itself: whether its sources work, what they lost, and what it costs.

function sourcesOf(now, between) {
  const losing = between.rates("monitoring_agent_lost_total", "source");
  const gpuNode = now.one("node_info", { type: "gpu" }) === 1 || now.has("gpu_lost");
  return now.all("monitoring_agent_source_up").map(({ labels, value }) => {
    const name = labels.get("source");
    // Without a GPU these have nothing to do.
    const idle = !gpuNode && ["gpu", "cuda"].includes(name);
    return {
      key: name,
      name,
      state: value === 1 ? "up" : idle ? "off" : "down",
      age: now.one("monitoring_agent_source_age_seconds", { source: name }),
      took: now.one("monitoring_agent_source_collect_seconds", { source: name }),
      lost: now.sum("monitoring_agent_lost_total", { source: name }),
      losing: losing.get(name) ?? null,
      why: now.all("monitoring_agent_lost_total", { source: name }).filter((sample) => sample.value > 0).map((sample) => `${sample.labels.get("reason")} ${whole(sample.value)}`),
    };
  });
}

const sourceParts = {};

function makeSources() {
  const table = el("div");
  sourceParts.self = el("ul", { class: "legend" });
  const parts = byId("source-parts");
  parts.append(panel("Sources", table), panel("The agent itself", sourceParts.self));
  parts.firstChild.classList.add("wide");
  sourceParts.table = new Table(table, "Sources", [
    { title: "Source", show: (row) => row.name },
    { title: "State", text: true, show: (row) => ({ text: row.state, badge: true, level: { up: "good", down: "warning", off: "" }[row.state] }) },
    { title: "Age", show: (row) => (row.age === null ? NONE : duration(row.age)), minor: true, hint: "of its figures, when the snapshot was taken" },
    { title: "Took", show: (row) => (row.took === null ? NONE : duration(row.took)), hint: "to collect them" },
    { title: "Lost", show: (row) => ({ text: row.lost === null ? NONE : whole(row.lost), level: row.losing > 0 ? "warning" : "" }), hint: "events since the agent began" },
    { title: "Why", text: true, show: (row) => row.why.join(", ").replaceAll("_", " ") },
  ], { empty: "None are told." });
}

function drawSources({ now, between }) {
  sourceParts.table.update(sourcesOf(now, between));
  const build = now.all("monitoring_agent_build_info")[0]?.labels;
  const start = now.one("process_start_time_seconds");
  const cpu = between.rate("process_cpu_seconds_total");
  const rows = [
    ["Version", `${build?.get("version") ?? NONE} ${build?.get("revision") ?? ""}`.trim()],
    ["Runs since", start === null ? NONE : new Date(1000 * start).toLocaleString("en-GB")],
    ["CPU", cpu === null ? NONE : percent(cpu, 1)],
    ["Memory", bytes(now.one("process_resident_memory_bytes") ?? NaN)],
    ["In the kernel", bytes(now.sum("monitoring_agent_bpf_map_bytes") ?? NaN)],
    ["Open files", whole(now.one("process_open_fds") ?? NaN)],
    ["Profiles kept", bytes(now.one("monitoring_agent_profile_history_bytes") ?? NaN)],
    ["Spans a second", count(between.rate("monitoring_agent_spans_total") ?? NaN)],
  ];
  keyed(sourceParts.self, rows, ([name]) => name, () => el("li", {}, el("span"), el("b")), (line, [name, text]) => {
    setText(line.children[0], name);
    setText(line.children[1], text);
  });
}
