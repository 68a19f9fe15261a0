"use strict";
/* Events as they are stored (docs/live.md). [data-live=address] is a table of the latest; [data-live-rate=address] the rate of the last
   minute. Whatever comes: a frame adds at most 25 rows at the next picture, 200 are kept, and 200 wait while it is paused. */
(() => {
  const KEPT = 200, ADDED = 25, RETRY = [2000, 5000, 15000, 60000];
  const WHY = { trimmed: "they had left the stream", slow: "they came faster than this page took them", not_published: "the stream was away when they were stored", restarted: "the stream began anew" };
  const number = new Intl.NumberFormat("en"), open = new Map();

  // A stream that is opened again after it was refused; one that is broken off is opened again by the browser itself.
  const listen = (root, address, on, said) => {
    let source, timer, failures = 0, last = "";
    const connect = () => {
      const from = new URL(address, location.href);
      if (last) from.searchParams.set("last_event_id", last);
      source = new EventSource(from);
      source.onopen = () => { failures = 0; said("live"); };
      source.onerror = () => {
        said("away");
        if (source.readyState === EventSource.CLOSED) timer = setTimeout(connect, RETRY[Math.min(failures++, RETRY.length - 1)]);
      };
      Object.entries(on).forEach(([name, take]) => source.addEventListener(name, frame => { last = frame.lastEventId || last; take(JSON.parse(frame.data)); }));
    };
    connect();
    open.set(root, () => { clearTimeout(timer); source.close(); open.delete(root); });
  };

  const rate = element => listen(element, element.dataset.liveRate, {
    counters: data => { const each = data.total / Math.max(1, data.covers); element.textContent = each >= 100 ? number.format(Math.round(each)) : String(+each.toPrecision(2)); },
  }, () => {});

  const table = root => {
    const find = name => root.querySelector(`[data-live-${name}]`);
    const body = find("rows"), words = find("words"), state = find("state"), count = find("count"), pause = find("pause"), bar = find("new-bar"), fresh = find("new");
    const time = new Intl.DateTimeFormat("en-GB", { timeZone: root.dataset.zone, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
    let waiting = [], waited = 0, shown = 0, of = 0, isPaused = false, isScrolled = false, isDue = false, isLive = false, rateSaid = "";

    const held = () => isPaused || isScrolled;
    const say = () => {
      state.className = `live${held() ? " paused" : isLive ? "" : " stale"}`;
      const text = !isLive ? "Connecting…" : held() ? "Paused" : `Live${rateSaid}`;
      if (words.textContent !== text) words.textContent = text;
      pause.setAttribute("aria-pressed", String(isPaused)); pause.querySelector("span").textContent = isPaused ? "Go on" : "Pause";
      bar.hidden = !(held() && waited); if (waited) fresh.textContent = `${number.format(waited)} new, show`;
    };
    const link = (text, address, opens) => { const a = document.createElement("a"); a.textContent = text; a.href = address; a.className = "cut"; a.title = text; if (opens) a.dataset.opensRow = ""; return a; };
    const summary = event => Object.entries(event.properties || {}).slice(0, 5).map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`).join(" · ").slice(0, 300) + (event.cut ? " …" : "");
    const rowOf = event => {
      const row = document.createElement("tr"), at = row.insertCell(), name = row.insertCell(), who = row.insertCell(), rest = row.insertCell(), text = document.createElement("span");
      const page = `${root.dataset.one}${event.id}${root.dataset.query ? `?${root.dataset.query}` : ""}`, person = event.user_id ?? event.anonymous_id;
      row.className = "fresh"; at.className = "mono"; name.className = "name"; rest.className = "col-s";
      at.append(link(time.format(new Date(event.occurred_at)), page, true)); name.append(link(event.name, page, true)); name.firstChild.tabIndex = -1;
      if (person != null) who.append(link(person, `${root.dataset.one}person?who=${encodeURIComponent(person)}`)); else { who.textContent = "nobody"; who.className = "muted"; }
      text.className = "cut said muted"; text.textContent = summary(event); text.title = text.textContent; rest.append(text);
      return row;
    };
    const gapOf = gap => {
      const row = document.createElement("tr"), cell = row.insertCell(), many = gap.count == null ? "Some events" : `${number.format(gap.count)} event${gap.count === 1 ? "" : "s"}`;
      row.className = "gap"; row.dataset.detail = "1"; cell.colSpan = 4; cell.textContent = `${many} not shown: ${gap.why.map(why => WHY[why] || why).join(", ")}.`;
      return row;
    };
    const draw = () => {
      isDue = false;
      if (!waiting.length || held()) return say();
      const rows = document.createDocumentFragment(), newest = waiting.slice(-ADDED).reverse();
      newest.forEach(one => rows.append(one.gap ? gapOf(one.gap) : rowOf(one)));
      shown = newest.filter(one => !one.gap).length; waiting = []; waited = 0;
      find("empty")?.remove(); body.prepend(rows);
      while (body.rows.length > KEPT) body.lastElementChild.remove();
      count.textContent = of ? `${number.format(shown)} of ${number.format(Math.max(of, shown))} shown` : ""; of = 0;
      say();
    };
    const add = (some, all) => {
      waiting.push(...some); waited += all; of += all;
      if (waiting.length > KEPT) waiting = waiting.slice(-KEPT);
      if (held()) say(); else if (!isDue) { isDue = true; requestAnimationFrame(draw); }
    };
    const go = () => { isPaused = false; isScrolled = false; of = waited; scrollTo({ top: 0 }); draw(); };

    pause.addEventListener("click", () => { if (isPaused) go(); else { isPaused = true; say(); } });
    fresh.addEventListener("click", go);
    root.addEventListener("row:opens", () => { if (!isPaused) { isPaused = true; say(); } });
    const scrolled = () => {
      if (!root.isConnected) return removeEventListener("scroll", scrolled);
      const is = scrollY > 80;
      if (is !== isScrolled) { isScrolled = is; if (is) say(); else { of = waited; draw(); } }
    };
    addEventListener("scroll", scrolled, { passive: true });
    listen(root, root.dataset.live, {
      events: data => { add(data.events, data.of); if (data.unchecked) count.title = `Of ${number.format(data.unchecked)} more it is not known whether they match.`; },
      gap: data => add([{ gap: data }], data.count || 0),
      counters: data => { rateSaid = ` · ${number.format(Math.round(data.total / Math.max(1, data.covers) * 10) / 10)}/s`; say(); },
    }, word => { isLive = word === "live"; say(); });
    say();
  };

  const start = root => {
    [...(root.matches?.("[data-live]") ? [root] : []), ...root.querySelectorAll("[data-live]")].forEach(one => { if (!open.has(one)) table(one); });
    root.querySelectorAll("[data-live-rate]").forEach(one => { if (!open.has(one)) rate(one); });
  };
  start(document);
  document.addEventListener("htmx:load", event => start(event.detail.elt));
  document.addEventListener("htmx:beforeCleanupElement", event => open.get(event.target)?.());
  addEventListener("pagehide", () => open.forEach(close => close()));
  addEventListener("pageshow", event => { if (event.persisted) start(document); });
})();
