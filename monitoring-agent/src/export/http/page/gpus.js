// GPUs: what each does, how warm it is, and what slows it down.

const USUAL = ["gpu_idle", "applications_clocks_setting", "display_clock_setting"];

function gpusOf(now) {
  if (now.gpus) return now.gpus;
  const uuids = new Map();
  for (const name of ["gpu_info", "gpu_lost", "gpu_utilization_ratio"]) {
    for (const { labels } of now.all(name)) uuids.set(labels.get("uuid"), labels.get("device_id"));
  }
  now.gpus = [...uuids].map(([uuid, id]) => {
    const get = (name, labels) => now.one(`gpu_${name}`, { uuid, ...labels });
    const info = now.all("gpu_info", { uuid })[0]?.labels;
    const temperatures = now.all("gpu_temperature_celsius", { uuid }).map((sample) => sample.value);
    return {
      uuid,
      id,
      name: info?.get("name") ?? "",
      driver: info?.get("driver_version") ?? "",
      lost: get("lost") === 1,
      busy: get("utilization_ratio"),
      sm: get("sm_activity_ratio"),
      used: get("memory_used_bytes"),
      total: get("memory_total_bytes"),
      hottest: temperatures.length ? Math.max(...temperatures) : null,
      limit: get("temperature_threshold_celsius", { threshold: "slowdown" }),
      watts: get("power_watts"),
      cap: get("power_limit_watts"),
      clock: get("clock_hertz", { clock: "sm" }),
      fastest: get("clock_max_hertz", { clock: "sm" }),
      throttled: now.all("gpu_throttle_active", { uuid }).filter((sample) => sample.value === 1).map((sample) => sample.labels.get("reason")),
      rows: ["pending", "failure"].some((kind) => get("remapped_rows", { kind }) === 1),
      xids: now.all("gpu_xid_errors_total", { uuid }).filter((sample) => sample.value > 0),
      instances: now.all("gpu_mig_info", { uuid }).length,
    };
  }).sort((a, b) => a.id - b.id);
  return now.gpus;
}

function gpuRows(gpu, between) {
  const link = (direction) => between.rate("gpu_nvlink_bytes_total", { uuid: gpu.uuid, direction });
  const [out, back] = ["transmit", "receive"].map(link);
  const rows = [
    ["Busy", percent(gpu.busy ?? NaN), gpu.busy, ""],
    ["Memory", gpu.total === null ? NONE : `${bytes(gpu.used)} of ${bytes(gpu.total)}`, gpu.used / gpu.total, ""],
    ["Power", gpu.watts === null ? NONE : `${watts(gpu.watts)}${gpu.cap === null ? "" : ` of ${watts(gpu.cap)}`}`, gpu.watts / gpu.cap, ""],
    ["Heat", gpu.hottest === null ? NONE : `${degrees(gpu.hottest)}${gpu.limit === null ? "" : `, slows at ${degrees(gpu.limit)}`}`, gpu.hottest / (gpu.limit ?? 100), gpu.hottest > 85 ? "critical" : ""],
    ["Clock", gpu.clock === null ? NONE : hertz(gpu.clock), gpu.clock / gpu.fastest, ""],
  ];
  if (out !== null && back !== null) rows.push(["NVLink", `${perSecond(both(out, back))}`, undefined, ""]);
  return rows;
}

function gpuBadges(gpu) {
  const badges = gpu.throttled.filter((reason) => !USUAL.includes(reason)).map((reason) => [HARMFUL.includes(reason) ? "warning" : "info", reason.replaceAll("_", " ")]);
  if (gpu.lost) badges.unshift(["critical", "lost"]);
  for (const { labels, value } of gpu.xids) badges.push(["critical", `XID ${labels.get("xid")}${value > 1 ? ` × ${whole(value)}` : ""}`]);
  if (gpu.instances) badges.push(["info", `${gpu.instances} MIG instances`]);
  return badges;
}

function drawGpus({ now, between, history }) {
  const gpus = gpusOf(now);
  const cards = byId("gpu-cards");
  keyed(cards, gpus.length ? gpus : [null], (gpu) => gpu?.uuid ?? "", (gpu) => (gpu ? gpuCard() : el("p", { class: "note" })), (card, gpu) => {
    if (!gpu) {
      const off = now.one("monitoring_agent_source_up", { source: "gpu" }) !== 1;
      setText(card, off ? "No GPU is read on this node: there is none, or no driver for it, or it is switched off. The agent’s log says which." : "The driver tells of no GPU.");
      return;
    }
    setText(card.title, `GPU ${gpu.id}`);
    setText(card.name, gpu.name);
    card.name.title = `${gpu.uuid}, driver ${gpu.driver}`;
    card.spark.draw(history.of(`gpu ${gpu.id}`), 1, POINTS);
    keyed(card.list, gpuRows(gpu, between), ([name]) => name, () => el("li", {}, el("span"), el("b"), meter()), (line, [name, text, ratio, level]) => {
      setText(line.children[0], name);
      setText(line.children[1], text);
      setMeter(line.children[2], ratio, level);
      line.children[2].hidden = ratio === undefined;
    });
    keyed(card.badges, gpuBadges(gpu), ([level, text]) => `${level} ${text}`, () => el("span", { class: "badge" }), (badge, [level, text]) => {
      setLevel(badge, level);
      setText(badge, text);
    });
  });
}

function gpuCard() {
  const made = el("article", { class: "panel" });
  Object.defineProperty(made, "title", { value: el("span") });
  [made.name, made.spark, made.list, made.badges] = [el("small"), new Spark(), el("ul", { class: "rows" }), el("p", { class: "badges" })];
  made.append(el("h3", {}, made.title, " ", made.name), made.spark.element, made.list, made.badges);
  return made;
}
