// A picture or a clip as a query: chosen, pasted or dropped; it is sent to the service, which keeps it.

import { ask } from "./address.js";
import { formatSize } from "./words.js";

const element = id => document.getElementById(id);
const [given, file, drop] = ["given", "file", "drop"].map(element);
const picture = given.querySelector("img");
const names = new Map();
let sending = new AbortController();

// `start` is called before a file is sent, `give` with its id, `fail` with a sentence, and perhaps a label and a function
// for a button.
export function listen({ start, give, forget, fail, getLimit }) {
  async function send(chosen) {
    sending.abort();
    sending = new AbortController();
    const { signal } = sending;
    const limit = getLimit();
    if (limit && chosen.size > limit) {
      return fail(`${chosen.name} has ${formatSize(chosen.size)}; a picture or clip to search by may have ${formatSize(limit)}.`);
    }
    start(chosen.name);
    showPicture("", `Sending ${chosen.name}`);
    try {
      const address = `/api/queries?name=${encodeURIComponent(chosen.name.slice(-200))}`;
      const answer = await ask(address, { method: "POST", body: chosen, signal });
      names.set(answer.query, answer.name);
      if (!signal.aborted) give(answer.query);
    } catch (error) {
      if (signal.aborted) return;
      given.hidden = true;
      if (error.status === 422) fail(error.message);
      else fail(error.message, "Try again", () => send(chosen));
    }
  }
  element("attach").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) send(file.files[0]);
    file.value = ""; // the same file may be chosen again
  });
  element("forget").addEventListener("click", () => {
    sending.abort();
    given.hidden = true;
    forget();
  });
  document.addEventListener("paste", event => {
    const { files = [] } = event.clipboardData ?? {};
    const pasted = [...files].find(isLooked);
    // Some programs copy text as a picture, too; in a field, the text is meant.
    const isText = event.target.closest?.("input, textarea") && event.clipboardData.getData("text/plain");
    if (!pasted || isText) return;
    event.preventDefault();
    send(pasted);
  });
  listenForDrops(send, fail);
}

const isLooked = ({ type }) => /^(image|video)\//.test(type);

function listenForDrops(send, fail) {
  let own = false; // whether something of the page itself is dragged, which may be a picture
  const hasFiles = event => !own && [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragstart", () => (own = true));
  addEventListener("dragend", () => (own = false));
  addEventListener("dragover", event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    drop.hidden = false;
  });
  addEventListener("dragleave", event => {
    if (!event.relatedTarget) drop.hidden = true; // left the window
  });
  addEventListener("drop", event => {
    drop.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.querySelector("dialog[open]")?.close();
    const files = [...event.dataTransfer.files];
    if (!files.length) return fail("Nothing was dropped that can be read: drop a file with a picture or a clip.");
    send(files.find(isLooked) ?? files[0]); // browsers do not know the type of every video
  });
}

function showPicture(address, title) {
  given.hidden = false;
  given.classList.toggle("sending", !address);
  picture.hidden = !address;
  if (address) picture.src = address;
  picture.alt = title;
  given.title = title;
  element("forget").setAttribute("aria-label", `Search without: ${title}`);
}

// Show what the address says that is searched by.
export function show({ query, similar }) {
  sending.abort();
  if (query) showPicture(`/query/${encodeURIComponent(query)}`, names.get(query) ?? "your picture or clip");
  else if (similar) showPicture(`/thumbnail/${encodeURIComponent(similar)}`, "a moment of the index");
  else given.hidden = true;
}
