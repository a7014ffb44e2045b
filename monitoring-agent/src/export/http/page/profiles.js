// Asks the agent for profiles, and shows what it answers: a flame graph, or why there is none.

const UNITS = { cpu: duration, offcpu: duration, memory: bytes };
const SPANS = { "-5m": 300, "-15m": 900, "-1h": 3600, "-6h": 21600, "-1d": 86400 };
const BACK = { day: 86400, week: 604800 };

let flame;
let asking = null;

function makeProfiles() {
  const at = (name) => byId(`flame-${name}`);
  flame = new Flame(at("view"), { detail: at("detail"), found: at("found"), search: at("search"), reset: at("reset"), key: at("key"), top: at("top") });
  const form = byId("profile-form");
  form.addEventListener("change", () => showExtras(form));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    draw(form);
  });
  byId("profile-stop").addEventListener("click", () => asking?.abort());
  showExtras(form);
}

function showExtras(form) {
  const open = [form.span.value, `base-${form.base.value}`];
  for (const extra of form.querySelectorAll(".extra")) extra.hidden = !open.includes(extra.dataset.for);
}

// The agents that there are to choose.
function drawChoices({ now }) {
  const names = [...now.values("agent_active", "agent")];
  const select = byId("profile-form").agent;
  if (document.activeElement === select) return;
  const shown = [...select.options].slice(1).map((option) => option.value);
  if (shown.join("\n") === names.join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...names.map((name) => el("option", { value: name, text: name })));
  select.value = names.includes(chosen) ? chosen : "";
}

const moment = (text, what) => {
  const seconds = Math.floor(new Date(text).getTime() / 1000);
  if (!Number.isFinite(seconds)) throw new Error(`Say ${what}.`);
  return seconds;
};

// The parameters that a filled form means. `now` is in seconds since 1970.
function parameters({ type, span, agent, seconds, from, to, base, baseFrom, baseTo }, now) {
  const asked = { type };
  let [start, end] = [now, now];
  if (span === "live") asked.seconds = String(Math.round(Number(seconds)));
  else {
    [start, end] = span === "range" ? [moment(from, "from when"), moment(to, "until when")] : [now - SPANS[span], now];
    [asked.from, asked.to] = [String(start), String(end)];
  }
  const length = Math.max(end - start, 60);
  const bases = {
    before: () => [start - length, start],
    day: () => [start - BACK.day, Math.max(end, start + length) - BACK.day],
    week: () => [start - BACK.week, Math.max(end, start + length) - BACK.week],
    range: () => [moment(baseFrom, "from when to compare"), moment(baseTo, "until when to compare")],
  };
  if (base !== "") [asked.base_from, asked.base_to] = bases[base]().map(String);
  if (agent !== "") asked.agent = agent;
  return asked;
}

async function draw(form) {
  asking?.abort();
  const own = new AbortController();
  asking = own;
  const note = byId("profile-note");
  const stop = byId("profile-stop");
  try {
    const asked = parameters({ type: form.type.value, span: form.span.value, agent: form.agent.value, seconds: form.seconds.value, from: form.from.value, to: form.to.value, base: form.base.value, baseFrom: form.base_from.value, baseTo: form.base_to.value }, Math.floor(Date.now() / 1000));
    note.dataset.level = "";
    stop.hidden = false;
    setText(note, asked.seconds ? `Watching for ${asked.seconds} s …` : "Reading what was kept …");
    const answer = await fetch(`/debug/pprof/folded?${new URLSearchParams(asked)}`, { signal: own.signal, cache: "no-store" });
    const text = await answer.text();
    if (!answer.ok) throw new Error(refusal(answer.status, text));
    const compares = "base_from" in asked;
    const root = parseFolded(text, compares);
    const covered = answer.headers.get("x-profile-covered");
    const what = root.after > 0 || root.before > 0 ? `${UNITS[asked.type](scaledValue(asked.type, root.after))} in all` : "Nothing: no sample was taken then";
    setText(note, `${what}${covered ? `. Covered: ${covered.replaceAll("/", " to ")}` : ""}.`);
    byId("flame").hidden = root.after <= 0 && root.before <= 0;
    if (!byId("flame").hidden) flame.set(root, compares, (value) => UNITS[asked.type](scaledValue(asked.type, value)));
  } catch (error) {
    note.dataset.level = own.signal.aborted ? "" : "warning";
    setText(note, own.signal.aborted ? "Stopped." : error.message);
  } finally {
    if (asking === own) stop.hidden = true;
  }
}

// Times come in nanoseconds.
const scaledValue = (type, value) => (type === "memory" ? value : value / 1e9);

function refusal(status, text) {
  const why = text.replace(/^\d+: /, "").trim();
  const lead = { 403: "Not for you here", 404: "There is none", 503: "Not now" }[status] ?? "The agent refused";
  return `${lead}: ${why || status}`;
}
