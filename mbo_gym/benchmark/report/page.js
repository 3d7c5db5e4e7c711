"use strict";
// What the pages share: two short names, tables that sort, the theme. A page's own script follows.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

// Sorting: the headers become buttons; cells without a value stay last.
(() => {
  const key = (cell) => {
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    if (text === "" || cell.classList.contains("none")) return null;
    return Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

  function sort(table, th, column) {
    const before = th.getAttribute("aria-sort");
    const order = before === null ? th.dataset.first : before === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", order);
    const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  for (const table of all("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((th, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      button.addEventListener("click", () => sort(table, th, column));
      th.append(button);
    });
  }
})();

// Theme: as the system has it until the button is pressed.
(() => {
  const theme = byId("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => {
    theme.textContent = dark() ? "Light" : "Dark";
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  theme.hidden = false;
  name();
})();
