"use strict";

// Tables: a click on a header sorts by its column, a second click turns the order round. Empty cells stay last.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const first = numeric ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort");
      const order = now === null ? first : now === "ascending" ? "descending" : "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.sort;
      const compare = (a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b));
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [p, q] = [key(a), key(b)];
        if (p === undefined || q === undefined) return (p === undefined) - (q === undefined);
        return sign * compare(p, q);
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      table.tBodies[0].append(...rows);
    });
  });
}

// Details open when something in them is linked to, and all of them for printing.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", reveal);
reveal();
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => (one.open = true));
});
addEventListener("afterprint", () => closed.forEach((one) => (one.open = false)));

// Scatter plots.
const SVG = "http://www.w3.org/2000/svg";

function make(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function tickText(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-3) return value.toExponential(0).replace("e+", "e");
  return String(Number(value.toPrecision(6))).replace(/^(-?\d{4,})/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, "\u202f"));
}

// An axis maps values to [0, 1]; low and high are the ends of what is shown.
function scaleOf(values, log, count) {
  const to = log ? Math.log10 : Number;
  let [low, high] = [Math.min(...values), Math.max(...values)].map(to);
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  [low, high] = [low - pad, high + pad];
  return { at: (value) => (to(value) - low) / (high - low), ticks: log ? logTicks(low, high, count) : ticks(low, high, count) };
}

function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function logTicks(low, high, count) {
  if (high - low < 0.7) return ticks(10 ** low, 10 ** high, count).filter((value) => value > 0);
  const steps = 3 * (high - low) > count + 1 ? [1] : [1, 2, 5];
  const found = [];
  for (let e = Math.floor(low); e <= high; e++)
    for (const m of steps) if (Math.log10(m) + e >= low && Math.log10(m) + e <= high) found.push(Number((m * 10 ** e).toPrecision(3)));
  return found;
}

// The front of two axes, from the best x to the best y.
function stairs(points, x, y) {
  const sign = (axis) => (axis.direction === "max" ? -1 : 1);
  const sorted = points.filter((p) => !p.misses).map((p) => [p.values[x.name], p.values[y.name]])
    .sort((a, b) => sign(x) * (a[0] - b[0]) || sign(y) * (a[1] - b[1]));
  const corners = [];
  let best = Infinity;
  for (const [u, v] of sorted) {
    if (sign(y) * v >= best) continue;
    if (corners.length) corners.push([u, corners[corners.length - 1][1]]);
    corners.push([u, v]);
    best = sign(y) * v;
  }
  return corners;
}

// Runs beside each other: each has a colour and a shape of its own; the first is a circle.
const SHAPES = [null, "M-4.4-4.4H4.4V4.4H-4.4Z", "M0-5.6L5.4 4.2H-5.4Z", "M0-6L6 0 0 6-6 0Z"];
const ownColour = (series) => (series == null ? {} : { style: `--own: var(--series-${series % 8})` });

function scatter(root) {
  const plot = JSON.parse(root.querySelector("script").textContent);
  const [form, canvas, tip] = [".controls", ".canvas", ".tip"].map((name) => root.querySelector(name));
  const axes = Object.fromEntries(plot.axes.map((axis) => [axis.name, axis]));
  const chosen = { x: plot.x, y: plot.y };
  let current = plot.points[0];
  form.hidden = false;

  for (const side of ["x", "y"]) {
    const select = form.querySelector(`[data-axis=${side}]`);
    const box = form.querySelector(`[data-log=${side}]`);
    const show = () => {
      const axis = axes[chosen[side]];
      box.checked = axis.log;
      box.disabled = !axis.may_log;
      box.parentElement.classList.toggle("off", box.disabled);
    };
    if (select) select.addEventListener("change", () => { chosen[side] = select.value; show(); draw(); });
    box.addEventListener("change", () => { axes[chosen[side]].log = box.checked; draw(); });
    show();
  }

  function draw(focus) {
    tip.hidden = true;
    const width = Math.max(canvas.clientWidth, 240);
    const height = Math.round(Math.min(Math.max(width * 0.5, 280), 430));
    const [x, y] = [axes[chosen.x], axes[chosen.y]];
    const points = plot.points.filter((p) => p.values[x.name] != null && p.values[y.name] != null)
      .sort((a, b) => a.values[x.name] - b.values[x.name] || a.values[y.name] - b.values[y.name]);
    const scaled = (axis, values) => values.map((value) => value * axis.scale);
    const ys = points.flatMap((p) => (p.error ? [p.values[y.name] - p.error, p.values[y.name] + p.error] : [p.values[y.name]]));
    const sx = scaleOf(scaled(x, points.map((p) => p.values[x.name])), x.log, width / 95);
    const sy = scaleOf(scaled(y, ys), y.log, height / 55);
    const longest = Math.max(...sy.ticks.map((t) => tickText(t).length));
    const box = { left: 31 + 7 * longest, right: width - 14, top: 10, bottom: height - 44 };
    const px = (value) => box.left + sx.at(value * x.scale) * (box.right - box.left);
    const py = (value) => box.bottom - sy.at(value * y.scale) * (box.bottom - box.top);

    canvas.replaceChildren();
    const svg = make(canvas, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${y.label} against ${x.label}; arrow keys move between points` });
    for (const t of sx.ticks) {
      make(svg, "line", { class: "grid", x1: px(t / x.scale), x2: px(t / x.scale), y1: box.top, y2: box.bottom });
      make(svg, "text", { class: "tick", x: px(t / x.scale), y: box.bottom + 17, "text-anchor": "middle" }, tickText(t));
    }
    for (const t of sy.ticks) {
      make(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: py(t / y.scale), y2: py(t / y.scale) });
      make(svg, "text", { class: "tick", x: box.left - 7, y: py(t / y.scale) + 4, "text-anchor": "end" }, tickText(t));
    }
    make(svg, "path", { class: "frame", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` });
    make(svg, "text", { x: (box.left + box.right) / 2, y: height - 7, "text-anchor": "middle" }, x.label);
    make(svg, "text", { x: 12, y: (box.top + box.bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(box.top + box.bottom) / 2})` }, y.label);
    if (x.direction && y.direction && x !== y) {
      for (const own of plot.series ? plot.series.keys() : [null]) {
        const corners = stairs(own === null ? points : points.filter((p) => p.series === own), x, y).map(([u, v]) => `${px(u)} ${py(v)}`);
        if (corners.length > 1) make(svg, "path", { class: "stair", d: `M${corners.join("L")}`, ...ownColour(own) });
      }
    }
    // What matters lies on top.
    const rank = (p) => p.picked * 4 + p.baseline * 2 + p.front;
    const marks = new Map();
    for (const p of [...points].sort((a, b) => rank(a) - rank(b))) marks.set(p, mark(svg, p, px(p.values[x.name]), py(p.values[y.name]), py, y));
    names(svg, points, px, py, x, y, box);
    if (!marks.has(current)) current = points[0];
    for (const [p, element] of marks) {
      element.setAttribute("tabindex", p === current ? 0 : -1);
      element.addEventListener("focus", () => tell(p, element));
      element.addEventListener("blur", () => hide(element));
      element.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        if (event.key === "Escape") hide(element);
        if (!step) return;
        event.preventDefault();
        const next = points[(points.indexOf(p) + step + points.length) % points.length];
        element.setAttribute("tabindex", -1);
        marks.get(next).setAttribute("tabindex", 0);
        marks.get(next).focus();
        current = next;
      });
    }
    for (const name of ["pointermove", "pointerdown"]) svg.addEventListener(name, (event) => near(event, svg, points, px, py, x, y, marks));
    svg.addEventListener("pointerleave", () => near(null, svg, points));
    if (focus && marks.has(current)) marks.get(current).focus();
  }

  function mark(svg, p, cx, cy, py, y) {
    const said = [p.title, p.text, ...p.lines.map((line) => line.slice(0, 2).join(" "))].join("; ");
    const group = make(svg, "g", { class: "point", role: "img", "aria-label": said, "data-id": p.id, ...ownColour(p.series) });
    if (p.error) make(group, "line", { class: "error", x1: cx, x2: cx, y1: py(p.values[y.name] - p.error), y2: py(p.values[y.name] + p.error) });
    make(group, "circle", { class: "halo", cx, cy, r: 10 });
    const look = `dot${p.front && !p.misses ? " front" : ""}${p.hollow ? " hollow" : ""}`;
    if (SHAPES[(p.series || 0) % 4]) make(group, "path", { class: look, d: SHAPES[p.series % 4], transform: `translate(${cx} ${cy}) scale(${p.front ? 1 : 0.7})` });
    else make(group, "circle", { class: look, cx, cy, r: p.front ? 5 : 3.5 });
    if (p.baseline) make(group, "path", { class: "ring baseline", d: `M${cx} ${cy - 8}L${cx + 8} ${cy}L${cx} ${cy + 8}L${cx - 8} ${cy}Z` });
    if (p.picked) make(group, "circle", { class: "ring picked", cx, cy, r: 9 });
    return group;
  }

  // Names of what was picked, each beside its point where there is room.
  function names(svg, points, px, py, x, y, box) {
    const taken = points.map((p) => ({ l: px(p.values[x.name]) - 5, r: px(p.values[x.name]) + 5, t: py(p.values[y.name] + (p.error || 0)) - 5, b: py(p.values[y.name] - (p.error || 0)) + 5 }));
    for (const p of points.filter((one) => (one.picked && !plot.series) || one.named)) {
      const [cx, cy] = [px(p.values[x.name]), py(p.values[y.name])];
      const text = make(svg, "text", { class: "label" }, p.short);
      const w = text.getComputedTextLength();
      const places = [[cx - 9 - w, cy - 9], [cx + 9, cy + 18], [cx - 12 - w, cy + 4], [cx + 12, cy + 4], [cx + 9, cy - 9], [cx - 9 - w, cy + 18], [cx - w / 2, cy - 13], [cx - w / 2, cy + 22]];
      const boxes = places.map(([l, b]) => ({ l, r: l + w, t: b - 10, b: b + 2 }));
      const free = boxes.findIndex((m) => m.l > box.left && m.r < box.right && m.t > box.top && m.b < box.bottom
        && !taken.some((o) => m.l < o.r && o.l < m.r && m.t < o.b && o.t < m.b));
      if (free < 0) { text.remove(); continue; }
      text.setAttribute("x", places[free][0]);
      text.setAttribute("y", places[free][1]);
      taken.push(boxes[free]);
    }
  }

  function tell(p, element) {
    const html = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    const table = document.createElement("table");
    for (const line of p.lines) {
      const row = table.insertRow();
      line.forEach((text) => (row.insertCell().textContent = text));
    }
    tip.replaceChildren(html("b", p.title), html("p", p.text), table);
    tip.hidden = false;
    root.querySelectorAll(".point.on").forEach((other) => other.classList.remove("on"));
    element.classList.add("on");
    const [at, frame] = [element.getBoundingClientRect(), root.getBoundingClientRect()];
    const left = at.left - frame.left + at.width + 6;
    const fits = left + tip.offsetWidth <= frame.width;
    tip.style.left = `${fits ? left : Math.max(0, at.left - frame.left - tip.offsetWidth - 6)}px`;
    const over = !fits && at.left - frame.left - tip.offsetWidth - 6 < 0;
    const top = over ? at.bottom - frame.top + 6 : at.top - frame.top - 8;
    tip.style.top = `${Math.max(0, top)}px`;
  }

  function hide(element) {
    if (element) element.classList.remove("on");
    tip.hidden = true;
  }

  // The point nearest to the pointer, within reach of a finger.
  function near(event, svg, points, px, py, x, y, marks) {
    const shown = root.querySelector(".point.on");
    if (!event) return hide(shown);
    const frame = svg.getBoundingClientRect();
    const [u, v] = [event.clientX - frame.left, event.clientY - frame.top];
    const far = points.map((p) => Math.hypot(px(p.values[x.name]) - u, py(p.values[y.name]) - v));
    const best = far.indexOf(Math.min(...far));
    if (far[best] > 24) return hide(shown);
    if (marks.get(points[best]) !== shown || tip.hidden) tell(points[best], marks.get(points[best]));
  }

  let seen = 0;
  new ResizeObserver(() => {
    if (canvas.clientWidth === seen) return;
    seen = canvas.clientWidth;
    draw(canvas.contains(document.activeElement));
  }).observe(canvas);
  draw();
}

document.querySelectorAll(".plot").forEach(scatter);
