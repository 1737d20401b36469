// The page: the address says what is searched, the service answers, tiles show it.

import * as tiles from "./tiles.js";
import * as viewer from "./viewer.js";
import { copy, counted, span } from "./words.js";

const element = id => document.getElementById(id);
const [query, folder, length] = ["query", "folder", "length"].map(element);
const STEP = 24;
const MOST = 200;
const LENGTHS = {
  short: { max_seconds: 60 },
  medium: { min_seconds: 60, max_seconds: 600 },
  long: { min_seconds: 600 },
};
const LOST = "The service does not answer. Is it still running?";
let asked = new AbortController();
let count = STEP;
let found = null;

const wanted = () => new URLSearchParams(location.search);

// Goes to another search, which the back button leaves again.
function go(changes) {
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...Object.fromEntries(wanted()), ...changes })) {
    if (value) next.set(name, value);
  }
  const address = next.size ? `?${next}` : "/";
  if (address !== (location.search || "/")) history.pushState({ within: true }, "", address);
  count = STEP;
  search();
}

function address(asking) {
  const parameters = new URLSearchParams({ k: count });
  if (asking.get("similar")) return `/api/similar/${encodeURIComponent(asking.get("similar"))}?${parameters}`;
  parameters.set("q", asking.get("q"));
  if (asking.get("folder")) parameters.set("folder", asking.get("folder"));
  for (const [name, value] of Object.entries(LENGTHS[asking.get("length")] ?? {})) parameters.set(name, value);
  return `/api/search?${parameters}`;
}

async function ask(path, signal) {
  let answer;
  try {
    answer = await fetch(path, { signal });
  } catch (error) {
    throw signal?.aborted ? error : new Error(LOST);
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error ?? `The service answered ${answer.status}.`);
  return content;
}

async function search() {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  const asking = wanted();
  reflect(asking);
  if (!asking.get("q")?.trim() && !asking.get("similar")) return welcome();
  const began = performance.now();
  // A quick answer needs no placeholder.
  const slow = setTimeout(() => {
    if (count === STEP) tiles.skeleton();
    element("status").textContent = "Searching…";
  }, 150);
  element("results").setAttribute("aria-busy", "true");
  try {
    const answer = await ask(address(asking), signal);
    if (!signal.aborted) show(answer, (performance.now() - began) / 1000);
  } catch (error) {
    if (!signal.aborted) fail(error.message);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) element("results").removeAttribute("aria-busy");
  }
}

// What the address says, in the controls.
function reflect(asking) {
  const similar = asking.get("similar");
  query.value = asking.get("q") ?? "";
  folder.value = asking.get("folder") ?? "";
  if (folder.selectedIndex < 0) choice(asking.get("folder")).selected = true;
  length.value = asking.get("length") in LENGTHS ? asking.get("length") : "";
  for (const filter of [folder, length]) filter.disabled = Boolean(similar);
  element("source").hidden = !similar;
  if (similar) element("source").querySelector("img").src = `/thumbnail/${encodeURIComponent(similar)}`;
  element("welcome").hidden = element("banner").hidden = true;
  element("more").hidden = true;
  document.title = query.value ? `${query.value} – tempme` : "Search videos";
}

function welcome() {
  found = null;
  tiles.clear();
  element("status").textContent = "";
  element("welcome").hidden = false;
}

function show(answer, seconds) {
  const before = tiles.moments().length;
  found = answer;
  tiles.show(found, act);
  const moments = counted(found.moments.length, "moment");
  element("status").textContent =
    `${moments} of ${counted(found.searched, "window")} in ${seconds.toFixed(2)} s`;
  element("more").hidden = found.moments.length < count || count >= MOST;
  const filtered = !wanted().get("similar") && (folder.value || length.value);
  if (!found.moments.length) {
    const everywhere = () => go({ folder: "", length: "" });
    banner("Nothing found", sentence(found.message), filtered ? "Any folder and length" : "", filtered ? everywhere : null);
  } else if (!found.confident) {
    banner("No confident match", `${sentence(found.message) || "Unrelated texts match as well."} Below is what comes nearest.`);
  } else if (found.message) banner("", sentence(found.message));
  if (count > STEP) tiles.focus(before);
  else scrollTo({ top: 0 });
}

// "no confident match: x" -> "X."
function sentence(message) {
  const rest = message.replace(/^no confident match:?\s*/i, "").trim();
  return rest && rest[0].toUpperCase() + rest.slice(1) + (/[.!?]$/.test(rest) ? "" : ".");
}

function fail(message) {
  found = null;
  tiles.clear();
  element("status").textContent = "";
  banner("That did not work", sentence(message), "Try again", search, true);
}

function banner(title, text, label = "", act = null, wrong = false) {
  const shown = element("banner");
  shown.hidden = false;
  shown.classList.toggle("wrong", wrong);
  shown.setAttribute("role", wrong ? "alert" : "status");
  shown.querySelector("h2").textContent = title;
  shown.querySelector("h2").hidden = !title;
  shown.querySelector("p").textContent = text;
  element("retry").hidden = !act;
  element("retry").textContent = label;
  element("retry").onclick = act;
}

function act(what, number) {
  const moment = tiles.moments()[number];
  const like = chosen => go({ q: "", folder: "", length: "", similar: tiles.moments()[chosen].window });
  if (what === "open" || what === "merged") {
    viewer.open(number, found.compared, { closed: tiles.focus, like, merged: what === "merged" });
  } else if (what === "similar") like(number);
  else if (what === "copy") copy(`${moment.path} ${span(moment)}`, "path and time");
}

const typing = ({ target }) => target.closest("input, select, textarea");

document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const number = tiles.focused();
  const within = number >= 0;
  if (event.key === "ArrowDown" && event.target === query) tiles.focus(0, true);
  else if (typing(event)) return;
  else if (event.key === "/") query.select();
  else if (event.key === "?") element("keys").showModal();
  else if (event.key === "m" && within) act("similar", number);
  else if (event.key === " " && event.target.matches(".picture")) tiles.togglePreview(number);
  else if (event.key.startsWith("Arrow") && (within || (event.target === document.body && tiles.moments().length))) {
    const next = within ? tiles.neighbour(number, event.key) : 0;
    if (next < 0) query.focus();
    else tiles.focus(next, true);
  } else return;
  event.preventDefault();
});
// Firefox presses a button when the space bar is let go.
document.addEventListener("keyup", event => {
  if (event.key === " " && event.target.matches(".picture")) event.preventDefault();
});

element("search").addEventListener("submit", event => {
  event.preventDefault();
  const q = query.value.trim();
  if (!q) return query.focus();
  if (matchMedia("(pointer: coarse)").matches) query.blur(); // what is found is behind the keyboard
  go({ q, similar: "" });
});
for (const filter of [folder, length]) {
  filter.addEventListener("change", () => go({ folder: folder.value, length: length.value }));
}
element("more").addEventListener("click", () => {
  count = Math.min(MOST, 2 * count);
  search();
});
element("forget").addEventListener("click", () => (history.state?.within ? history.back() : go({ similar: "" })));
element("help").addEventListener("click", () => element("keys").showModal());
element("keys").addEventListener("click", event => {
  if (event.target === element("keys") || event.target.closest("[data-do]")) element("keys").close();
});
addEventListener("popstate", () => {
  count = STEP;
  search();
});

function choice(path) {
  const option = document.createElement("option");
  option.value = option.textContent = path;
  folder.append(option);
  return option;
}

async function describe() {
  const [stats, folders] = await Promise.all([ask("/api/stats"), ask("/api/folders")]);
  const hours = stats.hours < 1 ? counted(Math.round(60 * stats.hours), "minute") : counted(Math.round(stats.hours), "hour");
  element("indexed").textContent = stats.windows
    ? `${counted(stats.videos, "video")}, ${hours}, ${counted(stats.windows, "window")} are indexed.`
    : "Nothing is indexed yet: tempme index FOLDER finds the videos in a folder.";
  const chosen = folder.value;
  folder.length = 1;
  for (const { path } of folders) choice(path);
  folder.value = chosen;
}

search();
describe().catch(error => (element("indexed").textContent = error.message));
