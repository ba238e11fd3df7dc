// Asks the node: one request, lines of JSON back, the last of them an answer or an error.

const KEY = "hypermesh-console-token";

export class NodeError extends Error {
  constructor(record) {
    super(record.message);
    this.record = record;
  }
}

export class Refused extends Error {
  constructor(status, text) {
    super(text.trim() || `the node answers ${status}`);
    this.status = status;
  }
}

// The token comes behind `#`, which no browser sends anywhere, and stays in this tab.
export function takeToken() {
  const given = /^#token=([A-Za-z0-9_-]+)$/.exec(location.hash);
  if (given) {
    sessionStorage.setItem(KEY, given[1]);
    history.replaceState(null, "", `${location.pathname}#/`);
  }
  return sessionStorage.getItem(KEY);
}

export function setToken(token) {
  sessionStorage.setItem(KEY, token);
}

export async function ask(what, { signal, progress } = {}) {
  const response = await fetch("/node", {
    method: "POST",
    headers: { "Authorization": `Bearer ${sessionStorage.getItem(KEY) ?? ""}`, "Content-Type": "application/json" },
    body: JSON.stringify(what),
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
    signal,
  });
  if (!response.ok) throw new Refused(response.status, await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    held += value ?? "";
    for (let end = held.indexOf("\n"); end >= 0; end = held.indexOf("\n")) {
      const line = JSON.parse(held.slice(0, end));
      held = held.slice(end + 1);
      if (line.progress) progress?.(line.progress);
      else if (line.error) throw new NodeError(line.error);
      else return line.answer;
    }
    if (done) throw new NodeError({ code: "IO", message: "the node hung up before it answered" });
  }
}

let offered = null;

// What extensions offer, asked once until something changes.
export async function offers({ again = false } = {}) {
  if (again || offered === null) offered = (await ask("offered")).extensions;
  return offered;
}

// The panels of a role, each with its extension.
export async function panels(role) {
  return (await offers()).flatMap((one) => one.panels.filter((panel) => panel.role === role).map((panel) => ({ ...panel, extension: one.id })));
}

export const view = (panel, more = {}, options = {}) =>
  ask({ view: { extension: panel.extension, role: panel.role, verb: panel.verb, ...more } }, options);

// The command that does what an action does: whoever is asked to confirm sees what of.
export function command(panel, subject, params) {
  const properties = panel.parameters?.properties ?? {};
  const given = { ...params, ...panel.with };
  if (panel.subject && subject !== undefined) given[panel.subject] = subject;
  const places = [];
  const options = [];
  for (const [name, value] of Object.entries(given)) {
    const cli = properties[name]?.["x-cli"] ?? {};
    const values = Array.isArray(value) ? value : [value];
    if (value === false || value === null) continue;
    if (cli.position) places[cli.position] = values.map(quoted).join(" ");
    else if (value === true) options.push(`--${name.replaceAll("_", "-")}`);
    else options.push(...values.map((one) => `--${name.replaceAll("_", "-")} ${quoted(one)}`));
  }
  return ["host-sim", panel.extension, panel.verb, ...places.filter((place) => place !== undefined), ...options].join(" ");
}

function quoted(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /^[A-Za-z0-9_@%+=:,./^~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
