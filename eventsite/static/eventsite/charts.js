"use strict";
/* Time series by uPlot: <div class="chart" data-chart="id" role="img" aria-label="the finding"></div>{{ spec|json_script:"id" }}
   spec: t (epoch seconds), series [{n: name, v: values, color: "--c1", key: "k1", fill, dash, width}], and where wanted: stack, sync
   (a key: crosshairs go together), unit, max (least top of the axis), least (seconds that it shows at least: one point alone would span years), tz (IANA name), select (a drag asks for that period),
   open (the last bucket is not over: it is drawn dashed). */
(() => {
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const fade = (color, alpha) => color.replace(/^rgb\(/, "rgba(").replace(/\)$/, `, ${alpha})`);
  const big = value => value == null ? "–" : Math.abs(value) >= 1e6 ? `${+(value / 1e6).toFixed(1)}M` : Math.abs(value) >= 1e4 ? `${+(value / 1e3).toFixed(1)}k` : value.toLocaleString("en", { maximumFractionDigits: 2 });
  const short = (_, values) => { const [by, unit] = Math.max(...values) >= 1e6 ? [1e6, "M"] : Math.max(...values) >= 1e4 ? [1e3, "k"] : [1, ""]; return values.map(value => value === 0 ? "0" : +(value / by).toFixed(2) + unit); };
  const hour = uPlot.fmtDate("{HH}:{mm}"), second = uPlot.fmtDate("{HH}:{mm}:{ss}"), day = uPlot.fmtDate("{D} {MMM}"), whole = uPlot.fmtDate("{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}");
  const drawn = new Map();

  const summed = series => { const sums = new Array(series[0]?.v.length || 0).fill(0); return series.map(one => { one.v.forEach((value, i) => { sums[i] += value || 0; }); return sums.slice(); }); };

  // What uPlot draws of it. Lines that end in a bucket that is not over are two: the whole buckets, and the way to the last.
  const columns = spec => {
    const lines = spec.stack ? summed(spec.series) : spec.series.map(one => one.v), last = spec.t.length - 1;
    if (!spec.open) return [spec.t, ...lines];
    return [spec.t, ...lines.map(line => line.map((value, i) => i < last ? value : null)), ...lines.map(line => line.map((value, i) => i < last - 1 ? null : value))];
  };

  // A value between two that are not known has no line to lie on: it is drawn as a point.
  const lone = (plot, i) => plot.data[i].flatMap((value, at, all) => value != null && all[at - 1] == null && all[at + 1] == null ? [at] : []);
  const tooltip = (spec, date) => ({ hooks: {
    init: plot => { plot.tip = document.createElement("div"); plot.tip.className = "u-tip"; plot.tip.hidden = true; plot.over.append(plot.tip); },
    setCursor: plot => {
      const at = plot.cursor.idx;
      if (at == null || plot.cursor.left < 0) { plot.tip.hidden = true; return; }
      const head = document.createElement("div"), table = document.createElement("table");
      head.className = "muted"; head.textContent = whole(date(spec.t[at])) + (spec.open && at === spec.t.length - 1 ? ", so far" : "");
      (spec.stack ? [...spec.series].reverse() : spec.series).forEach(one => {
        const row = table.insertRow(), name = row.insertCell(), value = row.insertCell(), key = document.createElement("span");
        key.className = `key ${one.key || ""}`; name.append(key, one.n); value.className = "num"; value.textContent = big(one.v[at]) + (spec.unit || "");
      });
      plot.tip.replaceChildren(head, table); plot.tip.hidden = false;
      const width = plot.over.clientWidth, x = plot.cursor.left, left = x > width / 2 ? x - plot.tip.offsetWidth - 12 : x + 12;
      plot.tip.style.left = `${Math.max(-30, Math.min(left, width - plot.tip.offsetWidth))}px`; plot.tip.style.top = "4px";
    },
    setSelect: plot => {
      if (!spec.select || plot.select.width < 8) return;
      const address = new URL(location.href), iso = left => new Date(plot.posToVal(left, "x") * 1e3).toISOString().slice(0, 19) + "Z";
      address.searchParams.set("from", iso(plot.select.left)); address.searchParams.set("until", iso(plot.select.left + plot.select.width));
      ["period", "after"].forEach(name => address.searchParams.delete(name));
      location.assign(address);
    },
  } });

  const line = (spec, one, part) => {
    const color = css(one.color), isOpen = part === "open";
    const fill = spec.stack ? fade(color, isOpen ? .3 : .62) : one.fill ? fade(color, isOpen ? .06 : .13) : undefined;
    return { label: one.n, stroke: color, width: one.width || 1.5, dash: isOpen ? [3, 4] : one.dash, fill, points: { show: true, size: 4, filter: lone } };
  };

  const options = (element, spec) => {
    const parts = spec.open ? ["over", "open"] : ["over"], zone = spec.tz || "Etc/UTC", date = seconds => uPlot.tzDate(new Date(seconds * 1e3), zone);
    const axis = { stroke: css("--muted"), font: `11px ${css("--sans")}`, grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false } };
    const label = (_, values, __, ___, step) => values.map(value => { const at = date(value); return at.getHours() + at.getMinutes() + at.getSeconds() === 0 ? day(at) : step < 60 ? second(at) : hour(at); });
    return {
      width: element.clientWidth, height: element.clientHeight, padding: [8, 26, 0, 0], legend: { show: false }, tzDate: date,
      bands: spec.stack ? parts.flatMap((_, part) => spec.series.slice(1).map((_, i) => ({ series: [i + 2 + part * spec.series.length, i + 1 + part * spec.series.length] }))) : [],
      cursor: { sync: spec.sync ? { key: spec.sync } : undefined, points: { size: 6 }, y: false, drag: { x: !!spec.select, y: false, setScale: false } },
      scales: { x: { range: plot => { const t = plot.data[0], last = t.at(-1) ?? 1; return [Math.min(t[0] ?? 0, last - (spec.least || 60)), last]; } }, y: { range: (_, __, high) => [0, Math.max((high || 0) * 1.08, spec.max || 1)] } },
      axes: [{ ...axis, grid: { show: false }, space: 70, size: 26, values: label }, { ...axis, size: 44, gap: 4, values: short }],
      series: [{}, ...parts.flatMap(part => spec.series.map(one => line(spec, one, part)))],
      plugins: [tooltip(spec, date)],
    };
  };

  const draw = element => {
    const spec = JSON.parse(document.getElementById(element.dataset.chart).textContent), made = drawn.get(element);
    if (made && !element.contains(made.plot.root)) { made.watch.disconnect(); drawn.delete(element); }
    drawn.get(element)?.plot.destroy();
    const plot = new uPlot(options(element, spec), columns(spec), element);
    const watch = drawn.get(element)?.watch || new ResizeObserver(() => drawn.get(element)?.plot.setSize({ width: element.clientWidth, height: element.clientHeight }));
    watch.observe(element); drawn.set(element, { plot, watch });
  };
  const all = root => [...(root.matches?.("[data-chart]") ? [root] : []), ...root.querySelectorAll("[data-chart]")].forEach(element => { if (!drawn.has(element)) draw(element); });
  const again = () => drawn.forEach((_, element) => { if (element.isConnected) draw(element); });

  all(document);
  document.addEventListener("htmx:load", event => all(event.detail.elt));
  document.addEventListener("htmx:beforeCleanupElement", event => { const made = drawn.get(event.target); if (made) { made.watch.disconnect(); made.plot.destroy(); drawn.delete(event.target); } });
  document.addEventListener("themechange", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  // For what streams: charts.replace(element, spec) draws new values without a new element, in a frame.
  window.charts = { replace: (element, spec) => { const made = drawn.get(element); if (made) made.plot.setData(columns(spec)); } };
})();
