// What is indexed, below everything: the model, how many videos, the last run, and what could not be indexed.

import { ask } from "./address.js";
import { formatDate, formatHours, makeSentence, pluralize } from "./words.js";

const element = id => document.getElementById(id);
const dialog = element("failures");

// Show the strip; returns the numbers of the index.
export async function show() {
  const stats = await ask("/api/stats");
  const run = formatDate(stats.last_run, { dateStyle: "medium", timeStyle: "short" });
  element("empty").textContent = stats.windows ? "" : "Nothing is indexed yet: tempme index FOLDER finds the videos in a folder.";
  element("strip").hidden = !stats.windows && !stats.failed;
  element("indexed").textContent = `${pluralize(stats.videos, "video")}, ${formatHours(stats.hours)}`;
  element("indexed").title = [`${pluralize(stats.windows, "window")} in ${stats.address}`, ...stats.folders].join("\n");
  // The name of a model may be a long path.
  const model = stats.model || "passed by a program";
  element("model").textContent = `model ${model.split("/").pop()}`;
  element("model").title = `${model}, method ${stats.method}`;
  element("run").title = stats.outdated ? `${pluralize(stats.outdated, "file")} to be looked at again by tempme index` : "";
  element("run").textContent = run && `indexed ${run}`;
  element("failed").hidden = !stats.failed;
  element("failed").textContent = `${stats.failed.toLocaleString("en")} could not be indexed`;
  return stats;
}

async function showFailures() {
  const [sentence, list] = [dialog.querySelector("p"), dialog.querySelector("ul")];
  sentence.textContent = "Reading the list…";
  list.replaceChildren();
  dialog.showModal();
  try {
    const { total, failures } = await ask("/api/failures");
    const cut = failures.length < total ? ` The first ${failures.length} are listed.` : "";
    sentence.textContent = `${pluralize(total, "file")} could not be indexed.${cut}`;
    list.append(...failures.map(makeFailure));
  } catch (error) {
    sentence.textContent = makeSentence(error.message);
  }
}

function makeFailure({ path, name, reason }) {
  const item = document.createElement("li");
  for (const [tag, text] of [["strong", name], ["span", reason]]) {
    const part = document.createElement(tag);
    part.textContent = text;
    item.append(part);
  }
  item.title = path;
  return item;
}

element("failed").addEventListener("click", showFailures);
for (const one of [dialog, element("keys")]) {
  one.addEventListener("click", event => {
    if (event.target === one || event.target.closest("[data-do]")) one.close();
  });
}
