
// The search trial by trial: the front as it was then, in two axes or in three, and its hypervolume.
const RISE = 0.42; // how far one looks down on the box, in radians

function replay(root) {
  const plot = JSON.parse(root.querySelector("script").textContent);
  const form = root.querySelector(".controls");
  const now = root.querySelector(".now");
  const [canvas, strip] = root.querySelectorAll(".canvas");
  const [play, seek, view, turn] = ["play", "seek", "view", "turn"].map((name) => form.querySelector(`[data-do=${name}]`));
  const axes = Object.fromEntries(plot.axes.map((axis) => [axis.name, axis]));
  const chosen = { x: plot.x, y: plot.y, z: plot.z };
  const last = plot.steps.length - 1;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const deep = () => view.value === "3";
  let shown = last;
  let timer = null;
  let update = () => {};
  form.hidden = false;

  const onFront = (p) => p.enters !== null && p.enters <= shown && (p.leaves === null || p.leaves > shown);

  // Where nothing shall move by itself, the button goes one trial on.
  function name() {
    play.textContent = timer !== null ? "Pause" : still.matches ? "Next" : "Play";
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    now.setAttribute("aria-live", "polite");
    name();
  }
  function start() {
    if (still.matches) return go(shown === last ? 0 : shown + 1);
    if (shown === last) go(0);
    now.setAttribute("aria-live", "off");
    timer = setInterval(() => (shown < last ? go(shown + 1) : stop()), Math.min(Math.max(9000 / (last + 1), 30), 450));
    name();
  }
  function go(step) {
    shown = step;
    seek.value = step;
    seek.setAttribute("aria-valuetext", plot.steps[step].title);
    tell();
    update();
    mark();
  }
  function tell() {
    const step = plot.steps[shown];
    const ahead = plot.steps.filter(onFront).length;
    now.textContent = `${step.title}: ${shown + 1} of ${last + 1} evaluated, ${ahead} on the front, hypervolume ${plot.volume[shown].toFixed(3)}`;
  }
  play.addEventListener("click", () => (timer === null ? start() : stop()));
  seek.addEventListener("input", () => { stop(); go(Number(seek.value)); });
  still.addEventListener("change", stop);
  view.addEventListener("change", draw);
  turn.addEventListener("input", draw);
  for (const side of ["x", "y", "z"]) {
    const select = form.querySelector(`[data-axis=${side}]`);
    if (select) select.addEventListener("change", () => { chosen[side] = select.value; draw(); });
  }

  function scaled(axis, count) {
    const scale = scaleOf(plot.steps.map((p) => p.values[axis.name] * axis.scale), axis.log, count);
    return { ...scale, of: (value) => scale.at(value * axis.scale) };
  }

  function draw() {
    form.querySelectorAll("[data-side=z]").forEach((one) => (one.hidden = !deep()));
    const width = Math.max(canvas.clientWidth, 240);
    const height = Math.round(Math.min(Math.max(width * (deep() ? 0.62 : 0.46), 290), deep() ? 520 : 400));
    canvas.replaceChildren();
    const names = ["x", "y", ...(deep() ? ["z"] : [])].map((side) => axes[chosen[side]].label);
    const svg = make(canvas, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Front by trial: ${names.join(", ")}` });
    svg.classList.toggle("deep", deep());
    (deep() ? drawBox : drawPlane)(svg, width, height);
    tell();
    update();
    drawStrip();
  }

  function dot(parent, p, cx, cy) {
    const group = make(parent, "g", { class: "step", "data-trial": p.trial });
    make(group, "title", {}, `${p.title}: ${p.text}`);
    return [group, make(group, "circle", { cx, cy, r: 3.5 })];
  }

  function show([group, circle], i) {
    const p = plot.steps[i];
    const front = onFront(p);
    group.setAttribute("visibility", i > shown ? "hidden" : "visible");
    circle.setAttribute("class", `dot${front ? " front" : ""}${p.misses ? " hollow" : ""}${i === shown ? " latest" : ""}`);
    circle.setAttribute("r", front ? 5 : 3.5);
  }

  function drawPlane(svg, width, height) {
    const [x, y] = [axes[chosen.x], axes[chosen.y]];
    const [sx, sy] = [scaled(x, width / 95), scaled(y, height / 55)];
    const longest = Math.max(...sy.ticks.map((t) => tickText(t).length));
    const box = { left: 31 + 7 * longest, right: width - 14, top: 10, bottom: height - 44 };
    const px = (u) => box.left + u * (box.right - box.left);
    const py = (v) => box.bottom - v * (box.bottom - box.top);
    for (const t of sx.ticks) {
      make(svg, "line", { class: "grid", x1: px(sx.at(t)), x2: px(sx.at(t)), y1: box.top, y2: box.bottom });
      make(svg, "text", { class: "tick", x: px(sx.at(t)), y: box.bottom + 17, "text-anchor": "middle" }, tickText(t));
    }
    for (const t of sy.ticks) {
      make(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: py(sy.at(t)), y2: py(sy.at(t)) });
      make(svg, "text", { class: "tick", x: box.left - 7, y: py(sy.at(t)) + 4, "text-anchor": "end" }, tickText(t));
    }
    make(svg, "path", { class: "frame", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` });
    make(svg, "text", { x: (box.left + box.right) / 2, y: height - 7, "text-anchor": "middle" }, x.label);
    make(svg, "text", { x: 12, y: (box.top + box.bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(box.top + box.bottom) / 2})` }, y.label);
    const line = make(svg, "path", { class: "stair" });
    const place = plot.steps.map((p) => [px(sx.of(p.values[x.name])), py(sy.of(p.values[y.name]))]);
    const marks = plot.steps.map((p, i) => dot(svg, p, ...place[i]));
    update = () => {
      marks.forEach(show);
      const known = x.direction && y.direction && x !== y ? stairs(plot.steps.slice(0, shown + 1), x, y) : [];
      line.setAttribute("d", known.length > 1 ? `M${known.map(([u, v]) => `${px(sx.of(u))} ${py(sy.of(v))}`).join("L")}` : "");
      for (const i of [...plot.steps.keys()].filter((k) => k <= shown && onFront(plot.steps[k]))) svg.append(marks[i][0]);
      svg.append(marks[shown][0]);
    };
  }

  // A box seen from above, turned round its upright axis; far things are drawn first.
  function drawBox(svg, width, height) {
    const [x, y, z] = ["x", "y", "z"].map((side) => axes[chosen[side]]);
    const few = width < 500 ? 3 : 5;
    const [sx, sy, sz] = [x, y, z].map((axis) => scaled(axis, few));
    const angle = (Number(turn.value) * Math.PI) / 180;
    const [cos, sin, up, down] = [Math.cos(angle), Math.sin(angle), Math.cos(RISE), Math.sin(RISE)];
    const size = Math.min(width / 1.75, height / 1.5);
    const at = (u, v, w) => {
      const [a, b, c] = [(u - 0.5) * cos - (w - 0.5) * sin, (v - 0.5) * 0.8, (u - 0.5) * sin + (w - 0.5) * cos];
      return [width / 2 + size * a, height * 0.47 - size * (b * up - c * down), c * up + b * down];
    };
    const line = (a, b, kind) => make(svg, "line", { class: kind, x1: a[0], y1: a[1], x2: b[0], y2: b[1] });
    const label = (p, text, kind, anchor) => make(svg, "text", { class: kind, x: p[0], y: p[1] + 4, "text-anchor": anchor }, text);
    const nearU = at(1, 0, 0.5)[2] > at(0, 0, 0.5)[2] ? 1 : 0;
    const nearW = at(0.5, 0, 1)[2] > at(0.5, 0, 0)[2] ? 1 : 0;
    const out = (near, far) => near + (near ? far : -far);
    const side = (p) => (p[0] < width / 2 - 12 ? "end" : p[0] > width / 2 + 12 ? "start" : "middle");
    for (const t of sx.ticks) {
      const u = sx.at(t);
      line(at(u, 0, 0), at(u, 0, 1), "grid");
      line(at(u, 0, 1 - nearW), at(u, 1, 1 - nearW), "grid");
      const p = at(u, 0, out(nearW, 0.07));
      label(p, tickText(t), "tick", side(at(0.5, 0, out(nearW, 0.07))));
    }
    for (const t of sz.ticks) {
      const w = sz.at(t);
      line(at(0, 0, w), at(1, 0, w), "grid");
      line(at(1 - nearU, 0, w), at(1 - nearU, 1, w), "grid");
      const p = at(out(nearU, 0.07), 0, w);
      label(p, tickText(t), "tick", side(at(out(nearU, 0.07), 0, 0.5)));
    }
    const corner = [[0, 0], [0, 1], [1, 0], [1, 1]].sort((a, b) => at(a[0], 0, a[1])[0] - at(b[0], 0, b[1])[0])[0];
    for (const t of sy.ticks) {
      const v = sy.at(t);
      line(at(1 - nearU, v, 0), at(1 - nearU, v, 1), "grid");
      line(at(0, v, 1 - nearW), at(1, v, 1 - nearW), "grid");
      const p = at(corner[0], v, corner[1]);
      label([p[0] - 8, p[1]], tickText(t), "tick", "end");
    }
    const [backU, backW] = [1 - nearU, 1 - nearW];
    for (const [a, b] of [[at(0, 1, backW), at(1, 1, backW)], [at(backU, 1, 0), at(backU, 1, 1)], [at(backU, 0, backW), at(backU, 1, backW)]]) line(a, b, "grid");
    for (const [a, b] of [[at(0, 0, nearW), at(1, 0, nearW)], [at(nearU, 0, 0), at(nearU, 0, 1)], [at(corner[0], 0, corner[1]), at(corner[0], 1, corner[1])]]) line(a, b, "frame");
    const named = (p, text) => {
      const found = label(p, text, "", "middle");
      const half = found.getComputedTextLength() / 2;
      found.setAttribute("x", Math.min(Math.max(p[0], half + 2), width - half - 2));
    };
    const lower = (p, by) => [p[0], Math.min(p[1] + by, height - 8)];
    named(lower(at(0.5, 0, out(nearW, 0.2)), 16), x.label);
    named(lower(at(out(nearU, 0.2), 0, 0.5), 16), z.label);
    const top = at(corner[0], 1, corner[1]);
    named([top[0], Math.max(top[1] - 20, 10)], y.label);
    const places = plot.steps.map((p) => [sx.of(p.values[x.name]), sy.of(p.values[y.name]), sz.of(p.values[z.name])]);
    const order = [...plot.steps.keys()].sort((i, j) => at(...places[i])[2] - at(...places[j])[2]);
    const marks = [];
    for (const i of order) {
      const [u, v, w] = places[i];
      const [p, foot] = [at(u, v, w), at(u, 0, w)];
      const found = dot(svg, plot.steps[i], p[0], p[1]);
      found[0].insertBefore(make(found[0], "line", { class: "drop", x1: p[0], y1: p[1], x2: foot[0], y2: foot[1] }), found[1]);
      marks[i] = found;
    }
    update = () => marks.forEach(show);
  }

  let mark = () => {};
  function drawStrip() {
    const [width, height] = [Math.max(strip.clientWidth, 240), 64];
    strip.replaceChildren();
    const svg = make(strip, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Hypervolume by trial" });
    const most = Math.max(...plot.volume, 1e-12);
    const px = (i) => 8 + (i / Math.max(last, 1)) * (width - 16);
    const py = (value) => height - 6 - (value / most) * (height - 28);
    const steps = plot.volume.map((value, i) => (i ? `H${px(i)}V${py(value)}` : `M${px(0)} ${py(value)}`)).join("");
    make(svg, "text", { class: "tick", x: 8, y: 12 }, "Hypervolume by trial");
    make(svg, "path", { class: "frame", d: `M8 ${height - 6}H${width - 8}` });
    make(svg, "path", { class: "stair faint", d: steps });
    const done = make(svg, "path", { class: "stair" });
    const cursor = make(svg, "circle", { class: "dot front", r: 4 });
    mark = () => {
      const part = plot.volume.slice(0, shown + 1).map((value, i) => (i ? `H${px(i)}V${py(value)}` : `M${px(0)} ${py(value)}`)).join("");
      done.setAttribute("d", part);
      cursor.setAttribute("cx", px(shown));
      cursor.setAttribute("cy", py(plot.volume[shown]));
    };
    mark();
  }

  // Dragging turns the box.
  let held = null;
  canvas.addEventListener("pointerdown", (event) => { if (deep()) held = { x: event.clientX, turn: Number(turn.value) }; });
  addEventListener("pointerup", () => (held = null));
  addEventListener("pointercancel", () => (held = null));
  addEventListener("pointermove", (event) => {
    if (held === null) return;
    turn.value = ((held.turn - (event.clientX - held.x) / 2 + 540) % 360) - 180;
    draw();
  });

  let seen = 0;
  new ResizeObserver(() => {
    if (canvas.clientWidth === seen) return;
    seen = canvas.clientWidth;
    draw();
  }).observe(canvas);
  stop();
  draw();
}

document.querySelectorAll(".replay").forEach(replay);
