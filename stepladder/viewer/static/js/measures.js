// Measures of a trajectory in small pictures: reward terms, and where the time went.

import { make } from "./dom.js";
import { number, seconds, signed } from "./format.js";

// Named reward terms as signed bars. `parts`: {name: value}.
export function rewardTerms(parts) {
  const names = Object.keys(parts ?? {});
  if (!names.length) return make("p", { class: "muted small", text: "No terms beside the task reward" });
  const largest = Math.max(...names.map((name) => Math.abs(parts[name])), 1e-9);
  return make(
    "table",
    { class: "terms" },
    make("caption", { class: "unseen", text: "Reward terms" }),
    make(
      "tbody",
      {},
      names.map((name) =>
        make(
          "tr",
          {},
          make("th", { scope: "row", text: name }),
          make("td", {}, signedBar(parts[name], largest)),
          make("td", { class: "num", text: number(parts[name]) }),
        ),
      ),
    ),
  );
}

// A bar to the left or the right of a middle line. `label` null: words of the value.
export function signedBar(value, largest, label = null) {
  const share = Math.min(1, Math.abs(value ?? 0) / (largest || 1)) * 50;
  const vars = { left: value < 0 ? `${50 - share}%` : "50%", width: `${share}%` };
  return make(
    "span",
    { class: "signed", role: "img", "aria-label": label ?? signed(value) },
    make("i", { class: value < 0 ? "down" : "up", vars }),
  );
}

// Where the time of every step went: one stacked bar a step. `current` is the index of the step that is shown.
export function timing(steps, current, onChoose) {
  const names = [...new Set(steps.flatMap((step) => Object.keys(step.seconds ?? {})))];
  if (!names.length) return make("p", { class: "muted", text: "No times were written down" });
  const totals = steps.map((step) => Object.values(step.seconds ?? {}).reduce((whole, part) => whole + part, 0));
  const longest = Math.max(...totals, 1e-9);
  const mean = (name) => steps.reduce((whole, step) => whole + (step.seconds?.[name] ?? 0), 0) / steps.length;
  const legend = names.map((name, i) =>
    make(
      "li",
      {},
      make("i", { class: `key series-${(i % 6) + 1}` }),
      name,
      make("span", { class: "muted", text: ` ${seconds(mean(name))} a step` }),
    ),
  );
  const rows = steps.map((step, index) =>
    make(
      "button",
      {
        type: "button",
        class: "time-row",
        "aria-current": index === current ? "step" : null,
        "aria-label": `Step ${index + 1}: ${seconds(totals[index])}`,
        on: { click: () => onChoose(index) },
      },
      make("span", { class: "num muted", text: String(index + 1) }),
      make(
        "span",
        { class: "stack" },
        names.map((name, i) =>
          make("i", {
            class: `series-${(i % 6) + 1}`,
            title: `${name} ${seconds(step.seconds?.[name] ?? 0)}`,
            vars: { width: `${(100 * (step.seconds?.[name] ?? 0)) / longest}%` },
          }),
        ),
      ),
      make("span", { class: "num", text: seconds(totals[index]) }),
    ),
  );
  return make("div", { class: "timing" }, make("ul", { class: "legend" }, legend), rows);
}

// Any JSON value as text for reading.
export function jsonText(value) {
  return make("pre", { class: "json", text: JSON.stringify(value, null, 2) });
}
