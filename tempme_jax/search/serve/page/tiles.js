// The grid of moments. One tile at a time is a stop of the Tab key; the arrow keys go to the others.

import { addPreview, mark, stop, toggle } from "./preview.js";
import { describeRank, formatDate, formatSpan, nameVerdict, shortenPath } from "./words.js";

const grid = document.getElementById("results");
const template = document.getElementById("tile");
let shown = [];
let current = 0;

export const getMoments = () => shown;
const getTiles = () => [...grid.children];
const getPictures = () => [...grid.querySelectorAll(".picture")];
export const findFocused = () => getTiles().findIndex(tile => tile.contains(document.activeElement));

export function focus(number, byKey = false) {
  const picture = getPictures()[number];
  if (!picture) return;
  setCurrent(number);
  picture.focus(byKey ? { focusVisible: true } : {});
  picture.scrollIntoView({ block: "nearest" });
}

function setCurrent(number) {
  current = number;
  getTiles().forEach((tile, place) => {
    for (const button of tile.querySelectorAll("button")) button.tabIndex = place === number ? 0 : -1;
  });
}

grid.addEventListener("focusin", () => {
  const number = findFocused();
  if (number >= 0 && number !== current) setCurrent(number);
});

export function clear() {
  stop();
  shown = [];
  grid.replaceChildren();
}

export function showPlaceholders(count = 8) {
  clear();
  for (let number = 0; number < count; number++) {
    const tile = document.createElement("li");
    tile.className = "tile waiting";
    tile.setAttribute("aria-hidden", "true");
    tile.append(...["picture", "line", "line"].map(name => {
      const part = document.createElement("span");
      part.className = name;
      return part;
    }));
    grid.append(tile);
  }
}

// `act` is called with an action and the number of its moment.
export function show(moments, compared, act, { single = false } = {}) {
  clear();
  shown = moments;
  grid.append(...shown.map((moment, number) => makeTile(moment, compared, what => act(what, number), single)));
  setCurrent(0);
}

function makeTile(moment, compared, act, single) {
  const made = template.content.cloneNode(true).querySelector("li");
  const part = selector => made.querySelector(selector);
  const picture = part(".picture");
  const copies = moment.copies.length;
  const verdict = nameVerdict(moment.verdict);
  part("img").src = `/thumbnail/${encodeURIComponent(moment.window)}`;
  part(".time").textContent = formatSpan(moment);
  part("h3").textContent = part("h3").title = moment.name;
  part(".path").textContent = shortenPath(moment.folder);
  part(".path").title = moment.folder;
  part(".verdict").textContent = verdict;
  part(".verdict").classList.add(moment.verdict);
  part(".verdict").title = describeRank(moment, compared);
  part(".date").textContent = formatDate(moment.modified);
  part(".copies").textContent = copies ? ` · ${copies} ${copies === 1 ? "copy" : "copies"}` : "";
  part(".copies").title = moment.copies.join("\n");
  part("[data-do=whole]").hidden = single;
  picture.setAttribute("aria-label", `Open ${moment.name}, ${formatSpan(moment)}, ${verdict.toLowerCase()}`);
  if (moment.gone) {
    mark(picture, "gone", "the file is gone");
    picture.setAttribute("aria-label", `${picture.getAttribute("aria-label")}, the file is gone`);
  }
  addPreview(picture, moment);
  made.addEventListener("click", event => {
    const button = event.target.closest("[data-do]");
    if (button) act(button.dataset.do);
    else if (getSelection().isCollapsed || event.target.closest(".picture")) act("open");
  });
  return made;
}

export function togglePreview(number) {
  toggle(getPictures()[number], shown[number]);
}

// Compare positions, since the number of tiles in a row depends on the width of the window.
export function findNeighbour(number, key) {
  const last = shown.length - 1;
  const step = { ArrowLeft: Math.max(0, number - 1), ArrowRight: Math.min(last, number + 1), Home: 0, End: last }[key];
  if (step !== undefined) return step;
  const boxes = getPictures().map(one => one.getBoundingClientRect());
  const here = boxes[number];
  const middle = box => box.left + box.width / 2;
  const down = key === "ArrowDown";
  const beyond = boxes
    .map((box, index) => ({ index, far: Math.abs(box.top - here.top), across: Math.abs(middle(box) - middle(here)), box }))
    .filter(({ box }) => (down ? box.top > here.top + 1 : box.top < here.top - 1))
    .sort((a, b) => a.far - b.far || a.across - b.across);
  return beyond.length ? beyond[0].index : down ? number : -1;
}
