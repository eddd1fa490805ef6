// The terminal page lives: three small answers every few seconds say whether anything is new, and only then the page's parts
// are asked for, so that the server alone draws them. One look at a time; none while nobody looks.
"use strict";

const stage = document.querySelector("[data-live]");
let known = "", looking = false, over = false;

async function small(path) {
  const answer = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(5000) });
  if (answer.status === 401 || answer.status === 404) over = true;
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.text();
}

async function look() {
  if (looking || over || document.hidden) return;
  looking = true;
  try {
    const terminal = encodeURIComponent(stage.dataset.terminal);
    const paths = [`/api/terminals/${terminal}`, `/api/connections?terminal=${terminal}&limit=10`, `/api/terminals/${terminal}/commands?limit=10`];
    let now = "";
    for (const path of paths) now += await small(path);
    if (known && now !== known) await refresh();
    known = now;
  } catch {
    if (over) refresh(); // it finds out why: the session, or the terminal
  } finally {
    looking = false;
  }
}

setInterval(look, Number(stage.dataset.live) * 1000);
look();
document.addEventListener("visibilitychange", look);
