(() => {
  // Filtering: every word must stand in the row; "name>5" and "name<5" compare a column.
  const search = byId("search");
  const inside = byId("inside");
  const table = byId("designs");
  const names = [...table.tHead.rows[0].cells].map((th) => th.dataset.name);

  function fits(row, word) {
    const found = /^(.+?)(>=|<=|>|<|=)(.+)$/.exec(word);
    const column = found ? names.indexOf(found[1]) : -1;
    if (column < 0) return row.textContent.toLowerCase().includes(word.toLowerCase());
    const cell = row.cells[column];
    if (found[2] === "=") return cell.textContent.trim() === found[3];
    const value = cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
    const limit = Number(found[3]);
    return { ">": value > limit, "<": value < limit, ">=": value >= limit, "<=": value <= limit }[found[2]];
  }

  function filter() {
    const words = search.value.trim().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const hidden = !words.every((word) => fits(row, word)) || (inside.checked && row.dataset.inside !== "yes");
      row.classList.toggle("off", hidden);
    }
    const shown = rows.filter((row) => !row.classList.contains("off")).length;
    byId("tally").textContent = `${shown} of ${rows.length} designs`;
  }
  search.addEventListener("input", filter);
  inside.addEventListener("change", filter);

  // Download: the rows shown, in the order shown, as the CSV text that each row holds.
  byId("save").addEventListener("click", () => {
    const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("off"));
    const text = [table, ...rows].map((row) => row.dataset.csv).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "batch.csv";
    link.click();
    byId("save").dataset.saved = text;
    URL.revokeObjectURL(link.href);
  });
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("tools").hidden = false;
  filter();
})();
