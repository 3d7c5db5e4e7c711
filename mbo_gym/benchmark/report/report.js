(() => {
  // Filtering: by method and task, on rows, marks in charts, figures and sections alike.
  const method = byId("method");
  const task = byId("task");
  const controls = byId("controls");

  for (const row of all(".pairs tbody tr")) {
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
    document.documentElement.classList.toggle("searching", wanted !== "");
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

  // A link leads to its row, whatever is filtered or folded.
  function reveal() {
    const target = byId(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.closest(".off, details:not([open])")) return;
    method.value = "";
    if (task) task.value = "";
    controls.checked = false;
    filter();
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();

  addEventListener("beforeprint", () => all("details").forEach((details) => (details.open = true)));
})();
