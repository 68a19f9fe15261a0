"use strict";
/* The filter's form opens with its first field ready to be typed in: at once, for the next key is meant for it. */
document.addEventListener("click", event => {
  const summary = event.target.closest(".filter > summary"), form = summary?.parentElement;
  if (!form) return;
  event.preventDefault();
  form.open = !form.open;
  if (form.open) form.querySelector("[name=what]").focus();
});

/* Rows of events open below themselves: [data-opens-row] is a link to the event's page, and stays one without this. */
document.addEventListener("click", event => {
  const link = event.target.closest("[data-opens-row]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const row = link.closest("tr"), below = row.nextElementSibling;
  row.dispatchEvent(new CustomEvent("row:opens", { bubbles: true }));
  if (below?.classList.contains("detail")) { below.remove(); row.classList.remove("open"); link.setAttribute("aria-expanded", "false"); return; }
  const detail = document.createElement("tr"), cell = detail.insertCell();
  detail.className = "detail"; detail.dataset.detail = "1"; cell.colSpan = row.cells.length; cell.textContent = "…";
  row.after(detail); row.classList.add("open"); link.setAttribute("aria-expanded", "true");
  htmx.ajax("GET", link.getAttribute("href"), { target: cell, swap: "innerHTML" });
});
