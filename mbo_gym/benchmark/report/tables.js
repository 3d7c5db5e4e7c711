// Tables: download as CSV, a hint where columns lie outside, values on hover, folded links.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // The words of a cell, without its small print, tags and marks.
  function words(cell) {
    const copy = cell.cloneNode(true);
    all("small, em, svg", copy).forEach((node) => node.remove());
    const text = copy.textContent.trim().replace(/\s+/g, " ");
    return text === "—" ? "" : text;
  }
  const value = (cell) => cell.dataset.value ?? words(cell);
  const small = (cell) => all("small", cell).map((node) => node.textContent.trim()).join(" ");

  // The small print of a number: an interval, a spread over seeds, or a remark.
  const PARTS = [
    [/^\[(\S+), (\S+)\]$/, ["low", "high"]],
    [/^(\S+) · (\S+)$/, ["std", "s.e."]],
    [/^(.+)$/, ["note"]],
  ];
  function details(cells) {
    const texts = cells.map(small);
    return PARTS.flatMap(([pattern, names], rank) => {
      const found = texts.map((text) => (PARTS.findIndex(([other]) => other.test(text)) === rank ? pattern.exec(text) : null));
      if (!found.some(Boolean)) return [];
      return names.map((name, i) => [name, found.map((match) => (match ? match[i + 1] : ""))]);
    });
  }

  // Text that a spreadsheet would take for a formula gets an apostrophe.
  function quoted(text) {
    const safe = /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csv(table) {
    const rows = [...table.tBodies]
      .flatMap((body) => [...body.rows])
      .filter((row) => !row.classList.contains("group") && !row.closest(".off"));
    const columns = [];
    if (table.classList.contains("runs")) {
      for (const name of ["method", "task"]) columns.push([name, rows.map((row) => row.parentElement.dataset[name])]);
    }
    [...table.tHead.rows[0].cells].forEach((th, i) => {
      const cells = rows.map((row) => row.cells[i]);
      columns.push([words(th), cells.map(value)]);
      for (const [part, texts] of details(cells)) columns.push([`${words(th)}, ${part}`, texts]);
    });
    const lines = [columns.map(([name]) => name), ...rows.map((_, r) => columns.map(([, texts]) => texts[r]))];
    return lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  }

  for (const button of all("button.csv")) {
    const table = () => (button.dataset.table ? document.querySelector(`table.${button.dataset.table}`) : button.closest(".framed").querySelector("table"));
    button.hidden = false;
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = `data:text/csv;charset=utf-8,${encodeURIComponent(csv(table()))}`;
      link.download = button.dataset.file;
      link.click();
      button.dataset.saved = link.href;
    });
  }

  // The hint stands where a table is wider than its place.
  const mark = (scroll) => scroll.parentElement.classList.toggle("wide", scroll.scrollWidth > scroll.clientWidth + 1);
  const measure = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));
  all(".framed > .scroll").forEach((scroll) => {
    mark(scroll);
    measure.observe(scroll);
  });

  // Values on hover and on keyboard focus.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;
  function hide() {
    if (!shown) return;
    if (shown.dataset.tip) shown.title = shown.dataset.tip;
    shown.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  }
  function describe(node) {
    if (node.title) return (node.dataset.tip = node.title);
    const th = node.closest("table").tHead.rows[0].cells[node.cellIndex];
    const row = node.parentElement;
    const note = small(node);
    return `${row.dataset.method ?? words(row.cells[0])}\n${words(th)}: ${value(node)}${note ? `\n${note}` : ""}`;
  }
  function show(node) {
    hide();
    tip.textContent = describe(node);
    node.removeAttribute("title");
    node.setAttribute("aria-describedby", "tip");
    shown = node;
    tip.hidden = false;
    const box = node.getBoundingClientRect();
    const room = Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4));
    const above = box.top - tip.offsetHeight - 4;
    tip.style.left = `${room}px`;
    tip.style.top = `${above > 0 ? above : box.bottom + 4}px`;
  }
  for (const event of ["mouseover", "focusin"]) {
    document.addEventListener(event, ({ target }) => {
      const node = target.closest("main [title], main [data-tip], main table.sortable td[data-value]");
      if (node !== shown) node ? show(node) : hide();
    });
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", hide, true);
})();
