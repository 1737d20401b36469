// Search as the page's address says, and show the answer as tiles.

import * as tiles from "./tiles.js";
import * as viewer from "./viewer.js";
import { copyText, pluralize, formatSpan } from "./words.js";

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

const readAddress = () => new URLSearchParams(location.search);

// Go to another search; the back button returns to the one before.
function go(changes) {
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...Object.fromEntries(readAddress()), ...changes })) {
    if (value) next.set(name, value);
  }
  const address = next.size ? `?${next}` : "/";
  if (address !== (location.search || "/")) history.pushState({ within: true }, "", address);
  count = STEP;
  search();
}

function makeApiAddress(asking) {
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
  const asking = readAddress();
  fillControls(asking);
  if (!asking.get("q")?.trim() && !asking.get("similar")) return showWelcome();
  const began = performance.now();
  // A quick answer needs no placeholder.
  const slow = setTimeout(() => {
    if (count === STEP) tiles.showPlaceholders();
    element("status").textContent = "Searching…";
  }, 150);
  element("results").setAttribute("aria-busy", "true");
  try {
    const answer = await ask(makeApiAddress(asking), signal);
    if (!signal.aborted) show(answer, (performance.now() - began) / 1000);
  } catch (error) {
    if (!signal.aborted) fail(error.message);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) element("results").removeAttribute("aria-busy");
  }
}

// Set the controls to what the address says.
function fillControls(asking) {
  const similar = asking.get("similar");
  query.value = asking.get("q") ?? "";
  folder.value = asking.get("folder") ?? "";
  if (folder.selectedIndex < 0) addFolderOption(asking.get("folder")).selected = true;
  length.value = asking.get("length") in LENGTHS ? asking.get("length") : "";
  for (const filter of [folder, length]) filter.disabled = Boolean(similar);
  element("source").hidden = !similar;
  if (similar) element("source").querySelector("img").src = `/thumbnail/${encodeURIComponent(similar)}`;
  element("welcome").hidden = element("banner").hidden = true;
  element("more").hidden = true;
  document.title = query.value ? `${query.value} – tempme` : "Search videos";
}

function showWelcome() {
  found = null;
  tiles.clear();
  element("status").textContent = "";
  element("welcome").hidden = false;
}

function show(answer, seconds) {
  const before = tiles.getMoments().length;
  found = answer;
  tiles.show(found, act);
  const moments = pluralize(found.moments.length, "moment");
  element("status").textContent =
    `${moments} of ${pluralize(found.searched, "window")} in ${seconds.toFixed(2)} s`;
  element("more").hidden = found.moments.length < count || count >= MOST;
  const filtered = !readAddress().get("similar") && (folder.value || length.value);
  if (!found.moments.length) {
    const everywhere = () => go({ folder: "", length: "" });
    showBanner("Nothing found", toSentence(found.message), filtered ? "Any folder and length" : "", filtered ? everywhere : null);
  } else if (!found.confident) {
    showBanner("No confident match", `${toSentence(found.message) || "Unrelated sentences score as high."} Below is what comes nearest.`);
  } else if (found.message) showBanner("", toSentence(found.message));
  if (count > STEP) tiles.focus(before);
  else scrollTo({ top: 0 });
}

// "no confident match: x" -> "X."
function toSentence(message) {
  const rest = message.replace(/^no confident match:?\s*/i, "").trim();
  return rest && rest[0].toUpperCase() + rest.slice(1) + (/[.!?]$/.test(rest) ? "" : ".");
}

function fail(message) {
  found = null;
  tiles.clear();
  element("status").textContent = "";
  showBanner("That did not work", toSentence(message), "Try again", search, true);
}

function showBanner(title, text, label = "", act = null, wrong = false) {
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
  const moment = tiles.getMoments()[number];
  const like = chosen => go({ q: "", folder: "", length: "", similar: tiles.getMoments()[chosen].window });
  if (what === "open" || what === "merged") {
    viewer.open(number, found.compared, { closed: tiles.focus, like, merged: what === "merged" });
  } else if (what === "similar") like(number);
  else if (what === "copy") copyText(`${moment.path} ${formatSpan(moment)}`, "path and time");
}

const isTyping = ({ target }) => target.closest("input, select, textarea");

document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const number = tiles.findFocused();
  const within = number >= 0;
  if (event.key === "ArrowDown" && event.target === query) tiles.focus(0, true);
  else if (isTyping(event)) return;
  else if (event.key === "/") query.select();
  else if (event.key === "?") element("keys").showModal();
  else if (event.key === "m" && within) act("similar", number);
  else if (event.key === " " && event.target.matches(".picture")) tiles.togglePreview(number);
  else if (event.key.startsWith("Arrow") && (within || (event.target === document.body && tiles.getMoments().length))) {
    const next = within ? tiles.findNeighbour(number, event.key) : 0;
    if (next < 0) query.focus();
    else tiles.focus(next, true);
  } else return;
  event.preventDefault();
});
// Firefox clicks a button when the space bar is released.
document.addEventListener("keyup", event => {
  if (event.key === " " && event.target.matches(".picture")) event.preventDefault();
});

element("search").addEventListener("submit", event => {
  event.preventDefault();
  const q = query.value.trim();
  if (!q) return query.focus();
  if (matchMedia("(pointer: coarse)").matches) query.blur(); // a phone's keyboard would hide the results
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

function addFolderOption(path) {
  const option = document.createElement("option");
  option.value = option.textContent = path;
  folder.append(option);
  return option;
}

async function describeIndex() {
  const [stats, folders] = await Promise.all([ask("/api/stats"), ask("/api/folders")]);
  const hours = stats.hours < 1 ? pluralize(Math.round(60 * stats.hours), "minute") : pluralize(Math.round(stats.hours), "hour");
  element("indexed").textContent = stats.windows
    ? `${pluralize(stats.videos, "video")}, ${hours}, ${pluralize(stats.windows, "window")} are indexed.`
    : "Nothing is indexed yet: tempme index FOLDER finds the videos in a folder.";
  const chosen = folder.value;
  folder.length = 1;
  for (const { path } of folders) addFolderOption(path);
  folder.value = chosen;
}

search();
describeIndex().catch(error => (element("indexed").textContent = error.message));
