// Draws: lines over time, what builds on what, and who holds what.

import { h, svg, path, clean } from "./html.js";

const WIDTH = 560;
const HEIGHT = 150;

// Values over time, the newest last. `points` are [milliseconds, value].
export function plot(title, points, { show = (value) => value, floor = 0 } = {}) {
  const last = points.at(-1);
  const top = Math.max(floor, ...points.map(([, value]) => value)) || 1;
  const label = last ? `${title}: now ${show(last[1])}, at most ${show(Math.max(...points.map(([, value]) => value)))}` : `${title}: nothing measured`;
  const figure = h("figure", { class: "plot" }, h("figcaption", {}, h("span", {}, title), h("strong", {}, last ? show(last[1]) : "–")));
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, preserveAspectRatio: "none" });
  for (const share of [0, 0.5, 1]) {
    const y = 8 + (HEIGHT - 16) * share;
    drawing.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
  }
  if (points.length > 1) {
    const [from, until] = [points[0][0], last[0]];
    const at = ([time, value]) => {
      const x = ((time - from) / (until - from || 1)) * WIDTH;
      const y = HEIGHT - 8 - (value / top) * (HEIGHT - 16);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    };
    const line = points.map(at).join(" L");
    drawing.append(svg("path", { class: "area", d: `M0,${HEIGHT - 8} L${line} L${WIDTH},${HEIGHT - 8} Z` }));
    drawing.append(svg("path", { class: "line", d: `M${line}`, "vector-effect": "non-scaling-stroke" }));
  }
  figure.append(h("div", { class: "axes" }, h("span", {}, show(top)), drawing, h("span", {}, show(0))));
  return figure;
}

// A small line without axes, for a row or a tile.
export function spark(label, values) {
  const drawing = svg("svg", { class: "spark", viewBox: "0 0 100 24", role: "img", "aria-label": label, preserveAspectRatio: "none" });
  if (values.length > 1) {
    const top = Math.max(...values) || 1;
    const low = Math.min(...values, top * 0.9);
    const points = values.map((value, at) => `${((at / (values.length - 1)) * 100).toFixed(1)},${(22 - ((value - low) / (top - low || 1)) * 20).toFixed(1)}`);
    drawing.append(svg("path", { class: "line", d: `M${points.join(" L")}`, "vector-effect": "non-scaling-stroke" }));
  }
  return drawing;
}

// The most packages of one drawing: more are told, not drawn.
export const NODES_MAX = 120;
const BOX = { width: 176, height: 40, gapX: 64, gapY: 14 };

// What builds on what, from the left to the right. Packages are {package, version, dependencies}.
export function graph(roots, packages, extension) {
  const known = new Map(packages.map((one) => [one.package ?? one.name, one]));
  const needs = (name) => (known.get(name)?.dependencies ?? []).map((one) => (typeof one === "string" ? one : one.name ?? one.package)).filter((one) => known.has(one));
  const needed = new Set([...known.keys()].flatMap(needs));
  const starts = (roots ?? []).map((root) => (typeof root === "string" ? root : root.name ?? root.package)).filter((name) => known.has(name));
  const begin = starts.length > 0 ? starts : [...known.keys()].filter((name) => !needed.has(name));
  const shown = new Set();
  // What nobody asked for and nothing builds on comes last.
  const waiting = [...begin, ...[...known.keys()].filter((name) => !needed.has(name))];
  while (waiting.length > 0 && shown.size < NODES_MAX) {
    const name = waiting.shift();
    if (shown.has(name)) continue;
    shown.add(name);
    waiting.push(...needs(name));
  }
  const layers = layered(shown, needs);
  ordered(layers, needs);
  const spot = new Map();
  const tallest = Math.max(1, ...layers.map((layer) => layer.length));
  const height = tallest * (BOX.height + BOX.gapY) + BOX.gapY;
  layers.forEach((layer, column) => {
    const top = (height - layer.length * (BOX.height + BOX.gapY) + BOX.gapY) / 2;
    layer.forEach((name, row) => spot.set(name, [8 + column * (BOX.width + BOX.gapX), top + row * (BOX.height + BOX.gapY)]));
  });
  const width = layers.length * (BOX.width + BOX.gapX) - BOX.gapX + 16;
  const label = `${shown.size} packages and what each of them builds on`;
  const drawing = svg("svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label });
  for (const name of shown) {
    for (const need of needs(name).filter((one) => spot.has(one))) {
      const [x1, y1] = spot.get(name);
      const [x2, y2] = spot.get(need);
      const [from, to] = [x1 + BOX.width, x2];
      const bend = Math.max(28, Math.abs(to - from) / 2);
      const [a, b] = [y1 + BOX.height / 2, y2 + BOX.height / 2];
      drawing.append(svg("path", { class: "edge", d: `M${from},${a} C${from + bend},${a} ${to - bend},${b} ${to},${b}` }));
    }
  }
  for (const name of shown) {
    const [x, y] = spot.get(name);
    const { version } = known.get(name);
    const fits = name.length > 20 ? `${name.slice(0, 19)}…` : name;
    drawing.append(svg("a", { href: path("packages", extension, `${name}@${version}`), class: begin.includes(name) ? "box root" : "box" },
      svg("title", {}, `${name} ${version}`),
      svg("rect", { x, y, width: BOX.width, height: BOX.height, rx: 8 }),
      svg("text", { x: x + 12, y: y + 17 }, fits),
      svg("text", { x: x + 12, y: y + 32, class: "small" }, clean(version))));
  }
  const list = [...shown].filter((name) => needs(name).length > 0).map((name) => h("li", {}, `${name} builds on ${needs(name).join(", ")}`));
  return h("div", {},
    shown.size < known.size && h("p", { class: "note" }, `${shown.size} of ${known.size} packages are drawn; open one to see what it builds on.`),
    h("div", { class: "scroll canvas", tabindex: 0, role: "region", "aria-label": "Drawing" }, drawing),
    list.length > 0 && h("details", {}, h("summary", {}, "The same in words"), h("ul", { class: "words" }, list)));
}

// Puts each package right of everything that builds on it; a circle is cut where it is met.
function layered(shown, needs) {
  const depth = new Map();
  const open = new Set();
  const visit = (name, at) => {
    if (open.has(name) || (depth.get(name) ?? -1) >= at) return;
    depth.set(name, at);
    open.add(name);
    for (const need of needs(name)) if (shown.has(need)) visit(need, at + 1);
    open.delete(name);
  };
  const inner = new Set([...shown].flatMap(needs));
  for (const name of shown) if (!inner.has(name)) visit(name, 0);
  for (const name of shown) if (!depth.has(name)) visit(name, 0);
  const layers = [];
  for (const [name, at] of depth) (layers[at] ??= []).push(name);
  return Array.from(layers, (layer) => (layer ?? []).sort());
}

// Orders each layer by where its neighbours are, so that fewer lines cross.
function ordered(layers, needs) {
  for (let round = 0; round < 4; round += 1) {
    const place = new Map(layers.flatMap((layer) => layer.map((name, at) => [name, at / Math.max(1, layer.length - 1)])));
    const users = new Map();
    for (const name of place.keys()) for (const need of needs(name)) users.set(need, [...(users.get(need) ?? []), name]);
    const middle = (name) => {
      const near = [...(users.get(name) ?? []), ...needs(name)].filter((one) => place.has(one)).map((one) => place.get(one));
      return near.length === 0 ? place.get(name) : near.reduce((sum, one) => sum + one, 0) / near.length;
    };
    for (const layer of layers) layer.sort((a, b) => middle(a) - middle(b) || (a < b ? -1 : 1));
  }
}
