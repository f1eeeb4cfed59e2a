const data = JSON.parse(document.getElementById("data").textContent);
const panel = document.getElementById("panel");
const plane = document.getElementById("plane");

const escaped = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function shown(value, whole = Number.isInteger(value)) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return value;
  if (whole) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e3) return Math.round(value).toLocaleString("en");
  return size > 0 && size < 1e-3 ? value.toExponential(1) : size >= 1 ? value.toPrecision(4) : value.toFixed(3);
}

function column({ title, numeric, whole, hidden, link }) {
  const cell = (value) => {
    const text = escaped(shown(value, whole));
    return link ? `<button type="button" class="name">${text}</button>` : text;
  };
  const render = (value, use) => (use === "display" ? cell(value) : use === "filter" ? escaped(shown(value, whole)) : value);
  return { title: escaped(title), visible: !hidden, type: numeric ? "num" : "string", className: numeric ? "num" : "text", render };
}

for (const node of document.querySelectorAll("table[data-table]")) {
  const { columns, rows, muted } = data.tables[node.dataset.table];
  const grey = new Set(muted);
  const format = { header: (_, i) => csvCell(columns[i].title), body: csvCell };
  const raw = { orthogonal: "sort", format };
  const buttons = [{ extend: "csv", text: "CSV", filename: node.dataset.table, exportOptions: raw }];
  if (columns.some((c) => c.hidden)) buttons.unshift({ extend: "colvis", text: "Columns" });
  const link = columns.findIndex((c) => c.link);
  const pageLength = link >= 0 ? 15 : 50;
  const paged = rows.length > pageLength;
  new DataTable(node, {
    data: rows,
    columns: columns.map(column),
    order: [],
    autoWidth: false,
    paging: paged,
    pageLength,
    layout: { topStart: { buttons }, topEnd: "search", bottomStart: paged ? "info" : null, bottomEnd: paged ? "paging" : null },
    createdRow: (row, values, i) => {
      row.classList.toggle("muted", grey.has(i));
      row.querySelector("button.name")?.addEventListener("click", () => open(values[link]));
    },
  });
}

function element(tag, text = "", attributes = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, attributes);
}

function pairs(names, values) {
  const list = element("dl");
  names.forEach((name, i) => {
    if (values[i] === null || values[i] === "") return;
    const pair = element("div");
    pair.append(element("dt", name), element("dd", shown(values[i])));
    list.append(pair);
  });
  return list;
}

function compared(evaluation, at) {
  const table = element("table");
  const contenders = Object.keys(evaluation.values);
  const head = table.createTHead().insertRow();
  ["metric", ...contenders].forEach((name) => head.append(element("th", name)));
  const body = table.createTBody();
  evaluation.metrics.forEach((metric, m) => {
    const values = contenders.map((name) => evaluation.values[name][at][m]);
    if (values.every((value) => value === null)) return;
    const row = body.insertRow();
    row.className = evaluation.muted[m] ? "muted" : "";
    row.append(element("td", metric, { className: "text" }));
    values.forEach((value, i) => {
      const title = contenders[i] === "reference" ? evaluation.rivals[m] : "";
      row.append(element("td", shown(value, false), { className: "num", title }));
    });
  });
  return table;
}

function open(name) {
  const body = document.getElementById("panel-body");
  body.replaceChildren();
  panel.querySelector("h2").textContent = name;
  const { coherence, evaluation } = data.panel;
  const at = coherence ? coherence.names.indexOf(name) : -1;
  if (at >= 0) {
    body.append(element("h3", "Coherence"), pairs(coherence.columns, coherence.rows[at]));
    const [x, y] = ["magnitude", "coherence"].map((c) => coherence.rows[at][coherence.columns.indexOf(c)]);
    Plotly.restyle(plane, { x: [[x]], y: [[y]] }, [plane.data.length - 1]);
  } else if (plane) Plotly.restyle(plane, { x: [[]], y: [[]] }, [plane.data.length - 1]);
  evaluation?.perturbations.forEach((perturbation, i) => {
    if (perturbation !== name) return;
    const names = Object.keys(evaluation.about);
    const condition = evaluation.conditions[i];
    body.append(element("h3", condition === name ? "Prediction" : `Prediction: ${condition}`));
    body.append(pairs(names, names.map((key) => evaluation.about[key][i])), compared(evaluation, i));
  });
  if (evaluation && !evaluation.perturbations.includes(name)) body.append(element("p", "No prediction of it was evaluated."));
  panel.hidden = false;
  panel.scrollTop = 0;
  document.body.classList.add("with-panel");
  window.dispatchEvent(new Event("resize"));
}

function close() {
  panel.hidden = true;
  document.body.classList.remove("with-panel");
  window.dispatchEvent(new Event("resize"));
}

plane?.on("plotly_click", ({ points }) => points[0].customdata && open(points[0].customdata[0]));
document.getElementById("close").addEventListener("click", close);
document.addEventListener("keydown", (event) => event.key === "Escape" && close());

const figures = [...document.querySelectorAll(".js-plotly-plot")];
window.addEventListener("beforeprint", () => {
  document.querySelector("header details").open = true;
  figures.forEach((figure) => Plotly.relayout(figure, { width: 690 }));
});
window.addEventListener("afterprint", () => {
  figures.forEach((figure) => Plotly.relayout(figure, { width: null, autosize: true }));
});
document.documentElement.dataset.ready = "true";
