
"use strict";
// Tokens are numbered by size, the largest 0; PRUNED stands for patches that no token holds.
const PRUNED = -1;
const BORDER = 1 / 14;
const NEIGHBOURS = [-1, 0, 1].flatMap(y => [-1, 0, 1].map(x => [y, x])).filter(([y, x]) => y || x);

const element = id => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const area = element("frames");
const figures = [...document.querySelectorAll("figure")];
const side = data.methods[0].source[0].length;
const methods = data.methods.map(prepare);
let shown = methods[0];
let chosen = null;
let hovered = null;
let cursor = null;

function prepare({ name, source, tokens }) {
  const numbers = new Map(tokens.map(({ id }, number) => [id, number]));
  const number = source.map(frame => frame.map(row => row.map(id => numbers.get(id) ?? PRUNED)));
  const counts = tokens.map(() => 0);
  for (const token of number.flat(2)) if (token !== PRUNED) counts[token]++;
  tokens = tokens.map((token, index) => ({ ...token, alone: counts[index] === 1 }));
  return { name, tokens, number };
}

// The number of patches of a token, and the frames that hold them.
function measure(token) {
  const frames = [];
  let patches = 0;
  shown.number.forEach((frame, index) => {
    const held = frame.flat().filter(number => number === token).length;
    if (held) frames.push(index);
    patches += held;
  });
  return { patches, frames };
}

const pluralize = (count, noun) =>
  `${count} ${noun}${count === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;
const join = words =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

// Runs of neighbouring frames: 0, 1, 2, 5 -> [0, 2], [5, 5]
function findRuns(frames) {
  const found = [];
  for (const frame of frames) {
    const last = found.at(-1);
    if (last && last[1] === frame - 1) last[1] = frame;
    else found.push([frame, frame]);
  }
  return found;
}

function nameToken(token) {
  return token === PRUNED ? "Pruned" : `Token ${token + 1} of ${shown.tokens.length}`;
}

function describeToken(token) {
  const { patches, frames } = measure(token);
  const span = say => ([a, b]) => (b - a > 1 ? [`${say(a)} to ${say(b)}`] : [...new Set([say(a), say(b)])]);
  const spans = say => join(findRuns(frames).flatMap(span(say)));
  let text = `${pluralize(patches, "patch")} in ${pluralize(frames.length, "frame")}`;
  text += ` (${spans(frame => frame + 1)})`;
  if (data.seconds) text += `, at ${spans(frame => data.seconds[frame].toFixed(2))} s`;
  return token === PRUNED ? `${text}; no token holds them` : text;
}

// The address holds the method and the token, so a view can be saved and sent.
function show(method, token) {
  const suffix = token === null ? "" : `&token=${token === PRUNED ? "pruned" : token + 1}`;
  location.replace(`#method=${encodeURIComponent(method.name)}${suffix}`);
}

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  shown = methods.find(({ name }) => name === asked.get("method")) ?? methods[0];
  const token = asked.get("token") === "pruned" ? PRUNED : Number(asked.get("token") || NaN) - 1;
  chosen = measure(token).patches ? token : null;
  hovered = null;
  describe();
  if (cursor && document.activeElement === area) announce(cursor);
  else element("here").textContent = "";
  draw();
}

function describe() {
  const patches = figures.length * side * side;
  const pruned = measure(PRUNED).patches;
  element("method").value = shown.name;
  element("left").textContent =
    `${pluralize(shown.tokens.length, "token")} of ${pluralize(patches, "patch")}` +
    (pruned ? `, ${pruned} pruned` : "");
  element("pruned").hidden = !pruned;
  const text = element("chosen");
  text.textContent = chosen === null ? "No token is chosen." : "";
  if (chosen !== null) {
    const name = document.createElement("b");
    name.textContent = `${nameToken(chosen)}:`;
    text.append(name, ` ${describeToken(chosen)}.`);
  }
  element("clear").disabled = chosen === null;
  element("larger").disabled = chosen === null || chosen <= 0;
  element("smaller").disabled = chosen === shown.tokens.length - 1 || !shown.tokens.length;
  figures.forEach((figure, frame) => {
    const tokens = new Set(shown.number[frame].flat());
    tokens.delete(PRUNED);
    let name = `Frame ${frame + 1}, ${shown.name}: ${pluralize(tokens.size, "token")}`;
    if (chosen !== null) {
      const held = shown.number[frame].flat().filter(number => number === chosen).length;
      name += `; ${pluralize(held, "patch")} chosen`;
    }
    figure.querySelector(".merged").setAttribute("aria-label", name);
  });
}

function announce({ frame, row, column }) {
  const token = shown.number[frame][row][column];
  const { patches, frames } = measure(token);
  element("here").textContent =
    `Frame ${frame + 1}, row ${row + 1}, column ${column + 1}: ${nameToken(token).toLowerCase()}, ` +
    `${pluralize(patches, "patch")} in ${pluralize(frames.length, "frame")}`;
}

function draw() {
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper");
  figures.forEach((figure, frame) => {
    const image = figure.querySelector("img");
    for (const canvas of figure.querySelectorAll("canvas")) {
      const patch = Math.max(4, Math.round((canvas.clientWidth * devicePixelRatio) / side));
      canvas.width = canvas.height = patch * side;
      image.style.imageRendering = canvas.width > 1.5 * image.naturalWidth ? "pixelated" : "auto";
      drawFrame(canvas, frame, patch, canvas.className === "merged" ? image : null, paper);
    }
  });
}

// With an image, draw the tokens in their colours; without one, only highlights over the original.
function drawFrame(canvas, frame, patch, image, paper) {
  const context = canvas.getContext("2d");
  const numbers = shown.number[frame];
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const token = numbers[row][column];
      const [x, y] = [column * patch, row * patch];
      if (image && token === PRUNED) drawPruned(context, image, row, column, patch);
      if (image && token !== PRUNED) {
        context.fillStyle = shown.tokens[token].mean;
        context.fillRect(x, y, patch, patch);
      }
      const lit = token === chosen || (token === hovered && hovered !== null);
      if (chosen !== null && !lit) {
        if (image && token !== PRUNED) drawBorder(context, numbers, row, column, patch, 1);
        context.globalAlpha = 0.8;
        context.fillStyle = paper;
        context.fillRect(x, y, patch, patch);
        context.globalAlpha = 1;
      } else if (lit || (image && token !== PRUNED)) {
        drawBorder(context, numbers, row, column, patch, lit ? 1.6 : 1);
      }
    }
  }
  if (cursor && cursor.frame === frame && document.activeElement === area) {
    drawCursor(context, cursor.column * patch, cursor.row * patch, patch);
  }
}

function drawPruned(context, image, row, column, patch) {
  const [x, y] = [column * patch, row * patch];
  const width = image.naturalWidth / side;
  context.imageSmoothingEnabled = false;
  context.fillStyle = "black";
  context.fillRect(x, y, patch, patch);
  context.globalAlpha = 0.3;
  context.drawImage(image, column * width, row * width, width, width, x, y, patch, patch);
  context.globalAlpha = 1;
  context.strokeStyle = "#ebebeb";
  context.lineWidth = Math.max(1, 1.4 * patch * BORDER);
  context.beginPath();
  context.moveTo(x, y + patch);
  context.lineTo(x + patch, y);
  context.stroke();
}

// Draw along the sides and in the corners that touch another token.
function drawBorder(context, numbers, row, column, patch, times) {
  const token = numbers[row][column];
  if (token !== PRUNED && shown.tokens[token].alone && times === 1) times = 0.5;
  const width = Math.max(1, Math.round(times * patch * BORDER));
  const part = step => (step < 0 ? [0, width] : step > 0 ? [patch - width, width] : [0, patch]);
  context.fillStyle = token === PRUNED ? "#ebebeb" : shown.tokens[token].edge;
  for (const [down, across] of NEIGHBOURS) {
    if (numbers[row + down]?.[column + across] === token) continue;
    const [[x, w], [y, h]] = [part(across), part(down)];
    context.fillRect(column * patch + x, row * patch + y, w, h);
  }
}

function drawCursor(context, x, y, patch) {
  const width = Math.max(2, patch / 10);
  for (const [colour, inset, thickness] of [["black", width, width * 1.8], ["white", width, width * 0.8]]) {
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.strokeRect(x + inset, y + inset, patch - 2 * inset, patch - 2 * inset);
  }
}

function patchAt(event) {
  if (event.target.tagName !== "CANVAS") return null;
  const box = event.target.getBoundingClientRect();
  const place = (at, from, length) =>
    Math.min(side - 1, Math.max(0, Math.floor(((at - from) / length) * side)));
  return {
    frame: figures.indexOf(event.target.closest("figure")),
    row: place(event.clientY, box.top, box.height),
    column: place(event.clientX, box.left, box.width),
  };
}

const tokenAt = ({ frame, row, column }) => shown.number[frame][row][column];
const choose = token => show(shown, token === chosen ? null : token);

// Beyond the left and right edges of a frame are the frames before and after it.
function moveCursor({ frame, row, column }, key) {
  const last = figures.length - 1;
  if (key === "ArrowUp") row = Math.max(0, row - 1);
  if (key === "ArrowDown") row = Math.min(side - 1, row + 1);
  if (key === "PageUp") frame = Math.max(0, frame - 1);
  if (key === "PageDown") frame = Math.min(last, frame + 1);
  if (key === "ArrowLeft" && column > 0) column--;
  else if (key === "ArrowLeft" && frame > 0) [frame, column] = [frame - 1, side - 1];
  if (key === "ArrowRight" && column < side - 1) column++;
  else if (key === "ArrowRight" && frame < last) [frame, column] = [frame + 1, 0];
  return { frame, row, column };
}

// Use as many columns as fit, in rows of similar length. Frames are wide enough to touch a patch.
function arrange() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const [least, gap] = [Math.max(8.5, 1.1 * side) * rem, 0.5 * rem];
  const room = Math.max(1, Math.floor((document.body.clientWidth - 2 * rem + gap) / (least + gap)));
  const rows = Math.ceil(figures.length / room);
  const columns = Math.ceil(figures.length / rows);
  area.style.setProperty("--columns", columns);
  area.style.maxWidth = `${columns * Math.max(20, 1.6 * side)}rem`;
  draw();
}

area.addEventListener("click", event => {
  const place = patchAt(event);
  if (!place) return;
  cursor = place;
  announce(place);
  choose(tokenAt(place));
});
area.addEventListener("pointermove", event => {
  if (event.pointerType === "touch") return;
  const place = patchAt(event);
  const token = place && tokenAt(place);
  if (place) announce(place);
  if (token !== hovered) {
    hovered = token;
    draw();
  }
});
area.addEventListener("pointerleave", () => {
  hovered = null;
  element("here").textContent = "";
  draw();
});
area.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (/^(Arrow|Page)/.test(event.key)) {
    cursor = cursor ? moveCursor(cursor, event.key) : { frame: 0, row: 0, column: 0 };
    announce(cursor);
    figures[cursor.frame].scrollIntoView({ block: "nearest" });
    draw();
  } else if (event.key === "Enter" || event.key === " ") {
    if (cursor) choose(tokenAt(cursor));
  } else return;
  event.preventDefault();
});
area.addEventListener("focus", draw);
area.addEventListener("blur", draw);
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && chosen !== null) show(shown, null);
});
element("method").addEventListener("change", event => {
  show(methods.find(({ name }) => name === event.target.value), null);
});
element("larger").addEventListener("click", () => show(shown, chosen - 1));
element("smaller").addEventListener("click", () => show(shown, chosen === null ? 0 : chosen + 1));
element("clear").addEventListener("click", () => show(shown, null));
addEventListener("hashchange", readAddress);
addEventListener("resize", arrange);
addEventListener("load", arrange);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
readAddress();
arrange();
