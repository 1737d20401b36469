// Play a moment, muted, over its thumbnail; only one plays at a time.

const WAIT = 140; // milliseconds; a pointer that only crosses a tile loads nothing
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let playing = null;
let waiting = 0;

export const makeMediaAddress = moment =>
  `/media/${encodeURIComponent(moment.file_id)}#t=${moment.at.toFixed(3)},${moment.end.toFixed(3)}`;

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
  waiting = setTimeout(() => play(picture, moment), WAIT);
}

export function stop(picture) {
  clearTimeout(waiting);
  if (!playing || (picture && playing.picture !== picture)) return;
  const { video } = playing;
  playing.picture.classList.remove("playing");
  playing = null;
  video.pause();
  // Otherwise the browser would keep loading the video.
  video.removeAttribute("src");
  video.load();
  video.remove();
}

function play(picture, moment) {
  if (isPlaying(picture) || picture.classList.contains("failed") || !picture.isConnected) return;
  stop();
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
  video.setAttribute("aria-hidden", "true");
  const current = () => playing?.video === video;
  const playFromStart = () => {
    if (!current()) return;
    video.currentTime = moment.at;
    start();
  };
  const start = () => video.play().catch(() => {}); // errors are handled by the error event
  video.addEventListener("playing", () => current() && picture.classList.add("playing"));
  video.addEventListener("timeupdate", () => {
    const share = (video.currentTime - moment.at) / Math.max(0.1, moment.end - moment.at);
    picture.style.setProperty("--progress", Math.min(1, Math.max(0, share)));
    if (video.currentTime >= moment.end) playFromStart();
  });
  // Browsers pause at the end of the span in the address.
  video.addEventListener("pause", () => video.currentTime >= moment.end - 0.3 && playFromStart());
  video.addEventListener("error", () => {
    if (!current()) return;
    picture.classList.add("failed");
    stop(picture);
  });
  playing = { picture, video };
  picture.style.setProperty("--progress", 0);
  picture.querySelector("img").after(video);
  video.src = makeMediaAddress(moment);
  start();
}
