// One run: its measurements, alarms, tasks, trajectories and groups, each behind a tab that the address keeps.

import { exported, get, runPath } from "./api.js";
import { make, replace } from "./dom.js";
import { ago, moment, number } from "./format.js";
import { forPage } from "./keys.js";
import { failure, loading } from "./notices.js";
import { here, keep, link, pagePath } from "./router.js";
import { aboutView } from "./run_about.js";
import { groupsView } from "./run_groups.js";
import { metricsView } from "./run_metrics.js";
import { tasksView } from "./run_tasks.js";
import { trajectoriesView } from "./run_trajectories.js";

const VIEWS = [
  ["metrics", "Metrics", metricsView],
  ["tasks", "Tasks", tasksView],
  ["trajectories", "Trajectories", trajectoriesView],
  ["groups", "Groups", groupsView],
  ["about", "Configuration", aboutView],
];

// A view is `view(place, run, query)`; it may give {keys, close}.
export async function show(root, { parts: [id], query, crumbs, title }) {
  crumbs([
    ["Runs", "/"],
    [id, ""],
  ]);
  title(id);
  const run = await get(runPath(id), { fresh: true });
  const total = run.stores.reduce((whole, store) => whole + store.trajectories, 0);
  const place = make("div", { class: "view" });
  const tabs = VIEWS.map(([name, words]) =>
    make(
      "a",
      { href: link(`${pagePath("run", id)}?view=${name}`), "data-view": name, on: { click: (event) => pick(event, name) } },
      words,
      name === "trajectories" && total ? make("span", { class: "count", text: number(total) }) : null,
    ),
  );
  root.append(heading(run), make("nav", { class: "tabs", "aria-label": "Parts of the run" }, tabs), place);
  const started = run.metrics.length || run.alarms.length ? "metrics" : total ? "tasks" : "about";
  let current = null;
  let turn = 0;

  async function choose(name, values) {
    const mine = ++turn;
    current?.close?.();
    current = null;
    for (const tab of tabs) {
      if (tab.dataset.view === name) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    replace(place, loading());
    const inside = make("div", {});
    try {
      const view = VIEWS.find(([other]) => other === name)[2];
      replace(place, inside);
      const made = await view(inside, run, values);
      if (mine === turn) current = made ?? null;
      else made?.close?.();
    } catch (error) {
      if (mine === turn) replace(place, failure(error));
    }
  }

  function pick(event, name) {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const { query: before } = here();
    keep({ ...Object.fromEntries([...before.keys()].map((key) => [key, ""])), view: name }, { push: true });
    choose(name, new URLSearchParams());
  }

  const wanted = query.get("view");
  await choose(VIEWS.some(([name]) => name === wanted) ? wanted : started, query);
  const act = (name) => (event) => current?.act?.(name, event) ?? false;
  forPage(
    ...VIEWS.map(([name, words], i) => ({
      keys: [String(i + 1)],
      label: words.toLowerCase(),
      run: (event) => pick(event, name),
    })),
    { keys: ["j", "ArrowDown"], label: "next row", run: act("next") },
    { keys: ["k", "ArrowUp"], label: "previous row", run: act("previous") },
    { keys: ["Enter"], label: "open the row", run: act("open") },
    { keys: ["x"], label: "mark the trajectory for comparison", run: act("mark") },
    { keys: ["c"], label: "compare what is marked", run: act("compare") },
  );
  return () => {
    turn += 1;
    current?.close?.();
  };
}

function heading(run) {
  const started = run.machine?.time;
  const kinds = Object.keys(run.phases ?? {});
  const done = kinds.filter((name) => run.phases[name]?.done).length;
  return make(
    "div",
    { class: "page-head run-head" },
    make(
      "div",
      {},
      make("h1", { text: run.name }),
      make(
        "p",
        { class: "facts-line muted" },
        started
          ? make("span", {
              title: String(started),
              text:
                typeof started === "number"
                  ? `started ${ago(started)}, ${moment(started)}`
                  : `started ${String(started).slice(0, 16).replace("T", " ")}`,
            })
          : null,
        kinds.length ? make("span", { text: `${done} of ${kinds.length} phases done` }) : null,
      ),
    ),
    make(
      "div",
      { class: "where-to" },
      typeof run.report === "string"
        ? make("a", { class: "button", href: run.report, target: "_blank", rel: "noopener", text: "Report" })
        : null,
      exported ? null : make("a", { class: "button", href: link(pagePath("live", run.id)), text: "Live" }),
    ),
  );
}
