// Makes elements by calls, never of text: whatever a node answers may have been written by anybody, and stays text here.

const SVG = "http://www.w3.org/2000/svg";

// Characters that steer or turn the writing, which a name must not do to what stands around it.
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

export function clean(value) {
  return String(value).replace(STEERING, "\ufffd");
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    // Every link leads to a part of this page.
    else if (name === "href") element.setAttribute("href", `#${String(value).replace(/^#/, "")}`);
    else element.setAttribute(name, value === true ? "" : clean(value));
  }
  put(element, children);
  return element;
}

function put(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(clean(child)));
  }
}

export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => build(document.createElementNS(SVG, tag), props, children);

export function fill(element, ...children) {
  element.replaceChildren();
  put(element, children);
  return element;
}

export const path = (...parts) => `#/${parts.map((part) => encodeURIComponent(part)).join("/")}`;

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let number = Number(count);
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 || number >= 100 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}

export function micros(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 10000 ? 1 : 0)} ms`;
  if (us < 60e6) return `${(us / 1e6).toFixed(1)} s`;
  const seconds = Math.round(us / 1e6);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export function number(value) {
  if (typeof value !== "number") return value ?? "–";
  return Number.isInteger(value) ? value.toLocaleString("en-GB") : value.toLocaleString("en-GB", { maximumSignificantDigits: 4 });
}

// Times are told in the reader's own zone; the whole of them is in the title.
export function moment(text) {
  if (!text) return "–";
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return clean(text);
  const iso = date.toISOString();
  const today = new Date().toDateString() === date.toDateString();
  const shown = today ? date.toLocaleTimeString("en-GB") : `${date.toLocaleDateString("en-GB")} ${date.toLocaleTimeString("en-GB")}`;
  return h("time", { datetime: iso, title: iso }, shown);
}

export const short = (text, length = 12) => {
  const whole = String(text ?? "");
  const bare = whole.replace(/^[a-z0-9]+:/, "");
  return bare.length <= length + 2 ? whole : h("abbr", { title: whole }, `${bare.slice(0, length)}…`);
};

const MOOD = {
  healthy: "good", running: "good", completed: "good", accepted: "good", accept: "good", passed: "good", connected: "good", ready: "good", available: "good",
  allow: "good", degraded: "warn", paused: "warn", pending: "warn", starting: "warn", warn: "warn", confirm: "warn", limited: "warn", known: "quiet", absent: "quiet",
  unhealthy: "bad", failed: "bad", error: "bad", terminated: "bad", timedout: "bad", "timed out": "bad", refused: "bad", refuse: "bad", broken: "bad", deny: "bad", "not loaded": "bad", offline: "bad",
};

export function state(text) {
  const told = typeof text === "object" && text !== null ? Object.keys(text)[0] : String(text ?? "unknown");
  const words = told.replaceAll("_", " ");
  return h("span", { class: `pill ${MOOD[words.toLowerCase()] ?? "quiet"}` }, words);
}

export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// A table whose cells say on narrow screens which column they are of.
export function table(caption, columns, rows, { empty = "nothing" } = {}) {
  if (rows.length === 0) return h("p", { class: "quiet" }, empty);
  const head = h("tr", {}, columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)));
  const body = rows.map((row) => {
    const cells = row.cells ?? row;
    return h("tr", { class: row.class }, cells.map((cell, at) => {
      const [name, kind] = columns[at];
      return at === 0
        ? h("th", { scope: "row", class: kind }, cell)
        : h("td", { class: kind, "data-label": name }, cell);
    }));
  });
  return h("div", { class: "scroll" }, h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, head), h("tbody", {}, body)));
}

export function card(title, ...content) {
  return h("section", { class: "card" }, title && h("h2", {}, title), content);
}

// What went wrong, with what can be done about it.
export function fault(error) {
  const record = error.record ?? {};
  const lines = (record.faults ?? []).slice(0, 20).map((one) => h("li", {}, one.path ? `${one.path}: ` : "", one.message, one.hint ? ` (${one.hint})` : ""));
  // What lists its faults in many lines says each of them below.
  const said = lines.length > 0 && error.message.includes("\n") ? `${lines.length === 1 ? "a fault" : `${lines.length} faults`} in ${record.faults[0].file ?? "what was given"}` : error.message;
  return h("div", { class: "alert", role: "alert" },
    h("p", {}, h("strong", {}, record.code ?? "error"), " ", said),
    (record.chain ?? []).slice(0, 5).map((text) => h("p", {}, text)),
    lines.length > 0 && h("ul", {}, lines),
    record.help && h("p", { class: "help" }, record.help));
}

export function pager(page, limit, go) {
  const { offset, total } = page;
  const last = Math.min(offset + limit, total);
  return h("nav", { class: "pager", "aria-label": "Pages" },
    h("button", { type: "button", disabled: offset === 0, onclick: () => go(Math.max(0, offset - limit)) }, "Earlier"),
    h("span", {}, total === 0 ? "0" : `${number(offset + 1)}–${number(last)} of ${number(total)}`),
    h("button", { type: "button", disabled: last >= total, onclick: () => go(offset + limit) }, "Further"));
}
