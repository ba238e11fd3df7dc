// What can be done: nothing without a question that says what, and what command would do the same.

import { ask, command, offers } from "./node.js";
import { clean, fault, fill, h, number, path } from "./html.js";

export const button = (name, onclick, kind) => h("button", { type: "button", class: kind, onclick }, name);

const title = (verb) => verb.charAt(0).toUpperCase() + verb.slice(1);

// A button for each action. `about` gives what it is done to, by its panel.
export function buttons(panels, about, page, done) {
  const ordered = [...panels.filter((panel) => !panel.takes_away), ...panels.filter((panel) => panel.takes_away)];
  return ordered.map((panel) => {
    const subject = about?.(panel);
    return button(title(panel.verb), () => confirm({
      title: `${title(panel.verb)}${subject === undefined ? "" : ` ${subject}`}?`,
      text: panel.summary,
      more: panel.description,
      yes: title(panel.verb),
      kind: panel.takes_away ? "harm" : undefined,
      fields: fieldsOf(panel, subject),
      command: (params) => command(panel, subject, params),
      work: async (options, params) => {
        const answer = await ask({ act: { extension: panel.extension, verb: panel.verb, role: panel.role, subject, params } }, options);
        // What was set going is shown as it goes.
        const id = answer.data?.execution;
        if (id && (panel.role === "package-action" || panel.role === "release-action")) options.leave(path("executions", panel.extension, id));
        return answer;
      },
      done: async () => {
        await offers({ again: true });
        await done?.();
      },
    }), panel.takes_away ? "harm" : undefined);
  });
}

// The parameters of an action that are asked for: its schema says their kinds.
function fieldsOf(panel, subject) {
  const { properties = {}, required = [] } = panel.parameters ?? {};
  const given = new Set([...Object.keys(panel.with ?? {}), subject === undefined ? "" : panel.subject]);
  return Object.entries(properties).filter(([name]) => !given.has(name)).map(([name, schema]) => {
    const shape = resolve(schema, panel.parameters);
    const kinds = [shape.type].flat();
    const kind = ["boolean", "integer", "number", "array", "object"].find((one) => kinds.includes(one)) ?? "string";
    const choices = shape.enum ?? (shape.oneOf ?? []).map((one) => one.const).filter((one) => one !== undefined);
    return {
      name, kind, choices, label: name.replaceAll("_", " "), hint: schema.description ?? shape.description ?? "", json: schema["x-cli"]?.json === true,
      required: required.includes(name), front: required.includes(name) || schema["x-cli"]?.position !== undefined || name === "dry_run",
    };
  });
}

function resolve(schema, root) {
  const name = /^#\/\$defs\/(.+)$/.exec(schema.$ref ?? "")?.[1];
  if (name) return resolve(root.$defs?.[name] ?? {}, root);
  const part = (schema.anyOf ?? []).find((one) => one.type !== "null");
  return part ? resolve(part, root) : schema;
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// Words of a list, kept together by quotes or brackets.
const words = (text) => text.match(/"[^"]*"|\{.*\}|\[.*\]|\S+/g) ?? [];

function read({ kind, json: free }, input) {
  if (kind === "boolean") return input.checked ? true : undefined;
  const text = input.value.trim();
  if (text === "") return undefined;
  if (kind === "integer" || kind === "number") return Number(text);
  if (kind === "array") return words(text).map((word) => (free ? json(word) : word.replace(/^"|"$/g, "")));
  if (kind === "object" || free) return json(text);
  return text;
}

// Asks whether something is to be done, does it, and shows what came of it.
export function confirm({ title: question, text, more, yes, kind, fields = [], command: preview, work, done }) {
  const dialog = document.getElementById("dialog");
  const stop = new AbortController();
  const inputs = new Map();
  const line = h("code");
  const progress = h("p", { class: "quiet", role: "status" });
  const outcome = h("div");
  const params = () => Object.fromEntries([...inputs].map(([field, input]) => [field.name, read(field, input)]).filter(([, value]) => value !== undefined));
  const show = () => fill(line, typeof preview === "function" ? preview(params()) : preview);
  const field = (one) => {
    const id = `field-${one.name}`;
    const input = one.choices?.length
      ? h("select", { id, oninput: show }, h("option", { value: "" }, "as usual"), one.choices.map((choice) => h("option", { value: String(choice) }, choice)))
      : h("input", { id, type: one.kind === "boolean" ? "checkbox" : one.kind === "integer" || one.kind === "number" ? "number" : "text", required: one.required, autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-hint`, oninput: show });
    inputs.set(one, input);
    const hint = h("small", { id: `${id}-hint` }, one.hint);
    return one.kind === "boolean" ? h("p", { class: "field check" }, input, h("label", { for: id }, one.label), hint) : h("p", { class: "field" }, h("label", { for: id }, one.label, one.required ? " (needed)" : ""), input, hint);
  };
  const front = fields.filter((one) => one.front ?? true).map(field);
  const rest = fields.filter((one) => one.front === false).map(field);
  const close = () => {
    stop.abort();
    if (dialog.open) dialog.close();
  };
  const no = button("Cancel", close);
  const go = h("button", { type: "submit", class: kind ?? "main" }, `Yes, ${yes.toLowerCase()}`);
  const begin = async (event) => {
    event.preventDefault();
    go.disabled = true;
    fill(outcome);
    fill(progress, "Working …");
    let next = null;
    const told = (report) => report.unit !== "output" && fill(progress, `${report.stage} ${report.message} ${report.total ? `${number(report.done)} of ${number(report.total)} ${report.unit}` : ""}`);
    try {
      const answer = await work({ signal: stop.signal, progress: told, leave: (to) => { next = to; } }, params());
      fill(progress, "Done.");
      if (answer?.text) fill(outcome, h("pre", {}, answer.text));
      fill(no, "Close");
      go.hidden = true;
      await done?.();
      if (next) {
        close();
        location.hash = next;
      } else no.focus();
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(progress);
      fill(outcome, fault(error), error.record?.answer?.text && h("pre", {}, error.record.answer.text));
      go.disabled = false;
    }
  };
  fill(dialog, h("form", { onsubmit: begin },
    h("h2", { id: "dialog-title" }, clean(question)), h("p", {}, text), more && h("details", {}, h("summary", {}, "What that means"), h("p", {}, more)),
    front, rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} more settings`), rest),
    h("p", { class: "preview" }, h("span", { class: "quiet" }, "The same by command "), line),
    progress, outcome, h("p", { class: "buttons" }, no, go)));
  show();
  // Told a moment after it closed, when the next question may be there already: that one goes on.
  dialog.onclose = () => dialog.open || stop.abort();
  dialog.showModal();
  (front.length > 0 ? dialog.querySelector("input, select") : no).focus();
}
