// Executions: what runs and ran, and one of them with its output as it comes and what it uses.

import { panels, view } from "./node.js";
import { bytes, card, clean, facts, fill, h, micros, moment, number, pager, path, short, state, table } from "./html.js";
import { plot } from "./draw.js";
import { buttons } from "./actions.js";

const PAGE = 50;
// The most characters of one stream that are shown; the node keeps no more.
const OUTPUT_MAX = 64 * 1024;

export const COLUMNS = [["package"], ["state"], ["begun"], ["time", "number"], ["processor", "number"], ["memory", "number"]];

export function rowsOf(executions, extension) {
  return executions.map((one) => [
    h("a", { href: path("executions", extension, one.execution) }, one.package, " ", h("small", {}, one.version)),
    state(one.state), moment(one.started_at ?? one.accepted_at), micros(one.usage?.wall_us), micros(one.usage?.cpu_us), bytes(one.usage?.memory_peak_bytes),
  ]);
}

export async function executions(page) {
  const [panel] = await panels("executions");
  const place = h("div");
  fill(page.root, h("h1", {}, "Executions"), place);
  if (!panel) return fill(place, h("p", { class: "quiet" }, "No extension runs anything."));
  let offset = 0;
  const show = async () => {
    const answer = await view(panel, { offset, limit: PAGE }, page);
    fill(place, table("Executions, the latest first", COLUMNS, rowsOf(answer.data.executions, panel.extension), { empty: "Nothing has run yet: open a package and run it." }),
      answer.page && answer.page.total > PAGE && pager(answer.page, PAGE, (next) => {
        offset = next;
        show().catch(page.fault);
      }));
  };
  await page.every(1500, show);
}

export async function oneExecution(page, extension, subject) {
  const of = async (role) => (await panels(role)).find((panel) => panel.extension === extension);
  const [panel, output, follow] = [await of("execution"), await of("output"), await of("output-follow")];
  if (!panel) throw new Error(`${extension} runs nothing`);
  const actions = (await panels("execution-action")).filter((one) => one.extension === extension);
  const [head, told, plots, bar] = [h("div"), h("div"), h("div", { class: "columns" }), h("div", { class: "bar" })];
  const streams = { stdout: h("pre", { class: "output", tabindex: 0, "aria-label": "What it prints" }), stderr: h("pre", { class: "output", tabindex: 0, "aria-label": "Its error output" }) };
  const errors = h("div", { hidden: true }, h("h3", {}, "Error output"), streams.stderr);
  const live = h("span", { class: "quiet", role: "status" });
  fill(page.root, h("p", { class: "crumbs" }, h("a", { href: path("executions") }, "Executions")), head, bar, told, plots,
    card("Output", live, streams.stdout, errors));
  const print = (stream, text) => {
    const place = streams[stream] ?? streams.stdout;
    const below = place.scrollHeight - place.scrollTop - place.clientHeight < 30;
    place.textContent = clean(place.textContent + text).slice(-OUTPUT_MAX);
    errors.hidden = streams.stderr.textContent === "";
    if (below) place.scrollTop = place.scrollHeight;
  };
  const settle = async () => {
    if (!output) return;
    const { data } = await view(output, { subject }, page);
    for (const stream of ["stdout", "stderr"]) {
      const skipped = data[`${stream}_skipped_bytes`];
      streams[stream].textContent = "";
      print(stream, `${skipped ? `[${skipped} bytes before this are no longer kept]\n` : ""}${data[stream] ?? ""}`);
    }
    fill(live, streams.stdout.textContent + streams.stderr.textContent === "" ? "It printed nothing." : "");
  };
  const samples = [];
  let begun = false;
  await page.every(500, async () => {
    const { data } = await view(panel, { subject }, page);
    const going = !data.finished_at;
    fill(head, h("div", { class: "title" }, h("h1", {}, h("a", { href: path("packages", extension, `${data.package}@${data.version}`) }, data.package), " ", h("small", {}, data.version)), state(data.state)),
      h("p", { class: "quiet" }, "execution ", h("code", {}, data.execution)));
    if (!going !== (bar.dataset.done === "yes") || !bar.hasChildNodes()) {
      bar.dataset.done = going ? "no" : "yes";
      fill(bar, going ? buttons(actions, () => subject, page, () => {}) : []);
    }
    const usage = data.usage ?? {};
    fill(told, data.error && h("p", { class: "alert" }, data.error), card(undefined, facts([
      ["value", data.value === null || data.value === undefined ? undefined : h("code", {}, JSON.stringify(data.value).slice(0, 2000))],
      ["accepted", moment(data.accepted_at)], ["begun", moment(data.started_at)], ["finished", moment(data.finished_at)],
      ["in the queue", micros(usage.queued_us)], ["ran for", micros(usage.wall_us)], ["processor", micros(usage.cpu_us)], ["memory, at most", bytes(usage.memory_peak_bytes)],
      ["priority", String(data.priority ?? "").toLowerCase()], ["node", short(data.node, 13)], ["attempts", data.attempts > 1 ? number(data.attempts) : undefined],
      ["proof", data.proof && short(data.proof, 16)], ["leases", (data.leases ?? []).length || undefined]])));
    if (going) samples.push([Date.now(), usage.cpu_us ?? 0, usage.memory_peak_bytes ?? 0]);
    const share = samples.slice(1).map(([time, cpu], at) => [time, Math.max(0, ((cpu - samples[at][1]) / Math.max(1, (time - samples[at][0]) * 1000)) * 100)]);
    const memory = samples.map(([time, , held]) => [time, held]);
    if (memory.length > 1) fill(plots, plot("Processor, % of one", share, { show: (value) => `${Math.round(value)} %`, floor: 100 }), plot("Memory", memory, { show: bytes }));
    else if (!going) fill(plots, h("p", { class: "quiet" }, "It ended before this page was opened, so there is only what it used in all."));
    if (!begun) {
      begun = true;
      if (going && follow) {
        fill(live, "live");
        for (const stream of Object.values(streams)) stream.textContent = "";
        view(follow, { subject }, { ...page, progress: (report) => report.unit === "output" && print(report.stage, report.message) })
          .then(settle)
          // A connection ends after a while, whatever goes on: the next look begins to follow again.
          .catch((error) => {
            begun = error.name === "AbortError";
          });
      } else await settle();
    }
    return going;
  });
}
