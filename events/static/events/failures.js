"use strict";
/* Failures: the keys of the row one is at, the place of a fault, fields that a change needs. The pages work without it. */
(() => {
  // keys.js clicks [data-key]: the row that has the focus lends its own.
  const lend = row => {
    document.querySelectorAll("[data-row-key][data-key]").forEach(one => { delete one.dataset.key; });
    row?.querySelectorAll("[data-row-key]").forEach(one => { one.dataset.key = one.dataset.rowKey; });
  };
  document.addEventListener("focusin", event => lend(event.target.closest("[data-rows] tbody > tr")));

  // The line of the fault: shown, and gone to when it is clicked.
  document.addEventListener("click", event => {
    const link = event.target.closest("[data-goes]"), text = document.getElementById("event-text");
    if (!link || !text) return;
    event.preventDefault();
    const { line, column } = link.closest("[data-line]").dataset, lines = text.value.split("\n");
    const before = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0) + (+column || 1) - 1;
    text.focus(); text.setSelectionRange(before, Math.min(before + 1, text.value.length));
  });
  // An answer to text that has changed since is old.
  document.addEventListener("htmx:beforeRequest", event => { if (event.target.id === "event-text") document.getElementById("verdict").classList.add("waits"); });
  document.addEventListener("htmx:afterRequest", event => { if (event.target.id === "event-text") document.getElementById("verdict").classList.remove("waits"); });

  // A value is asked for only where the change takes one.
  const takes = { set: 1, default: 1, rename: 1, truncate: 1 };
  const shape = () => { const step = document.getElementById("rule-step"), field = document.querySelector("[data-argument]"); if (step && field) field.hidden = !takes[step.value]; };
  document.addEventListener("change", event => { if (event.target.id === "rule-step") shape(); });
  document.addEventListener("htmx:load", shape); shape();
  document.querySelector(".payload .marked")?.scrollIntoView({ block: "nearest" });
})();
