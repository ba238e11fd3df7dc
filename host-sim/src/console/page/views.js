// The parts of the console but executions: each fills a place, and asks again while it is shown.

import { ask, offers, panels, view } from "./node.js";
import { bytes, card, facts, fault, fill, h, micros, moment, number, pager, path, short, state, table } from "./html.js";
import { graph, plot, spark } from "./draw.js";
import { button, buttons, confirm } from "./actions.js";
import { rowsOf, COLUMNS } from "./runs.js";

const PAGE = 50;

const grade = (extension) => (extension.health ? Object.keys(typeof extension.health === "string" ? { [extension.health]: 1 } : extension.health)[0] : "Unhealthy");
const reason = (extension) => (typeof extension.health === "object" && extension.health ? Object.values(extension.health)[0] : undefined);
const sum = (family) => (family?.series ?? []).reduce((total, one) => total + (one.value ?? one.count ?? 0), 0);

// What the node's own figures were, for as long as the page is open: [milliseconds, value].
export const past = { memory: [], requests: [] };

export function remember(status) {
  const now = Date.now();
  past.memory.push([now, status.rss_mb * 1024 * 1024]);
  past.requests.push([now, sum(status.metrics.hypermesh_requests_total)]);
  for (const list of Object.values(past)) if (list.length > 300) list.shift();
}

function rates(list) {
  return list.slice(1).map(([time, value], at) => [time, Math.max(0, ((value - list[at][1]) * 1000) / Math.max(1, time - list[at][0]))]);
}

const tile = (name, value, more, href) =>
  h(href ? "a" : "div", { class: "tile", href }, h("span", { class: "name" }, name), h("strong", {}, value), more && h("span", { class: "more" }, more));

export async function overview(page) {
  const tiles = h("div", { class: "tiles" });
  const health = h("div");
  const runs = h("div");
  fill(page.root, h("h1", {}, "Overview"), tiles, h("div", { class: "columns uneven" }, card("Extensions", health), card("Executions", runs)));
  const [executions] = await panels("executions");
  await page.every(2000, async () => {
    const status = page.status();
    const memory = past.memory.map(([, value]) => value);
    const requests = rates(past.requests).map(([, value]) => value);
    const failed = status.failed.length;
    fill(tiles,
      tile("Health", state(status.health), `${status.extensions.length} loaded${failed ? `, ${failed} not loaded` : ""}`, "/extensions"),
      tile("Memory", bytes(status.rss_mb * 1024 * 1024), spark("Memory of the node over time", memory)),
      tile("Requests", number(sum(status.metrics.hypermesh_requests_total)), spark("Requests in a second over time", requests), "/metrics"),
      tile("Leases", number(status.leases), "of processors, memory and devices"),
      tile("Node", short(status.node.node_id, 8), `${status.node.host}, ${status.node.platform}`));
    fill(health, [...status.extensions.map((one) => h("p", { class: "line" }, state(grade(one)), " ", h("strong", {}, one.id), ` ${one.version}`, reason(one) && h("span", { class: "quiet" }, ` ${reason(one)}`))),
      ...status.failed.map((one) => h("p", { class: "line" }, state("not loaded"), " ", h("strong", {}, one.id), h("span", { class: "quiet" }, ` ${one.error.message}`)))],
    status.extensions.length + failed === 0 && h("p", { class: "quiet" }, "No extension is loaded. ", h("code", {}, "host-sim bundle"), " builds one into this home."));
    if (executions) {
      const answer = await view(executions, { limit: 8 }, page);
      fill(runs, table("The latest executions", COLUMNS, rowsOf(answer.data.executions, executions.extension), { empty: "Nothing has run yet." }),
        h("p", {}, h("a", { href: path("executions") }, `All ${number(answer.page?.total ?? answer.data.executions.length)}`)));
    } else fill(runs, h("p", { class: "quiet" }, "No extension runs anything."));
  });
}

export async function extensions(page) {
  const list = h("div", { class: "stack" });
  fill(page.root, h("h1", {}, "Extensions"), list);
  await page.every(2000, async () => {
    const status = page.status();
    const uses = status.metrics.hypermesh_capability_requests_total?.series ?? [];
    fill(list, [...status.extensions.map((one) => extension(one, uses, page)),
      ...status.failed.map((one) => card(one.id, h("p", {}, state("not loaded")), fault({ message: one.error.message, record: one.error })))],
    status.extensions.length + status.failed.length === 0 && h("p", { class: "quiet" }, "No extension is loaded."));
  });
}

function extension(one, uses, page) {
  const count = (capability, granted) => uses.filter(({ labels }) => labels.extension === one.id && labels.capability === capability && labels.granted === String(granted)).reduce((total, { value }) => total + value, 0);
  const asked = uses.filter(({ labels }) => labels.extension === one.id && labels.granted === "false").map(({ labels }) => labels.capability);
  const rows = one.capabilities.map((capability) => [capability, state("granted"), count(capability, true) === 0 ? h("span", { class: "quiet" }, "not yet") : number(count(capability, true))]);
  rows.push(...asked.filter((capability) => !one.capabilities.includes(capability)).map((capability) => ({ class: "refused", cells: [capability, state("refused"), number(count(capability, false))] })));
  const told = typeof one.state === "string" ? one.state : Object.keys(one.state)[0];
  const change = (verb, title, text) => () => confirm({
    title: `${title} ${one.id}?`, text, command: `host-sim ${verb} ${one.id}`, yes: title, done: page.again,
    work: (options) => ask({ [verb]: { extension: one.id } }, options),
  });
  return h("section", { class: "card" },
    h("div", { class: "title" }, h("h2", {}, one.id, " ", h("small", {}, one.version)), state(told), state(grade(one)),
      h("span", { class: "actions" },
        told === "Paused"
          ? button("Enable", change("resume", "Enable", "It takes requests again."))
          : button("Disable", change("pause", "Disable", "Requests in flight end, and new ones are refused until it is enabled again. What it keeps stays.")),
        button("Upgrade", () => confirm({
          title: `Upgrade ${one.id}?`, yes: "Upgrade", done: page.again,
          text: "The other build is verified, tried in a process of its own and takes over; requests wait meanwhile. If it cannot, this one goes on.",
          fields: [{ name: "bundle", label: "Bundle, or its manifest, on the node", required: true, hint: "/srv/extensions/new" }],
          command: ({ bundle }) => `host-sim upgrade ${bundle ?? ""}`,
          work: (options, { bundle }) => ask({ upgrade: { bundle } }, options),
        })))),
    reason(one) && h("p", { class: "note" }, reason(one)),
    facts([["generation", `${one.generation}${one.retired_generations ? ` (${one.retired_generations} retired stay mapped)` : ""}`], ["loaded in", micros(one.load_us)],
      ["up for", one.status && micros(one.status.uptime_ms * 1000)], ["requests", one.status && `${number(one.status.total_requests)}, ${number(one.status.error_count)} failed`],
      ["library", one.digest && short(one.digest, 16)]]),
    h("h3", {}, "Capabilities"), table(`Capabilities of ${one.id}`, [["capability"], ["manifest"], ["used", "number"]], rows, { empty: "It is granted none." }),
    h("details", {}, h("summary", {}, `Provides ${one.contributions.length}, and more figures`),
      h("ul", { class: "words" }, one.contributions.map((id) => h("li", {}, h("code", {}, id)))),
      facts(Object.entries(one.status?.figures ?? {}).map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : number(value)]))));
}

export async function packages(page) {
  const [all, installed] = [await panels("packages"), await panels("installed")];
  const lists = [...all.map((panel) => ["Published", panel]), ...installed.map((panel) => ["Installed", panel])];
  if (lists.length === 0) return fill(page.root, h("h1", {}, "Packages"), h("p", { class: "quiet" }, "No extension has packages."));
  let [, panel] = lists[0];
  let offset = 0;
  let filter = "";
  const place = h("div");
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "Which packages" });
  const look = h("input", { type: "search", maxlength: 200, oninput: () => {
    [filter, offset] = [look.value, 0];
    clearTimeout(look.wait);
    look.wait = setTimeout(() => show().catch(page.fault), 150);
  } });
  const several = new Set(lists.map(([, one]) => one.extension)).size > 1;
  const actions = await panels("action");
  let asked = 0;
  const show = async () => {
    asked += 1;
    const mine = asked;
    fill(tabs, lists.map(([name, one]) => h("button", { type: "button", "aria-pressed": String(one === panel), onclick: () => {
      [panel, offset] = [one, 0];
      show().catch(page.fault);
    } }, several ? `${name} (${one.extension})` : name)));
    const answer = await view(panel, { offset, limit: PAGE, filter }, page);
    if (mine !== asked) return;
    const rows = answer.data.packages.map((one) => ({ class: one.yanked ? "refused" : undefined, cells: [
      h("a", { href: path("packages", panel.extension, `${one.package}@${one.version}`) }, one.package), one.version, one.type ?? (one.asked_for === false ? "needed by others" : one.asked_for ? "asked for" : "–"), one.yanked ? state("yanked") : "", short(one.digest), number(one.downloads)] }));
    const kind = panel.role === "installed" ? "why" : "type";
    const empty = filter ? "Nothing contains that." : "There are none.";
    fill(place, table("Packages", [["package"], ["version"], [kind], ["", ""], ["digest"], ["downloads", "number"]].filter(([name]) => panel.role !== "installed" || name !== "downloads"), panel.role === "installed" ? rows.map((row) => ({ ...row, cells: row.cells.slice(0, 5) })) : rows, { empty }),
      answer.page && answer.page.total > PAGE && pager(answer.page, PAGE, (next) => {
        offset = next;
        show().catch(page.fault);
      }));
  };
  fill(page.root, h("h1", {}, "Packages"), h("div", { class: "bar" }, tabs, h("label", { class: "look" }, "Only with ", look), buttons(actions, undefined, page, () => show().catch(page.fault))), place);
  await show();
}

export async function onePackage(page, extension, subject) {
  const of = async (role) => (await panels(role)).find((panel) => panel.extension === extension);
  const panel = await of("package");
  if (!panel) throw new Error(`${extension} has no packages`);
  const [provenance, tree] = [await of("provenance"), await of("graph")];
  const actions = [...(await panels("package-action")), ...(await panels("release-action"))].filter((one) => one.extension === extension);
  const { data } = await view(panel, { subject }, page);
  const manifest = data.manifest ?? {};
  const about = manifest.metadata ?? {};
  const spec = manifest.spec ?? {};
  const vouched = h("div", {}, h("p", { class: "quiet" }, "Checking …"));
  const drawn = h("div");
  fill(page.root,
    h("p", { class: "crumbs" }, h("a", { href: path("packages") }, "Packages")),
    h("div", { class: "title" }, h("h1", {}, data.package, " ", h("small", {}, data.version)), data.yanked && state("yanked"), data.installed ? state("installed") : h("span", { class: "pill quiet" }, "not installed")),
    about.description && h("p", { class: "lead" }, about.description),
    h("div", { class: "bar" }, buttons(actions, (one) => (one.role === "release-action" ? `${data.package}@${data.version}` : data.package), page, page.again)),
    data.yanked && h("p", { class: "note" }, data.yanked),
    h("div", { class: "columns" },
      card("About", facts([["type", spec.type], ["author", about.author], ["licence", about.license], ["tags", (about.tags ?? []).join(", ")],
        ["published", moment(data.published_at)], ["published by", data.publisher], ["digest", short(data.digest, 24)], ["asset", short(data.asset, 30)],
        ["installed", data.installed ?? "no"], ["versions", (data.versions ?? []).slice(0, 20).map((version) => [h("a", { href: path("packages", extension, `${data.package}@${version}`) }, version), " "])],
        ["downloads", number(data.downloads)], ["dependents", number(data.dependents)], ["rating", data.rating?.count ? `${data.rating.average.toFixed(1)} of 5, by ${data.rating.count}` : undefined]])),
      card("Provenance", vouched)),
    card("What it builds on", dependencies(spec.dependencies), drawn),
    h("details", { class: "card" }, h("summary", {}, "The whole manifest"), h("pre", {}, JSON.stringify(manifest, null, 2))));
  if (provenance) {
    const told = await view(provenance, { subject: `${data.package}@${data.version}` }, page).then((answer) => answer.data.decisions ?? [], (error) => fault(error));
    fill(vouched, Array.isArray(told) ? told.map(decision) : told, Array.isArray(told) && told.length === 0 && h("p", { class: "quiet" }, "Nothing was decided about it."));
  } else fill(vouched, h("p", { class: "quiet" }, `${extension} does not say.`));
  if (tree && data.installed) {
    const { data: found } = await view(tree, { subject: data.package }, page);
    fill(drawn, graph([data.package], reachable(data.package, found.packages), extension));
  }
}

// The packages that one builds on, itself included.
function reachable(start, all) {
  const known = new Map(all.map((one) => [one.package, one]));
  const found = new Set([start]);
  for (const name of found) for (const need of known.get(name)?.dependencies ?? []) found.add(typeof need === "string" ? need : need.name ?? need.package);
  return all.filter((one) => found.has(one.package));
}

function dependencies(wanted) {
  const list = Array.isArray(wanted) ? wanted.map((one) => [one.name, one.version ?? one.requirement ?? ""]) : Object.entries(wanted ?? {}).map(([name, one]) => [name, typeof one === "string" ? one : one.version ?? JSON.stringify(one)]);
  return list.length === 0 ? h("p", { class: "quiet" }, "Nothing.") : h("p", {}, list.slice(0, 50).map(([name, version]) => [h("code", {}, `${name} ${version}`), " "]));
}

function decision(one) {
  const rows = (one.checks ?? []).map((check) => ({ class: check.outcome === "failed" && check.required ? "refused" : undefined, cells: [check.check, state(check.outcome === "failed" && !check.required ? "warn" : check.outcome), check.evidence] }));
  return h("div", {}, h("p", {}, state(one.verdict), ` by the policy ${one.policy}`),
    (one.reasons ?? []).map((because) => h("p", { class: "note" }, because.message ?? String(because))),
    table("Checks of the policy", [["check"], ["outcome"], ["evidence"]], rows, { empty: "No check was made." }));
}

export async function dependencyGraph(page) {
  const all = await panels("graph");
  const place = h("div");
  fill(page.root, h("h1", {}, "Dependency graph"), h("p", { class: "lead" }, "What is installed, from what was asked for on the left to what that builds on."), place);
  if (all.length === 0) return fill(place, h("p", { class: "quiet" }, "No extension has packages that build on each other."));
  const drawn = await Promise.all(all.map(async (panel) => {
    const { data } = await view(panel, {}, page);
    if (data.packages.length === 0) return h("p", { class: "quiet" }, "Nothing is installed.");
    return graph(data.roots, data.packages, panel.extension);
  }));
  fill(place, drawn);
}

export async function network(page) {
  const [peers, replicas] = [await panels("peers"), await panels("replicas")];
  const nodes = h("div");
  const map = h("div");
  const actions = await panels("network-action");
  fill(page.root, h("div", { class: "title" }, h("h1", {}, "Network"), h("span", { class: "actions" }, buttons(actions, undefined, page, page.again))), card("Nodes", nodes), card("Who has which archive", map));
  let offset = 0;
  let known = [];
  const showMap = async () => {
    if (replicas.length === 0) return fill(map, h("p", { class: "quiet" }, "No extension keeps archives."));
    const answer = await view(replicas[0], { offset, limit: 25 }, page);
    fill(map, replication(answer.data.replicas, known, replicas[0].extension), answer.page && answer.page.total > 25 && pager(answer.page, 25, (next) => {
      offset = next;
      showMap().catch(page.fault);
    }));
  };
  await page.every(4000, async () => {
    if (peers.length === 0) return fill(nodes, h("p", { class: "quiet" }, "No extension has a network."));
    try {
      const { data } = await view(peers[0], { limit: 200 }, page);
      known = [{ id: data.id, name: "this node", here: true }, ...data.peers];
      const rows = data.peers.map((peer) => [h("span", {}, peer.name ?? "–", " ", h("code", {}, short(peer.id.slice(-12), 12))), state(peer.connected ? "connected" : "known"), (peer.addresses ?? [])[0] ?? "–", micros(peer.round_trip_us), bytes(peer.received_bytes), bytes(peer.sent_bytes)]);
      fill(nodes, facts([["this node", h("code", {}, data.id)], ["address", data.address], ["connected", `${data.connected} of ${data.peers.length} known`]]),
        table("Nodes that this one knows", [["node"], ["state"], ["address"], ["away", "number"], ["received", "number"], ["sent", "number"]], rows, { empty: "No other node is known." }));
      await showMap();
    } catch (error) {
      if (!error.record) throw error;
      // A node without a network is as it was made, and nothing is wrong with it.
      fill(nodes, error.record.code === "NOT_FOUND" ? h("p", { class: "quiet" }, error.message, "; ", error.record.help) : fault(error));
      fill(map, h("p", { class: "quiet" }, "Without a network every archive is here alone."));
      return false;
    }
    return true;
  });
}

function replication(replicas, known, extension) {
  const columns = known.slice(0, 24);
  const name = (node) => (node.here ? "here" : node.name ?? node.id.slice(-6));
  const rows = replicas.map((one) => ({ class: one.holders.length < one.wanted ? "short" : undefined, cells: [
    h("a", { href: path("packages", extension, `${one.package}@${one.version}`) }, `${one.package} ${one.version}`),
    `${one.holders.length} of ${one.wanted}`, bytes(one.bytes),
    ...columns.map((node) => (node.here ? one.here : one.holders.includes(node.id)) ? h("span", { class: "dot has" }, h("span", { class: "unseen" }, "has it")) : h("span", { class: "dot" }, h("span", { class: "unseen" }, "does not"))),
  ] }));
  return h("div", { class: "map" }, table("Archives and the nodes that have them", [["archive"], ["copies", "number"], ["size", "number"], ...columns.map((node) => [name(node), "cell"])], rows, { empty: "No archive is known." }));
}

export async function audit(page) {
  const place = h("div");
  let before = null;
  const again = h("button", { type: "button", onclick: () => move(null) }, "Newest");
  const older = h("button", { type: "button" }, "Older");
  const move = (next) => {
    before = next;
    show().catch(page.fault);
  };
  const show = async () => {
    const { records } = await ask({ audit: { before, limit: PAGE } }, page);
    const rows = records.map(({ sequence, time_us, event }) => {
      const { type, extension, ...rest } = event;
      const refused = rest.granted === false || rest.allowed === false || ["SecurityViolation", "AnomalyDetected", "failed"].includes(type);
      const told = Object.entries(rest).map(([name, value]) => h("span", { class: "pair" }, h("b", {}, name), " ", typeof value === "string" && value.length > 60 ? short(value, 48) : String(value)));
      return { class: refused ? "refused" : undefined, cells: [number(sequence), moment(new Date(time_us / 1000).toISOString()), type, extension ?? "–", told] };
    });
    older.disabled = records.length < PAGE;
    older.onclick = () => move(records.at(-1)?.sequence ?? null);
    fill(place, table("Audit log, the newest first", [["line", "number"], ["time"], ["event", "word"], ["extension", "word"], ["what"]], rows, { empty: "Nothing was recorded." }));
  };
  fill(page.root, h("h1", {}, "Audit log"), h("p", { class: "lead" }, "What extensions asked for, got and did. Each line is bound to the one before; ", h("code", {}, "host-sim audit"), " checks the chain."), place, h("nav", { class: "pager", "aria-label": "Pages" }, again, older));
  await page.every(3000, () => (before === null ? show() : undefined));
}

export async function metrics(page) {
  const place = h("div", { class: "stack" });
  const look = h("input", { type: "search", oninput: () => draw() });
  const plots = h("div", { class: "columns" });
  const labels = (one) => Object.entries(one.labels).map(([name, value]) => h("span", { class: "pair" }, h("b", {}, name), " ", value));
  const draw = () => {
    const status = page.status();
    fill(plots, plot("Memory of the node", past.memory, { show: bytes }), plot("Requests in a second", rates(past.requests), { show: (value) => number(Math.round(value * 10) / 10), floor: 1 }));
    const wanted = look.value.toLowerCase();
    const fits = (name, one) => `${name} ${JSON.stringify(one.labels)}`.toLowerCase().includes(wanted);
    const times = [];
    const values = [];
    for (const [name, family] of Object.entries(status.metrics)) {
      for (const one of family.series.filter((series) => fits(name, series))) {
        const shown = name.replace(/^hypermesh_/, "");
        if (family.type === "histogram") times.push([h("abbr", { title: family.help }, shown), labels(one), number(one.count), ...["p50", "p90", "p99"].map((share) => (one[share] === null ? "> 50 s" : micros(Math.round(one[share] * 1e6))))]);
        else values.push([h("abbr", { title: family.help }, shown), labels(one), /_bytes$|_bytes_total$/.test(name) ? bytes(one.value) : number(one.value)]);
      }
    }
    fill(place, card("Times", table("Times of requests", [["metric"], ["of"], ["count", "number"], ["half", "number"], ["9 of 10", "number"], ["99 of 100", "number"]], times.slice(0, 200), { empty: "None." })),
      card("Counts and levels", table("Metrics", [["metric"], ["of"], ["value", "number"]], values.slice(0, 400), { empty: "None." })));
  };
  fill(page.root, h("h1", {}, "Health and metrics"), card("Health", h("div", { id: "grades" })), plots, h("div", { class: "bar" }, h("label", { class: "look" }, "Only with ", look)), place);
  await page.every(2000, () => {
    const status = page.status();
    const rows = [...status.extensions.map((one) => [one.id, state(grade(one)), reason(one) ?? "–"]), ...status.failed.map((one) => ({ class: "refused", cells: [one.id, state("not loaded"), one.error.message] }))];
    fill(page.root.querySelector("#grades"), h("p", {}, state(status.health), " is the node: the worst of its extensions."), table("Health of extensions", [["extension"], ["health"], ["reason"]], rows, { empty: "No extension is loaded." }));
    draw();
  });
}

export async function more(page, extension, verb) {
  const all = await panels("table");
  const list = h("div", { class: "tabs", role: "group", "aria-label": "What" }, all.map((panel) => h("a", { href: path("more", panel.extension, panel.verb), "aria-current": panel.extension === extension && panel.verb === verb ? "page" : undefined }, panel.verb)));
  const actions = await panels("action");
  fill(page.root, h("h1", {}, "More"), h("p", { class: "lead" }, "What else extensions offer to consoles."), list, h("div", { class: "bar" }, buttons(actions, undefined, page, page.again)));
  const panel = all.find((one) => one.extension === extension && one.verb === verb);
  if (!panel) return;
  const place = h("div");
  page.root.append(card(panel.summary, place));
  let offset = 0;
  const show = async () => {
    const answer = await view(panel, { offset, limit: PAGE }, page);
    if (!answer.page) return fill(place, h("pre", {}, answer.text));
    const items = answer.data[answer.page.list];
    const columns = [...new Set(items.flatMap((item) => (typeof item === "object" && item !== null ? Object.keys(item) : ["value"])))].slice(0, 8);
    const cell = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? number(value) : String(value));
    fill(place, table(panel.summary, columns.map((name) => [name.replaceAll("_", " ")]), items.map((item) => columns.map((name) => cell(typeof item === "object" && item !== null ? item[name] : item))), { empty: "Nothing." }),
      answer.page.total > PAGE && pager(answer.page, PAGE, (next) => {
        offset = next;
        show().catch(page.fault);
      }));
  };
  await show();
}
