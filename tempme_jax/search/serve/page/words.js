// How moments are named, for people.

// 75 -> 1:15, 3675 -> 1:01:15
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export const span = ({ start, end }) => `${clock(start)}–${clock(Math.ceil(end - 1e-6))}`;

export const counted = (count, noun) =>
  `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// A percentile is never rounded up: 99.96 is not "all".
export function match({ percentile }, compared) {
  if (percentile === null) return "nothing to compare with";
  if (percentile >= 100) return `better than all ${compared}`;
  const shown = Math.floor(percentile * 10 + 1e-6) / 10;
  return `better than ${shown} % of ${compared}`;
}

// The end of a path is what tells folders apart.
export function shortened(path, parts = 2) {
  const names = path.split("/").filter(Boolean);
  return names.length > parts ? `…/${names.slice(-parts).join("/")}` : path;
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyThroughField(text); // without https only pages of the own machine have a clipboard
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
  // Above a dialog nothing is seen that is not in it.
  (document.querySelector("dialog[open]") ?? document.body).append(told);
  told.textContent = sentence;
  clearTimeout(telling);
  telling = setTimeout(() => (told.textContent = ""), 2000);
}
