"use strict";
/* Single keys. [data-key=k] is clicked, or focused where it is a field; [data-go=k] is followed after g; [data-rows] are walked with j and k. */
(() => {
  const isOff = () => { try { return localStorage.getItem("keys") === "off"; } catch { return false; } };
  const isTyping = target => target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  let waitsForPlace = 0;

  const rows = () => [...document.querySelectorAll("[data-rows] tbody > tr, [data-rows] > li")].filter(row => row.checkVisibility() && !row.dataset.detail);
  const walk = step => {
    const all = rows(); if (!all.length) return;
    const at = all.findIndex(row => row.classList.contains("at")), next = all[Math.max(0, Math.min(all.length - 1, at + step))];
    all[at]?.classList.remove("at"); next.classList.add("at"); next.scrollIntoView({ block: "nearest" });
    (next.querySelector("a, button, summary") || next).focus({ preventScroll: true });
  };
  const current = () => document.querySelector("[data-rows] .at");

  document.addEventListener("keydown", event => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || isOff()) return;
    if (document.querySelector("dialog[open]")) return; // Esc closes it, by the browser
    const key = event.key;
    if (Date.now() < waitsForPlace) {
      waitsForPlace = 0;
      const place = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
      if (place) { event.preventDefault(); place.click(); }
      return;
    }
    const marked = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find(element => element.getClientRects().length);
    if (marked) { event.preventDefault(); if (marked.matches("input, textarea, select")) { marked.focus(); marked.select?.(); } else marked.click(); }
    else if (key === "g") waitsForPlace = Date.now() + 1500;
    else if (key === "j" || key === "k") { event.preventDefault(); walk(key === "j" ? 1 : -1); }
    else if (key === "x") current()?.querySelector("[type=checkbox]")?.click();
    else if (key === "?") document.getElementById("help")?.showModal();
  });

  document.addEventListener("change", event => {
    const box = event.target.closest("[data-keys-switch]");
    if (box) try { box.checked ? localStorage.removeItem("keys") : localStorage.setItem("keys", "off"); } catch { /* a browser that keeps nothing: they stay on */ }
  });
  document.querySelectorAll("[data-keys-switch]").forEach(box => { box.checked = !isOff(); });
})();
