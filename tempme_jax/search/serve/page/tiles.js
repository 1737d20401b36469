// The grid of moments.

import { isPlaying, stop, toggle, addPreview } from "./preview.js";
import { describeMatch, shortenPath, formatSpan } from "./words.js";

const grid = document.getElementById("results");
const template = document.getElementById("tile");
let shown = [];

export const getMoments = () => shown;
const getPictures = () => [...grid.querySelectorAll(".picture")];
export const findFocused = () => getPictures().findIndex(one => one.closest("li").contains(document.activeElement));

export function focus(number, byKey = false) {
  const picture = getPictures()[number];
  picture?.focus(byKey ? { focusVisible: true } : {});
  picture?.scrollIntoView({ block: "nearest" });
}

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

// `act` is called with the action of a button and the number of its moment.
export function show(found, act) {
  clear();
  shown = found.moments;
  grid.classList.toggle("weak", !found.confident);
  grid.append(...shown.map((moment, number) => makeTile(moment, found.compared, what => act(what, number))));
}

function makeTile(moment, compared, act) {
  const made = template.content.cloneNode(true).querySelector("li");
  const part = selector => made.querySelector(selector);
  const picture = part(".picture");
  const count = moment.copies.length;
  const words = describeMatch(moment, compared);
  part("img").src = `/thumbnail/${encodeURIComponent(moment.window)}`;
  part(".time").textContent = formatSpan(moment);
  part("h3").textContent = part("h3").title = moment.name;
  part(".path").textContent = shortenPath(moment.folder);
  part(".path").title = moment.folder;
  part(".words").textContent = words;
  part(".match").title = `cosine ${moment.score.toFixed(3)}`;
  part(".meter").hidden = moment.percentile === null;
  part(".meter span").style.width = `${moment.percentile ?? 0}%`;
  part(".copies").textContent = count ? ` · ${count} ${count === 1 ? "copy" : "copies"}` : "";
  part(".copies").title = moment.copies.join("\n");
  picture.setAttribute("aria-label", `Open ${moment.name}, ${formatSpan(moment)}, ${words}`);
  picture.addEventListener("click", event => {
    // A touch screen has no hover: the first touch plays, the second opens.
    const first = event.pointerType === "touch" && !isPlaying(picture);
    if (first && !picture.classList.contains("failed")) toggle(picture, moment);
    else act("open");
  });
  addPreview(picture, moment);
  for (const button of made.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => act(button.dataset.do));
  }
  return made;
}

export function togglePreview(number) {
  toggle(getPictures()[number], shown[number]);
}

// Compare positions, since the number of tiles in a row depends on the width of the window.
export function findNeighbour(number, key) {
  const boxes = getPictures().map(one => one.getBoundingClientRect());
  if (key === "ArrowLeft") return Math.max(0, number - 1);
  if (key === "ArrowRight") return Math.min(boxes.length - 1, number + 1);
  const here = boxes[number];
  const middle = box => box.left + box.width / 2;
  const down = key === "ArrowDown";
  const beyond = boxes
    .map((box, index) => ({ index, far: Math.abs(box.top - here.top), across: Math.abs(middle(box) - middle(here)), box }))
    .filter(({ box }) => (down ? box.top > here.top + 1 : box.top < here.top - 1))
    .sort((a, b) => a.far - b.far || a.across - b.across);
  return beyond.length ? beyond[0].index : down ? number : -1;
}
