// Charts of a run: lines with bands, points with errors, steps; values at the pointer, and by the arrow keys.
const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A number for people: four digits, thousands apart. */
function shown(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2).replaceAll("-", "−");
  return value.toLocaleString("en", { maximumSignificantDigits: 4 }).replace("-", "−");
}

/** Where ticks go: round numbers, or powers of ten with 2 and 5 where there is room. */
function ticks(low, high, log, count) {
  if (log) {
    const decades = Math.log10(high / low), steps = decades < 1.6 ? [1, 2, 5] : [1], found = [];
    for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++) {
      for (const s of steps) if (s * 10 ** k >= low * 0.999 && s * 10 ** k <= high * 1.001) found.push(s * 10 ** k);
    }
    return found;
  }
  const rough = (high - low) / count, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((s) => s * unit).find((s) => s >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/** Limits of both axes, from everything that is drawn. */
function limits(chart, lines) {
  const finite = (values) => values.filter((v) => v !== null && Number.isFinite(v) && (!chart.log || v > 0));
  const xs = lines.flatMap((line) => line.x.filter((v) => v !== null));
  const ys = lines.flatMap((line) => {
    const sure = (values) => (line.sure ? values.filter((_, i) => line.sure[i]) : values);
    return [...finite(line.y), ...finite(sure(line.low ?? [])), ...finite(sure(line.high ?? []))];
  });
  if (chart.diagonal) return { x: [0, 1], y: [0, 1] };
  const span = (values) => (values.length ? [Math.min(...values), Math.max(...values)] : [0, 1]);
  const [x, y] = [span(xs), span(ys)];
  if (x[0] === x[1]) { x[0] -= 0.5; x[1] += 0.5; }
  if (chart.log) return { x, y: [y[0] / 1.3, Math.max(y[1] * 1.4, y[0] * 2)] };
  const room = (y[1] - y[0] || Math.abs(y[1]) || 1) * 0.07;
  return { x, y: [y[0] - room, y[1] + room] };
}

class Chart {
  constructor(place, chart) {
    this.chart = chart;
    this.choice = Object.keys(chart.choices)[0];
    this.hidden = new Set();
    this.at = null;
    this.plot = make("div", { class: "plot", tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": `${chart.title}: ${chart.y} against ${chart.x}. Arrow keys read the values.` });
    this.tip = make("div", { class: "tip", hidden: true });
    this.says = make("p", { class: "unseen", role: "status", "aria-live": "polite" });
    this.keys = make("div", { class: "keys", role: "group", "aria-label": "Lines; press to hide or show" });
    this.table = make("details", { class: "numbers" }, make("summary", {}, "Numbers"));
    this.table.addEventListener("toggle", () => this.fillTable());
    const parts = [this.keys, make("div", { class: "plot-place" }, this.plot, this.tip), this.says, this.table];
    if (Object.keys(chart.choices).length > 1) {
      const select = make("select", { "aria-label": `What ${chart.title} shows` });
      for (const name of Object.keys(chart.choices)) select.append(make("option", { value: name }, name));
      select.addEventListener("change", () => { this.choice = select.value; this.hidden.clear(); this.at = null; this.refresh(); });
      parts.unshift(select);
    }
    place.append(...parts);
    this.plot.addEventListener("pointermove", (pointer) => this.point(pointer));
    this.plot.addEventListener("pointerdown", (pointer) => this.point(pointer));
    this.plot.addEventListener("pointerleave", () => this.choose(null));
    this.plot.addEventListener("blur", () => this.choose(null));
    this.plot.addEventListener("keydown", (key) => this.key(key));
    new ResizeObserver(() => this.render()).observe(this.plot);
    this.refresh();
  }

  get lines() {
    return this.chart.choices[this.choice].filter((line) => !this.hidden.has(line.name));
  }

  /** Every x at which a line has a value, in order; of steps, the middle of each bin. */
  get stops() {
    const all = this.lines.flatMap((line) => line.x.slice(0, line.y.length).map((x, i) => (line.kind === "steps" ? (x + line.x[i + 1]) / 2 : x)));
    return [...new Set(all)].sort((a, b) => a - b);
  }

  refresh() {
    this.keys.replaceChildren(...this.chart.choices[this.choice].map((line) => {
      const swatch = draw("svg", { class: "swatch", viewBox: "0 0 22 8", "aria-hidden": "true" }, draw("line", { x1: 1, x2: 21, y1: 4, y2: 4, ...(line.dashed ? { "stroke-dasharray": "5 3" } : {}) }));
      swatch.style.stroke = `var(--${line.colour})`;
      const button = make("button", { type: "button", "aria-pressed": String(!this.hidden.has(line.name)) }, swatch, line.name);
      button.addEventListener("click", () => { if (!this.hidden.delete(line.name)) this.hidden.add(line.name); this.refresh(); });
      return button;
    }));
    this.render();
    this.fillTable();
  }

  render() {
    const width = this.plot.clientWidth, height = this.plot.clientHeight;
    if (!width || !height) return;
    const { chart, lines } = this, range = limits(chart, lines);
    const [left, right, top, bottom] = [66, 12, 10, 42];
    const scale = (value) => (chart.log ? Math.log(Math.max(value, 1e-300)) : value);
    const [y0, y1] = range.y.map(scale);
    this.x = (v) => left + ((v - range.x[0]) / (range.x[1] - range.x[0])) * (width - left - right);
    this.y = (v) => top + (1 - (scale(v) - y0) / (y1 - y0)) * (height - top - bottom);
    this.range = range;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const v of ticks(...range.y, chart.log, Math.max(3, height / 60))) {
      svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: this.y(v), y2: this.y(v) }));
      svg.append(draw("text", { class: "tick end", x: left - 7, y: this.y(v) + 4 }, shown(v)));
    }
    for (const v of ticks(...range.x, false, Math.max(3, width / 80))) {
      if (chart.whole && !Number.isInteger(v)) continue;
      svg.append(draw("line", { class: "grid", x1: this.x(v), x2: this.x(v), y1: top, y2: height - bottom }));
      svg.append(draw("text", { class: "tick", x: this.x(v), y: height - bottom + 17 }, shown(v)));
    }
    svg.append(draw("text", { class: "axis", x: (left + width - right) / 2, y: height - 5 }, chart.x));
    svg.append(draw("text", { class: "axis", transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)` }, chart.y));
    if (chart.diagonal) svg.append(draw("line", { class: "guide", x1: this.x(0), y1: this.y(0), x2: this.x(1), y2: this.y(1) }));
    if (chart.mark !== undefined && chart.mark !== null) svg.append(draw("line", { class: "guide", x1: this.x(chart.mark), x2: this.x(chart.mark), y1: top, y2: height - bottom }));
    for (const line of [...lines].reverse()) this.drawLine(svg, line);
    this.cursor = draw("g", {});
    svg.append(this.cursor);
    this.plot.replaceChildren(svg);
    this.choose(this.at, false);
  }

  drawLine(svg, line) {
    const group = draw("g", { class: "series" }), has = (i) => line.y[i] !== null && line.y[i] !== undefined;
    group.style.setProperty("--paint", `var(--${line.colour})`);
    const sure = (i) => !line.sure || line.sure[i];
    const runs = (test) => {
      const found = [[]];
      line.y.forEach((_, i) => (has(i) && test(i) ? found.at(-1).push(i) : found.push([])));
      return found.filter((run) => run.length);
    };
    if (line.kind === "steps") {
      let d = "";
      line.y.forEach((y, i) => { if (has(i)) d += `${has(i - 1) ? "L" : "M"}${this.x(line.x[i])} ${this.y(y)}L${this.x(line.x[i + 1])} ${this.y(y)}`; });
      group.append(draw("path", { class: "line", d }));
    } else {
      const d = (run) => run.map((i, k) => `${k ? "L" : "M"}${this.x(line.x[i])} ${this.y(line.y[i])}`).join("");
      if (line.low && !line.bars) {
        for (const run of runs((i) => sure(i) && line.low[i] !== null && line.high[i] !== null)) {
          const back = [...run].reverse().map((i) => `L${this.x(line.x[i])} ${this.y(line.low[i])}`).join("");
          group.append(draw("path", { class: "band", d: `${run.map((i, k) => `${k ? "L" : "M"}${this.x(line.x[i])} ${this.y(line.high[i])}`).join("")}${back}Z` }));
        }
      }
      for (const run of runs(sure)) group.append(draw("path", { class: line.dashed ? "line dashed" : "line", d: d(run) }));
      // Dotted where few background jets pass, from the last point of the solid part on.
      for (const run of runs((i) => !sure(i) || !sure(i - 1) || !sure(i + 1)).filter((r) => r.length > 1 && line.sure)) {
        group.append(draw("path", { class: "line faint", d: d(run) }));
      }
      line.y.forEach((y, i) => {
        if (!has(i)) return;
        if (line.bars) group.append(draw("line", { class: "line", x1: this.x(line.x[i]), x2: this.x(line.x[i]), y1: this.y(line.low[i]), y2: this.y(line.high[i]) }));
        if (line.dots) group.append(draw("circle", { class: "dot", cx: this.x(line.x[i]), cy: this.y(y), r: 3 }));
      });
    }
    svg.append(group);
  }

  /** What each line has at a stop: [line, index]. */
  valuesAt(stop) {
    const near = this.chart.diagonal ? 0.05 : 1e-9 + (this.range.x[1] - this.range.x[0]) / 1e6;
    return this.lines.map((line) => {
      let index = -1;
      if (line.kind === "steps") index = line.x.findLastIndex((x) => x <= stop);
      else line.x.forEach((x, i) => { if (Math.abs(x - stop) <= near && (index < 0 || Math.abs(x - stop) < Math.abs(line.x[index] - stop))) index = i; });
      return [line, index];
    }).filter(([line, index]) => index >= 0 && index < line.y.length);
  }

  words(line, i) {
    const range = line.low && line.low[i] !== null && line.high[i] !== null ? ` (${shown(line.low[i])} to ${shown(line.high[i])})` : "";
    return `${line.name}: ${shown(line.y[i])}${range}`;
  }

  choose(stop, speak = false) {
    this.at = stop;
    this.cursor?.replaceChildren();
    this.tip.hidden = stop === null;
    if (stop === null || !this.cursor) return;
    const x = this.x(stop), found = this.valuesAt(stop);
    this.cursor.append(draw("line", { class: "cursor", x1: x, x2: x, y1: 10, y2: this.plot.clientHeight - 42 }));
    for (const [line, i] of found) {
      if (line.y[i] === null) continue;
      const dot = draw("circle", { class: "at", cx: line.kind === "steps" ? x : this.x(line.x[i]), cy: this.y(line.y[i]), r: 4 });
      dot.style.setProperty("--paint", `var(--${line.colour})`);
      this.cursor.append(dot);
    }
    this.tip.replaceChildren(make("b", {}, `${this.chart.x} ${shown(stop)}`), ...found.map(([line, i]) => make("div", {}, this.words(line, i))));
    const wide = this.tip.offsetWidth, left = x + 14 + wide < this.plot.clientWidth ? x + 14 : Math.max(2, x - 14 - wide);
    this.tip.style.transform = `translate(${Math.round(left)}px, 14px)`;
    if (speak) this.says.textContent = `${this.chart.x} ${shown(stop)}. ${found.map(([line, i]) => this.words(line, i)).join("; ")}.`;
  }

  point(pointer) {
    const stops = this.stops, x = pointer.clientX - this.plot.getBoundingClientRect().left;
    if (!stops.length) return;
    this.choose(stops.reduce((best, stop) => (Math.abs(this.x(stop) - x) < Math.abs(this.x(best) - x) ? stop : best)));
  }

  key(key) {
    const by = { ArrowRight: 1, ArrowLeft: -1, PageDown: -10, PageUp: 10 }[key.key], stops = this.stops;
    if (key.key === "Escape") return this.choose(null);
    if (!by || !stops.length) return;
    key.preventDefault();
    const at = this.at === null ? (by > 0 ? -1 : stops.length) : stops.indexOf(this.at);
    this.choose(stops[clamp(at + by, 0, stops.length - 1)], true);
  }

  fillTable() {
    if (!this.table.open || !this.range) return;
    const lines = this.lines, head = make("tr", {}, make("th", { scope: "col" }, this.chart.x), ...lines.map((line) => make("th", { scope: "col", class: "n" }, line.name)));
    const body = this.stops.map((stop) => {
      const found = new Map(this.valuesAt(stop));
      return make("tr", {}, make("th", { scope: "row" }, shown(stop)), ...lines.map((line) => make("td", { class: "n" }, found.has(line) ? this.words(line, found.get(line)).slice(line.name.length + 2) : "–")));
    });
    this.table.replaceChildren(this.table.firstElementChild, make("div", { class: "scroll tall" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body))));
  }
}

const charts = JSON.parse(document.getElementById("panoptag-charts").textContent);
for (const place of document.querySelectorAll("[data-chart]")) new Chart(place, charts[place.dataset.chart]);
