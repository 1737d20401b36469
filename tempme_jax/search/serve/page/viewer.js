// The dialog that shows one moment in its video.

import { getMoments } from "./tiles.js";
import { makeMediaAddress, stop as stopPreview } from "./preview.js";
import { formatClock, copyText, describeMatch, formatSpan } from "./words.js";

const element = id => document.getElementById(id);
const dialog = element("viewer");
const video = element("video");
const figure = element("merged");
const picture = figure.querySelector("img");
const track = element("track");
const MERGED = "Patches with borders of one colour, in all frames, were merged: together they are one token.";
let number = 0;
let compared = "";
let leave = () => {};
let similar = () => {};

// `closed` is called with the number of the last moment shown, `like` with one to search for others like it.
export function open(which, said, { closed, like, merged = false }) {
  [compared, leave, similar] = [said, closed, like];
  stopPreview();
  if (!dialog.open) dialog.showModal();
  dialog.focus();
  show(which, merged);
}

function show(which, merged = false) {
  const list = getMoments();
  if (which < 0 || which >= list.length) return;
  number = which;
  const moment = list[number];
  element("viewer-name").textContent = moment.name;
  element("place").textContent = `${number + 1} of ${list.length}`;
  element("viewer-time").textContent = formatSpan(moment);
  element("viewer-match").textContent = describeMatch(moment, compared);
  element("viewer-match").title = `cosine ${moment.score.toFixed(3)}`;
  element("viewer-path").textContent = moment.path;
  element("unplayable").querySelector("code").textContent = moment.path;
  element("unplayable").querySelector("img").src = thumbnail(moment);
  element("unplayable").hidden = true;
  button("previous").disabled = number === 0;
  button("next").disabled = number === list.length - 1;
  track.hidden = true;
  showMerged(merged, moment);
  if (!merged) load(moment);
}

const thumbnail = ({ window }) => `/thumbnail/${encodeURIComponent(window)}`;
const button = what => dialog.querySelector(`[data-do="${what}"]`);

function load(moment) {
  video.poster = thumbnail(moment);
  // The whole video can be played here, so the address has a start and no end.
  video.src = makeMediaAddress(moment).replace(/,[^,]*$/, "");
  video.play().catch(() => {}); // autoplay may be refused; errors are handled by the error event
}

function unload() {
  video.pause();
  video.removeAttribute("src");
  video.load();
}

function showMerged(wanted, moment) {
  figure.hidden = !wanted;
  button("merged").setAttribute("aria-pressed", wanted);
  video.hidden = wanted;
  element("explained").textContent = "";
  picture.removeAttribute("src");
  if (!wanted) return;
  unload();
  track.hidden = element("unplayable").hidden = true;
  figure.classList.add("waiting");
  element("explained").textContent = "The model is computing what it merges; this takes a few seconds.";
  picture.parentElement.href = picture.src = `/merged/${encodeURIComponent(moment.window)}`;
}

function replay() {
  const moment = getMoments()[number];
  if (!figure.hidden) show(number);
  else {
    video.currentTime = moment.at;
    video.play().catch(() => {});
  }
}

const actions = {
  close: () => dialog.close(),
  previous: () => show(number - 1, !figure.hidden),
  next: () => show(number + 1, !figure.hidden),
  replay,
  merged: () => show(number, figure.hidden),
  similar: () => {
    dialog.close();
    similar(number);
  },
  path: () => copyText(getMoments()[number].path, "the path"),
  time: () => copyText(formatSpan(getMoments()[number]), "the time"),
};

dialog.addEventListener("click", event => {
  const what = event.target.closest("[data-do]")?.dataset.do;
  if (what) actions[what]();
  else if (event.target === dialog) dialog.close(); // a click on the backdrop
});

dialog.addEventListener("close", () => {
  unload();
  picture.removeAttribute("src");
  // The event may come late, and nobody who has gone on to type loses the focus.
  if (!document.activeElement.matches("input")) leave(number);
});

dialog.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const player = event.target === video; // it has keys of its own
  const step = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
  if (step && !player && !figure.contains(event.target)) actions[step]();
  else if (event.key === "m") actions.similar();
  else if (event.key === " " && !player && !event.target.closest("button, a")) {
    if (video.paused) video.play().catch(() => {});
    else video.pause();
  } else return;
  event.preventDefault();
});

video.addEventListener("loadedmetadata", () => {
  const moment = getMoments()[number];
  if (Math.abs(video.currentTime - moment.at) > 0.5) video.currentTime = moment.at;
  if (!Number.isFinite(video.duration)) return;
  const part = track.querySelector(".part");
  part.style.left = `${(100 * moment.start) / video.duration}%`;
  part.style.width = `${(100 * (Math.min(moment.end, video.duration) - moment.start)) / video.duration}%`;
  track.title = `The moment, ${formatSpan(moment)}, in ${formatClock(video.duration)}`;
  track.hidden = false;
});
video.addEventListener("timeupdate", () => {
  track.querySelector(".cursor").style.left = `${(100 * video.currentTime) / (video.duration || 1)}%`;
});
video.addEventListener("error", () => {
  if (!video.hasAttribute("src")) return;
  video.hidden = true;
  element("unplayable").hidden = false;
});
track.addEventListener("click", event => {
  const box = track.getBoundingClientRect();
  video.currentTime = ((event.clientX - box.left) / box.width) * video.duration;
});
picture.addEventListener("load", () => {
  figure.classList.remove("waiting");
  element("explained").textContent = MERGED;
});
picture.addEventListener("error", () => {
  if (!picture.hasAttribute("src")) return;
  figure.classList.remove("waiting");
  figure.hidden = true;
  element("explained").textContent = "The picture cannot be made: the video is gone or can no longer be read.";
});
