// Search as the page's address says, and show the answer as tiles.

import { ask, changeAddress, isAsking, makeApiAddress, readAddress } from "./address.js";
import * as filters from "./filters.js";
import * as given from "./given.js";
import * as groups from "./groups.js";
import { setLongest } from "./sources.js";
import * as strip from "./strip.js";
import * as tiles from "./tiles.js";
import { addTimeline } from "./timeline.js";
import * as viewer from "./viewer.js";
import { copyText, formatSpan, makeSentence, pluralize } from "./words.js";

const element = id => document.getElementById(id);
const query = element("query");
const STEP = 24;
const MOST = 200;
const FEW = "Below is what comes nearest.";
const TITLES = {
  text: "Nothing clearly shows this",
  mixed: "Nothing clearly shows this",
  picture: "Nothing clearly looks like this picture",
  clip: "Nothing clearly looks like this clip",
  similar: "Nothing clearly looks like this moment",
};
const whole = addTimeline(element("whole-time"), "Matches over the time of the video", openAt);
let asked = new AbortController();
let count = STEP;
let found = null;
let stats = {};

function go(changes) {
  changeAddress(changes);
  count = STEP;
  search();
}

async function search() {
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  const asking = readAddress();
  fillControls(asking);
  if (!isAsking(asking)) return showWelcome();
  const began = performance.now();
  // A quick answer needs no placeholder.
  const slow = setTimeout(() => {
    if (count === STEP) tiles.showPlaceholders();
    element("status").textContent = "Searching…";
  }, 150);
  element("results").setAttribute("aria-busy", "true");
  try {
    const answer = await ask(makeApiAddress(asking, count), { signal });
    if (!signal.aborted) show(answer, (performance.now() - began) / 1000);
  } catch (error) {
    if (!signal.aborted) fail(error, asking);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) element("results").removeAttribute("aria-busy");
  }
}

// Set the controls to what the address says.
function fillControls(asking) {
  query.value = asking.q;
  query.placeholder = asking.query || asking.similar ? "Add words, if you like: at night" : "Describe a moment: a dog jumps into the water";
  given.show(asking);
  filters.show(asking);
  element("welcome").hidden = element("banner").hidden = true;
  element("more").hidden = true;
  if (!asking.file) element("whole").hidden = true;
  document.title = asking.q ? `${asking.q} – tempme` : "Search videos";
}

function clear() {
  found = null;
  tiles.clear();
  groups.hide();
  element("whole").hidden = true;
  element("status").textContent = "";
}

function showWelcome() {
  clear();
  filters.hide();
  element("welcome").hidden = false;
}

function show(answer, seconds) {
  const before = count > STEP ? tiles.getMoments().length : 0;
  const asking = readAddress();
  found = answer;
  // The index may no longer know the file, and then nobody knows its length.
  for (const one of [...found.moments, ...found.said]) {
    one.seconds ??= one.end;
    one.by_frames = found.tau !== null;
  }
  showMoments(before ? found.moments.length : found.shown);
  if (before) tiles.focus(before);
  else scrollTo({ top: 0 });
  const moments = pluralize(found.moments.length, "moment");
  element("status").textContent = `${moments} of ${pluralize(found.searched, "window")} in ${seconds.toFixed(2)} s`;
  if (asking.file) showWhole();
  if (asking.file) groups.hide();
  else groups.show(found, asking.q, { open: openOther, enter: folder => go({ folder }) });
  showMessage(asking);
}

function showMoments(number) {
  tiles.show(found.moments.slice(0, number), found.compared, act, { single: Boolean(readAddress().file) });
  element("more").hidden = number >= found.moments.length && (found.moments.length < count || count >= MOST);
}

function showMessage(asking) {
  // The title says that the match is weak.
  const weak = found.verdict === "weak";
  const message = makeSentence(weak ? found.message.replace(/^weak match: /i, "") : found.message);
  const filtered = filters.isFiltered(asking);
  if (!found.moments.length) showBanner("Nothing found", message, filtered ? "Clear the filters" : "", () => filters.clear(go));
  else if (weak) showBanner(TITLES[found.kind], `${message} ${FEW}`.trim());
  else if (message) showBanner("", message);
}

// The line of scores of the one video that was searched.
function showWhole() {
  const [first, line] = [found.moments[0], found.lines[0]];
  element("whole").hidden = !line;
  if (!line) return;
  element("whole-name").textContent = first.name;
  whole.show({ seconds: line.seconds, line, levels: found.levels });
}

// Open the moment that is nearest to a time of the one video.
function openAt(time) {
  const distance = ({ start, end }) => Math.max(start - time, time - end, 0);
  const moments = found?.moments ?? [];
  const nearest = moments.reduce((best, one, number) => (distance(one) < distance(moments[best]) ? number : best), 0);
  if (moments.length) openMoment(moments, nearest, { at: time, closed: () => element("whole-time").focus() });
}

function fail({ message, status }, asking) {
  clear();
  if (status === 422 && filters.isFiltered(asking)) complain(message, "Clear the filters", () => filters.clear(go));
  else if (status === 410) complain(message); // to be chosen again
  else complain(message, "Try again", search);
}

const complain = (message, label = "", act = null) => showBanner("That did not work", makeSentence(message), label, act, true);

function showBanner(title, text, label = "", act = null, wrong = false) {
  const shown = element("banner");
  shown.hidden = false;
  shown.classList.toggle("wrong", wrong);
  shown.setAttribute("role", wrong ? "alert" : "status");
  shown.querySelector("h2").textContent = title;
  shown.querySelector("h2").hidden = !title;
  shown.querySelector("p").textContent = text;
  element("retry").hidden = !label;
  element("retry").textContent = label;
  element("retry").onclick = act;
}

// A similar moment is searched in all videos, by its picture alone.
const searchSimilar = moment => go({ q: "", query: "", file: "", sort: "", similar: moment.window });

function searchWhole(moment) {
  // A video that was found by its name is searched for the words that found it.
  go({ file: moment.file_id, sort: "" });
}

function openMoment(moments, number, options = {}) {
  viewer.open(moments, number, found, {
    closed: tiles.focus, similar: searchSimilar, whole: searchWhole, ...options,
  });
}

const openOther = (files, number) => {
  const opener = document.activeElement;
  openMoment(files, number, { closed: () => opener.focus() });
};

function act(what, number) {
  const moment = tiles.getMoments()[number];
  if (what === "open") openMoment(tiles.getMoments(), number);
  else if (what === "similar") searchSimilar(moment);
  else if (what === "whole") searchWhole(moment);
  else if (what === "copy") copyText(`${moment.path} ${formatSpan(moment)}`, "path and time");
}

const isTyping = ({ target }) => target.closest("input, select, textarea");
const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];

document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const number = tiles.findFocused();
  const within = number >= 0;
  const atGrid = event.target === document.body || event.target === element("results");
  if (event.key === "ArrowDown" && event.target === query) tiles.focus(0, true);
  else if (isTyping(event)) return;
  else if (event.key === "/") query.select();
  else if (event.key === "?") element("keys").showModal();
  else if (event.key === "f" && found) filters.open(!filters.isOpen());
  else if (event.key === "m" && within) act("similar", number);
  else if (event.key === "v" && within) act("whole", number);
  else if (event.key === " " && event.target.matches(".picture")) tiles.togglePreview(number);
  else if (MOVES.includes(event.key) && (within || (event.key.startsWith("Arrow") && atGrid && tiles.getMoments().length))) {
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
  const { query: picture, similar } = readAddress();
  if (!q && !picture && !similar) return query.focus();
  if (matchMedia("(pointer: coarse)").matches) query.blur(); // a phone's keyboard would hide the results
  go({ q });
});
element("more").addEventListener("click", () => {
  const before = tiles.getMoments().length;
  if (before < found.moments.length) {
    showMoments(found.moments.length);
    return tiles.focus(before);
  }
  count = Math.min(MOST, 2 * count);
  search();
});
document.querySelector(".skip").addEventListener("click", event => {
  event.preventDefault(); // the address stays that of the search
  if (tiles.getMoments().length) tiles.focus(0, true);
  else element("results").focus();
});
element("leave").addEventListener("click", () => go({ file: "", sort: "" }));
element("help").addEventListener("click", () => element("keys").showModal());
addEventListener("popstate", () => {
  count = STEP;
  search();
});

filters.listen(go);
given.listen({
  start: () => (element("banner").hidden = true),
  give: id => go({ q: query.value.trim(), query: id, similar: "", file: "", sort: "" }),
  forget: () => go({ query: "", similar: "", weight: "" }),
  fail: complain,
  getLimit: () => stats.most_upload_bytes,
});

// Show what is indexed; that may change while the page is not looked at.
async function describeIndex() {
  try {
    stats = await strip.show();
    setLongest(stats.preview_seconds);
    filters.setFolders((await ask("/api/folders")).map(({ path }) => path));
  } catch (error) {
    element("empty").textContent = makeSentence(error.message);
  }
}

document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && describeIndex());
search();
describeIndex();
