// The display itself: what is chosen, and what happens on a key, a click, a drag.
const canvas = byId("canvas"), tooltip = byId("tooltip");
const START = { lego: () => ({ yaw: -0.55, pitch: 0.72 }), turn: () => ({ yaw: canvas.clientWidth < canvas.clientHeight ? -0.95 : -0.62, pitch: 0.3 }) };
const DRAW = { map: drawMap, lego: drawLego, detector: drawDetector };
const state = {
  position: 0, view: "map", jet: null, focus: null, hover: null, lines: data.lines, minPt: 0, hidden: new Set(),
  zoom: 1, eta: 0, phi: 0, lego: START.lego(), turn: START.turn(),
};
let event = null, picture = null, waiting = false;

/** Draw before the next frame, once, however often it is asked for. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawNow(); });
}

function drawNow() {
  if (!event || !canvas.clientWidth) return;
  picture = newPicture(canvas);
  DRAW[state.view](picture, event, state);
  canvas.dataset.lines = picture.lines;
  canvas.dataset.pfos = picture.shown;
  canvas.dataset.view = state.view;
  placeTooltip();
}

/** Everything that follows from the choice of jet, lines, kinds and threshold. */
function refresh() {
  byId("lines").value = state.lines;
  byId("lines-value").textContent = state.lines;
  byId("min-pt-value").textContent = state.minPt ? energy(state.minPt) : "0 GeV";
  byId("jet").value = state.jet ?? "";
  byId("share").textContent = shareSentence(event, state);
  fillPfos(event, state, (pfo) => focusOn({ kind: "pfo", index: pfo }));
  markRows(state);
  showDetails(event, state);
  redraw();
}

function showEvent(position) {
  state.position = clamp(position, 0, data.events.length - 1);
  Object.assign(state, { jet: null, focus: null, hover: null });
  event = loadEvent(state.position);
  byId("event").value = state.position;
  byId("previous").disabled = state.position === 0;
  byId("next").disabled = state.position === data.events.length - 1;
  byId("headline").textContent = headlineOf(event);
  canvas.setAttribute("aria-label", `Event display: ${headlineOf(event)}`);
  byId("status").textContent = headlineOf(event);
  const { detector } = event;
  byId("detector-note").textContent = `Tracks end at a radius of ${detector.radius.toFixed(2)} m or ${detector.half_length.toFixed(2)} m along the beam, in ${detector.field} T`
    + (detector.known ? ", as the file's detector card has it." : "; the file doesn't tell its detector, so these are those of the shipped card.");
  fillJets(event, state, (jet) => { focusOn({ kind: "jet", index: jet }); chooseJet(state.jet === jet ? null : jet); });
  paintLegend(event);
  refresh();
}

function showView(view) {
  state.view = view;
  for (const button of document.querySelectorAll("[data-view]:not(canvas)")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  byId("along").hidden = view !== "detector";
  resetView(false);
  redraw();
}

function chooseJet(jet) {
  state.jet = jet;
  refresh();
}

/** Choose a jet or PFO, or nothing, and say so. */
function focusOn(thing) {
  state.focus = thing;
  state.hover = null;
  byId("status").textContent = thing ? sentenceOf(event, thing, state.jet) : "Nothing chosen.";
  markRows(state);
  showDetails(event, state);
  redraw();
}

/** What the tooltip must not cover: on the map the circle of the jet that is looked at, else the thing itself. */
function besideJet(thing, x) {
  const jet = thing.kind === "jet" ? thing.index : state.jet;
  if (state.view !== "map" || jet === null) return [x - 6, x + 6];
  const { scale, x: place } = mapFrame(picture, event, state), axis = place(event.jet.eta[jet]), r = event.radius * scale;
  return Math.abs(x - axis) <= r + 1 ? [axis - r, axis + r] : [x - 6, x + 6];
}

function placeTooltip() {
  const thing = state.hover ?? state.focus;
  const hit = thing && picture.hits.find((entry) => isSame(entry, thing));
  tooltip.hidden = !hit;
  if (!hit) return;
  const facts = factsOf(event, thing, state.jet).map(([term, value]) => `${term} ${value}`);
  const lines = [facts.slice(0, 3).join(" · "), ...facts.slice(3)].map((line) => make("div", {}, line));
  tooltip.replaceChildren(make("b", {}, nameOf(event, thing)), ...lines);
  const [x, y] = [hit.points[0], hit.points[1]], wide = tooltip.offsetWidth, tall = tooltip.offsetHeight;
  tooltip.dataset.at = `${x},${y}`;
  const [from, to] = besideJet(thing, x);
  const left = [to + 12, from - 12 - wide, x + 18].find((place) => place >= 6 && place + wide <= picture.width - 6) ?? x - 18 - wide;
  const top = clamp(y - tall / 2, 6, Math.max(6, picture.height - tall - 6));
  tooltip.style.transform = `translate(${Math.round(clamp(left, 6, Math.max(6, picture.width - wide - 6)))}px, ${Math.round(top)}px)`;
}

/** Zoom; the map keeps the point under the pointer where it is, or goes to what is chosen. */
function zoomBy(factor, pointer = null) {
  gliding++;
  const before = state.zoom;
  state.zoom = clamp(state.zoom * factor, 1, 40);
  const thing = state.focus ?? (state.jet === null ? null : { kind: "jet", index: state.jet });
  if (state.view === "map" && state.zoom === 1) Object.assign(state, { eta: 0, phi: 0 });
  else if (state.view === "map" && pointer) {
    const frame = mapFrame(picture, event, state), less = (state.zoom / before - 1) / frame.scale;
    const [x, y] = [frame.x(state.eta), frame.y(state.phi)];
    state.eta = clamp(state.eta + (pointer[0] - x) * less, -5, 5);
    state.phi = wrap(state.phi - (pointer[1] - y) * less);
  } else if (state.view === "map" && thing && factor > 1) {
    Object.assign(state, { eta: event[thing.kind].eta[thing.index], phi: event[thing.kind].phi[thing.index] });
  }
  redraw();
}

/** Back to where the view was, gently unless the reader wants no motion. */
function resetView(gently = true) {
  glide({ zoom: 1, eta: 0, phi: 0, lego: START.lego(), turn: START.turn() }, gently);
}

function lookAlong() {
  const turn = { yaw: -Math.PI / 2, pitch: 0 };
  const there = Math.abs(state.turn.yaw - turn.yaw) < 0.01 && Math.abs(state.turn.pitch) < 0.01;
  glide({ ...state, turn: there ? START.turn() : turn }, true);
}

let gliding = 0;
function glide({ zoom, eta, phi, lego, turn }, gently) {
  const before = { zoom: state.zoom, eta: state.eta, phi: state.phi, lego: { ...state.lego }, turn: { ...state.turn } };
  const begun = performance.now(), mine = ++gliding, last = gently && !calm.matches ? 260 : 0;
  const step = (now) => {
    if (mine !== gliding) return;
    const t = last ? clamp((now - begun) / last, 0, 1) : 1, part = t * t * (3 - 2 * t);
    const between = (a, b) => a + (b - a) * part;
    Object.assign(state, {
      zoom: between(before.zoom, zoom), eta: between(before.eta, eta), phi: between(before.phi, phi),
      lego: { yaw: between(before.lego.yaw, lego.yaw), pitch: between(before.lego.pitch, lego.pitch) },
      turn: { yaw: between(before.turn.yaw, turn.yaw), pitch: between(before.turn.pitch, turn.pitch) },
    });
    drawNow();
    if (t < 1) requestAnimationFrame(step);
  };
  step(last ? begun : 0);
}

/** Turn the lego plot or detector, or move the map, by so many pixels. */
function moveBy(dx, dy) {
  gliding++;
  if (state.view === "map") {
    const scale = mapFrame(picture, event, state).scale;
    state.eta = clamp(state.eta - dx / scale, -5, 5);
    state.phi = wrap(state.phi + dy / scale);
  } else if (state.view === "lego") {
    state.lego.yaw += dx * 0.006;
    state.lego.pitch = clamp(state.lego.pitch + dy * 0.005, 0.15, Math.PI / 2);
  } else {
    state.turn.yaw += dx * 0.006;
    state.turn.pitch = clamp(state.turn.pitch + dy * 0.005, -Math.PI / 2, Math.PI / 2);
  }
  redraw();
}

const fingers = new Map();
let travelled = 0;

function place(pointer) {
  const box = canvas.getBoundingClientRect();
  return [pointer.clientX - box.left, pointer.clientY - box.top];
}

canvas.addEventListener("pointerdown", (pointer) => {
  fingers.set(pointer.pointerId, place(pointer));
  if (fingers.size === 1) travelled = 0;
  canvas.setPointerCapture(pointer.pointerId);
});
canvas.addEventListener("pointermove", (pointer) => {
  const [x, y] = place(pointer), before = fingers.get(pointer.pointerId);
  if (!before) {
    const thing = pick(picture, x, y, 6);
    if (!isSame(thing, state.hover) && (thing || state.hover)) {
      state.hover = thing;
      showDetails(event, state);
      redraw();
    }
    return;
  }
  if (fingers.size === 2) {
    const other = [...fingers].find(([id]) => id !== pointer.pointerId)[1];
    zoomBy(Math.hypot(x - other[0], y - other[1]) / Math.max(Math.hypot(before[0] - other[0], before[1] - other[1]), 1),
      [(x + other[0]) / 2, (y + other[1]) / 2]);
    travelled += 10;
  } else {
    travelled += Math.hypot(x - before[0], y - before[1]);
    if (travelled > 4) {
      state.hover = null;
      moveBy(x - before[0], y - before[1]);
    }
  }
  fingers.set(pointer.pointerId, [x, y]);
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, (pointer) => {
    const [x, y] = place(pointer);
    if (fingers.delete(pointer.pointerId) && kind === "pointerup" && travelled <= 4) {
      const thing = pick(picture, x, y, pointer.pointerType === "mouse" ? 6 : 16);
      focusOn(thing);
      if (thing?.kind === "jet") chooseJet(state.jet === thing.index ? null : thing.index);
    }
  });
}
canvas.addEventListener("pointerleave", () => {
  if (!state.hover) return;
  state.hover = null;
  showDetails(event, state);
  redraw();
});
canvas.addEventListener("wheel", (wheel) => {
  if (!wheel.ctrlKey && !wheel.metaKey) return;
  wheel.preventDefault();
  zoomBy(Math.exp(-wheel.deltaY * 0.006), place(wheel));
}, { passive: false });
canvas.addEventListener("dblclick", () => resetView());

/** The jets, or the PFOs of the chosen jet by attention (else its constituents, else all) that arrows go through. */
function ringOf(kind) {
  if (kind === "jet") return jetOrder(event);
  const jet = state.jet;
  if (jet !== null && event.attention) return event.attended[jet].filter((pfo) => isShown(event, pfo, state));
  return event.order.filter((pfo) => isShown(event, pfo, state) && (jet === null || !event.members || event.members[jet].has(pfo)));
}

function step(kind, by) {
  const ring = ringOf(kind);
  if (!ring.length) return focusOn(null);
  const at = state.focus?.kind === kind ? ring.indexOf(state.focus.index) : -1;
  const next = at < 0 ? (by < 0 ? ring.length - 1 : 0) : (at + by + ring.length) % ring.length;
  return focusOn({ kind, index: ring[next] });
}

const ON_CANVAS = {
  ArrowRight: () => step(state.focus?.kind ?? "jet", 1),
  ArrowLeft: () => step(state.focus?.kind ?? "jet", -1),
  ArrowDown: () => step("pfo", 1),
  ArrowUp: () => (state.focus?.kind === "pfo" && state.jet !== null ? focusOn({ kind: "jet", index: state.jet }) : step("jet", state.focus?.kind === "jet" ? -1 : 1)),
  Home: () => { state.focus = null; step("jet", 1); },
  Escape: () => { focusOn(null); chooseJet(null); },
  Enter: () => {
    if (!state.focus) return;
    if (state.focus.kind === "jet") chooseJet(state.jet === state.focus.index ? null : state.focus.index);
    focusOn(state.focus);
  },
};
ON_CANVAS[" "] = ON_CANVAS.Enter;
const SHIFTED = { ArrowLeft: [-24, 0], ArrowRight: [24, 0], ArrowUp: [0, -24], ArrowDown: [0, 24] };
const ANYWHERE = {
  n: () => showEvent(state.position + 1), p: () => showEvent(state.position - 1), 1: () => showView("map"),
  2: () => showView("lego"), 3: () => showView("detector"), "+": () => zoomBy(1.25), "=": () => zoomBy(1.25),
  "-": () => zoomBy(0.8), 0: () => resetView(), d: switchTheme, x: () => state.view === "detector" && lookAlong(),
};

canvas.addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey) return;
  const move = key.shiftKey ? SHIFTED[key.key] : null, call = ON_CANVAS[key.key];
  if (!move && !call) return;
  key.preventDefault();
  if (move) moveBy(...move);
  else call();
});
document.addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey || key.target.closest("select, input, textarea, .plot")) return;
  const call = ANYWHERE[key.key.toLowerCase()];
  if (call) { key.preventDefault(); call(); }
});

byId("previous").addEventListener("click", () => showEvent(state.position - 1));
byId("next").addEventListener("click", () => showEvent(state.position + 1));
byId("jet").addEventListener("change", (change) => chooseJet(change.target.value === "" ? null : Number(change.target.value)));
byId("lines").addEventListener("input", (input) => { state.lines = Number(input.target.value); refresh(); });
byId("min-pt").addEventListener("input", (input) => {
  state.minPt = threshold(Number(input.target.value));
  input.target.setAttribute("aria-valuetext", energy(state.minPt));
  refresh();
});
byId("zoom-in").addEventListener("click", () => zoomBy(1.25));
byId("zoom-out").addEventListener("click", () => zoomBy(0.8));
byId("reset").addEventListener("click", () => resetView());
byId("along").addEventListener("click", lookAlong);
byId("pfo-details").addEventListener("toggle", refresh);
byId("save").addEventListener("click", () => {
  drawNow();
  make("a", { href: canvas.toDataURL("image/png"), download: `${event.process}-${event.number}.png`.replace(/[^\w.-]/g, "_") }).click();
});
for (const button of document.querySelectorAll("[data-view]:not(canvas)")) button.addEventListener("click", () => showView(button.dataset.view));
whenThemeChanges.push(() => { if (event) { paintLegend(event); redraw(); } });
new ResizeObserver(redraw).observe(canvas);
fillEvents(showEvent);
fillLegend(state, refresh);
showView("map");
showEvent(0);
