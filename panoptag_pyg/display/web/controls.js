// What stands beside the picture: the choice of events and jets, the legend, tables, details.
const byId = (name) => document.getElementById(name);

/** pT threshold of a position of its slider: 0, then 0.5 to 100 GeV in even factors. */
function threshold(position) {
  return position <= 0 ? 0 : 0.5 * 200 ** ((position - 1) / 59);
}

function fillEvents(choose) {
  const select = byId("event");
  data.events.forEach((event, i) => {
    select.append(make("option", { value: i }, `${event.process} · event ${event.number} · ${event.jets} ${event.jets === 1 ? "jet" : "jets"}`));
  });
  select.addEventListener("change", () => choose(Number(select.value)));
}

function fillLegend(state, changed) {
  const legend = byId("legend");
  data.particles.forEach((name, kind) => {
    const icon = make("canvas", { width: 36, height: 36, "aria-hidden": "true" });
    const button = make("button", { type: "button", "aria-pressed": "true", "data-kind": kind }, icon, name, make("span", { class: "note" }));
    button.addEventListener("click", () => {
      if (!state.hidden.delete(kind)) state.hidden.add(kind);
      button.setAttribute("aria-pressed", String(!state.hidden.has(kind)));
      changed();
    });
    legend.append(button);
  });
}

function paintLegend(event) {
  for (const button of byId("legend").children) {
    const kind = Number(button.dataset.kind), pen = button.querySelector("canvas").getContext("2d");
    pen.clearRect(0, 0, 36, 36);
    pen.fillStyle = colour(particleColour(kind));
    mark(pen, kind, 18, 18, 10);
    button.querySelector("span").textContent = String(event.pfo.particle_class.reduce((n, k) => n + (k === kind), 0));
  }
}

function fillJets(event, state, choose) {
  const [head, body] = [byId("jets").tHead, byId("jets").tBodies[0]];
  const scored = Boolean(event.scores), known = Array.from(event.truth).some((truth) => truth >= 0);
  const names = ["jet", "pT", "η", "φ", ...(known ? ["truth"] : []), ...(scored ? ["predicted"] : [])];
  head.replaceChildren(make("tr", {}, ...names.map((name) => make("th", { scope: "col", class: ["pT", "η", "φ"].includes(name) ? "n" : null }, name))));
  body.replaceChildren(...jetOrder(event).map((jet, i) => {
    const cells = [
      make("td", {}, make("button", { type: "button", "data-jet": jet, "aria-label": `Choose jet ${i + 1}`, on: { click: () => choose(jet) } }, String(i + 1))),
      make("td", { class: "n" }, fixed(event.jet.pt[jet], 0)), make("td", { class: "n" }, fixed(event.jet.eta[jet])),
      make("td", { class: "n" }, fixed(event.jet.phi[jet])),
    ];
    if (known) cells.push(make("td", {}, className(event.truth[jet])));
    if (scored) {
      const verdict = judgement(event, jet), sign = { right: " ✓", wrong: " ✗", "": "" }[verdict];
      const words = `${className(event.predicted[jet])} ${fixed(scoresOf(event, jet)[event.predicted[jet]])}${sign}`;
      cells.push(make("td", { class: verdict || null }, words, bars(event, jet)));
    }
    return make("tr", { "data-jet": jet }, ...cells);
  }));
  if (!event.jets) body.append(make("tr", {}, make("td", { colspan: names.length }, "This event has no jets.")));
  const select = byId("jet");
  select.replaceChildren(make("option", { value: "" }, "all jets"),
    ...jetOrder(event).map((jet, i) => make("option", { value: jet }, `jet ${i + 1} (${fixed(event.jet.pt[jet], 0)} GeV)`)));
  byId("attention-controls").hidden = !event.attention;
}

/** The scores of a jet as one bar, split by class; the numbers are its text. */
function bars(event, jet) {
  const scores = scoresOf(event, jet), words = Array.from(scores, (score, i) => `${data.classes[i]} ${fixed(score)}`).join(", ");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["class", "scores"], ["viewBox", "0 0 100 7"], ["preserveAspectRatio", "none"], ["role", "img"], ["aria-label", words]]) svg.setAttribute(name, value);
  let from = 0;
  scores.forEach((score, i) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of [["x", from], ["y", 0], ["width", 100 * score], ["height", 7]]) rect.setAttribute(name, String(value));
    rect.style.fill = `var(--${classColour(i)})`;
    from += 100 * score;
    svg.append(rect);
  });
  const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  title.textContent = words;
  svg.append(title);
  return svg;
}

/** The table of PFOs: those that are shown, from hardest to softest, or by the chosen jet's attention. */
function fillPfos(event, state, choose) {
  if (!byId("pfo-details").open) return;
  const table = byId("pfos"), c = event.pfo, jet = state.jet;
  const byJet = event.attention && jet !== null;
  const rows = (byJet ? event.attended[jet] : event.order).filter((pfo) => isShown(event, pfo, state));
  const names = ["", "kind", "pT", "η", "φ", "charge", "d0/σ", "z0/σ", ...(event.members ? ["in jet"] : []), ...(byJet ? [`attention of jet ${jetNumber(event, jet)}`] : [])];
  table.caption.textContent = `${rows.length} of ${event.pfos} PFOs${byJet ? ", by attention" : ", by pT"}; pT in GeV`;
  table.tHead.replaceChildren(make("tr", {}, ...names.map((name, i) => make("th", { scope: "col", class: i > 1 ? "n" : null }, name))));
  const ratio = (value, error) => (error > 0 ? fixed(value / error, 1) : "–");
  table.tBodies[0].replaceChildren(...rows.map((pfo, i) => {
    const owner = event.members ? event.members.findIndex((own) => own.has(pfo)) : -1;
    const cells = [String(i + 1), data.particles[c.particle_class[pfo]] ?? "PFO", fixed(c.pt[pfo]), fixed(c.eta[pfo]), fixed(c.phi[pfo]),
      c.charge[pfo] ? (c.charge[pfo] > 0 ? "+1" : "−1") : "0", ratio(c.d0[pfo], c.d0_error[pfo]), ratio(c.dz[pfo], c.dz_error[pfo]),
      ...(event.members ? [owner >= 0 ? String(jetNumber(event, owner)) : "–"] : []), ...(byJet ? [percent(weights(event, jet)[pfo])] : [])];
    return make("tr", { "data-pfo": pfo, on: { click: () => choose(pfo) } }, ...cells.map((cell, k) => make("td", { class: k > 1 ? "n" : null }, cell)));
  }));
}

function showDetails(event, state) {
  const thing = state.focus ?? state.hover, box = byId("details");
  if (!thing) {
    box.replaceChildren(make("span", { class: "note" }, "Point at a jet or PFO, or press the arrow keys on the picture."));
    return;
  }
  const list = make("dl");
  for (const [term, value] of factsOf(event, thing, state.jet)) list.append(make("dt", {}, term), make("dd", {}, value));
  box.replaceChildren(make("b", {}, nameOf(event, thing)), list);
}

function markRows(state) {
  for (const row of document.querySelectorAll("#jets tr[data-jet]")) {
    const jet = Number(row.dataset.jet), chosen = state.jet === jet || isSame(state.focus, { kind: "jet", index: jet });
    row.toggleAttribute("aria-current", false);
    if (chosen) row.setAttribute("aria-current", "true");
    row.querySelector("button").setAttribute("aria-pressed", String(state.jet === jet));
  }
  for (const row of document.querySelectorAll("#pfos tr[aria-current]")) row.removeAttribute("aria-current");
  if (state.focus?.kind === "pfo") document.querySelector(`#pfos tr[data-pfo="${state.focus.index}"]`)?.setAttribute("aria-current", "true");
}
