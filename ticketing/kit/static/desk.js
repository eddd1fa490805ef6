// Small comforts: running clocks, times that stay true, quiet refreshing, keys. Every page works without it.
"use strict";

document.documentElement.classList.add("js");

// What the server's pages say, in their language; `{}` is a span of time.
const words = JSON.parse(document.documentElement.dataset.words);
const say = (form, span) => words[form].replace("{}", span);

function duration(seconds) {
  const { d: D, h: H, min: MIN, s: S } = words.units;
  const whole = Math.floor(Math.abs(seconds));
  const d = Math.floor(whole / 86400), h = Math.floor(whole % 86400 / 3600), m = Math.floor(whole % 3600 / 60), s = whole % 60;
  if (d) return h && d < 30 ? `${d} ${D} ${h} ${H}` : `${d} ${D}`;
  if (h) return m ? `${h} ${H} ${m} ${MIN}` : `${h} ${H}`;
  return m ? `${m} ${MIN}` : `${s} ${S}`;
}

function running(seconds) {
  const whole = Math.floor(Math.abs(seconds));
  if (whole >= 86400) return duration(seconds);
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole % 3600 / 60))}:${two(whole % 60)}`;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now();
  for (const element of document.querySelectorAll("[data-due]")) {
    const left = (Date.parse(element.dataset.due) - now) / 1000;
    put(element, say(left < 0 ? "overdue" : "left", running(left)));
    element.classList.toggle("late", left < 0);
    element.classList.toggle("soon", left >= 0 && left < 3600);
    element.classList.toggle("calm", left >= 3600);
  }
  for (const element of document.querySelectorAll("[data-ago]")) {
    const holder = element.closest("time");
    const age = (now - Date.parse(holder.dateTime)) / 1000;
    put(element, say(age < 0 ? "in" : "ago", duration(age)));
  }
}

// Parts marked data-refresh are asked for again and replaced only where they differ: nothing flickers, and what
// is being typed, opened or selected stays.
async function refresh() {
  const parts = [...document.querySelectorAll("[data-refresh][id]")];
  if (!parts.length || document.hidden) return;
  let answer;
  try {
    answer = await fetch(location.href, { headers: { "X-Requested-With": "refresh" }, credentials: "same-origin" });
  } catch {
    return; // the next turn tries again
  }
  if (answer.redirected && new URL(answer.url).pathname === "/login") { ended(); return; }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts) {
    const other = page.getElementById(part.id);
    if (other && part.isConnected && !part.querySelector("details[open]") && !selecting(part)) merge(part, other);
  }
  tick();
}

// A page that nobody writes on goes to the login; typed text stays, and its form leads through the login and back.
function ended() {
  const typed = [...document.querySelectorAll("main textarea, main input:not([type=hidden])")].some((field) => field.value !== field.defaultValue);
  if (!typed) { location.reload(); return; }
  document.getElementById("ended").hidden = false;
  for (const files of document.querySelectorAll("input[type=file]")) files.disabled = true; // nobody reads a stranger's
}

function selecting(part) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
}

function plain(element) {
  const copy = element.cloneNode(true);
  copy.classList.remove("fresh");
  for (const moving of copy.querySelectorAll("[data-ago], [data-due]")) { moving.textContent = ""; moving.className = ""; }
  return copy.innerHTML.trim();
}

function merge(mine, theirs) {
  if (plain(mine) === plain(theirs)) return;
  const rows = mine.querySelector("tbody"), news = theirs.querySelector("tbody");
  const known = rows && new Set([...rows.rows].map((row) => row.id));
  const focused = mine.contains(document.activeElement) && document.activeElement.getAttribute("href");
  mine.replaceChildren(...document.importNode(theirs, true).childNodes);
  if (known && news) for (const row of mine.querySelectorAll("tbody tr[id]")) if (!known.has(row.id)) row.classList.add("fresh");
  if (focused) mine.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing) { event.preventDefault(); document.getElementById("q")?.focus(); }
  if (event.key === "?" && !typing) document.getElementById("keys")?.showModal();
  if (document.getElementById("keys")?.open) return;
  if (event.key === "Enter" && event.target.matches?.("select[data-submit]")) { event.preventDefault(); event.target.form.requestSubmit(); }
  if (event.key === "Escape" && typing) document.activeElement.blur();
  if ((event.key === "j" || event.key === "k") && !typing) {
    const links = [...document.querySelectorAll("tbody th a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + (event.key === "j" ? 1 : -1)))]?.focus();
  }
}

document.addEventListener("keydown", keys);
// A filter chosen with the pointer counts at once; with the keys only on Enter or by the button, for each arrow is a change.
let keyed = false;
document.addEventListener("keydown", () => { keyed = true; }, true);
document.addEventListener("pointerdown", () => { keyed = false; }, true);
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-submit]")) return;
  if (keyed && event.target === document.activeElement) event.target.form.classList.add("keyed");
  else event.target.form.requestSubmit();
});
// A form is sent once, however often its button is pressed; going back makes it whole again.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => { for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent; });
document.querySelector("main [aria-invalid]")?.focus();
setInterval(tick, 1000);
tick();
const every = Math.min(...[...document.querySelectorAll("[data-refresh]")].map((part) => Number(part.dataset.refresh) || 60));
if (Number.isFinite(every)) setInterval(refresh, every * 1000);
document.addEventListener("visibilitychange", refresh);
