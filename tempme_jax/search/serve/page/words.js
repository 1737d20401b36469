// Format numbers, times and verdicts for people, copy text, and show short notices.

const MATCHES = { same: "The same", strong: "Strong match", possible: "Possible match", weak: "Weak match" };

// 75 -> 1:15, 3675 -> 1:01:15
export function formatClock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// An end is rounded up, but a video of 6.04 s, as of many containers, does not end at 0:07.
export const formatSpan = ({ start, end }) => `${formatClock(start)}–${formatClock(Math.ceil(end - 0.1))}`;

// A day such as 2024-05-12, or a time, as the visitor writes dates; "" for none.
export function formatDate(text, options = { dateStyle: "medium" }) {
  const day = /^\d{4}-\d\d-\d\d$/.test(text ?? "");
  const date = new Date(day ? `${text}T00:00` : text ?? "");
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString(undefined, options);
}

export function formatSize(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const shown = bytes / 1000 ** step;
  return `${shown.toFixed(step && shown < 10 ? 1 : 0)} ${units[step]}`;
}

export const formatHours = hours =>
  hours < 1 ? pluralize(Math.round(60 * hours), "minute") : pluralize(Math.round(hours), "hour");

export const pluralize = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

export const nameVerdict = verdict => MATCHES[verdict] ?? "";

// Round down: 99.96 must not read as 100.
export function describeRank({ percentile, score, verdict, by_frames: byFrames }, compared) {
  const cosine = `${byFrames ? "score" : "cosine"} ${score.toFixed(3)}`;
  if (percentile === null || verdict === "same") return cosine;
  const shown = Math.floor(percentile * 10 + 1e-6) / 10;
  return `higher than ${percentile >= 100 ? "all" : `${shown}\u00a0% of`} ${compared} (${cosine})`;
}

// "no strong match: x" -> "No strong match: x."; the name of a file at the beginning stays as it is.
export function makeSentence(text) {
  const begun = text.replace(/^[a-z]+(?=[\s,:;]|$)/, word => word[0].toUpperCase() + word.slice(1));
  return begun && !/[.!?…]$/.test(begun) ? `${begun}.` : begun;
}

// Keep the end of a path, which differs between folders.
export function shortenPath(path, parts = 2) {
  const names = path.split("/").filter(Boolean);
  return names.length > parts ? `…/${names.slice(-parts).join("/")}` : path;
}

export async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyThroughField(text); // browsers offer the clipboard only over https or on this machine
  }
  tell(`Copied ${what}`);
}

function copyThroughField(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

let telling = 0;

export function tell(sentence) {
  const told = document.getElementById("told");
  // An open dialog hides everything outside it.
  (document.querySelector("dialog[open]") ?? document.querySelector("footer")).append(told);
  told.textContent = sentence;
  clearTimeout(telling);
  telling = setTimeout(() => (told.textContent = ""), 2000);
}
