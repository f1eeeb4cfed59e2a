// Sorting, filtering and one metric at a time for the tables of the leaderboard. Without it they are plain tables.
(() => {
  "use strict";

  const make = (tag, properties = {}, children = []) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    const number = text === "" || text === "–" ? NaN : Number(text);
    return { text, number, empty: text === "" || text === "–" };
  };

  // Numbers by size, others by name; what is missing comes last either way.
  const compare = (a, b, sign) => {
    if (a.empty || b.empty) return a.empty - b.empty;
    if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return sign * (a.number - b.number);
    return sign * a.text.localeCompare(b.text);
  };

  const sortBy = (table, head) => {
    const column = head.cellIndex, body = table.tBodies[0];
    const before = head.getAttribute("aria-sort");
    const first = head.dataset.first ?? (head.classList.contains("num") ? "descending" : "ascending");
    const way = before === null ? first : before === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way);
    const keyed = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
    keyed.sort((a, b) => compare(a.value, b.value, way === "ascending" ? 1 : -1));
    body.append(...keyed.map((one) => one.row));
  };

  const sortable = (table) => {
    for (const head of table.tHead.rows[0].cells) button(table, head);
  };

  const button = (table, head) => {
    const press = make("button", { type: "button", title: head.title }, [...head.childNodes]);
    press.addEventListener("click", () => sortBy(table, head));
    head.replaceChildren(press);
  };

  const select = (name, options, all) => {
    const list = make("select", {}, [make("option", { value: "", textContent: all })]);
    list.append(...options.map((o) => make("option", { value: o, textContent: o })));
    return { list, label: make("label", {}, [`${name} `, list]) };
  };

  const columnOf = (table, name) =>
    [...table.tHead.rows[0].cells].findIndex((head) => head.textContent.trim() === name);

  const filters = (table) => {
    const rows = [...table.tBodies[0].rows];
    const bar = make("div", { className: "lb-bar" });
    const chosen = ["screen", "split", "contender", "kind"].map((name) => {
      const column = columnOf(table, name);
      const texts = rows.map((row) => valueOf(row, column).text);
      const one = select(name, [...new Set(texts)].sort(), "all");
      bar.append(one.label);
      return { list: one.list, column };
    });
    const search = make("input", { type: "search", placeholder: "search" });
    search.setAttribute("aria-label", "search in all columns");
    const count = make("output");
    bar.append(search, count);
    const show = () => {
      const word = search.value.trim().toLowerCase();
      let n = 0;
      for (const row of rows) {
        const fits = chosen.every(({ list, column }) => !list.value || valueOf(row, column).text === list.value);
        row.hidden = !(fits && row.textContent.toLowerCase().includes(word));
        n += !row.hidden;
      }
      count.textContent = `${n} of ${rows.length} rows`;
    };
    for (const { list } of chosen) list.addEventListener("change", show);
    search.addEventListener("input", show);
    show();
    return bar;
  };

  // A column that shows the metric which is chosen.
  const metrics = (table, data, bar) => {
    const { list, label } = select("metric", Object.keys(data.values), "none");
    bar.prepend(label);
    const at = columnOf(table, "seeds"), head = make("th", { scope: "col", className: "num", hidden: true });
    table.tHead.rows[0].insertBefore(head, table.tHead.rows[0].cells[at]);
    for (const row of table.tBodies[0].rows)
      row.insertBefore(make("td", { className: "num", hidden: true }), row.cells[at]);
    list.addEventListener("change", () => {
      const values = data.values[list.value];
      head.hidden = !values;
      head.title = data.hints[list.value] ?? "";
      head.removeAttribute("aria-sort");
      head.dataset.first = data.lower.includes(list.value) ? "ascending" : "descending";
      head.replaceChildren(list.value.replaceAll("_", " "));
      button(table, head);
      for (const row of table.tBodies[0].rows) {
        const cell = row.cells[head.cellIndex], value = values?.[Number(row.dataset.at)] ?? null;
        cell.hidden = !values;
        cell.dataset.v = value ?? "";
        cell.textContent = value === null ? "–" : String(Number(value.toPrecision(3))).replace("-", "−");
      }
    });
  };

  const start = () => {
    for (const section of document.querySelectorAll("div.lb")) {
      for (const table of section.querySelectorAll("table")) sortable(table);
      const table = section.querySelector("table.lb-rows"), data = section.querySelector(".lb-data");
      const bar = filters(table);
      table.closest(".lb-scroll").before(bar);
      if (data) metrics(table, JSON.parse(data.textContent), bar);
    }
    document.documentElement.dataset.leaderboard = "ready";
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
