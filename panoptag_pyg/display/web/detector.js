// The event in the detector: tracks as helices, towers on the calorimeter, jets as cones.
const MUON_REACH = 2.1;

function drawDetector(picture, event, state) {
  const { pen, width, height } = picture, { detector } = event, rows = attentionLines(event, state);
  const half = detector.half_length * 1.08, radius = detector.radius * 1.7;
  const at = roundCamera({ ...state.turn, zoom: state.zoom, width, height, half, radius, far: 4.4 * half });
  const points = (list) => list.flatMap((p) => at(...p).slice(0, 2));
  outline(picture, detector, points);
  const parts = [];
  for (const pfo of event.order) {
    if (!isShown(event, pfo, state)) continue;
    picture.shown++;
    parts.push(...pfoParts(event, pfo, detector));
  }
  for (const part of parts) part.depth = part.way.reduce((sum, p) => sum + at(...p)[2], 0) / part.way.length;
  parts.sort((a, b) => b.depth - a.depth);
  const cones = jetOrder(event).map((jet) => ({ jet, rim: rimOf(event, jet) }));
  for (const cone of cones) drawCone(picture, event, state, cone, at);
  const nearest = parts.length ? parts[parts.length - 1].depth : 0, span = parts.length ? parts[0].depth - nearest || 1 : 1;
  for (const part of parts) {
    const line = points(part.way), thing = { kind: "pfo", index: part.pfo };
    const strong = isSame(state.hover, thing) || isSame(state.focus, thing);
    const faint = state.jet !== null && event.members && !event.members[state.jet].has(part.pfo);
    const size = part.metres * at(...part.way[0])[3];
    pen.lineCap = part.metres ? "butt" : "round";
    pen.globalAlpha = strong ? 1 : (faint ? 0.3 : 0.95) - 0.3 * ((part.depth - nearest) / span);
    pen.strokeStyle = colour(strong ? "ink" : particleColour(event.pfo.particle_class[part.pfo]));
    pen.lineWidth = part.metres ? Math.max(size, 1.6) + (strong ? 2 : 0) : part.pixels + (strong ? 2 : 0);
    pen.beginPath();
    path(pen, line);
    pen.stroke();
    picture.hits.push({ kind: "pfo", index: part.pfo, points: line, width: pen.lineWidth, rank: 0 });
  }
  pen.lineCap = "round";
  for (const [jet, pfo, weight] of rows) {
    picture.lines++;
    const from = surfacePoint(detector, event.jet.eta[jet], event.jet.phi[jet]);
    const to = surfacePoint(detector, event.pfo.eta[pfo], event.pfo.phi[pfo]);
    pen.globalAlpha = 0.8;
    pen.strokeStyle = colour(jetColour(event, jet));
    pen.lineWidth = lineWidth(weight, rows);
    pen.beginPath();
    path(pen, points([from, to]));
    pen.stroke();
  }
  pen.globalAlpha = 1;
  for (const { jet } of cones) {
    const [x, y] = at(...surfacePoint(detector, event.jet.eta[jet], event.jet.phi[jet], 1.32));
    labelJet(picture, event, jet, x, y, 4, state.jet === jet);
  }
}

/** What is drawn of a PFO: a track where it is charged, a tower unless it is a muon, which goes on outwards. */
function pfoParts(event, pfo, detector) {
  const pt = event.pfo.pt[pfo], eta = event.pfo.eta[pfo], phi = event.pfo.phi[pfo], charge = event.pfo.charge[pfo];
  const parts = [], muon = event.pfo.particle_class[pfo] === 1;
  let end = surfacePoint(detector, eta, phi);
  if (charge) {
    const way = helix(detector, pt, eta, phi, charge);
    end = way[way.length - 1];
    parts.push({ pfo, way, metres: 0, pixels: clamp(0.8 + 0.8 * Math.log10(1 + pt), 0.8, 3.5) });
  }
  // A slow particle that curls up inside never gets to the calorimeter.
  const outside = Math.hypot(end[1], end[2]) > 0.98 * detector.radius || Math.abs(end[0]) > 0.98 * detector.half_length;
  if (!outside) return parts;
  const size = Math.hypot(...end) || 1, long = muon ? (MUON_REACH - 1) * detector.radius : clamp(0.24 * Math.log(1 + pt), 0.03, 1.4);
  const tip = end.map((value) => value * (1 + long / size));
  parts.push({ pfo, way: [end, tip], metres: muon ? 0 : 0.055, pixels: 2.6 });
  return parts;
}

function outline(picture, detector, points) {
  const { pen } = picture, { radius, half_length: half } = detector;
  const ringAt = (z, r) => Array.from({ length: 49 }, (_, i) => [z, r * Math.sin((i * Math.PI) / 24), r * Math.cos((i * Math.PI) / 24)]);
  pen.strokeStyle = colour("line");
  pen.lineWidth = 1;
  pen.beginPath();
  for (const z of [-half, -half / 2, 0, half / 2, half]) path(pen, points(ringAt(z, radius)));
  for (let i = 0; i < 12; i++) {
    const [up, across] = [radius * Math.sin((i * Math.PI) / 6), radius * Math.cos((i * Math.PI) / 6)];
    path(pen, points([[-half, up, across], [half, up, across]]));
  }
  pen.stroke();
  pen.strokeStyle = colour("axis");
  pen.setLineDash([7, 6]);
  pen.beginPath();
  path(pen, points([[-half * 1.12, 0, 0], [half * 1.12, 0, 0]]));
  pen.stroke();
  pen.setLineDash([]);
  const [x, y] = points([[half * 1.15, 0, 0]]);
  text(picture, "z", x, y, { paint: "soft", size: 13 });
}

/** Points around a jet's cone, on the calorimeter. */
function rimOf(event, jet) {
  return Array.from({ length: 33 }, (_, i) => {
    const angle = (i * Math.PI) / 16;
    return surfacePoint(event.detector, event.jet.eta[jet] + event.radius * Math.cos(angle),
      event.jet.phi[jet] + event.radius * Math.sin(angle), 1.0);
  });
}

function drawCone(picture, event, state, { jet, rim }, at) {
  const { pen } = picture, thing = { kind: "jet", index: jet };
  const strong = state.jet === jet || isSame(state.focus, thing) || isSame(state.hover, thing);
  const flat = rim.map((p) => at(...p).slice(0, 2)), apex = at(0, 0, 0).slice(0, 2);
  const paint = colour(jetColour(event, jet));
  pen.fillStyle = pen.strokeStyle = paint;
  pen.beginPath();
  path(pen, hull([apex, ...flat]).flat(), true);
  pen.globalAlpha = strong ? 0.3 : 0.13;
  pen.fill();
  pen.globalAlpha = strong ? 1 : 0.75;
  pen.lineWidth = strong ? 3 : 1.6;
  pen.setLineDash(event.truth[jet] >= 0 ? [] : [5, 4]);
  pen.beginPath();
  path(pen, flat.flat());
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  picture.hits.push({ kind: "jet", index: jet, points: flat.flat(), width: 8, rank: 2 });
}
