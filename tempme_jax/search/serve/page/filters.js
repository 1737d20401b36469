// The panel of filters, the order of the moments, and a chip for each filter in use.

import { FILTERS, getOrder, isMixed } from "./address.js";
import { formatDate, shortenPath } from "./words.js";

const element = id => document.getElementById(id);
const [bar, panel, toggle, chips, sort] = ["bar", "filters", "toggle", "chips", "sort"].map(element);
const DELAY = 400; // milliseconds after the last key, for those who do not press Enter
let used = {};

const fields = Object.fromEntries([...FILTERS, "weight"].map(name => [name, panel.elements.namedItem(name)]));

const LABELS = {
  name: value => `name: ${value}`,
  folder: value => `in ${shortenPath(value)}`,
  after: value => `from ${formatDate(value)}`,
  before: value => `until ${formatDate(value)}`,
  // An address that was changed by hand may have any value.
  length: value => fields.length.selectedOptions[0]?.textContent ?? value,
  verdict: value => `matches: ${fields.verdict.selectedOptions[0]?.textContent ?? value}`,
  without: value => `without ${value}`,
  file: () => "in one video",
};

// `change` is called with the filters that changed.
export function listen(change) {
  let typing = 0;
  const apply = () => {
    clearTimeout(typing);
    const changes = {};
    for (const [name, field] of Object.entries(fields)) {
      const value = field.value.trim();
      const unset = name === "weight" && value === field.defaultValue && !used.weight;
      if (!unset && value !== used[name] && (field.validity.valid || !value)) changes[name] = value;
    }
    if (Object.keys(changes).length) change(changes);
  };
  panel.addEventListener("submit", event => {
    event.preventDefault();
    apply();
  });
  panel.addEventListener("change", apply);
  panel.addEventListener("input", event => {
    clearTimeout(typing);
    // Who types a date by keys changes it with each of them; that waits for the change event.
    if (event.target.type === "search") typing = setTimeout(apply, DELAY);
  });
  sort.addEventListener("change", () => change({ sort: sort.value }));
  toggle.addEventListener("click", () => open(panel.hidden));
  element("clear").addEventListener("click", () => {
    clear(change);
    toggle.focus();
  });
  chips.addEventListener("click", event => {
    const chip = event.target.closest("button");
    if (!chip) return;
    change({ [chip.dataset.name]: "" });
    (chips.querySelector("button") ?? toggle).focus();
  });
  panel.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    open(false);
    toggle.focus();
  });
}

export const clear = change => change(Object.fromEntries([...FILTERS, "file", "weight"].map(name => [name, ""])));

export function open(wanted) {
  panel.hidden = !wanted;
  toggle.setAttribute("aria-expanded", wanted);
  // On a phone, the keyboard would hide the panel.
  if (wanted && !matchMedia("(pointer: coarse)").matches) fields.name.focus();
}

export const isOpen = () => !panel.hidden;
export const isFiltered = asking => [...FILTERS, "file"].some(name => asking[name]);
export const hide = () => (bar.hidden = true);

// Set the controls to what the address says.
export function show(asking) {
  used = asking;
  bar.hidden = false;
  for (const [name, field] of Object.entries(fields)) {
    if (name === "folder") addFolder(asking.folder);
    // Somebody may still be typing there.
    if (field.value.trim() !== asking[name] && field !== document.activeElement) field.value = asking[name] || field.defaultValue || "";
  }
  element("weight").hidden = !isMixed(asking);
  sort.value = getOrder(asking);
  const names = [...FILTERS, "file"].filter(name => asking[name]);
  toggle.textContent = names.length ? `Filters (${names.length})` : "Filters";
  element("clear").disabled = !names.length;
  chips.replaceChildren(...names.map(name => makeChip(name, asking[name])));
  chips.hidden = !names.length;
}

function makeChip(name, value) {
  const [item, button] = [document.createElement("li"), document.createElement("button")];
  button.type = "button";
  button.dataset.name = name;
  button.textContent = LABELS[name](value);
  button.title = value;
  button.setAttribute("aria-label", `Remove the filter ${button.textContent}`);
  item.append(button);
  return item;
}

function addFolder(path) {
  if (!path || [...fields.folder.options].some(option => option.value === path)) return;
  const option = document.createElement("option");
  option.value = option.textContent = path;
  fields.folder.append(option);
}

export function setFolders(paths) {
  const chosen = fields.folder.value;
  fields.folder.length = 1;
  paths.forEach(addFolder);
  addFolder(chosen);
  fields.folder.value = chosen;
}
