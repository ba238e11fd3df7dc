// Leads to the parts of the console by what stands behind `#`, and keeps the head of the page up to date.

import { ask, NodeError, offers, Refused, setToken, takeToken } from "./node.js";
import { fault, fill, h, path, short, state } from "./html.js";
import { audit, dependencyGraph, extensions, metrics, more, network, onePackage, overview, packages, remember } from "./views.js";
import { executions, oneExecution } from "./runs.js";

const PARTS = [
  ["overview", "Overview", overview],
  ["extensions", "Extensions", extensions],
  ["packages", "Packages", packages],
  ["graph", "Graph", dependencyGraph],
  ["executions", "Executions", executions],
  ["network", "Network", network],
  ["audit", "Audit", audit],
  ["metrics", "Metrics", metrics],
  ["more", "More", more],
];
const INNER = { packages: onePackage, executions: oneExecution };
const STATUS_EVERY_MS = 2000;

const main = document.getElementById("main");
const health = document.getElementById("health");
let leaving = new AbortController();
let status = null;

function nav(current) {
  const nav = document.getElementById("nav");
  fill(nav, h("ul", {}, PARTS.map(([name, title]) => h("li", {}, h("a", { href: path(name), "aria-current": name === current ? "page" : undefined }, title)))));
  // On a telephone it is wider than the page.
  nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

async function refresh() {
  status = await ask("status");
  remember(status);
  fill(document.getElementById("node"), "node ", short(status.node.node_id, 8));
  fill(health, ...state(status.health).childNodes);
  health.className = `${state(status.health).className} big`;
}

// What a part gets: its place, how the node is, and a way to ask again until it is left.
function pageFor(signal) {
  const page = {
    root: main,
    signal,
    status: () => status,
    again: () => route(),
    fault: (error) => {
      if (error.name === "AbortError" || signal.aborted) return;
      if (error instanceof Refused && error.status === 401) askToken(error.message);
      else main.append(fault(error));
    },
    // Does something now and each so many milliseconds, until it says false or its part is left.
    every: async (ms, work) => {
      const next = async () => {
        if (signal.aborted) return;
        try {
          if (!document.hidden && (await work()) === false) return;
        } catch (error) {
          if (!(error instanceof NodeError) && !(error instanceof Refused)) {
            setTimeout(next, 4 * ms);
            return;
          }
          page.fault(error);
          return;
        }
        setTimeout(next, ms);
      };
      if ((await work()) !== false) setTimeout(next, ms);
    },
  };
  return page;
}

async function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [name = "overview", ...rest] = location.hash.replace(/^#\/?/, "").split("/").filter((part) => part !== "").map(decoded);
  const [, title, part] = PARTS.find(([known]) => known === name) ?? PARTS[0];
  document.title = `${rest.at(-1) ?? title} – HyperMesh console`;
  nav(PARTS.some(([known]) => known === name) ? name : "overview");
  const page = pageFor(signal);
  try {
    await (rest.length > 1 && INNER[name] ? INNER[name] : part)(page, ...rest);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (error instanceof Refused && error.status === 401) askToken(error.message);
    else fill(main, h("h1", {}, title), fault(error));
  }
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function askToken(message) {
  leaving.abort();
  fill(health, "locked");
  health.className = "pill warn big";
  const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
  fill(main, h("section", { class: "card narrow" }, h("h1", {}, "Token needed"),
    h("p", {}, "Open the address that ", h("code", {}, "host-sim up --console"), " printed, or give the token that ends it. A new one is drawn each time the node starts."),
    message && h("p", { class: "quiet" }, message),
    h("form", { onsubmit: (event) => {
      event.preventDefault();
      setToken(input.value.trim().replace(/^.*token=/, ""));
      start();
    } }, h("p", { class: "field" }, h("label", { for: "token" }, "Token"), input), h("button", { type: "submit", class: "main" }, "Open the console"))));
  input.focus();
}

async function watch() {
  try {
    if (!document.hidden) await refresh();
    setTimeout(watch, STATUS_EVERY_MS);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askToken(error.message);
    fill(health, "offline");
    health.className = "pill bad big";
    setTimeout(watch, 2 * STATUS_EVERY_MS);
  }
}

let watched = false;

async function start() {
  try {
    await Promise.all([refresh(), offers()]);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askToken(takeToken() ? error.message : "");
    fill(health, "offline");
    health.className = "pill bad big";
    return fill(main, fault(error));
  }
  if (!watched) {
    watched = true;
    addEventListener("hashchange", () => {
      if (/^#token=/.test(location.hash)) takeToken();
      route().then(() => main.focus({ preventScroll: true }));
      scrollTo(0, 0);
    });
    setTimeout(watch, STATUS_EVERY_MS);
  }
  await route();
}

nav("overview");
takeToken();
start();
