// Format numbers and times for people, copy text, and show short notices.

// 75 -> 1:15, 3675 -> 1:01:15
export function formatClock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export const formatSpan = ({ start, end }) => `${formatClock(start)}–${formatClock(Math.ceil(end - 1e-6))}`;

export const pluralize = (count, noun) =>
  `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// Round down: 99.96 must not read as 100.
export function describeMatch({ percentile }, compared) {
  if (percentile === null) return "nothing to compare with";
  if (percentile >= 100) return `better than all ${compared}`;
  const shown = Math.floor(percentile * 10 + 1e-6) / 10;
  return `better than ${shown} % of ${compared}`;
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
  (document.querySelector("dialog[open]") ?? document.body).append(told);
  told.textContent = sentence;
  clearTimeout(telling);
  telling = setTimeout(() => (told.textContent = ""), 2000);
}
