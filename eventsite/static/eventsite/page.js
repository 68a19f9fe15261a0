"use strict";
/* What every page does beyond links and forms: dialogs, copying, toasts, the theme, times that go on. Nothing here is needed. */
(() => {
  const byId = id => document.getElementById(id);

  // --- dialogs: [data-opens=id] opens, [data-closes] and a click outside close; what htmx puts into #dialog opens it.
  document.addEventListener("click", event => {
    const opener = event.target.closest("[data-opens]"), closer = event.target.closest("[data-closes]");
    if (opener && byId(opener.dataset.opens)?.showModal) { event.preventDefault(); byId(opener.dataset.opens).showModal(); }
    else if (closer && closer.closest("dialog")) { event.preventDefault(); closer.closest("dialog").close(); }
    else if (event.target.nodeName === "DIALOG" && event.target.open && outside(event)) event.target.close();
    const open = document.querySelector("details.switch[open], details.range[open]");
    if (open && !open.contains(event.target)) open.open = false;
  });
  const outside = event => { const box = event.target.getBoundingClientRect(); return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom; };
  document.addEventListener("htmx:afterSwap", event => {
    const dialog = event.detail.target;
    if (dialog.id !== "dialog") return;
    if (!dialog.open) dialog.showModal();
    (dialog.querySelector("[aria-invalid=true]") || dialog.querySelector("[autofocus]") || dialog.querySelector("input:not([type=hidden]), button"))?.focus();
  });

  // --- copying
  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = byId(button.dataset.copy), text = button.querySelector("[data-copy-text]"), before = text.dataset.before ||= text.textContent;
    try { await navigator.clipboard.writeText(source.textContent); }
    catch { // without https there is no clipboard to write to: by hand, then
      const area = document.createElement("textarea"); area.value = source.textContent; area.className = "sr";
      button.after(area); area.select(); const copied = document.execCommand("copy"); area.remove(); button.focus();
      if (!copied) { getSelection().selectAllChildren(source); text.textContent = "Press Ctrl+C"; return; }
    }
    text.textContent = "Copied"; button.classList.add("done");
    setTimeout(() => { text.textContent = before; button.classList.remove("done"); }, 2000);
  });

  // --- toasts: what went well goes by itself, errors stay
  const toasts = byId("toasts");
  const fade = toast => { if (!toast.dataset.seen) { toast.dataset.seen = "1"; if (toast.classList.contains("good")) setTimeout(() => toast.remove(), 6000); } };
  const all = () => toasts?.querySelectorAll(".toast").forEach(fade);
  if (toasts) { all(); new MutationObserver(all).observe(toasts, { childList: true }); }
  document.addEventListener("click", event => { if (event.target.closest("[data-dismiss]")) event.target.closest(".toast").remove(); });
  const say = words => {
    if (!toasts || [...toasts.children].some(toast => toast.textContent.includes(words))) return;
    const toast = document.createElement("div"); toast.className = "toast bad";
    const text = document.createElement("span"); text.textContent = words;
    const close = document.createElement("button"); close.className = "btn ghost"; close.dataset.dismiss = ""; close.textContent = "Close";
    toast.append(text, close); toasts.append(toast);
  };
  document.addEventListener("htmx:responseError", event => { if (event.detail.xhr.status !== 401) say(`The server answered ${event.detail.xhr.status}. Try again, or load the page anew.`); });
  document.addEventListener("htmx:sendError", () => say("The server does not answer. What is shown may be old."));
  document.addEventListener("htmx:afterOnLoad", () => toasts?.querySelectorAll(".toast.bad").forEach(toast => { if (toast.textContent.includes("does not answer")) toast.remove(); }));

  // --- nobody looks: what asks by itself does not ask
  document.addEventListener("htmx:beforeRequest", event => { if (document.hidden && !event.detail.requestConfig.triggeringEvent && /every/.test(event.detail.elt.getAttribute("hx-trigger"))) event.preventDefault(); });

  // --- theme: the system's, light, dark; the server reads the cookie, so that no page flashes
  const steps = { "": "light", light: "dark", dark: "system" };
  document.addEventListener("submit", event => {
    const form = event.target.closest("[data-theme-form]");
    if (!form) return;
    event.preventDefault();
    const root = document.documentElement, next = steps[root.dataset.theme || ""], secure = location.protocol === "https:" ? "; Secure" : "";
    if (next === "system") { delete root.dataset.theme; document.cookie = `theme=; Path=/; Max-Age=0; SameSite=Lax${secure}`; }
    else { root.dataset.theme = next; document.cookie = `theme=${next}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`; }
    const label = `Theme: ${next === "system" ? "as the system" : next}`;
    document.querySelectorAll("[data-theme-form] button").forEach(button => { button.title = label; button.setAttribute("aria-label", label); });
    document.querySelectorAll("[data-theme-form] [name=theme]").forEach(field => { field.value = steps[next === "system" ? "" : next]; });
    document.querySelector("meta[name=color-scheme]").content = next === "system" ? "light dark" : next;
    document.dispatchEvent(new CustomEvent("themechange"));
  });

  // --- the browser's zone, where a form asks for one
  const zones = root => root.querySelectorAll?.("[data-own-zone]").forEach(field => {
    const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (own && field.value === "UTC" && !field.dataset.touched && (!field.options || [...field.options].some(option => option.value === own))) { field.value = own; field.dataset.touched = "1"; }
  });
  zones(document); document.addEventListener("htmx:load", event => zones(event.detail.elt));

  // --- "4 min ago" goes on
  const spans = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  setInterval(() => {
    if (!document.hidden) document.querySelectorAll("time[data-ago]").forEach(time => {
      const passed = (Date.now() - Date.parse(time.dateTime)) / 1000, span = spans.find(([size]) => passed >= size);
      const text = span ? `${Math.floor(passed / span[0])} ${span[1]} ago` : "now";
      if (passed >= 0 && time.textContent !== text) time.textContent = text;
    });
  }, 1000);
})();
