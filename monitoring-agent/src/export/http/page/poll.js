// Fetches the metrics again and again, and has all parts drawn. Says so when the agent is away, and
// goes on by itself.

const PATIENCE = 8000;

const state = { last: null, interval: null, pace: 1, paused: false, away: null, timer: null, history: new History(POINTS), fetching: false };

function say(kind, text, more) {
  const place = byId("state");
  place.dataset.state = kind;
  setText(place.children[1], text);
  setText(place.children[2], more);
  document.body.dataset.state = kind;
}

const seconds = () => performance.now() / 1000;

async function poll() {
  clearTimeout(state.timer);
  if (state.fetching) return;
  state.fetching = true;
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await fetch(document.body.dataset.metrics, { signal, cache: "no-store", headers: { Accept: "text/plain" } });
    const at = seconds();
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    arrived(new Snapshot(await answer.text(), at));
    state.away = null;
    say("live", "live", `${clock(new Date())}`);
  } catch (error) {
    leave(error);
  } finally {
    state.fetching = false;
    schedule();
  }
}

function schedule() {
  clearTimeout(state.timer);
  if (!state.paused && !document.hidden) state.timer = setTimeout(poll, 1000 * Number(byId("every").value));
}

function leave(error) {
  if (!state.away) {
    state.away = new Date();
    // What happens meanwhile is not known.
    gap();
  }
  const why = error instanceof TypeError ? "it cannot be reached" : error.name === "TimeoutError" ? "it does not answer" : error.message;
  say("away", "away", `since ${clock(state.away)}: ${why}. Trying again.`);
}

function gap() {
  state.last = null;
  state.history.step({});
}

function arrived(now) {
  if (now.isOf(state.last)) return;
  const between = new Interval(state.last, now);
  // Other polls may have missed some: the shortest step is the agent's own.
  if (between.known) state.pace = between.seconds;
  if (state.last && !between.known) gap();
  state.last = now;
  const moment = { now, between, history: state.history, pace: state.pace };
  const found = figures(moment);
  state.history.step({ ...found, disk: both(found.read, found.written), net: both(found.received, found.sent) });
  drawHead(moment);
  drawHealth(moment, seconds());
  drawTiles(moment, found);
  for (const part of [drawHost, drawAgents, drawGpus, drawKernels, drawLatencies, drawSources, drawChoices]) part(moment);
}

function drawHead({ now }) {
  const uname = now.all("node_uname_info")[0]?.labels;
  const node = now.all("node_info")[0]?.labels.get("node") ?? uname?.get("nodename") ?? location.host;
  const boot = now.one("node_boot_time_seconds");
  const parts = [node, uname && `${uname.get("sysname")} ${uname.get("release")}`, boot && `up ${duration(Math.max(Date.now() / 1000 - boot, 0))}`];
  setText(byId("node"), parts.filter(Boolean).join(" · "));
  document.title = `${node} · monitoring-agent`;
}

function pause() {
  state.paused = !state.paused;
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(state.paused));
  setText(button, state.paused ? "Go on" : "Pause");
  if (!state.paused) return void poll();
  clearTimeout(state.timer);
  gap();
  say("paused", "paused", `at ${clock(new Date())}`);
}

for (const make of [makeHost, makeAgents, makeKernels, makeLatencies, makeSources, makeProfiles]) make();
byId("pause").addEventListener("click", pause);
byId("every").addEventListener("change", () => state.paused || poll());
document.addEventListener("visibilitychange", () => {
  if (state.paused) return;
  if (document.hidden) gap();
  else poll();
});
poll();
