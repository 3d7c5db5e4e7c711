"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // Sorting: the headers become buttons; cells without a value stay last.
  const key = (cell) => {
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.classList.contains("none") ? null : cell.textContent.trim().toLowerCase();
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

  // Filtering: by method and task, on rows, marks in charts, figures and sections alike.
  const method = byId("method");
  const task = byId("task");
  const controls = byId("controls");

  for (const row of all("details tbody tr:not([data-method])")) {
    row.dataset.method = `${row.cells[0].textContent} ${row.cells[1].textContent}`; // A pair of methods.
  }

  function filter() {
    const wanted = method.value.trim().toLowerCase();
    const chosen = task ? task.value : "";
    for (const node of all("[data-method], [data-task]")) {
      const { method: label, task: name } = node.dataset;
      const hidden =
        (label !== undefined && !label.toLowerCase().includes(wanted)) ||
        (name !== undefined && chosen !== "" && name !== chosen) ||
        (controls.checked && node.classList.contains("control"));
      node.classList.toggle("off", hidden);
    }
    all("svg.rows").forEach(close);
    const rows = all("main tbody tr[data-method]");
    const shown = rows.filter((row) => !row.closest(".off")).length;
    byId("shown").textContent = shown < rows.length ? `${shown} of ${rows.length} rows` : "";
  }

  // A chart of rows moves its visible rows up and becomes as high as they need.
  function close(svg) {
    const head = Number(svg.dataset.head);
    const step = Number(svg.dataset.row);
    const rows = all("g.mark:not(.off)", svg);
    rows.forEach((row, i) => row.setAttribute("transform", `translate(0,${head + step * (i + 0.5)})`));
    const [x, y, width] = svg.getAttribute("viewBox").split(" ");
    svg.setAttribute("viewBox", [x, y, width, head + step * rows.length + 2].join(" "));
  }

  method.addEventListener("input", filter);
  controls.addEventListener("change", filter);
  if (task) task.addEventListener("change", filter);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("tools").hidden = false;
  filter(); // A reload keeps what was typed.

  // Theme: as the system has it until the button is pressed.
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

  addEventListener("beforeprint", () => all("details").forEach((details) => (details.open = true)));
})();
