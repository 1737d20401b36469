// The time of a video, or of a part of it, as a slider, with a bar for how well each part of it matches.

import { formatClock, nameVerdict } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 40; // of the bars, in units of the drawing
const MOST = 1.25; // times the strong level; higher bars are cut

// `seek` is called with a time in seconds. Returns functions that show a video and move the cursor.
export function addTimeline(root, label, seek) {
  const drawing = document.createElementNS(SVG, "svg");
  const [part, cursor, bubble] = ["part", "cursor", "bubble"].map(name => {
    const one = document.createElement("span");
    one.className = name;
    return one;
  });
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  root.append(part, drawing, cursor, bubble);
  root.setAttribute("role", "slider");
  root.setAttribute("aria-label", label);
  root.tabIndex = 0;
  let shown = { from: 0, seconds: 0, values: [], levels: null };
  let now = 0;

  const name = time => {
    const { from, seconds, values, levels } = shown;
    const score = values[Math.min(values.length - 1, Math.floor(((time - from) / seconds) * values.length))] ?? null;
    const words = score === null || !levels ? "" : nameVerdict(rate(score, levels)).toLowerCase();
    return words ? `${formatClock(time)}, ${words}` : formatClock(time);
  };

  function setTime(time) {
    const end = shown.from + shown.seconds;
    now = Math.min(Math.max(shown.from, time), end);
    place(cursor, now);
    root.setAttribute("aria-valuenow", Math.round(now));
    root.setAttribute("aria-valuetext", `${name(now)}, of ${formatClock(Math.round(end))}`);
  }

  function place(one, start, end = null) {
    one.style.left = `${(100 * (start - shown.from)) / (shown.seconds || 1)}%`;
    if (end !== null) one.style.width = `${(100 * (end - start)) / (shown.seconds || 1)}%`;
  }

  // It begins at the second `from`. `line` has the scores over time, if they are known; `moment` is the part that is
  // marked, if any. With `stretched` the bars are as high as they differ from each other.
  function show({ from = 0, seconds, line = null, levels = null, moment = null, at = 0, stretched = false }) {
    const values = line?.scores ?? [];
    const gap = Math.min(0.08, 0.002 * values.length);
    const heights = values.map(score => (score === null ? null : measure(score, values, stretched ? null : levels)));
    shown = { from, seconds, values, levels };
    drawing.setAttribute("viewBox", `0 0 ${Math.max(1, values.length)} ${HEIGHT}`);
    drawing.replaceChildren(...values.map((score, place) => drawBar(place, heights[place], score, { levels, gap })).filter(Boolean));
    part.hidden = !moment;
    if (moment) place(part, moment.start, Math.min(seconds, moment.end));
    root.classList.toggle("plain", !values.length);
    root.setAttribute("aria-valuemin", Math.round(from));
    root.setAttribute("aria-valuemax", Math.round(from + seconds));
    bubble.hidden = true;
    setTime(at);
  }

  const readTime = event => {
    const box = root.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * shown.seconds + shown.from;
  };

  root.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    root.setPointerCapture(event.pointerId);
    setTime(readTime(event));
  });
  root.addEventListener("pointermove", event => {
    const time = readTime(event);
    if (root.hasPointerCapture(event.pointerId)) setTime(time);
    bubble.hidden = false;
    bubble.textContent = name(time);
    bubble.style.left = `${Math.min(92, Math.max(8, (100 * (time - shown.from)) / (shown.seconds || 1)))}%`;
  });
  root.addEventListener("pointerleave", () => (bubble.hidden = true));
  root.addEventListener("pointerup", event => {
    if (!root.hasPointerCapture(event.pointerId)) return;
    root.releasePointerCapture(event.pointerId);
    seek(readTime(event));
  });
  root.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { from, seconds, values } = shown;
    const step = values.length > 1 ? seconds / values.length : Math.max(1, seconds / 100);
    const next = {
      ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
      PageDown: now - seconds / 10, PageUp: now + seconds / 10, Home: from, End: from + seconds, Enter: now,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    setTime(next);
    seek(now, event.key === "Enter");
  });
  return { show, setTime };
}

const rate = (score, [, possible, strong]) => (score >= strong ? "strong" : score >= possible ? "possible" : "weak");

// The share of the height that a bar takes: of what unrelated queries get up to a strong match.
function measure(score, values, levels) {
  const known = values.filter(value => value !== null);
  const [low, high] = levels ? [levels[0], levels[2]] : [Math.min(...known), Math.max(...known)];
  const share = high > low ? (score - low) / (high - low) : 0.5;
  return Math.min(MOST, Math.max(0.08, share)) / MOST;
}

function drawBar(place, share, score, { levels, gap }) {
  if (share === null) return null;
  const bar = document.createElementNS(SVG, "rect");
  const box = { x: place + gap, y: HEIGHT * (1 - share), width: 1 - 2 * gap, height: HEIGHT * share };
  for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
  bar.setAttribute("class", levels ? rate(score, levels) : "unrated");
  return bar;
}
