// Makes the report answer: a cross-hair on the curves, filters for the wall of test images, a card for the chosen one.
// Without this script all of it can still be read.
"use strict";

const { curves, wall } = JSON.parse(document.getElementById("record").textContent);
const byId = (id) => document.getElementById(id);
const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
const signed = (value, digits) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(digits);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

for (const node of findAll(".tool")) node.hidden = false;

// Curves: one epoch for all networks; one that ended before it keeps its last.

const [LEFT, RIGHT, TOP, BOTTOM] = [38, 232, 8, 132]; // of the axes, as in curves.py

function showEpoch(epoch) {
  const said = [];
  for (const [variant, values] of Object.entries(curves)) {
    const n = values.loss.length;
    const at = Math.min(epoch, n) - 1;
    const [train, validation, trainLoss, validationLoss] = ["accuracy", "val_accuracy", "loss", "val_loss"].map((name) => values[name][at]);
    const write = (value, text) => (value === null ? "none" : text(value));
    const cells = findAll("td", find(`#at-epoch tr[data-variant="${variant}"]`));
    const texts = [
      at + 1, write(train, percent), write(validation, percent), signed(100 * (train - validation), 1),
      write(trainLoss, (loss) => loss.toFixed(3)), write(validationLoss, (loss) => loss.toFixed(3)),
    ];
    cells.forEach((cell, i) => { cell.textContent = texts[i]; });
    said.push(`${variant} ${texts[1]} train, ${texts[2]} validation`);
    for (const panel of findAll(`.curves [data-variant="${variant}"] svg`)) moveHair(panel, at, n, values);
  }
  byId("epoch-said").textContent = epoch;
  byId("epoch-named").textContent = `epoch ${epoch}`;
  byId("epoch").value = epoch;
  byId("epoch").setAttribute("aria-valuetext", `epoch ${epoch}: ${said.join("; ")}`);
}

function moveHair(panel, at, n, values) {
  const { kind, low, high } = panel.dataset;
  const x = n > 1 ? LEFT + (at / (n - 1)) * (RIGHT - LEFT) : (LEFT + RIGHT) / 2;
  const hair = find(".hair", panel);
  hair.removeAttribute("hidden");
  find("path", hair).setAttribute("d", `M${x} ${TOP}V${BOTTOM}`);
  findAll("circle", hair).forEach((dot, i) => {
    const value = values[i ? `val_${kind}` : kind][at] ?? high;
    const share = (Math.min(Math.max(value, low), high) - low) / (high - low);
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", BOTTOM - share * (BOTTOM - TOP));
  });
}

byId("epoch").addEventListener("input", (event) => showEpoch(Number(event.target.value)));
for (const figure of findAll(".curves figure")) {
  const n = curves[figure.dataset.variant].loss.length;
  const follow = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 240;
    const share = Math.min(Math.max((x - LEFT) / (RIGHT - LEFT), 0), 1);
    showEpoch(1 + Math.round(share * (n - 1)));
  };
  for (const panel of findAll("svg", figure)) {
    panel.addEventListener("pointermove", follow);
    panel.addEventListener("pointerdown", follow);
  }
}

// The wall: `shown` are the numbers of the images that the filter leaves, in their order.

const list = byId("images");
const items = [...list.children];
const thumbs = items.map((item) => item.firstElementChild);
const points = new Map(findAll("#map circle").map((point) => [Number(point.dataset.i), point]));
const controls = byId("controls");
let shown = items.map((_, i) => i);
let chosen = null;

const logit = (variant, i) => wall.logit[variant][i];
const says = (variant, i) => Number(logit(variant, i) > 0);
const isRight = (variant, i) => says(variant, i) === wall.label[i];
const probability = (variant, i) => 1 / (1 + Math.exp(-logit(variant, i)));
const read = (name) => byId(name)?.value ?? "";

// Each gives a number, smallest first. Of any network: the one that is farthest along.
const ORDERS = {
  path: (_, i) => i,
  mistake: (variants, i) => Math.min(...variants.map((v) => logit(v, i) * (wall.label[i] ? 1 : -1))),
  doubt: (variants, i) => Math.min(...variants.map((v) => Math.abs(logit(v, i)))),
  certain: (variants, i) => -Math.max(...variants.map((v) => Math.abs(logit(v, i)))),
  apart: (_, i) => {
    const all = wall.variants.map((v) => probability(v, i));
    return Math.min(...all) - Math.max(...all);
  },
  suspect: (_, i) => -(wall.suspicion[i] ?? -1),
};

function matches(i) {
  const variants = read("of") === "any" ? wall.variants : [read("of")];
  if (read("truth") && wall.label[i] !== Number(read("truth"))) return false;
  if (read("said") && !variants.some((v) => says(v, i) === Number(read("said")))) return false;
  if (read("right") === "1") return variants.every((v) => isRight(v, i));
  return read("right") !== "0" || variants.some((v) => !isRight(v, i));
}

function apply() {
  const variants = read("of") === "any" ? wall.variants : [read("of")];
  const keys = items.map((_, i) => ORDERS[read("order")](variants, i));
  shown = items.map((_, i) => i).filter(matches).sort((a, b) => keys[a] - keys[b] || a - b);
  list.replaceChildren(...shown.map((i) => items[i]));
  list.scrollTop = 0;
  const kept = new Set(shown);
  const colour = read("colour") || "truth";
  thumbs.forEach((thumb, i) => {
    thumb.classList.toggle("wrong", variants.some((v) => !isRight(v, i)));
    thumb.tabIndex = i === (kept.has(chosen) ? chosen : shown[0]) ? 0 : -1;
  });
  for (const [i, point] of points) {
    const named = colour === "truth" ? wall.label[i] : says(colour, i);
    point.setAttribute("class", `c${named}`);
    point.classList.toggle("wrong", colour !== "truth" && named !== wall.label[i]);
    point.classList.toggle("dim", !kept.has(i));
    point.classList.toggle("chosen", i === chosen);
  }
  byId("count").textContent = shown.length ? `${shown.length} of ${items.length} images` : "No image is so: choose less.";
}

// The card.

function choose(i, { focus = false } = {}) {
  if (i === undefined) return;
  for (const [number, isChosen] of [[chosen, false], [i, true]]) {
    if (number === null) continue;
    thumbs[number].tabIndex = isChosen ? 0 : -1;
    if (isChosen) thumbs[number].setAttribute("aria-current", "true");
    else thumbs[number].removeAttribute("aria-current");
    points.get(number)?.classList.toggle("chosen", isChosen);
  }
  if (shown.length && i !== shown[0]) thumbs[shown[0]].tabIndex = -1;
  chosen = i;
  fillCard(i);
  showDecision();
  byId("card").hidden = false;
  byId("instrument").classList.add("chosen-one");
  reveal(items[i]);
  if (focus) thumbs[i].focus({ preventScroll: true });
}

function reveal(item) {
  if (!item.isConnected) return;
  const top = item.offsetTop - list.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top - 4;
  const below = top + item.offsetHeight - list.clientHeight;
  if (below > list.scrollTop) list.scrollTop = below + 4;
}

const place = (tile, { columns, rows }) =>
  `${(100 * (tile % columns)) / Math.max(1, columns - 1)}% ${(100 * Math.floor(tile / columns)) / Math.max(1, rows - 1)}%`;

function makeView(i, variant) {
  const photo = make("i", { class: variant ? "shot grey" : "shot" });
  photo.style.backgroundPosition = place(i, wall.photos);
  const frame = make("div", { class: "frame", role: "img" }, photo);
  frame.style.aspectRatio = wall.shape[i];
  frame.setAttribute("aria-label", variant ? `${variant}: where it sees ${wall.articles[says(variant, i)]}` : "The image");
  if (variant) {
    const { images, box, columns, rows } = wall.heat[variant];
    const heat = make("i", { class: `heat-${Object.keys(wall.heat).indexOf(variant) + 1}` });
    const [left, top, width, height] = box.map((share) => `${share}%`);
    Object.assign(heat.style, { left, top, width, height, right: "auto", bottom: "auto" });
    heat.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    heat.style.backgroundPosition = place(images.indexOf(i), { columns, rows });
    frame.append(heat);
  }
  const title = variant ? `${variant} sees ${wall.classes[says(variant, i)]}` : "the image";
  return make("figure", {}, frame, make("figcaption", {}, title));
}

function fillCard(i) {
  const explained = Object.keys(wall.heat).filter((variant) => wall.heat[variant].images.includes(i));
  byId("card-name").textContent = wall.path[i].replace(/^.*\//, "");
  const suspicion = wall.suspicion[i];
  byId("card-truth").textContent = `Labelled ${wall.classes[wall.label[i]]}, a test image; ${shown.indexOf(i) + 1} of ${shown.length} shown`
    + (suspicion === null ? "" : `; suspicion of a wrong label ${suspicion.toFixed(2)}`);
  byId("card-views").replaceChildren(makeView(i), ...explained.map((variant) => makeView(i, variant)));
  byId("card-answers").replaceChildren(...wall.variants.map((variant, number) => {
    const p = probability(variant, i);
    const answer = make("span", {}, `${wall.classes[says(variant, i)]} ${percent(Math.max(p, 1 - p))}`);
    if (!isRight(variant, i)) answer.append(" ", make("span", { class: "bad" }, "wrong"));
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i"));
    bar.firstChild.style.left = `${100 * Math.min(p, 0.5)}%`;
    bar.firstChild.style.right = `${100 * Math.min(1 - p, 0.5)}%`;
    return make("li", { class: `v-${number + 1}` }, make("span", { class: "tag" }, variant), answer, bar);
  }));
}

// What a person decides about labels; `cvd labels` writes it down.

const decisions = new Map(); // by number of the image: relabel or drop
const quote = (path) => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);

function decide(kind) {
  if (decisions.get(chosen) === kind) decisions.delete(chosen);
  else decisions.set(chosen, kind);
  const parts = ["relabel", "drop"].map((option) => {
    const paths = [...decisions].filter(([, made]) => made === option).map(([i]) => quote(wall.path[i]));
    return paths.length ? ` --${option} ${paths.join(" ")}` : "";
  });
  find("code", byId("corrections")).textContent = `cvd labels${parts.join("")}`;
  byId("corrections").hidden = !decisions.size;
  showDecision();
}

function showDecision() {
  byId("card-decide").hidden = wall.suspicion[chosen] === null;
  for (const button of findAll("#card-decide button")) {
    button.setAttribute("aria-pressed", String(decisions.get(chosen) === button.dataset.kind));
  }
}

function close() {
  if (chosen === null) return;
  byId("card").hidden = true;
  byId("instrument").classList.remove("chosen-one");
  (items[chosen].isConnected ? thumbs[chosen] : byId("wall")).focus();
}

const step = (by) => choose(shown[Math.min(Math.max(shown.indexOf(chosen) + by, 0), shown.length - 1)]);

// Keys and pointers. Focus on the wall chooses; on the map arrows go to the nearest point that way.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function steerWall(event) {
  const at = shown.indexOf(thumbs.indexOf(event.target));
  if (at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  const across = getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const [right, down] = ARROWS[event.key] ?? [0, 0];
  const targets = { Home: 0, End: shown.length - 1, PageUp: at - 5 * across, PageDown: at + 5 * across, Enter: at, " ": at };
  if (!(event.key in ARROWS) && !(event.key in targets)) return;
  const to = targets[event.key] ?? at + right + across * down;
  event.preventDefault();
  choose(shown[Math.min(Math.max(to, 0), shown.length - 1)], { focus: true });
}

function steerMap(event) {
  if (event.key === "Enter" && chosen !== null) thumbs[chosen].focus();
  if (!(event.key in ARROWS)) return;
  event.preventDefault();
  const [dx, dy] = ARROWS[event.key];
  const candidates = shown.filter((i) => points.has(i));
  if (!points.has(chosen)) {
    choose(candidates[0]);
  } else {
    const locate = (i) => [points.get(i).cx.baseVal.value, points.get(i).cy.baseVal.value];
    const [x, y] = locate(chosen);
    let best = Infinity, target;
    for (const i of candidates) {
      const [px, py] = locate(i);
      const along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (along > 0 && along + 2 * aside < best) [best, target] = [along + 2 * aside, i];
    }
    choose(target);
  }
  if (chosen !== null) byId("count").textContent = thumbs[chosen].getAttribute("aria-label");
}

function touchMap(event) {
  const map = byId("map");
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
  let best = 40, target;
  for (const i of shown) {
    const point = points.get(i);
    if (!point) continue;
    const far = Math.hypot(point.cx.baseVal.value - at.x, point.cy.baseVal.value - at.y);
    if (far < best) [best, target] = [far, i];
  }
  choose(target);
}

list.removeAttribute("tabindex");
for (const thumb of thumbs) thumb.setAttribute("role", "button");
list.addEventListener("click", (event) => {
  const i = thumbs.indexOf(event.target);
  if (i >= 0) choose(i, { focus: true });
});
list.addEventListener("keydown", steerWall);
controls.addEventListener("change", apply);
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("reset", () => setTimeout(apply));
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", close);
for (const button of findAll("#card-decide button")) button.addEventListener("click", () => decide(button.dataset.kind));
byId("instrument").addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
if (byId("map")) {
  const map = byId("map");
  map.setAttribute("tabindex", "0");
  map.setAttribute("role", "application");
  map.setAttribute("aria-label", `${map.getAttribute("aria-label")} Arrow keys go from image to image, Enter goes to the wall.`);
  map.addEventListener("click", touchMap);
  map.addEventListener("keydown", steerMap);
}
for (const cell of findAll(".matrix a")) {
  cell.addEventListener("click", () => {
    controls.reset();
    for (const name of ["of", "truth", "said"]) byId(name).value = cell.dataset[name];
    apply();
  });
}

showEpoch(Number(byId("epoch").max));
apply();
