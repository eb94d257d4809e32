// Before anything is painted: dark or light as chosen last time, else as the system has it.
(() => {
  let kept = null;
  try { kept = localStorage.getItem("panoptag-theme"); } catch { /* pages from disk may keep nothing */ }
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = kept === "dark" || kept === "light" ? kept : dark ? "dark" : "light";
})();
