// Dark and light, and the colours as the canvas needs them.
const root = document.documentElement;
const whenThemeChanges = [];
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
let palette = {};

/** The colour of a name in base.css, such as "ink" or "class-b". */
function colour(name) {
  if (!(name in palette)) palette[name] = getComputedStyle(root).getPropertyValue(`--${name}`).trim() || colour("soft");
  return palette[name];
}

function setTheme(name, keep = true) {
  root.dataset.theme = name;
  palette = {};
  const button = document.getElementById("theme");
  button.textContent = name === "dark" ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to ${name === "dark" ? "light" : "dark"} colours`);
  if (keep) try { localStorage.setItem("panoptag-theme", name); } catch { /* not kept, then */ }
  for (const call of whenThemeChanges) call();
}

function switchTheme() {
  setTheme(root.dataset.theme === "dark" ? "light" : "dark");
}

/** An element with attributes and children; strings become text, never HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [kind, call] of Object.entries(value)) element.addEventListener(kind, call);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

document.getElementById("theme").addEventListener("click", switchTheme);
setTheme(root.dataset.theme, false);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
  setTheme(event.matches ? "dark" : "light", false);
});
