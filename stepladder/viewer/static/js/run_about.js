// What a run was asked to do, how far it came, and on what machine.

import { make } from "./dom.js";
import { number, seconds } from "./format.js";
import { jsonText } from "./measures.js";

export async function aboutView(place, run) {
  const phases = Object.entries(run.phases ?? {});
  const parts = Object.entries(run.configs ?? { "": run.config ?? {} });
  const settings = parts.flatMap(([part, config]) => flat(config, part));
  const search = make("input", { type: "search", placeholder: "Search settings", "aria-label": "Search settings" });
  const list = make(
    "dl",
    { class: "facts settings" },
    settings.map(([name, value]) => [make("dt", { class: "mono", text: name }), make("dd", { class: "mono", text: value })]),
  );
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    for (const term of list.querySelectorAll("dt")) {
      const hidden = !`${term.textContent} ${term.nextElementSibling.textContent}`.toLowerCase().includes(wanted);
      term.hidden = hidden;
      term.nextElementSibling.hidden = hidden;
    }
  });
  place.append(
    ...[
      phases.length ? section("Phases", phaseTable(phases)) : null,
      run.stores.length ? section("Stores", storeTable(run.stores)) : null,
      section(
        "Settings",
        settings.length ? [search, list] : make("p", { class: "muted", text: "No configuration was written down" }),
      ),
      run.machine ? section("Last start", jsonText(run.machine)) : null,
    ].filter(Boolean),
  );
}

function section(title, ...content) {
  return make("section", {}, make("h2", { text: title }), content);
}

function phaseTable(phases) {
  const rows = phases.map(([name, state]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", text: name }),
      make("td", {}, make("span", { class: `badge ${state.done ? "good" : "warn"}`, text: state.done ? "done" : "not done" })),
      make("td", { class: "num", text: seconds(state.seconds) }),
      make("td", {
        class: "muted small",
        text: flat(state.result ?? {})
          .slice(0, 6)
          .map(([key, value]) => `${key} ${Number.isFinite(Number(value)) ? number(Number(value)) : value}`)
          .join(" · "),
      }),
    ),
  );
  const head = ["Phase", "State", "Time", "Result"].map((title) =>
    make("th", { scope: "col", class: title === "Time" ? "num" : null, text: title }),
  );
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)));
}

function storeTable(stores) {
  const rows = stores.map((store) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", text: store.id }),
      [store.trajectories, store.graded, store.successes].map((value) => make("td", { class: "num", text: number(value) })),
      make("td", { class: "muted small", text: (store.policies ?? []).join(", ") }),
    ),
  );
  const head = ["Store", "Trajectories", "Graded", "Successes", "Policies"].map((title, i) =>
    make("th", { scope: "col", class: i > 0 && i < 4 ? "num" : null, text: title }),
  );
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)));
}

// Nested settings under dotted names.
function flat(value, name = "") {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    return Object.entries(value).flatMap(([key, part]) => flat(part, name ? `${name}.${key}` : key));
  }
  return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
}
