"""What a page looks like, measured in the browser: contrast, text on text, cut labels, what the Tab key reaches.

Each is a function in JavaScript that returns what is wrong, as the reader of a failed test wants to see it.
"""

from __future__ import annotations

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

_TEXTS = """
  const lines = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, e = node.parentElement;
    if (!node.textContent.trim() || e.closest("noscript, script, style, option, title, caption.hidden")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const style = getComputedStyle(e);
    if (!e.checkVisibility({ visibilityProperty: true })) continue; // what is in closed details has a box too
    for (const r of range.getClientRects()) if (r.width > 1) lines.push({ e, r, style, text: node.textContent.trim() });
  }
"""

CONTRAST = (
    """() => {
  const channel = (v) => (v /= 255, v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const draw = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (text) => {
    draw.clearRect(0, 0, 1, 1); draw.fillStyle = text; draw.fillRect(0, 0, 1, 1);
    return [...draw.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below, share = 1) => below.map((v, i) => v + (top[i] - v) * (top[3] / 255) * share);
  const behind = (e) => {  // every layer from the page up; of a gradient its first colour
    const below = e ? behind(e.parentElement) : parse("Canvas");
    if (!e) return below;
    const style = getComputedStyle(e);
    const first = style.backgroundImage.match(/(?:rgba?|color)\\([^)]*\\)/);
    return [style.backgroundColor, ...(first ? [first[0]] : [])].reduce((c, top) => over(parse(top), c), below);
  };
  const opacity = (e) => (e ? Number(getComputedStyle(e).opacity) * opacity(e.parentElement) : 1);
  """
    + _TEXTS
    + """
  const found = new Set();
  for (const { e, style, text } of lines) {
    const back = behind(e.closest("svg") ? e.closest("svg").parentElement : e);
    const svg = e.closest("svg");
    const ink = over(parse(svg ? style.fill : style.color), back, opacity(e) * (svg ? Number(style.fillOpacity) : 1));
    const [a, b] = [light(ink), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (!(ratio >= 4.5)) found.add(`${e.tagName}.${e.getAttribute("class")} ${text.slice(0, 40)} ${ratio.toFixed(2)}`);
  }
  if (lines.length < 5) found.add(`only ${lines.length} lines of text`);
  return [...found];
}"""
)
"""Text whose contrast with what lies behind it is less than 4.5 to 1 (WCAG 2.2, 1.4.3, level AA)."""

COLLISIONS = (
    "() => {"
    + _TEXTS
    + """
  const clip = (r, e) => {  // what is seen of a line within the boxes that scroll
    let [l, t, o, b] = [r.left, r.top, r.right, r.bottom];
    for (; e; e = e.parentElement) {
      if (!["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX) || e === document.body) continue;
      const f = e.getBoundingClientRect();
      [l, t, o, b] = [Math.max(l, f.left), Math.max(t, f.top), Math.min(o, f.right), Math.min(b, f.bottom)];
    }
    return { l: l + 1, t: t + 2.5, r: o - 1, b: b - 2.5 };  // the box of a line is higher than its letters
  };
  const boxes = lines.map((one) => ({ ...one, ...clip(one.r, one.e) })).filter((one) => one.r > one.l && one.b > one.t);
  boxes.sort((a, b) => a.t - b.t);
  const found = [];
  boxes.forEach((a, i) => {
    for (let j = i + 1; j < boxes.length && boxes[j].t < a.b; j++) {
      const b = boxes[j];
      if (a.e !== b.e && a.l < b.r && b.l < a.r) found.push(`${a.text.slice(0, 40)} | ${b.text.slice(0, 40)}`);
    }
  });
  for (const { e, r, text } of lines) {
    const svg = e.closest("svg");
    if (!svg || svg.closest(".tip")) continue;
    const f = svg.getBoundingClientRect();
    const out = Math.max(f.left - r.left, r.right - f.right, f.top - r.top, r.bottom - f.bottom);
    if (out > 1) found.push(`cut: ${text}`);
  }
  return found;
}"""
)
"""Text that lies on other text, and labels that stick out of their figure."""

SMALL = """(least) => {
  const found = new Set();
  for (const e of document.querySelectorAll("svg text")) {
    const svg = e.closest("svg");
    if (!svg.getClientRects().length || e.closest("noscript")) continue;
    const size = parseFloat(getComputedStyle(e).fontSize) * svg.getScreenCTM().a;
    if (size < least) found.add(`${e.textContent.slice(0, 30)} ${size.toFixed(1)}`);
  }
  return [...found];
}"""
"""Text of figures that is smaller than so many pixels on the screen."""

FOCUSED = """() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  const halo = e.querySelector(":scope > .halo"), style = getComputedStyle(halo || e), box = e.getBoundingClientRect();
  const line = halo ? style.stroke !== "none" : style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  const shown = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const name = e.id || e.getAttribute("href") || e.getAttribute("aria-label") || e.textContent.trim();
  return { tag: e.tagName, name: name || JSON.stringify(e.dataset), seen: line && shown };
}"""
"""What has the focus, and whether one sees that: a ring round it, within the window."""
