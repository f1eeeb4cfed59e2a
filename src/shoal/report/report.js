const data = JSON.parse(document.getElementById("data").textContent);
const panel = document.getElementById("panel");
const plane = document.getElementById("plane");

const escaped = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const isChance = (name) => /(pvalue|qvalue)(_replicate)?$/.test(name);
function shown(value, whole = Number.isInteger(value), chance = false) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return value;
  if (chance) return value < 1e-3 ? "< 0.001" : value.toFixed(3);
  if (whole) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1e3) return Math.round(value).toLocaleString("en");
  return size > 0 && size < 1e-3 ? value.toExponential(1) : size >= 1 ? value.toPrecision(4) : value.toFixed(3);
}

function column({ title, numeric, whole, chance, hidden, link }) {
  const cell = (value) => {
    const text = escaped(shown(value, whole, chance));
    return link ? `<button type="button" class="name">${text}</button>` : numeric ? text : text.replaceAll("_", "_<wbr>");
  };
  const render = (value, use) => (use === "display" ? cell(value) : use === "filter" ? escaped(shown(value, whole, chance)) : value);
  const className = numeric ? "num" : title === "reason" ? "text long" : "text";
  return { title: escaped(title).replaceAll("_", "_<wbr>"), visible: !hidden, type: numeric ? "num" : "string", className, render };
}

/* Hide the last columns of a table that is wider than the page; they stay under "Columns". */
function fit(node, made) {
  for (let left = made.columns().count(); left > 2 && node.offsetWidth > node.parentElement.clientWidth; left--) {
    const last = made.columns(":visible").indexes().toArray().at(-1);
    if (last < 2) return;
    made.column(last).visible(false);
  }
}

for (const node of document.querySelectorAll("table[data-table]")) {
  const { columns, rows, muted } = data.tables[node.dataset.table];
  const grey = new Set(muted);
  const format = { header: (_, i) => csvCell(columns[i].title), body: csvCell };
  const raw = { orthogonal: "sort", format };
  const buttons = [{ extend: "csv", text: "CSV", footer: false, filename: node.dataset.table, exportOptions: raw }];
  if (columns.length > 2) buttons.unshift({ extend: "colvis", text: "Columns" });
  const link = columns.findIndex((c) => c.link);
  const pageLength = link >= 0 ? 15 : 50;
  const paged = rows.length > pageLength;
  const made = new DataTable(node, {
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
  fit(node, made);
  node.closest("details")?.addEventListener("toggle", () => fit(node, made), { once: true });
}

for (const node of document.querySelectorAll("button[data-open]")) node.addEventListener("click", () => open(node.dataset.open));

function element(tag, text = "", attributes = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, attributes);
}

function pairs(names, values) {
  const list = element("dl");
  names.forEach((name, i) => {
    if (values[i] === null || values[i] === "") return;
    const pair = element("div");
    pair.append(element("dt", name), element("dd", shown(values[i], undefined, isChance(name))));
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

/* Names beside the points of the plane: the strongest responses first, each where nothing is in its way. */
const NAMES = 60;
const SIDES = [[1, 0], [0, -1], [0, 1], [-1, 0], [1, -1], [1, 1], [-1, -1], [-1, 1]];

let namedAt; // width of the plane when it was named: naming draws it anew, which takes a click away that has begun

function nameThePlane() {
  namedAt = plane.offsetWidth;
  const { xaxis, yaxis } = plane._fullLayout;
  const [width, height] = [xaxis._length, yaxis._length];
  const points = plane._fullData.filter((trace) => trace.customdata).flatMap((trace) =>
    trace.customdata.map((row, i) => ({ name: row[0], x: xaxis.d2p(trace.x[i]), y: yaxis.d2p(trace.y[i]), at: [trace.x[i], trace.y[i]], rank: row[7] }))
  ).filter(({ x, y }) => x >= 0 && x <= width && y >= 0 && y <= height);
  const taken = points.map(({ x, y }) => [x - 5, y - 5, x + 5, y + 5]);
  const annotations = [];
  for (const { name, x, y, at } of points.sort((a, b) => a.rank - b.rank)) {
    if (annotations.length >= NAMES) break;
    const text = name.length > 22 ? `${name.slice(0, 10)}…${name.slice(-10)}` : name;
    const [w, h] = [6.6 * text.length + 4, 14];
    for (const [right, down] of SIDES) {
      const [cx, cy] = [x + right * (w / 2 + 7), y + down * (right ? 9 : 13)];
      const box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2];
      const free = box[0] >= 0 && box[2] <= width && box[1] >= 0 && box[3] <= height
        && taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
      if (!free) continue;
      taken.push(box);
      annotations.push({ xref: "paper", yref: "paper", x: cx / width, y: 1 - cy / height, text: escaped(text), showarrow: false, font: { size: 11 }, xanchor: "center", yanchor: "middle" });
      break;
    }
  }
  return Plotly.relayout(plane, { annotations });
}

if (plane) {
  nameThePlane();
  plane.on("plotly_relayout", (change) => "annotations" in change || nameThePlane());
  new ResizeObserver(() => setTimeout(() => plane.offsetWidth === namedAt || nameThePlane(), 300)).observe(plane);
}

const figures = [...document.querySelectorAll(".js-plotly-plot")];
const onScreen = new Map();
await Promise.allSettled(figures.map((figure) => Plotly.Plots.resize(figure))); // each was drawn before those beside it

function onPaper(figure) {
  const rows = figure.layout.yaxis.categoryarray?.length;
  if (figure.closest(".cells")) return { width: 335, height: 300 };
  if (figure === plane) return { width: 690, height: 400, "legend.y": -0.3 };
  return { width: 690, height: 130 + 13 * rows, "legend.y": -70 / (20 + 13 * rows), "yaxis.tickfont.size": 9 };
}

function resize(figure, layout) {
  for (const box of [figure, figure.parentElement]) box.style.height = `${layout.height}px`;
  Plotly.relayout(figure, layout);
}

window.addEventListener("beforeprint", () => {
  document.querySelector("details.parameters-of-all").open = true;
  for (const figure of figures) {
    const { legend } = figure.layout, height = figure.offsetHeight, paper = onPaper(figure);
    if (!onScreen.has(figure)) onScreen.set(figure, { width: null, height, autosize: true, "legend.y": legend.y, "yaxis.tickfont.size": "legend.y" in paper ? 12 : null });
    resize(figure, paper);
  }
});
window.addEventListener("afterprint", () => {
  onScreen.forEach((layout, figure) => resize(figure, layout));
  onScreen.clear();
});
document.documentElement.dataset.ready = "true";
