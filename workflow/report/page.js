"use strict";
// Sorting and filters of the tables. Without it, all rows are shown in the order of the file.
for (const table of document.querySelectorAll("table.data")) {
  const titles = [...table.tHead.rows[0].cells], body = table.tBodies[0], rows = [...body.rows];
  const text = (row, column) => row.cells[column].textContent.trim();
  const controls = document.querySelector(`.controls[data-for="${table.id}"]`);
  const count = document.createElement("output");
  const filters = [];

  function show() {
    for (const row of rows) row.hidden = filters.some(([column, select]) => select.value && text(row, column) !== select.value);
    count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
  }

  function sort(column) {
    const title = titles[column], down = title.getAttribute("aria-sort") === "ascending";
    const number = title.classList.contains("number");
    for (const other of titles) other.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    body.append(...rows.sort((a, b) => {
      const [x, y] = [text(a, column), text(b, column)];
      if (!x || !y) return !x - !y; // empty cells last
      return sign * (number ? parseFloat(x) - parseFloat(y) : x.localeCompare(y, "en", { numeric: true }));
    }));
  }

  titles.forEach((title, column) => {
    const name = title.textContent;
    if (title.dataset.filter !== undefined) {
      const label = document.createElement("label"), select = document.createElement("select");
      select.append(new Option("all", ""));
      for (const value of new Set(rows.map(row => text(row, column)))) if (value) select.append(new Option(value));
      select.value = title.dataset.filter;
      select.addEventListener("change", show);
      label.append(name, select);
      controls.append(label);
      filters.push([column, select]);
    }
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => sort(column));
    title.replaceChildren(button);
  });
  controls.append(count);
  show();
  count.setAttribute("aria-live", "polite");
}
