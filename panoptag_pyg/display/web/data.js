// Events from the page's JSON: columns are unpacked when an event is first shown.
const ARRAYS = { f4: Float32Array, i4: Int32Array, i1: Int8Array };

/** A column "TYPE:BASE64" as numbers. */
function unpack(text) {
  const type = text.slice(0, 2);
  const bytes = Uint8Array.from(atob(text.slice(3)), (letter) => letter.charCodeAt(0));
  return type === "f2" ? halves(new Uint16Array(bytes.buffer)) : new ARRAYS[type](bytes.buffer);
}

/** Half-precision numbers as float32. */
function halves(bits) {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const exponent = (bits[i] >> 10) & 31, fraction = bits[i] & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
    values[i] = bits[i] & 32768 ? -size : size;
  }
  return values;
}

const data = JSON.parse(document.getElementById("panoptag-events").textContent);
const loaded = new Map();

/** An event with typed arrays; `order` are its PFOs from hardest to softest, `members[j]` those of jet j. */
function loadEvent(position) {
  if (!loaded.has(position)) loaded.set(position, readEvent(data.events[position]));
  return loaded.get(position);
}

function readEvent(packed) {
  const columns = (table) => Object.fromEntries(Object.entries(table).map(([name, text]) => [name, unpack(text)]));
  const event = { ...packed, pfo: columns(packed.pfo), jet: columns(packed.jet), truth: unpack(packed.truth) };
  event.pfo.phi = event.pfo.phi.map(wrap);
  event.jet.phi = event.jet.phi.map(wrap);
  for (const name of ["scores", "attention"]) event[name] = packed[name] ? unpack(packed[name]) : null;
  event.order = ranked(event.pfo.pt);
  event.members = null;
  if (packed.constituents) {
    const offsets = unpack(packed.constituent_offsets), rows = unpack(packed.constituents);
    event.members = Array.from({ length: event.jets }, (_, j) => new Set(rows.subarray(offsets[j], offsets[j + 1])));
  }
  event.predicted = Array.from({ length: event.jets }, (_, j) => best(event, j));
  event.attended = Array.from({ length: event.jets }, (_, j) => (event.attention ? ranked(weights(event, j)) : null));
  return event;
}

/** Attention of a jet on every PFO. */
function weights(event, jet) {
  return event.attention.subarray(jet * event.pfos, (jet + 1) * event.pfos);
}

/** Scores of a jet, one for each class; empty without a model. */
function scoresOf(event, jet) {
  const width = event.scores ? data.classes.length : 0;
  return event.scores ? event.scores.subarray(jet * width, (jet + 1) * width) : [];
}

/** Indices from the largest value to the smallest. */
function ranked(values) {
  return Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
}

/** The most probable class of a jet; -1 without scores. */
function best(event, jet) {
  const scores = scoresOf(event, jet);
  return scores.length ? ranked(scores)[0] : -1;
}

/** Jets in the order of their tables: from hardest to softest. */
function jetOrder(event) {
  return ranked(event.jet.pt);
}

/** Name of a class of jets; index -1 is one that nobody knows. */
function className(index) {
  return index >= 0 ? data.classes[index] : "unknown";
}

/** Name of the colour of a class of jets: flavours have their own. */
function classColour(index) {
  if (index < 0) return "class-unknown";
  return ["light", "c", "b"].includes(data.classes[index]) ? `class-${data.classes[index]}` : `class-${index % 6}`;
}

/** The colour that a jet is drawn in: its true class, else the predicted one. */
function jetColour(event, jet) {
  return classColour(event.truth[jet] >= 0 ? event.truth[jet] : event.predicted[jet]);
}

/** Name of the colour of a kind of PFO. */
function particleColour(kind) {
  return (data.particles[kind] ?? "neutral hadron").replace(" ", "-");
}
