"use strict";
// One frame at a time: files and what is said of them go to /predict, and its answer is shown. Nothing is stored.
const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const number = (value, digits = 3) => Number(value.toPrecision(digits)).toString().replace("-", "\u2212");
const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);
const LABELS = {
  unit: () => "Unit",
  scale: (unit) => (unit === "metre" ? "Steps per metre" : unit === "relative" ? "Value that is 1" : "Steps per unit"),
  add: () => "Added after that",
  log: () => "Factor of a logarithm",
  bits: () => "Bits",
  missing: () => "Not measured",
  key: () => "Array of an .npz",
};
const CHOICES = { unit: ["", "metre", "sensor", "relative", "rgb8", "unit_vector"], bits: ["", "8", "16"] };
const SIGNS = { metre: "m" };
const cards = {};  // by map: its elements, its file, what is said of it
let model = null;
let running = null;  // what ends the request that is on its way
let shown = null;  // the answer that is shown
let picked = null;  // the button of the sample that was clicked last, whose files may be on their way
let at = null;  // [x, y] of the cross-hair

// --- the maps that are given ---------------------------------------------------------------------------------------

function buildCard(name, about) {
  const part = $("map").content.cloneNode(true).firstElementChild;
  const find = (selector) => part.querySelector(selector);
  part.dataset.map = name;
  part.setAttribute("aria-label", about.title);
  find("h3").textContent = about.title;
  find("details .note").textContent = about.told;
  const card = { name, about, part, find, file: null, fields: {}, beside: {} };
  const input = find("input[type=file]");
  input.setAttribute("aria-label", `${about.title}: choose a file`);
  input.addEventListener("change", () => input.files.length && give(card, input.files[0]));
  input.addEventListener("keydown", ({ key }) => key === "Enter" && input.click());
  find(".remove").setAttribute("aria-label", `Remove ${about.title}`);
  find(".remove").addEventListener("click", () => {
    give(card, null);
    input.focus();
  });
  for (const option of about.options) {
    const usual = (about.stored ?? {})[option] ?? (option === "scale" && about.unit === "metre" ? 1000 : "");
    const field = CHOICES[option]
      ? make("select", {}, ...CHOICES[option].map((text) => make("option", { value: text, textContent: text || "as trained" })))
      : make("input", { type: "text", placeholder: String(usual), autocomplete: "off", spellcheck: false });
    if (!["unit", "bits", "key"].includes(option)) field.inputMode = "decimal";
    field.addEventListener("change", () => predict());
    card.fields[option] = field;
    find(".fields").append(make("label", {}, LABELS[option](about.unit), field));
  }
  for (const kind of ["dragenter", "dragover"]) part.addEventListener(kind, () => find(".drop").classList.add("aimed"));
  for (const kind of ["dragleave", "drop"]) part.addEventListener(kind, () => find(".drop").classList.remove("aimed"));
  $("maps").append(part);
  return card;
}

function put(card, file) {
  card.file = file;
  const { find } = card;
  find("input[type=file]").value = "";
  find(".drop").classList.toggle("filled", file !== null);
  find(".choose").hidden = file !== null;
  find(".chosen").hidden = find(".remove").hidden = file === null;
  find(".file").textContent = file ? file.name : "";
  find(".measured").textContent = "";
  find(".chosen .bar").replaceChildren();
  const canvas = find("canvas");
  canvas.width = canvas.height = 0;
  tell(find(".wrong"), "");
}

function give(card, file) {
  card.beside = {};
  put(card, file);
  mark(null);
  predict();
}

// Files go where they were dropped, or to the map that their name holds, or to the first that has none.
function assign(files, aimed) {
  const left = [...files];
  if (!left.length) return;
  const taken = new Set();
  const place = (card, file) => {
    card.beside = {};
    put(card, file);
    taken.add(card);
  };
  if (aimed && left.length === 1) place(aimed, left.shift());
  const all = Object.values(cards);
  for (const file of [...left]) {
    const named = all.find((card) => !taken.has(card) && file.name.toLowerCase().includes(card.name.toLowerCase()));
    if (named) place(named, left.splice(left.indexOf(file), 1)[0]);
  }
  const isPhoto = (file) => /\.jpe?g$/i.test(file.name);  // what loses steps of depth is hardly depth
  for (const file of left.sort((a, b) => isPhoto(b) - isPhoto(a))) {
    const free = all.filter((card) => !taken.has(card));
    const colours = free.find((card) => isPhoto(file) && card.about.unit === "rgb8");
    const card = colours ?? free.find((each) => !each.file) ?? free[0];
    if (card) place(card, file);
  }
  mark(null);
  predict();
}

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over-page");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over-page"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over-page");
  assign(event.dataTransfer.files, cards[event.target.closest?.(".map")?.dataset.map]);
});
addEventListener("paste", (event) => {
  assign(event.clipboardData.files, cards[document.activeElement.closest(".map")?.dataset.map]);
});

// --- samples -------------------------------------------------------------------------------------------------------

const mark = (pressed) => {
  picked = pressed;
  for (const button of $("samples").querySelectorAll("button")) button.setAttribute("aria-pressed", button === pressed);
};

function buildSample(sample, index) {
  const image = make("img", { src: `samples/${index}.png`, alt: sample.name, loading: "lazy" });
  const button = make("button", { type: "button", title: sample.name }, image);
  button.setAttribute("aria-pressed", false);
  button.addEventListener("click", async () => {
    mark(button);
    busy(true);
    try {
      const names = Object.keys(sample.files);
      const blobs = await Promise.all(names.map(async (name) => (await fetch(`samples/${index}/${name}`)).blob()));
      if (picked !== button) return;
      for (const card of Object.values(cards)) {
        const said = sample.said[card.name] ?? {};
        for (const [option, field] of Object.entries(card.fields)) field.value = said[option] ?? "";
        card.beside = Object.fromEntries(Object.entries(said).filter(([option]) => !(option in card.fields)));
        const place = names.indexOf(card.name);
        put(card, place < 0 ? null : new File([blobs[place]], sample.files[card.name]));
      }
    } catch {
      if (picked !== button) return;
      busy(false);
      tell($("wrong"), "The server does not answer: does it still run?");
      return;
    }
    predict();
  });
  return make("li", {}, button);
}

// --- asking --------------------------------------------------------------------------------------------------------

function tell(place, text) {
  place.hidden = !text;
  place.textContent = text;
}

function busy(value) {
  $("shown").setAttribute("aria-busy", value);
  if (value) $("told").textContent = "Predicting";
}

async function predict() {
  running?.abort();
  const mine = (running = new AbortController());
  const given = Object.values(cards).filter((card) => card.file);
  for (const card of Object.values(cards)) tell(card.find(".wrong"), "");
  tell($("wrong"), "");
  if (!given.length) {
    $("invitation").textContent = invitation();
    busy(false);
    show(null);
    $("told").textContent = "";
    return;
  }
  const form = new FormData();
  for (const card of given) {
    if (card.file.size > model.limits.bytes) {
      refuse({ map: card.name, error: `${card.file.name} has ${card.file.size} bytes; at most ${model.limits.bytes} are read` });
      return;
    }
    form.append(card.name, card.file, card.file.name);
    for (const [option, value] of Object.entries(card.beside)) form.append(`${card.name}_${option}`, value);
    for (const [option, field] of Object.entries(card.fields)) {
      if (field.value.trim()) form.append(`${card.name}_${option}`, field.value.trim());
    }
  }
  form.append("answer", "ids colours confidence values inputs");
  form.append("branches", "true");
  busy(true);
  try {
    const start = performance.now();
    const response = await fetch("predict", { method: "POST", body: form, signal: mine.signal });
    const answer = await response.json();
    if (!response.ok) {
      refuse(answer);
      return;
    }
    const views = await viewsOf(answer);
    if (mine.signal.aborted) return;
    busy(false);
    show(answer, views, performance.now() - start);
  } catch (error) {
    if (error.name !== "AbortError") refuse({ error: "The server does not answer: does it still run?", map: null });
  }
}

function invitation() {
  const titles = Object.values(model.maps).map((about) => about.title);
  const either = titles.length > 1 ? `, ${titles.length > 2 ? "some or all of them" : "or both"},` : "";
  return `Drop ${titles.join(" or ")}${either} anywhere on this page${model.samples.length ? ", or choose a sample" : ""}.`;
}

function refuse({ error, map }) {
  busy(false);
  show(null);
  tell(cards[map]?.find(".wrong") ?? $("wrong"), error);
  $("invitation").textContent = map ? "Nothing is predicted: see what is said of the file." : "Nothing is predicted.";
  if (error.includes(`${map}_`)) cards[map].find("details").open = true;
  $("told").textContent = "";
}

// --- answers as pictures -------------------------------------------------------------------------------------------

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) found[i] = text.charCodeAt(i);
  return found;
}

async function pixels(png) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const image = await createImageBitmap(new Blob([bytes(png)], { type: "image/png" }), options);
  const canvas = make("canvas", { width: image.width, height: image.height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  return { canvas, data: pen.getImageData(0, 0, image.width, image.height).data };
}

function painted(width, height, colourOf) {
  const canvas = make("canvas", { width, height });
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < words.length; i += 1) words[i] = colourOf(i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

const word = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

// 256 colours between those of a bar.
function gradient(colours) {
  const stops = colours.map((text) => [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16)));
  return Array.from({ length: 256 }, (_, level) => {
    const place = (level / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    return word(stops[low].map((value, k) => Math.round(value + (place - low) * (stops[low + 1][k] - value))));
  });
}

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const SHARE = { low: 0, high: 1, sign: "", colours: VIRIDIS };

function reader(values, sign) {
  const floats = new Float32Array(bytes(values.base64).buffer);
  const channels = values.shape[2];
  return (i) => {
    const found = [...floats.subarray(i * channels, (i + 1) * channels)];
    if (found.some(Number.isNaN)) return "not measured";
    return `${found.map((value) => number(value)).join("  ")} ${sign}`.trim();
  };
}

// What the page can show of an answer: inputs first, as heads lie over them.
async function viewsOf(answer) {
  const [height, width] = answer.size;
  const views = [];
  for (const [name, map] of Object.entries(answer.maps)) {
    const { canvas, data } = await pixels(map.picture);
    const title = model.maps[name].title;
    const colours = (i) => `${data[4 * i]}  ${data[4 * i + 1]}  ${data[4 * i + 2]}`;
    const read = map.values ? reader(map.values, map.bar?.sign || SIGNS[map.unit] || "") : colours;
    views.push({ group: "Given", title, canvas, read, bar: map.bar, input: name });
    if (map.mask) views.push(await shareView("Given", `Mask of ${title}`, map.mask, width, height));
  }
  const back = views[0].canvas;
  for (const [name, head] of Object.entries(answer.heads)) {
    const parts = [["", head], ...Object.entries(head.branches ?? {})];
    for (const [branch, part] of parts) {
      const title = branch ? `${model.maps[branch].title} branch` : parts.length > 1 ? "Ensemble" : "Prediction";
      const group = Object.keys(answer.heads).length > 1 ? `Predicted ${name}` : "Predicted";
      views.push(await headView(part, { group, title, back, head: name, isEnsemble: !branch }, width, height));
      if (!part.confidence_map) continue;
      views.push({ ...(await shareView(group, "Confidence", part.confidence_map, width, height)), head: name });
    }
  }
  return views;
}

async function shareView(group, title, png, width, height) {
  const { data } = await pixels(png);
  const colours = gradient(SHARE.colours);
  return {
    group, title, bar: SHARE, canvas: painted(width, height, (i) => colours[data[4 * i]]),
    read: (i) => (data[4 * i] / 255).toFixed(2),
  };
}

async function headView(part, view, width, height) {
  if (!part.ids) {
    const { canvas } = await pixels(part.colours);
    const read = part.values ? reader(part.values, part.sign ?? "") : null;
    return { ...view, canvas, read, bar: part.bar, facts: part, opacity: 100 };
  }
  const { data } = await pixels(part.ids);
  const classes = new Map(part.classes.map((entry) => [entry.id, entry]));
  const colours = new Uint32Array(256);
  for (const entry of part.classes) colours[entry.id] = word(entry.colour);
  const paint = (only) =>
    painted(width, height, (i) => (only === null || only === data[4 * i] ? colours[data[4 * i]] : 0));
  return { ...view, canvas: paint(null), paint, classOf: (i) => classes.get(data[4 * i]), facts: part, opacity: 55 };
}

// --- showing -------------------------------------------------------------------------------------------------------

function show(answer, views, milliseconds) {
  const first = shown === null;
  const chosen = shown?.chosen?.title;
  shown = answer && { answer, views, only: null };
  $("result").hidden = answer === null;
  $("invitation").hidden = answer !== null;
  $("warnings").replaceChildren(
    ...(answer?.warnings ?? []).map(({ text }) => make("p", { className: "warning", textContent: text })),
  );
  if (answer === null) return;
  const [height, width] = answer.size;
  for (const view of views.filter((each) => each.input)) {
    const { find, about } = cards[view.input];
    const map = answer.maps[view.input];
    copy(view.canvas, find("canvas"));
    const holes = map.measured < 1 ? `, ${percent(map.measured)} measured` : "";
    find(".measured").textContent = `${width} × ${height}${holes}`;
    drawBar(find(".chosen .bar"), map.bar);
  }
  buildViews(views);
  at = at && at[0] < width && at[1] < height ? at : [Math.floor(width / 2), Math.floor(height / 2)];
  choose(views.find((view) => view.title === chosen) ?? views.find((view) => view.facts));
  const missing = Object.keys(model.maps).filter((name) => !(name in answer.maps));
  const without = missing.map((name) => model.maps[name].title).join(" and ");
  const filled = answer.hallucinated.length ? ", which is filled in" : "";
  $("took").textContent =
    `Answered in ${(milliseconds / 1000).toFixed(2)} s${without && `, without ${without}${filled}`}.`;
  $("told").textContent = summary(answer);
  if (first && matchMedia("(max-width: 48rem)").matches) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    $("shown").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  }
}

function summary(answer) {
  const from = Object.keys(answer.maps).map((name) => model.maps[name].title).join(" and ");
  const heads = Object.values(answer.heads).map((head) => {
    const largest = [...(head.classes ?? [])].sort((a, b) => b.share - a.share).slice(0, 3);
    return largest.map((entry) => `${entry.name} ${percent(entry.share)}`).join(", ");
  });
  return `Predicted from ${from}. ${heads.filter(Boolean).join(". ")}`;
}

function copy(from, to) {
  [to.width, to.height] = [from.width, from.height];
  to.getContext("2d").drawImage(from, 0, 0);
}

function drawBar(place, bar) {
  place.replaceChildren();
  if (!bar) return;
  const colours = make("i");
  colours.style.background = `linear-gradient(90deg, ${bar.colours.join(",")})`;
  place.append(`${number(bar.low)} `, colours, ` ${number(bar.high)} ${bar.sign}`);
}

function buildViews(views) {
  const groups = new Map();
  for (const view of [...views.filter((each) => !each.input), ...views.filter((each) => each.input)]) {
    if (!groups.has(view.group)) groups.set(view.group, []);
    view.small = make("canvas");
    view.button = make("button", { type: "button", className: "view" }, view.small, make("span", { textContent: view.title }));
    view.button.addEventListener("click", () => choose(view));
    groups.get(view.group).push(view.button);
    paint(view, view.small);
  }
  const parts = [...groups].flatMap(([title, buttons]) => [
    make("p", { className: "views-title", textContent: title }),
    make("div", { className: "views" }, ...buttons),
  ]);
  $("views").replaceChildren(...parts);
}

function paint(view, canvas) {
  copy(view.back ?? view.canvas, canvas);
  if (!view.back) return;
  const pen = canvas.getContext("2d");
  pen.globalAlpha = view.opacity / 100;
  pen.drawImage(view.canvas, 0, 0);
}

function choose(view) {
  shown.chosen = view;
  for (const each of shown.views) each.button.setAttribute("aria-pressed", each === view);
  const [height, width] = shown.answer.size;
  const stage = $("stage");
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `calc(max(18rem, 62vh) * ${width / height})`;
  stage.setAttribute("aria-label", view.title);
  stage.firstElementChild.style.imageRendering = width < 600 ? "pixelated" : "auto";
  $("caption").textContent = view.title;
  drawBar($("bar"), view.bar);
  $("mix").hidden = !view.back;
  $("opacity").value = view.opacity ?? 100;
  fillAreas(view);
  draw();
}

function draw() {
  const view = shown.chosen;
  paint(view, $("stage").querySelector("canvas"));
  $("opacity-value").textContent = `${$("opacity").value} %`;
  point();
}

$("opacity").addEventListener("input", () => {
  const value = Number($("opacity").value);
  for (const view of shown.views) {
    if (view.back && !view.paint === !shown.chosen.paint) {
      view.opacity = value;
      paint(view, view.small);
    }
  }
  draw();
});

// The classes that occur, each a button that shows it alone; of maps the values that they take.
function fillAreas(view) {
  const head = view.facts ?? shown.views.find((each) => each.facts).facts;
  const row = (...cells) => make("tr", {}, ...cells);
  const headed = (content) => Object.assign(make("th", {}, content), { scope: "row" });
  $("areas-title").textContent = head.classes ? "Areas" : "Values";
  let rows;
  if (head.classes) {
    const entries = [...head.classes].sort((a, b) => b.share - a.share);
    rows = entries.map((entry) => {
      const square = make("i", { className: "swatch" });
      square.style.background = `rgb(${entry.colour.join(" ")})`;
      const button = make("button", { type: "button", title: "Show it alone" }, square, entry.name);
      button.setAttribute("aria-pressed", shown.only === entry.id);
      button.addEventListener("click", () => isolate(shown.only === entry.id ? null : entry.id));
      const line = make("i");
      line.style.width = `${(100 * entry.share) / entries[0].share}%`;
      const cell = make("td", { className: "share" }, line);
      cell.setAttribute("aria-hidden", true);
      return row(headed(button), cell, make("td", { textContent: percent(entry.share) }));
    });
    if (head.confidence !== undefined) {
      rows.push(row(headed("mean confidence"), make("td"), make("td", { textContent: head.confidence.toFixed(2) })));
    }
  } else {
    const keys = ["least", "median", "largest"].filter((key) => key in head);
    rows = keys.map((key) => row(headed(key), make("td", { textContent: `${number(head[key])} ${head.sign}` })));
  }
  $("areas").tBodies[0].replaceChildren(...rows);
}

function isolate(id) {
  shown.only = id;
  for (const view of shown.views.filter((each) => each.paint)) {
    view.canvas = view.paint(id);
    paint(view, view.small);
  }
  const pressed = document.activeElement;
  const place = [...$("areas").querySelectorAll("button")].indexOf(pressed);
  fillAreas(shown.chosen);
  if (place >= 0) $("areas").querySelectorAll("button")[place].focus();
  draw();
}

// --- the cross-hair ------------------------------------------------------------------------------------------------

// Of the head that is shown all that it says of a pixel, of others what their ensembles say, and the inputs.
function rowsAt(i) {
  const heads = new Set(shown.views.map((view) => view.head).filter(Boolean));
  const chosen = shown.chosen.head ?? [...heads][0];
  const rows = [];
  for (const view of [...shown.views.filter((each) => each.head), ...shown.views.filter((each) => !each.head)]) {
    if (view.head && view.head !== chosen && !view.isEnsemble) continue;
    const name = heads.size > 1 && view.isEnsemble ? view.head : view.title;
    const entry = view.classOf?.(i);
    if (entry) rows.push([name, entry.name, entry.colour]);
    else if (view.read) rows.push([name, view.read(i)]);
  }
  return rows;
}

function point() {
  const [height, width] = shown.answer.size;
  const [x, y] = at;
  const cross = $("stage").querySelector(".cross");
  cross.style.top = `${(100 * (y + 0.5)) / height}%`;
  cross.style.left = `${(100 * (x + 0.5)) / width}%`;
  const rows = rowsAt(y * width + x).map(([name, text, colour]) => {
    const cell = make("td");
    if (colour) {
      const square = make("i", { className: "swatch" });
      square.style.background = `rgb(${colour.join(" ")})`;
      cell.append(square);
    }
    cell.append(text);
    return make("tr", {}, Object.assign(make("th", { textContent: name }), { scope: "row" }), cell);
  });
  const place = make("tr", {}, Object.assign(make("th", { textContent: "Pixel" }), { scope: "row" }),
    make("td", { textContent: `x ${x}, y ${y}` }));
  $("readout").tBodies[0].replaceChildren(place, ...rows);
}

let speaking = 0;
function speak() {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const told = rowsAt(at[1] * shown.answer.size[1] + at[0]).map(([name, text]) => `${name}: ${text}`);
    $("pixel").textContent = `x ${at[0]}, y ${at[1]}. ${told.join(". ")}`;
  }, 200);
}

function pointer(event) {
  const box = $("stage").getBoundingClientRect();
  const [height, width] = shown.answer.size;
  const inside = (value, size) => Math.min(Math.max(Math.floor(value), 0), size - 1);
  at = [
    inside(((event.clientX - box.left) / box.width) * width, width),
    inside(((event.clientY - box.top) / box.height) * height, height),
  ];
  point();
}
$("stage").addEventListener("pointermove", pointer);
$("stage").addEventListener("pointerdown", pointer);
$("stage").addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[event.key];
  if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const step = event.shiftKey ? 10 : 1;
  const [height, width] = shown.answer.size;
  at = [
    Math.min(Math.max(at[0] + step * move[0], 0), width - 1),
    Math.min(Math.max(at[1] + step * move[1], 0), height - 1),
  ];
  point();
  speak();
});

// --- beginning -----------------------------------------------------------------------------------------------------

(async () => {
  model = await (await fetch("model")).json();
  for (const [name, about] of Object.entries(model.maps)) cards[name] = buildCard(name, about);
  $("invitation").textContent = invitation();
  $("samples").hidden = !model.samples.length;
  $("samples").querySelector("ul").replaceChildren(...model.samples.map(buildSample));
})();
