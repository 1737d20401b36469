// The groups above the moments: files and folders whose name holds the words, and what is said in videos.

import { formatClock, formatSpan, pluralize, shortenPath } from "./words.js";

const [named, said] = ["named", "said"].map(id => document.getElementById(id));
const template = document.getElementById("row");

export const hide = () => (named.hidden = said.hidden = true);

// `open` is called with the files of a group and the number of one of them, `enter` with the path of a folder.
export function show(answer, query, { open, enter }) {
  const files = answer.names.filter(one => !one.is_folder).map(makeMoment);
  let number = 0;
  fill(named, `Named “${query}”`, answer.names.map(one => {
    const place = one.is_folder ? -1 : number++;
    const act = () => (one.is_folder ? enter(one.path) : open(files, place));
    const what = one.is_folder ? `folder · ${pluralize(one.count, "video")}` : one.gone ? "the file is gone" : formatClock(Math.round(one.seconds));
    return makeRow(one, markWords(one.name, one.marks), `${what} · ${shortenPath(one.folder)}`, act);
  }));
  fill(said, "Said there", answer.said.map((one, place) =>
    makeRow(one, [`“${one.text}”`], `${formatSpan(one)} · ${one.name}`, () => open(answer.said, place))));
}

function fill(group, title, rows) {
  group.hidden = !rows.length;
  group.querySelector("h2").textContent = title;
  group.querySelector("ul").replaceChildren(...rows);
}

// The whole video, in the form of a moment.
const makeMoment = one => ({ ...one, seconds: one.seconds ?? 0, start: 0, end: one.seconds ?? 0, at: 0, score: null, percentile: null, verdict: null, copies: [] });

function makeRow(one, title, about, act) {
  const row = template.content.cloneNode(true).querySelector("li");
  const [name, rest] = row.querySelectorAll(".text > span");
  row.querySelector("img").src = `/thumbnail/${encodeURIComponent(one.window)}`;
  row.querySelector("button").addEventListener("click", act);
  row.querySelector("button").title = one.path;
  name.append(...title);
  rest.textContent = about;
  return row;
}

// Nodes of the name, in which <mark> holds each of `marks`; a name is text, never HTML.
function markWords(name, marks) {
  const characters = Array.from(name);
  const nodes = [];
  let done = 0;
  for (const [from, to] of marks) {
    const marked = document.createElement("mark");
    marked.textContent = characters.slice(from, to).join("");
    nodes.push(characters.slice(done, from).join(""), marked);
    done = to;
  }
  return [...nodes, characters.slice(done).join("")];
}
