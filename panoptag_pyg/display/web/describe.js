// What is said of a jet or a PFO: in the tooltip, beside the picture, to screen readers.
const ANCESTRY = ["neither b nor c hadron", "c hadron", "b hadron"];

/** A number with a true minus, in so many digits after the point. */
function fixed(value, digits = 2) {
  return Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–";
}

function energy(value) {
  return `${fixed(value, value < 10 ? 2 : value < 100 ? 1 : 0)} GeV`;
}

function percent(share) {
  const value = 100 * share;
  return `${fixed(value, value < 0.095 ? 3 : value < 9.95 ? 1 : 0)} %`;
}

/** An impact parameter with its error and significance; "–" without a track. */
function impact(value, error) {
  if (!(error > 0)) return value ? `${fixed(value, 3)} mm` : "–";
  return `${fixed(value, 3)} ± ${fixed(error, 3)} mm (${fixed(value / error, 1)} σ)`;
}

/** Number of a jet as people count: 1 is the hardest. */
function jetNumber(event, jet) {
  return jetOrder(event).indexOf(jet) + 1;
}

/** "right", "wrong", or "" where nobody can tell. */
function judgement(event, jet) {
  if (event.predicted[jet] < 0 || event.truth[jet] < 0) return "";
  return event.predicted[jet] === event.truth[jet] ? "right" : "wrong";
}

function jetFacts(event, jet) {
  const { pt, eta, phi, mass } = event.jet;
  const facts = [
    ["pT", energy(pt[jet])], ["η", fixed(eta[jet])], ["φ", fixed(phi[jet])], ["mass", energy(mass[jet])],
    ["truth", className(event.truth[jet])],
  ];
  const scores = scoresOf(event, jet);
  if (scores.length) {
    facts.push(["predicted", `${className(event.predicted[jet])}${{ right: " ✓", wrong: " ✗", "": "" }[judgement(event, jet)]}`]);
    facts.push(["scores", Array.from(scores, (score, i) => `${data.classes[i]} ${fixed(score, 3)}`).join(", ")]);
  }
  if (event.members) facts.push(["constituents", String(event.members[jet].size)]);
  if (event.attention && event.members) facts.push(["attention on them", percent(onOwn(event, jet))]);
  return facts;
}

function pfoFacts(event, pfo, jet) {
  const c = event.pfo;
  const facts = [["pT", energy(c.pt[pfo])], ["η", fixed(c.eta[pfo], 3)], ["φ", fixed(c.phi[pfo], 3)]];
  if (c.charge[pfo]) {
    facts.push(["charge", c.charge[pfo] > 0 ? "+1" : "−1"]);
    facts.push(["d0", impact(c.d0[pfo], c.d0_error[pfo])], ["z0", impact(c.dz[pfo], c.dz_error[pfo])]);
  }
  const owner = event.members ? event.members.findIndex((rows) => rows.has(pfo)) : -1;
  if (owner >= 0) facts.push(["in", `jet ${jetNumber(event, owner)}`]);
  if (c.heavy_ancestry) facts.push(["truth: from", ANCESTRY[c.heavy_ancestry[pfo]] ?? "–"]);
  if (c.hard_scatter_fraction && event.interactions > 1) facts.push(["truth: hard scatter", percent(c.hard_scatter_fraction[pfo])]);
  if (event.attention) {
    const chosen = jet ?? mostAttentive(event, pfo);
    if (chosen >= 0) facts.push([`attention of jet ${jetNumber(event, chosen)}`, percent(weights(event, chosen)[pfo])]);
  }
  return facts;
}

/** The jet that attends most to a PFO; -1 without jets. */
function mostAttentive(event, pfo) {
  let found = -1;
  for (let j = 0; j < event.jets; j++) if (found < 0 || weights(event, j)[pfo] > weights(event, found)[pfo]) found = j;
  return found;
}

/** Share of a jet's attention that lies on its own constituents. */
function onOwn(event, jet) {
  const all = weights(event, jet);
  let own = 0, sum = 0;
  all.forEach((weight, i) => { sum += weight; if (event.members[jet].has(i)) own += weight; });
  return sum ? own / sum : 0;
}

function nameOf(event, thing) {
  if (thing.kind === "jet") return `Jet ${jetNumber(event, thing.index)} of ${event.jets}`;
  const kind = data.particles[event.pfo.particle_class[thing.index]] ?? "PFO";
  return kind[0].toUpperCase() + kind.slice(1);
}

function factsOf(event, thing, jet) {
  return thing.kind === "jet" ? jetFacts(event, thing.index) : pfoFacts(event, thing.index, jet);
}

/** One sentence for a screen reader. */
function sentenceOf(event, thing, jet) {
  const spoken = { "η": "eta", "φ": "phi", "pT": "p T", "d0": "d 0", "z0": "z 0" };
  const facts = factsOf(event, thing, jet).map(([term, value]) =>
    `${spoken[term] ?? term} ${value.replace("✓", "(right)").replace("✗", "(wrong)").replaceAll("−", "minus ")}`);
  return `${nameOf(event, thing)}: ${facts.join(", ")}.`;
}

/** What event this is, in one line. */
function headlineOf(event) {
  const parts = [`${event.process}, event ${event.number} (id ${event.id})`, `${event.pfos} PFOs`,
    `${event.jets} ${event.jets === 1 ? "jet" : "jets"}`];
  if (event.interactions > 1) parts.push(`${event.interactions} collisions`);
  if (event.weight !== 1) parts.push(`weight ${event.weight.toPrecision(3)}`);
  return parts.join(" · ");
}

/** How much of the attention the lines show, and where it lies. */
function shareSentence(event, state) {
  if (!event.attention) return data.model ? "This tagger has no attention to draw." : "";
  if (!event.jets) return "No jets, so nothing attends.";
  const shares = (state.jet === null ? jetOrder(event) : [state.jet]).map((jet) => {
    const all = weights(event, jet);
    const total = all.reduce((a, b) => a + b, 0);
    return total ? event.attended[jet].slice(0, state.lines).reduce((sum, pfo) => sum + all[pfo], 0) / total : 0;
  });
  const span = shares.length > 1 ? `${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}` : percent(shares[0]);
  const whose = state.jet === null ? "of each jet's attention" : `of the attention of jet ${jetNumber(event, state.jet)}`;
  const own = state.jet !== null && event.members ? `; ${percent(onOwn(event, state.jet))} of it lies on its own constituents` : "";
  return `These lines carry ${span} ${whose}${own}.`;
}
