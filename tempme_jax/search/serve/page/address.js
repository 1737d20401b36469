// What is searched stands in the page's address: read it, change it, and make the service's from it.

export const LENGTHS = {
  short: { max_seconds: 60 },
  medium: { min_seconds: 60, max_seconds: 600 },
  long: { min_seconds: 600 },
};
export const FILTERS = ["name", "folder", "after", "before", "length", "verdict", "without"];
// What is asked for, the filters, and the order. An address may hold other names, such as a token.
const NAMES = ["q", "query", "similar", "weight", ...FILTERS, "file", "sort"];

export function readAddress() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map(name => [name, given.get(name)?.trim() ?? ""]));
}

export const isAsking = asking => Boolean(asking.q || asking.query || asking.similar);
export const isMixed = asking => Boolean(asking.q && (asking.query || asking.similar));

// The moments of one video are shown in the order of time, unless the visitor chose another.
export const getOrder = asking => asking.sort || (asking.file ? "time" : "match");

// Go to another search; the back button returns to the one before.
export function changeAddress(changes) {
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...readAddress(), ...changes })) {
    if (value) next.set(name, value);
  }
  const address = next.size ? `?${next}` : "/";
  if (address !== (location.search || "/")) history.pushState(null, "", address);
}

export function makeApiAddress(asking, count) {
  const parameters = new URLSearchParams({ k: count, sort: getOrder(asking) });
  const { length, similar, weight, sort, ...rest } = asking;
  for (const [name, value] of Object.entries(rest)) if (value) parameters.set(name, value);
  if (similar) parameters.set("like", similar);
  if (weight && isMixed(asking)) parameters.set("weight", weight);
  for (const [name, value] of Object.entries(LENGTHS[length] ?? {})) parameters.set(name, value);
  return `/api/search?${parameters}`;
}

const LOST = "The service does not answer. Is it still running?";

// Ask the service; its refusal becomes an Error with its sentence.
export async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    throw options.signal?.aborted ? error : new Error(LOST);
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const error = new Error(content.error ?? `The service answered ${answer.status}.`);
  throw Object.assign(error, { status: answer.status });
}
