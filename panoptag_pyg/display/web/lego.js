// The plane of η and φ: the map from above, and the lego plot.
const PI_NAMES = [["−π", -Math.PI], ["−π/2", -Math.PI / 2], ["0", 0], ["π/2", Math.PI / 2], ["π", Math.PI]];
const CELL = 0.1, LOWEST = 2.2, TALLEST = 4.2;

/** Half of the η axis that an event needs: all jets, their lines' ends, and the central PFOs. */
function neededEta(event, rows) {
  let reach = 2.5;
  for (let j = 0; j < event.jets; j++) reach = Math.max(reach, Math.abs(event.jet.eta[j]) + event.radius);
  for (const [, pfo] of rows) reach = Math.max(reach, Math.abs(event.pfo.eta[pfo]));
  return clamp(reach + 0.3, 2.8, 5.2);
}

/** Where (η, φ) lies on the map. */
function mapFrame(picture, event, state) {
  const [left, right, top, bottom] = picture.small ? [34, 8, 8, 34] : [52, 14, 12, 44];
  const wide = picture.width - left - right, high = picture.height - top - bottom;
  const scale = Math.min(wide / (2 * neededEta(event, [])), high / (2 * Math.PI)) * state.zoom;
  const tall = Math.min(high, 2 * Math.PI * scale);
  const frame = { left, wide, scale, top: top + (high - tall) / 2, tall, turn: 2 * Math.PI * scale };
  frame.x = (eta) => left + wide / 2 + (eta - state.eta) * scale;
  frame.y = (phi) => top + high / 2 - wrap(phi - state.phi) * scale;
  return frame;
}

function drawMap(picture, event, state) {
  const { pen } = picture, frame = mapFrame(picture, event, state), rows = attentionLines(event, state);
  mapAxes(picture, frame, state);
  pen.save();
  pen.beginPath();
  pen.rect(frame.left, frame.top, frame.wide, frame.tall);
  pen.clip();
  const copies = [0, -frame.turn, frame.turn];
  picture.lines = rows.length;
  for (const [jet, pfo, weight] of [...rows].reverse()) {
    const x0 = frame.x(event.jet.eta[jet]), y0 = frame.y(event.jet.phi[jet]);
    const x1 = frame.x(event.pfo.eta[pfo]), y1 = y0 - wrap(event.pfo.phi[pfo] - event.jet.phi[jet]) * frame.scale;
    pen.strokeStyle = colour(jetColour(event, jet));
    pen.globalAlpha = 0.62;
    pen.lineWidth = lineWidth(weight, rows);
    for (const copy of copies) {
      pen.beginPath();
      path(pen, [x0, y0 + copy, x1, y1 + copy]);
      pen.stroke();
    }
  }
  const own = state.jet !== null && event.members ? event.members[state.jet] : null;
  const swell = Math.min(state.zoom ** 0.35, 2);
  for (const pfo of event.order) {
    if (!isShown(event, pfo, state)) continue;
    picture.shown++;
    const x = frame.x(event.pfo.eta[pfo]), y = frame.y(event.pfo.phi[pfo]);
    const kind = event.pfo.particle_class[pfo], r = swell * markRadius(event.pfo.pt[pfo], picture.small);
    if (x < frame.left - r || x > frame.left + frame.wide + r) continue;
    pen.globalAlpha = own && !own.has(pfo) ? 0.45 : 0.88;
    pen.fillStyle = colour(particleColour(kind));
    mark(pen, kind, x, y, r);
    pen.globalAlpha = 1;
    pen.lineWidth = 0.8;
    pen.strokeStyle = own?.has(pfo) ? colour("ink") : colour("panel");
    pen.stroke();
    picture.hits.push({ kind: "pfo", index: pfo, points: [x, y], width: 2 * r, rank: 0 });
  }
  pen.globalAlpha = 1;
  const order = jetOrder(event);
  for (const jet of order) mapJet(picture, event, state, frame, jet, copies);
  pen.restore();
  for (const jet of order) {
    const x = frame.x(event.jet.eta[jet]), y = frame.y(event.jet.phi[jet]);
    if (x > frame.left && x < frame.left + frame.wide && y > frame.top && y < frame.top + frame.tall) {
      labelJet(picture, event, jet, x, y, event.radius * frame.scale + 3, state.jet === jet);
    }
  }
  for (const thing of [state.hover, state.focus]) {
    if (thing?.kind !== "pfo") continue;
    const r = swell * markRadius(event.pfo.pt[thing.index], picture.small) + 4;
    ring(pen, frame.x(event.pfo.eta[thing.index]), frame.y(event.pfo.phi[thing.index]), r);
  }
}

function ring(pen, x, y, r) {
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.lineWidth = 2.4;
  pen.strokeStyle = colour("ink");
  pen.stroke();
}

function mapJet(picture, event, state, frame, jet, copies) {
  const { pen } = picture, r = event.radius * frame.scale;
  const x = frame.x(event.jet.eta[jet]), y = frame.y(event.jet.phi[jet]);
  const strong = state.jet === jet || isSame(state.focus, { kind: "jet", index: jet }) || isSame(state.hover, { kind: "jet", index: jet });
  pen.strokeStyle = pen.fillStyle = colour(jetColour(event, jet));
  pen.setLineDash(event.truth[jet] >= 0 ? [] : [6, 5]);
  const around = [];
  for (let i = 0; i <= 32; i++) around.push(x + r * Math.cos((i * Math.PI) / 16), y + r * Math.sin((i * Math.PI) / 16));
  for (const copy of copies) {
    pen.beginPath();
    pen.arc(x, y + copy, r, 0, 2 * Math.PI);
    pen.globalAlpha = strong ? 0.14 : 0.05;
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = strong ? 3.6 : 2;
    pen.stroke();
    const points = around.map((value, i) => (i % 2 ? value + copy : value));
    picture.hits.push({ kind: "jet", index: jet, points, width: 8, rank: 2 });
  }
  pen.setLineDash([]);
  pen.lineWidth = 2;
  pen.beginPath();
  path(pen, [x - 5, y, x + 5, y]);
  path(pen, [x, y - 5, x, y + 5]);
  pen.stroke();
  picture.hits.push({ kind: "jet", index: jet, points: [x, y], width: 10, rank: 2 });
}

function mapAxes(picture, frame, state) {
  const { pen } = picture;
  const step = frame.scale > 260 ? 0.2 : frame.scale > 110 ? 0.5 : 1, reach = frame.wide / 2 / frame.scale;
  pen.lineWidth = 1;
  pen.strokeStyle = colour("grid");
  pen.beginPath();
  for (let k = Math.ceil((state.eta - reach) / step); k * step <= state.eta + reach; k++) {
    const x = frame.x(k * step);
    path(pen, [x, frame.top, x, frame.top + frame.tall]);
    text(picture, fixed(k * step, step < 1 ? 1 : 0), x, frame.top + frame.tall + 13, { paint: "soft", halo: false });
  }
  for (const [name, phi] of PI_NAMES) {
    const places = name === "π" ? [] : [frame.y(phi), frame.y(phi) - frame.turn];
    for (const y of places) {
      if (y < frame.top - 1 || y > frame.top + frame.tall + 1) continue;
      path(pen, [frame.left, y, frame.left + frame.wide, y]);
      const word = name === "−π" && y < frame.top + frame.tall / 2 ? "π" : name;
      text(picture, word, frame.left - 7, clamp(y, frame.top + 6, frame.top + frame.tall - 4), { align: "right", paint: "soft", halo: false });
    }
  }
  pen.strokeStyle = colour("grid");
  pen.stroke();
  pen.strokeStyle = colour("axis");
  pen.strokeRect(frame.left, frame.top, frame.wide, frame.tall);
  const low = frame.top + frame.tall + (picture.small ? 25 : 31);
  text(picture, "η", frame.left + frame.wide / 2, low, { paint: "ink", size: 14, halo: false });
  text(picture, "φ", picture.small ? 9 : 13, frame.top + frame.tall * 0.36, { paint: "ink", size: 14, halo: false });
}

/** Towers: cells of η and φ, each a stack of its PFOs, the hardest below. */
function towers(event, state, reach) {
  const cells = new Map();
  for (const pfo of event.order) {
    if (!isShown(event, pfo, state) || Math.abs(event.pfo.eta[pfo]) > reach) continue;
    const i = Math.floor(event.pfo.eta[pfo] / CELL), k = Math.floor(event.pfo.phi[pfo] / CELL);
    const key = `${i},${k}`;
    if (!cells.has(key)) cells.set(key, { eta: i * CELL, phi: k * CELL, pfos: [], sum: 0 });
    const cell = cells.get(key);
    cell.pfos.push(pfo);
    cell.sum += event.pfo.pt[pfo];
  }
  return [...cells.values()];
}

/** The camera that lets the floor fill the picture's width, and the height that is left for the tallest tower. */
function legoCamera(picture, reach, yaw, pitch, zoom) {
  const [left, right, top, bottom] = picture.small ? [30, 26, 44, 28] : [48, 52, 64, 34];
  const wide = picture.width - left - right, high = picture.height - top - bottom;
  const plain = slantedCamera({ yaw, pitch, scale: 1, x: 0, y: 0 });
  const corners = [[-1, -1], [-1, 1], [1, -1], [1, 1]].map(([a, b]) => plain(a * reach, b * Math.PI, 0));
  const [low, far] = [0, 1].map((k) => [Math.min(...corners.map((p) => p[k])), Math.max(...corners.map((p) => p[k]))]);
  const up = Math.max(Math.cos(pitch), 0.05), deep = far[1] - far[0];
  const scale = Math.min(wide / (low[1] - low[0]), high / (deep + LOWEST * up));
  const tallest = clamp((high / scale - deep) / up, LOWEST, TALLEST);
  const x = left + wide / 2 - (zoom * scale * (low[0] + low[1])) / 2;
  const y = top + high / 2 - (zoom * scale * (far[0] - tallest * up + far[1])) / 2;
  return { at: slantedCamera({ yaw, pitch, scale: scale * zoom, x, y }), tallest };
}

function drawLego(picture, event, state) {
  const { pen, width, height } = picture, rows = attentionLines(event, state);
  const reach = neededEta(event, rows), { yaw, pitch } = state.lego;
  const { at, tallest } = legoCamera(picture, reach, yaw, pitch, state.zoom);
  const cells = towers(event, state, reach);
  const most = cells.reduce((top, cell) => Math.max(top, cell.sum), 1e-3), unit = tallest / most;
  const front = { eta: -Math.sin(yaw) >= 0 ? 1 : -1, phi: -Math.cos(yaw) >= 0 ? 1 : -1 };
  floor(picture, at, reach, front, most, unit);
  const edge = (eta, phi, h = 0) => at(eta, phi, h).slice(0, 2);
  for (const jet of jetOrder(event)) floorJet(picture, event, state, jet, edge, reach);
  for (const cell of cells) cell.depth = at(cell.eta + CELL / 2, cell.phi + CELL / 2, 0)[2];
  const tops = new Map();
  for (const cell of cells.sort((a, b) => b.depth - a.depth)) {
    let from = 0;
    for (const pfo of cell.pfos) {
      const to = from + event.pfo.pt[pfo] * unit;
      block(picture, event, state, pfo, cell, from, to, front, edge);
      tops.set(pfo, to);
      from = to;
    }
  }
  picture.shown = tops.size;
  for (const [jet, pfo, weight] of rows) {
    if (!tops.has(pfo)) continue;
    picture.lines++;
    arc(picture, event, jet, pfo, edge, tops.get(pfo), lineWidth(weight, rows));
  }
  for (const jet of jetOrder(event)) {
    const [x, y] = edge(event.jet.eta[jet], event.jet.phi[jet], tallest * 1.02);
    const [x0, y0] = edge(event.jet.eta[jet], event.jet.phi[jet]);
    pen.strokeStyle = colour(jetColour(event, jet));
    pen.setLineDash([2, 5]);
    pen.lineWidth = 1.4;
    pen.beginPath();
    path(pen, [x0, y0, x, y]);
    pen.stroke();
    pen.setLineDash([]);
    labelJet(picture, event, jet, x, y, 2, state.jet === jet);
  }
}

function floor(picture, at, reach, front, most, unit) {
  const { pen } = picture;
  const point = (eta, phi, h = 0) => at(eta, phi, h).slice(0, 2);
  pen.lineWidth = 1;
  pen.strokeStyle = colour("grid");
  pen.beginPath();
  for (let eta = Math.ceil(-reach); eta <= reach; eta++) {
    path(pen, [...point(eta, -Math.PI), ...point(eta, Math.PI)]);
    const [x, y] = point(eta, front.phi * (Math.PI + 0.28));
    text(picture, fixed(eta, 0), x, y, { paint: "soft", halo: false });
  }
  for (const [name, phi] of PI_NAMES) {
    path(pen, [...point(-reach, phi), ...point(reach, phi)]);
    const [x, y] = point(front.eta * (reach + 0.34), phi);
    text(picture, name, x, y, { paint: "soft", halo: false });
  }
  pen.strokeStyle = colour("grid");
  pen.stroke();
  const [ex, ey] = point(0, front.phi * (Math.PI + 0.75)), [px, py] = point(front.eta * (reach + 0.8), 0);
  text(picture, "η", ex, ey, { size: 14, halo: false });
  text(picture, "φ", px, py, { size: 14, halo: false });
  pen.strokeStyle = colour("axis");
  pen.beginPath();
  const [a, b] = [reach, Math.PI];
  path(pen, [...point(-a, -b), ...point(a, -b), ...point(a, b), ...point(-a, b)], true);
  const corner = [[-a, -b], [a, -b], [a, b], [-a, b]].reduce((left, c) => (point(...c)[0] < point(...left)[0] ? c : left));
  path(pen, [...point(...corner), ...point(...corner, most * unit)]);
  pen.stroke();
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((s) => most / s <= 5) ?? 5000;
  for (let pt = step; pt <= most * 1.001; pt += step) {
    const [x, y] = point(...corner, pt * unit);
    text(picture, `${pt}`, x - 6, y, { align: "right", paint: "soft", halo: false });
  }
  const [x, y] = point(...corner, most * unit);
  text(picture, "pT [GeV]", Math.max(x, 34), y - 14, { paint: "soft", halo: false });
}

function floorJet(picture, event, state, jet, edge, reach) {
  const { pen } = picture, strong = state.jet === jet || isSame(state.focus, { kind: "jet", index: jet });
  const rim = [];
  for (let i = 0; i <= 40; i++) {
    const angle = (i * Math.PI) / 20, eta = event.jet.eta[jet] + event.radius * Math.cos(angle);
    rim.push([clamp(eta, -reach, reach), event.jet.phi[jet] + event.radius * Math.sin(angle)]);
  }
  pen.strokeStyle = pen.fillStyle = colour(jetColour(event, jet));
  pen.setLineDash(event.truth[jet] >= 0 ? [] : [5, 4]);
  for (const turn of [0, -2 * Math.PI, 2 * Math.PI]) {
    const parts = rim.map(([eta, phi]) => [eta, phi + turn]);
    if (!parts.some(([, phi]) => Math.abs(phi) <= Math.PI)) continue;
    const points = parts.flatMap(([eta, phi]) => edge(eta, clamp(phi, -Math.PI, Math.PI)));
    pen.beginPath();
    path(pen, points, true);
    pen.globalAlpha = strong ? 0.3 : 0.13;
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = strong ? 3 : 1.7;
    pen.stroke();
    picture.hits.push({ kind: "jet", index: jet, points, width: 6, rank: 2 });
  }
  pen.setLineDash([]);
}

/** One PFO's block of a tower: its top and the two sides that face the viewer. */
function block(picture, event, state, pfo, cell, from, to, front, edge) {
  const { pen } = picture, [e0, e1, p0, p1] = [cell.eta, cell.eta + CELL, cell.phi, cell.phi + CELL];
  const e = front.eta > 0 ? e1 : e0, p = front.phi > 0 ? p1 : p0;
  const faces = [
    [0, [edge(e, p0, from), edge(e, p1, from), edge(e, p1, to), edge(e, p0, to)]],
    [0.18, [edge(e0, p, from), edge(e1, p, from), edge(e1, p, to), edge(e0, p, to)]],
    [-0.22, [edge(e0, p0, to), edge(e1, p0, to), edge(e1, p1, to), edge(e0, p1, to)]],
  ];
  const thing = { kind: "pfo", index: pfo }, strong = isSame(state.hover, thing) || isSame(state.focus, thing);
  const faint = state.jet !== null && event.members && !event.members[state.jet].has(pfo);
  pen.globalAlpha = faint ? 0.5 : 1;
  for (const [shade, points] of faces) {
    pen.beginPath();
    path(pen, points.flat(), true);
    pen.fillStyle = colour(particleColour(event.pfo.particle_class[pfo]));
    pen.fill();
    pen.fillStyle = shade > 0 ? `rgba(0, 0, 0, ${shade})` : `rgba(255, 255, 255, ${-shade})`;
    if (shade) pen.fill();
    if (strong) {
      pen.lineWidth = 2;
      pen.strokeStyle = colour("ink");
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  const low = edge(cell.eta + CELL / 2, cell.phi + CELL / 2, from), high = edge(cell.eta + CELL / 2, cell.phi + CELL / 2, to);
  picture.hits.push({ kind: "pfo", index: pfo, points: [...low, ...high], width: 6, rank: 0 });
}

/** A line of attention over the towers, from the jet's axis to the top of a PFO's block, the short way round. */
function arc(picture, event, jet, pfo, edge, top, width) {
  const { pen } = picture;
  const [e0, p0] = [event.jet.eta[jet], event.jet.phi[jet]], e1 = event.pfo.eta[pfo];
  const across = wrap(event.pfo.phi[pfo] - p0), away = Math.hypot(e1 - e0, across);
  pen.strokeStyle = colour(jetColour(event, jet));
  pen.globalAlpha = 0.75;
  pen.lineWidth = width;
  pen.beginPath();
  let before = null;
  for (let i = 0; i <= 16; i++) {
    const t = i / 16, phi = wrap(p0 + across * t);
    const lift = top * t + 4 * t * (1 - t) * Math.min(0.25 + 0.35 * away, 1.2);
    const [x, y] = edge(e0 + (e1 - e0) * t, phi, lift);
    // At the seam the line leaves the floor on one side and comes in on the other.
    if (before === null || Math.abs(phi - before) > Math.PI) pen.moveTo(x, y);
    else pen.lineTo(x, y);
    before = phi;
  }
  pen.stroke();
  pen.globalAlpha = 1;
}
