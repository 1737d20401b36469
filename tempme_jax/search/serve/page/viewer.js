// The dialog that shows one moment in its video.

import * as player from "./player.js";
import { stop as stopPreview } from "./preview.js";
import { addTimeline } from "./timeline.js";
import { copyText, describeRank, formatClock, formatSpan, nameVerdict } from "./words.js";

const element = id => document.getElementById(id);
const dialog = element("viewer");
const figure = element("merged");
const picture = figure.querySelector("img");
const MERGED = "Patches with borders of one colour, in all frames, were merged: together they are one token.";
const timeline = addTimeline(element("time"), "Time in the video", player.seek);
const frames = addTimeline(element("frames"), "Frames of the moment", player.seek);
let list = [];
let number = 0;
let found = null;
let call = {};

// Show `moments[which]` of an answer. `calls` has functions that are called with a moment: `whole` to
// search its whole video, `similar` to search for others like it; and `closed` with its number.
export function open(moments, which, answer, { merged = false, at = null, ...calls }) {
  [list, found, call] = [moments, answer, calls];
  stopPreview();
  if (!dialog.open) dialog.showModal();
  show(which, { merged, at });
  element("viewer-name").focus();
}

const button = what => dialog.querySelector(`[data-do="${what}"]`);

function show(which, { merged = false, at = null } = {}) {
  if (which < 0 || which >= list.length) return;
  number = which;
  const moment = list[number];
  describe(moment);
  button("previous").disabled = number === 0;
  button("next").disabled = number === list.length - 1;
  timeline.show({
    seconds: moment.seconds,
    line: found?.lines.find(line => line.file_id === moment.file_id),
    levels: found?.levels,
    moment: moment.verdict && moment,
    at: at ?? moment.at,
  });
  showFrames(moment, at);
  showMerged(merged, moment);
  if (!merged) player.load(moment, at);
}

// How well each frame of the best window fits, if the index knows it.
function showFrames(moment, at) {
  const curve = moment.curve ?? [];
  element("curve").hidden = curve.length < 2;
  if (curve.length < 2) return;
  const step = curve[1][0] - curve[0][0];
  frames.show({
    from: Math.max(0, curve[0][0] - step / 2),
    seconds: step * curve.length,
    line: { scores: curve.map(([, score]) => score) },
    levels: found?.tau ? found.levels : null, // those of other queries are of whole windows
    at: at ?? moment.at,
    stretched: true,
  });
  element("best").textContent = `Frames of the best part; the best one at ${formatClock(moment.best)}`;
}

function describe(moment) {
  const whole = !moment.verdict; // found by its name
  element("viewer-name").textContent = moment.name;
  element("place").textContent = `${number + 1} of ${list.length}`;
  element("viewer-time").textContent = whole ? formatClock(Math.round(moment.seconds)) : formatSpan(moment);
  const seen = () => `${nameVerdict(moment.verdict)}: ${describeRank(moment, found.compared)}`;
  element("viewer-match").textContent = whole ? "" : moment.found_in === "said" ? `“${moment.text}”` : seen();
  element("viewer-path").textContent = moment.path;
  button("replay").disabled = moment.gone;
  button("replay").textContent = whole ? "Play from the start" : "Play the moment";
  element("save").hidden = whole || moment.gone;
  const span = new URLSearchParams({ start: moment.start, end: moment.end });
  element("save").href = `/clip/${encodeURIComponent(moment.file_id)}?${span}`;
}

function showMerged(wanted, moment) {
  figure.hidden = !wanted;
  button("merged").setAttribute("aria-pressed", wanted);
  picture.removeAttribute("src");
  player.explain("");
  if (!wanted) return;
  player.hide();
  figure.classList.add("waiting");
  player.explain("The model is computing what it merges; this takes a few seconds.");
  picture.parentElement.href = picture.src = `/merged/${encodeURIComponent(moment.window)}`;
}

const leaveTo = what => () => {
  dialog.close();
  call[what](list[number]);
};
const actions = {
  close: () => dialog.close(),
  previous: () => show(number - 1, { merged: !figure.hidden }),
  next: () => show(number + 1, { merged: !figure.hidden }),
  replay: () => (figure.hidden ? player.seek(list[number].at, true) : show(number)),
  merged: () => show(number, { merged: figure.hidden }),
  similar: leaveTo("similar"),
  whole: leaveTo("whole"),
  path: () => copyText(list[number].path, "the path"),
  time: () => copyText(formatSpan(list[number]), "the time"),
};
const KEYS = { ArrowLeft: "previous", ArrowRight: "next", m: "similar", v: "whole" };

player.listen({
  time: seconds => [timeline, frames].forEach(one => one.setTime(seconds)),
  gone: () => describe(list[number]),
  // The timeline brings back the video from what was merged.
  show: () => {
    figure.hidden = true;
    button("merged").setAttribute("aria-pressed", false);
    picture.removeAttribute("src");
  },
});

dialog.addEventListener("click", event => {
  const what = event.target.closest("[data-do]")?.dataset.do;
  if (what) actions[what]();
  else if (event.target === dialog) dialog.close(); // a click on the backdrop
});

dialog.addEventListener("close", () => {
  player.unload();
  picture.removeAttribute("src");
  // The event may come late, and nobody who has gone on to type loses the focus.
  if (!document.activeElement.matches("input")) call.closed(number);
});

dialog.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const video = event.target.closest("video"); // it has keys of its own
  const what = KEYS[event.key];
  if (what && !(event.key.startsWith("Arrow") && (video || figure.contains(event.target)))) actions[what]();
  else if (event.key === " " && !video && !event.target.closest("button, a")) player.toggle();
  else return;
  event.preventDefault();
});

picture.addEventListener("load", () => {
  figure.classList.remove("waiting");
  player.explain(MERGED);
});
picture.addEventListener("error", () => {
  if (!picture.hasAttribute("src")) return;
  figure.classList.remove("waiting");
  figure.hidden = true;
  player.explain("The picture cannot be made: the video is gone or can no longer be read.");
});
