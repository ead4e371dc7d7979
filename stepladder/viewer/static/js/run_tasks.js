// How a run's episodes went, task by task, with intervals.

import { get, runPath, withQuery } from "./api.js";
import { interval } from "./chart.js";
import { make, replace } from "./dom.js";
import { number, percent, statusWords } from "./format.js";
import { empty, failure, loading } from "./notices.js";
import { go, keep, link, pagePath } from "./router.js";

const COLUMNS = [
  ["task", "Task"],
  ["rate", "Success", "rate"],
  ["n", "n", "num"],
  ["missing", "Missing", "num extra"],
  ["steps", "Steps", "num"],
  ["statuses", "Ended", "extra ended"],
];

const VALUE = {
  task: (row) => row.task,
  rate: (row) => row.rate ?? -1,
  n: (row) => row.n,
  missing: (row) => missing(row),
  steps: (row) => row.steps ?? 0,
};

export async function tasksView(place, run, query) {
  const stores = run.stores.map((store) => store.id);
  if (!stores.length) {
    place.append(empty("This run has played no task yet"));
    return undefined;
  }
  let rows = [];
  let shown = [];
  let active = -1;
  let sort = query.get("sort") ?? "task";
  let store = stores.includes(query.get("store")) ? query.get("store") : mostTelling(run);
  const choice = make(
    "select",
    { "aria-label": "Store", on: { change: () => load(choice.value) } },
    stores.map((id) => make("option", { value: id, selected: id === store, text: id })),
  );
  const search = make("input", {
    type: "search",
    placeholder: "Search tasks",
    "aria-label": "Search tasks",
    value: query.get("q") ?? "",
    on: {
      input: () => {
        keep({ q: search.value.trim() });
        active = -1;
        draw();
      },
    },
  });
  const note = make("span", { class: "muted", role: "status" });
  const head = make("tr");
  const body = make("tbody");
  const table = make(
    "div",
    { class: "scroll" },
    make(
      "table",
      { class: "tasks" },
      make("caption", { class: "unseen", text: "Tasks of the store" }),
      make("thead", {}, head),
      body,
    ),
  );
  const message = make("div", {});
  place.append(
    make("div", { class: "filters" }, make("label", { class: "field" }, make("span", { text: "Store" }), choice), search, note),
    message,
    table,
  );

  const address = (row) =>
    `${pagePath("run", run.id)}?view=trajectories&store=${encodeURIComponent(store)}&task=${encodeURIComponent(row.task)}`;
  const choose = (index) => {
    active = index;
    [...body.children].forEach((row, i) => row.classList.toggle("active", i === index));
  };

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const down = sort.startsWith("-");
    const value = VALUE[sort.replace(/^-/, "")] ?? VALUE.task;
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    shown = rows
      .filter((row) => row.task.toLowerCase().includes(wanted))
      .sort((a, b) => (down ? -1 : 1) * order(value(a), value(b)));
    replace(
      head,
      COLUMNS.map((column) => heading(column)),
    );
    replace(
      body,
      shown.map((row) => taskRow(row, address(row))),
    );
    replace(note, summary(shown));
    choose(Math.min(active, shown.length - 1));
  }

  function heading([name, title, classes = ""]) {
    if (!VALUE[name]) return make("th", { scope: "col", class: classes, text: title });
    const direction = sort === name ? "ascending" : sort === `-${name}` ? "descending" : "none";
    const press = () => {
      sort = direction === "ascending" ? `-${name}` : name;
      keep({ sort: sort === "task" ? "" : sort });
      draw();
    };
    return make(
      "th",
      { scope: "col", class: `${classes}${direction === "none" ? "" : " sorted"}`, "aria-sort": direction },
      make("button", { type: "button", text: title, on: { click: press } }),
    );
  }

  async function load(name) {
    store = name;
    keep({ store: store === mostTelling(run) ? "" : store });
    replace(message, loading());
    try {
      const answer = await get(withQuery(runPath(run.id, "tasks"), { store }), { fresh: true });
      if (store !== name) return;
      rows = answer.tasks;
      replace(message, rows.length ? null : empty("No episode is in this store"));
      draw();
    } catch (error) {
      replace(message, failure(error));
    }
  }

  const move = (by) => {
    if (!shown.length) return false;
    choose(Math.max(0, Math.min(shown.length - 1, active + by)));
    body.children[active].scrollIntoView({ block: "nearest" });
    return true;
  };
  const acts = {
    next: () => move(1),
    previous: () => move(-1),
    open: () => (shown[active] ? (go(address(shown[active])), true) : false),
  };
  await load(store);
  return { act: (name) => acts[name]?.() ?? false };
}

// The store that says most of what came out: that of the run's headline, else the last one of those with grades.
export function mostTelling(run) {
  const of = run.headline?.store;
  if (run.stores.some((store) => store.id === of)) return of;
  const graded = run.stores.filter((store) => store.graded > 0);
  return (graded.at(-1) ?? run.stores.at(-1))?.id ?? "";
}

function summary(rows) {
  const n = rows.reduce((whole, row) => whole + row.n, 0);
  const successes = rows.reduce((whole, row) => whole + row.successes, 0);
  const lost = rows.reduce((whole, row) => whole + missing(row), 0);
  const parts = [
    `${rows.length} tasks`,
    n ? `${number(successes)} of ${number(n)} succeed, ${percent(successes / n)}` : "",
    lost ? `${number(lost)} missing` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

function missing(row) {
  return Object.values(row.missing ?? {}).reduce((whole, part) => whole + part, 0);
}

function taskRow(row, address) {
  const lost = Object.entries(row.missing ?? {});
  const ended = Object.entries(row.statuses ?? {}).sort((a, b) => b[1] - a[1]);
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, make("a", { href: link(address), text: row.task })),
    make(
      "td",
      { class: "share" },
      make("span", { class: "rate" }, make("b", { text: percent(row.rate, 0) }), interval(row.rate, row.low, row.high)),
    ),
    make("td", { class: "num", text: number(row.n) }),
    make(
      "td",
      { class: "num extra", title: lost.map(([reason, times]) => `${reason}: ${times}`).join(", ") },
      lost.length ? make("span", { class: "warn", text: number(missing(row)) }) : make("span", { class: "muted", text: "–" }),
    ),
    make("td", { class: "num", text: row.steps === null || row.steps === undefined ? "–" : number(row.steps, 2) }),
    make("td", {
      class: "extra ended muted small",
      text: ended.map(([status, times]) => `${statusWords(status)} ${times}`).join(", "),
    }),
  );
}
