// What the three pictures share: the pen, marks of PFOs, labels of jets, and what can be pointed at.

/** Fit the canvas to its place and clear it; `hits` collects what can be pointed at. */
function newPicture(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = colour("panel");
  pen.fillRect(0, 0, width, height);
  pen.lineJoin = pen.lineCap = "round";
  return { pen, width, height, hits: [], labels: [], small: width < 520, lines: 0, shown: 0 };
}

/** What is drawn of an event: PFOs above the threshold and of the kinds that aren't hidden. */
function isShown(event, pfo, state) {
  return event.pfo.pt[pfo] >= state.minPt && !state.hidden.has(event.pfo.particle_class[pfo]);
}

/** Rows [jet, PFO, weight] of the lines: the largest weights of the chosen jet, or of each. */
function attentionLines(event, state) {
  if (!event.attention) return [];
  const rows = [];
  for (let jet = 0; jet < event.jets; jet++) {
    if (state.jet !== null && state.jet !== jet) continue;
    const all = weights(event, jet);
    for (const pfo of event.attended[jet].slice(0, state.lines)) {
      if (all[pfo] > 0 && isShown(event, pfo, state)) rows.push([jet, pfo, all[pfo]]);
    }
  }
  return rows;
}

function lineWidth(weight, rows) {
  const largest = rows.reduce((most, row) => Math.max(most, row[2]), 1e-12);
  return 0.6 + 3.4 * (weight / largest);
}

/** Radius of a PFO's mark: its area grows slower than pT. */
function markRadius(pt, small) {
  return (small ? 0.48 : 0.58) * Math.sqrt(clamp(5 + 14 * pt ** 0.75, 5, 400));
}

/** A mark of its own shape for each kind: ◆ electron, ✚ muon, ▲ photon, ● charged hadron, ■ neutral hadron. */
function mark(pen, kind, x, y, r) {
  pen.beginPath();
  if (kind === 0) path(pen, [x, y - 1.3 * r, x + 1.1 * r, y, x, y + 1.3 * r, x - 1.1 * r, y], true);
  else if (kind === 1) {
    const a = 0.42 * r, b = 1.25 * r;
    path(pen, [x - a, y - b, x + a, y - b, x + a, y - a, x + b, y - a, x + b, y + a, x + a, y + a, x + a, y + b,
      x - a, y + b, x - a, y + a, x - b, y + a, x - b, y - a, x - a, y - a], true);
  } else if (kind === 2) path(pen, [x, y - 1.2 * r, x + 1.1 * r, y + 0.85 * r, x - 1.1 * r, y + 0.85 * r], true);
  else if (kind === 4) pen.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.fill();
}

function path(pen, points, closed = false) {
  pen.moveTo(points[0], points[1]);
  for (let i = 2; i < points.length; i += 2) pen.lineTo(points[i], points[i + 1]);
  if (closed) pen.closePath();
}

function text(picture, words, x, y, { align = "center", paint = "ink", size = 12, bold = false, halo = true } = {}) {
  const { pen } = picture;
  pen.font = `${bold ? "600 " : ""}${size}px system-ui, "DejaVu Sans", sans-serif`;
  pen.textAlign = align;
  pen.textBaseline = "middle";
  if (halo) {
    pen.lineWidth = 4;
    pen.strokeStyle = colour("panel");
    pen.strokeText(words, x, y);
  }
  pen.fillStyle = colour(paint);
  pen.fillText(words, x, y);
}

/** Two short lines on a jet, its pT and what it is taken for; in a small picture only the second. */
function jetWords(event, jet, small) {
  const number = jetNumber(event, jet), first = `${number}: ${event.jet.pt[jet].toFixed(0)} GeV`;
  const guess = event.predicted[jet];
  const sign = { right: " ✓", wrong: " ✗", "": "" }[judgement(event, jet)];
  if (guess < 0 && event.truth[jet] < 0) return [first];
  const second = guess < 0 ? `truth ${className(event.truth[jet])}` : `${className(guess)} ${scoresOf(event, jet)[guess].toFixed(2)}${sign}`;
  return small ? [`${number}: ${second}`] : [first, second];
}

/** Write beside a jet where it collides least with the labels that are there, and stays in the picture. */
function labelJet(picture, event, jet, x, y, aside, chosen) {
  const size = picture.small ? 11 : 12.5, words = jetWords(event, jet, picture.small);
  picture.pen.font = `600 ${size}px system-ui, "DejaVu Sans", sans-serif`;
  const wide = Math.max(...words.map((word) => picture.pen.measureText(word).width)) / 2 + 3;
  const tall = (words.length * size * 1.2) / 2;
  let place = null, least = Infinity;
  for (let turn = 0; turn < 24; turn++) {
    // Eight directions close by, then the same further away.
    const angle = ([90, 270, 0, 180, 45, 135, 225, 315][turn % 8] * Math.PI) / 180, away = aside + 16 * Math.floor(turn / 8);
    const cx = x + Math.cos(angle) * (away + wide), cy = y - Math.sin(angle) * (away + tall);
    const out = Math.max(wide - cx, cx + wide - picture.width, 0) + Math.max(tall - cy, cy + tall - picture.height, 0);
    const clash = picture.labels.reduce((sum, [lx, ly, lw, lh]) =>
      sum + Math.max(0, wide + lw - Math.abs(cx - lx)) * Math.max(0, tall + lh - Math.abs(cy - ly)), 0);
    const cost = 20 * out + clash + 2 * turn;
    if (cost < least) [place, least] = [[cx, cy], cost];
  }
  const [cx, cy] = [clamp(place[0], wide + 2, picture.width - wide - 2), clamp(place[1], tall + 2, picture.height - tall - 2)];
  picture.labels.push([cx, cy, wide, tall]);
  const guess = event.predicted[jet];
  const paint = judgement(event, jet) === "wrong" ? "bad" : classColour(guess >= 0 ? guess : event.truth[jet]);
  words.forEach((word, i) => {
    const style = i || picture.small ? { paint } : { paint: chosen ? "accent" : "ink" };
    text(picture, word, cx, cy + (i - (words.length - 1) / 2) * size * 1.2, { size, bold: true, ...style });
  });
  picture.hits.push({ kind: "jet", index: jet, points: [cx - wide + 6, cy, cx + wide - 6, cy], width: 2 * tall, rank: 2 });
}

/** What is nearest to a point of the picture, within so many pixels; `null` if nothing is. */
function pick(picture, x, y, tolerance) {
  let found = null, least = tolerance;
  for (const hit of picture.hits) {
    const away = distance(hit.points, x, y) - hit.width / 2;
    // A mark under the pointer beats the larger one that it lies upon, and both beat a jet's wide ring.
    const cost = away <= 0 ? -1 + (hit.rank ?? 1) * 0.3 + Math.min(hit.width, 80) / 400 : away;
    if (cost < least) [found, least] = [hit, cost];
  }
  return found && { kind: found.kind, index: found.index };
}

function isSame(a, b) {
  return Boolean(a && b && a.kind === b.kind && a.index === b.index);
}
