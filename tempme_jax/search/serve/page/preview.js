// Play a moment, muted, over its thumbnail; only one plays at a time.

import { choosePreview, explainFailure, findEnd, isBlind, makeMediaAddress, needsPreview, notePreview } from "./sources.js";

const WAIT = 140; // milliseconds; a pointer that only crosses a tile loads nothing
const PREVIEW_WAIT = 500; // a preview costs the service more
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let playing = null;
let waiting = 0;

export function addPreview(picture, moment) {
  picture.addEventListener("pointerenter", event => {
    if (event.pointerType === "mouse" && !calm.matches) playSoon(picture, moment);
  });
  picture.addEventListener("pointerleave", event => {
    if (event.pointerType === "mouse") stop(picture);
  });
  picture.addEventListener("focus", () => {
    if (picture.matches(":focus-visible") && !calm.matches) playSoon(picture, moment);
  });
  picture.addEventListener("blur", () => stop(picture));
}

export const isPlaying = picture => playing?.picture === picture;

export function toggle(picture, moment) {
  if (isPlaying(picture)) stop(picture);
  else play(picture, moment);
}

function playSoon(picture, moment) {
  clearTimeout(waiting);
  waiting = setTimeout(() => play(picture, moment), needsPreview(moment) ? PREVIEW_WAIT : WAIT);
}

export function stop(picture) {
  clearTimeout(waiting);
  if (!playing || (picture && playing.picture !== picture)) return;
  const { video } = playing;
  playing.picture.classList.remove("playing", "preparing");
  playing = null;
  // Otherwise the browser would keep loading the video.
  video.pause();
  video.removeAttribute("src");
  video.load();
  video.remove();
}

export function mark(picture, state, note) {
  picture.classList.add(state);
  picture.querySelector(".note").textContent = note;
}

const isClosed = picture => picture.matches(".gone, .failed") || !picture.isConnected;

function play(picture, moment) {
  if (isPlaying(picture) || isClosed(picture)) return;
  stop();
  const preview = needsPreview(moment) ? choosePreview(moment) : null;
  const offset = preview?.start ?? 0;
  const [from, until] = [moment.at - offset, Math.min(findEnd(moment), preview?.end ?? Infinity) - offset];
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
  video.setAttribute("aria-hidden", "true");
  const isCurrent = () => playing?.video === video;
  const start = () => video.play().catch(() => {}); // errors are handled by the error event
  const playFromStart = () => {
    if (!isCurrent()) return;
    video.currentTime = from;
    start();
  };
  const fail = () => {
    if (!isCurrent()) return;
    stop(picture);
    if (preview) showFailure(picture, preview.address);
    else {
      notePreview(moment);
      play(picture, moment);
    }
  };
  video.addEventListener("playing", () => {
    if (!isCurrent()) return;
    picture.classList.remove("preparing");
    picture.classList.add("playing");
  });
  video.addEventListener("loadedmetadata", () => {
    if (isBlind(video)) fail();
    else if (preview) video.currentTime = from;
  });
  video.addEventListener("timeupdate", () => {
    const share = (video.currentTime - from) / Math.max(0.1, until - from);
    picture.style.setProperty("--progress", Math.min(1, Math.max(0, share)));
    if (video.currentTime >= until) playFromStart();
  });
  // Browsers pause at the end of the span in the address.
  video.addEventListener("pause", () => video.currentTime >= until - 0.3 && playFromStart());
  video.addEventListener("error", fail);
  playing = { picture, video };
  picture.style.setProperty("--progress", 0);
  if (preview) mark(picture, "preparing", "preparing a preview…");
  picture.querySelector("img").after(video);
  video.src = preview?.address ?? makeMediaAddress(moment, moment.at, findEnd(moment));
  start();
}

async function showFailure(picture, address) {
  const { status, sentence } = await explainFailure(address);
  if (status === 410) mark(picture, "gone", "the file is gone");
  else if (status === 422) mark(picture, "failed", "cannot be played");
  else return; // too many previews are being made, for example: the next try may work
  picture.title = sentence;
}
