// The player of the dialog: the file itself or, for what the browser cannot play, one preview after the other.

import { choosePreview, explainFailure, isBlind, makeMediaAddress, needsPreview, notePreview } from "./sources.js";
import { makeSentence } from "./words.js";

const element = id => document.getElementById(id);
const video = element("video");
const trouble = element("trouble");
const DELAY = 400; // milliseconds; one preview for several presses of a key
let moment = null;
let preview = null; // { start, end, address } of the preview that is played, null for the file itself
let wanted = 0; // the time in the video at which to start
let call = {};
let waiting = 0;

// `time` is called with the time in the video while it plays, `show` when the player is shown again, `gone` when the file
// turns out to be gone.
export const listen = calls => (call = calls);
export const explain = sentence => (element("explained").textContent = sentence);
const start = () => video.play().catch(() => {}); // autoplay may be refused; errors are handled by the error event
const getThumbnail = () => `/thumbnail/${encodeURIComponent(moment.window)}`;

export function load(chosen, at = null) {
  moment = chosen;
  if (moment.gone) return showTrouble(410, "");
  if (needsPreview(moment)) return loadPreview(at);
  wanted = at ?? moment.at;
  // The whole video can be played here, so the address has a start and no end.
  play(makeMediaAddress(moment, wanted));
}

function loadPreview(at = null) {
  const next = choosePreview(moment, at);
  wanted = at ?? moment.at;
  play(next.address, next);
  explain("This browser cannot play the file itself. A preview is being made…");
}

function play(address, made = null) {
  clearTimeout(waiting);
  preview = made;
  trouble.hidden = true;
  video.hidden = false;
  video.poster = getThumbnail();
  video.src = address;
  start();
}

export function unload() {
  clearTimeout(waiting);
  video.pause();
  video.removeAttribute("src");
  video.load();
}

export function hide() {
  unload();
  video.hidden = trouble.hidden = true;
}

export function toggle() {
  if (video.paused) start();
  else video.pause();
}

// Go to a time in the video; outside the preview that is played, another one is made.
export function seek(time, playing = false) {
  if (!moment || moment.gone) return;
  call.show();
  if (!video.hasAttribute("src") || video.error) return load(moment, time);
  const inside = !preview || (time >= preview.start && time < preview.end - 0.2);
  if (!inside) {
    clearTimeout(waiting);
    waiting = setTimeout(() => loadPreview(Math.min(time, moment.seconds - 0.5)), DELAY);
    return;
  }
  wanted = time; // its beginning may not have come yet
  video.currentTime = time - (preview?.start ?? 0);
  if (playing) start();
}

async function fail() {
  if (!video.hasAttribute("src")) return;
  const failed = moment;
  if (!preview) {
    notePreview(moment);
    return loadPreview(wanted === moment.at ? null : wanted);
  }
  const { status, sentence } = await explainFailure(preview.address);
  if (failed === moment && video.hasAttribute("src")) showTrouble(status, sentence);
}

function showTrouble(status, sentence) {
  const [title, text, path] = trouble.querySelectorAll("p");
  const gone = status === 410;
  hide();
  explain("");
  trouble.hidden = false;
  trouble.querySelector("img").src = getThumbnail();
  title.firstElementChild.textContent = gone ? "The file is gone." : "The video cannot be played here.";
  text.textContent = gone
    ? "It was moved, renamed or deleted after it was indexed. Run tempme index again on its folder."
    : makeSentence(sentence);
  path.hidden = gone;
  if (gone && !moment.gone) {
    moment.gone = true;
    call.gone();
  }
  path.firstElementChild.textContent = moment.path;
}

video.addEventListener("loadedmetadata", () => {
  if (isBlind(video) && !preview) return fail();
  const time = wanted - (preview?.start ?? 0);
  if (Math.abs(video.currentTime - time) > 0.5) video.currentTime = time;
  if (preview) explain("A preview, as this browser cannot play the file itself.");
});
video.addEventListener("timeupdate", () => call.time(video.currentTime + (preview?.start ?? 0)));
video.addEventListener("error", fail);
video.addEventListener("ended", () => {
  // The next part of the video follows.
  if (preview && preview.end < moment.seconds - 0.5) loadPreview(preview.end);
});
