"use strict";
/* One name's plan: to the place of a fault in the text; an answer to text that has changed since is dimmed. Works without it. */
(() => {
  const text = document.getElementById("schema-text"), verdict = document.getElementById("verdict");
  if (!text || !verdict) return;
  verdict.addEventListener("click", event => {
    const link = event.target.closest("[data-goes]");
    if (!link) return;
    event.preventDefault();
    const { line, column } = link.closest("[data-line]").dataset, lines = text.value.split("\n");
    const at = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0) + Number(column) - 1;
    text.focus(); text.setSelectionRange(at, Math.min(at + 1, text.value.length));
  });
  text.addEventListener("htmx:beforeRequest", () => verdict.classList.add("waits"));
  text.addEventListener("htmx:afterRequest", () => verdict.classList.remove("waits"));
})();
