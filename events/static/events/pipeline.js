"use strict";
/* Pipeline: once a second the numbers alone are replaced. Nobody looks: nothing is asked. Nothing answers: it says what that means. */
(() => {
  const box = document.getElementById("machine"), live = document.getElementById("live");
  if (!box) return;
  const word = live.querySelector("[data-live]"), away = document.getElementById("away"), SPAN = 10;
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const each = (name, value, set) => document.querySelectorAll(`[${name}="${value}"]`).forEach(set);
  let heard = Date.now(), points = [], asks = false;

  const rate = value => value >= 100 || value === 0 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));
  // Of counters that only grow; an hour that is forgotten makes them fall: then it is counted from there.
  const rates = ({ at, came, left }) => {
    if (came == null) { points = []; return; }
    if (points.length && (came < points.at(-1).came || at <= points.at(-1).at)) points = [];
    points.push({ at, came, left });
    while (points.length > 2 && at - points[0].at > SPAN) points.shift();
    const first = points[0], seconds = at - first.at;
    if (seconds >= 2) Object.entries({ came: came - first.came, left: left - first.left }).forEach(([name, events]) => each("data-rate", name, element => write(element, rate(Math.max(0, events) / seconds))));
  };

  const show = now => {
    Object.entries(now.texts).forEach(([name, text]) => each("data-n", name, element => write(element, text)));
    Object.entries(now.widths).forEach(([name, width]) => each("data-w", name, element => element.setAttribute("width", width)));
    Object.entries({ ...now.tones, ledger: now.texts.ledger_tone }).forEach(([name, tone]) => { if (tone) each("data-tone", name, element => { element.dataset.is = tone; }); });
    box.querySelector(".pipe").dataset.hot = now.stage; document.getElementById("limit").dataset.is = now.tone;
    document.querySelectorAll(".order-pause").forEach(one => { one.hidden = now.paused != null; });
    document.querySelectorAll(".order-resume").forEach(one => { one.hidden = now.paused == null; });
    rates(now); heard = Date.now(); away.hidden = true;
  };

  // The page's own answer needs PostgreSQL (who asks?); the health page says which of the two is away.
  const why = async () => {
    let said = "web";
    try { const { checks } = await (await fetch("/readyz", { cache: "no-store", signal: AbortSignal.timeout(6000) })).json(); said = checks.valkey !== "ok" ? "queue" : checks.postgresql !== "ok" ? "database" : "web"; } catch { /* nothing answers */ }
    write(away, away.dataset[said]); away.hidden = false;
    if (said === "database") each("data-tone", "store", element => { element.dataset.is = "bad"; });
    if (said === "queue") ["accept", "buffer"].forEach(stage => each("data-tone", stage, element => { element.dataset.is = "bad"; }));
  };

  const ask = async () => {
    if (document.hidden || asks) return;
    asks = true;
    try {
      const answer = await fetch(box.dataset.now, { headers: { "HX-Request": "true", Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(3000) });
      if (answer.status === 401) location.reload(); else if (answer.ok) show(await answer.json()); else await why();
    } catch { await why(); } finally { asks = false; }
  };

  const tell = () => {
    const silent = Math.round((Date.now() - heard) / 1000), stale = silent >= 5;
    live.classList.toggle("stale", stale); box.classList.toggle("stale", stale);
    write(word, stale ? `last heard ${silent} s ago` : "live");
  };

  live.hidden = false;
  rates({ at: +box.dataset.at, came: box.dataset.came === "" ? null : +box.dataset.came, left: +box.dataset.left });
  setInterval(() => { ask(); tell(); }, 1000);
  document.addEventListener("visibilitychange", ask);
})();
