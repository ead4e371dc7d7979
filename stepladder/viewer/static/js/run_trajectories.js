// A run's trajectories in a windowed list with filters that the address keeps.

import { get, runPath, withQuery } from "./api.js";
import { make, replace } from "./dom.js";
import { STATUSES, count, number, outcomeClass, shorten, statusWords } from "./format.js";
import { compareMarked, isMarked, sideName, toggle, watchMarks } from "./marks.js";
import { empty } from "./notices.js";
import { go, groupPath, keep, link, trajectoryPath } from "./router.js";
import { Rows, cell } from "./rows.js";

const FILTERS = ["store", "task", "status", "reward", "step", "policy", "group", "q", "sort"];
const REWARDS = [
  ["", "any reward"],
  ["0.5..", "success"],
  ["..0.499999", "failure"],
  ["0.000001..0.999999", "between 0 and 1"],
  ["none", "not graded"],
];
const COLUMNS = [
  { title: "", width: "1.6rem", class: "marker" },
  { title: "Task", sort: "task", width: "minmax(9rem, 1.6fr)" },
  { title: "Seed", sort: "seed", width: "4.6rem", class: "num" },
  { title: "Reward", sort: "reward", width: "4.6rem", class: "num", descending: true },
  { title: "Ended", sort: "status", width: "minmax(6rem, .8fr)" },
  { title: "Steps", sort: "steps", width: "3.6rem", class: "num", descending: true },
  { title: "Attempt", sort: "index", width: "4.4rem", class: "num extra" },
  { title: "Policy", sort: "policy", width: "minmax(6rem, 1fr)", class: "extra" },
  { title: "Store", sort: "store", width: "minmax(5rem, .8fr)", class: "extra" },
];
const WAIT_MILLISECONDS = 160;

export async function trajectoriesView(place, run, query) {
  if (!run.stores.length) {
    place.append(empty("This run holds no trajectory yet"));
    return undefined;
  }
  const values = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const note = make("span", { class: "muted", role: "status" });
  let rows = null;
  let waiting = 0;

  const change = (changes) => {
    Object.assign(values, changes);
    keep(values);
    clearTimeout(waiting);
    waiting = setTimeout(() => (changes.sort === undefined ? rows.reload() : rebuild()), WAIT_MILLISECONDS);
  };

  const bar = filterBar(run, values, change);
  const holder = make("div", {});
  place.append(make("div", { class: "filters" }, bar, note), holder);

  async function rebuild() {
    rows?.close();
    rows = new Rows({
      label: "Trajectories",
      columns: COLUMNS,
      load: (offset, limit) => page(run.id, values, offset, limit),
      draw: (row) => cells(run.id, row),
      open: (row) => go(trajectoryPath(run.id, row.store, row.id)),
      mark: (row) => toggle(sideName(run.id, row.store, row.id)),
      sort: values.sort || null,
      onSort: (sort) => change({ sort }),
      onTotal: (total) => replace(note, count(total, "trajectory", "trajectories")),
    });
    replace(holder, rows.element);
    await rows.reload();
  }
  await rebuild();
  const unwatch = watchMarks(() => rows.refresh());
  const acts = {
    next: () => rows.move(1),
    previous: () => rows.move(-1),
    open: () => rows.openChosen(),
    mark: () => rows.markChosen(),
    compare: () => compareMarked(),
  };
  return {
    act: (name) => acts[name]?.() !== false,
    close() {
      clearTimeout(waiting);
      unwatch();
      rows.close();
    },
  };
}

async function page(run, values, offset, limit) {
  const answer = await get(withQuery(runPath(run, "trajectories"), { ...values, offset, limit }), { fresh: offset === 0 });
  return { total: answer.total, rows: answer.trajectories };
}

// The fields that narrow the list. `change({name: value})`.
function filterBar(run, values, change) {
  const policies = [...new Set(run.stores.flatMap((store) => store.policies ?? []))];
  const search = make("input", {
    type: "search",
    placeholder: "Search task, id, policy",
    "aria-label": "Search trajectories",
    value: values.q,
    on: { input: () => change({ q: search.value.trim() }) },
  });
  const task = make("input", {
    type: "text",
    placeholder: "any task",
    "aria-label": "Task",
    value: values.task,
    list: "tasks-of-run",
    autocomplete: "off",
    on: { change: () => change({ task: task.value.trim() }), focus: () => offerTasks() },
  });
  const offered = make("datalist", { id: "tasks-of-run" });
  const step = make("input", {
    type: "number",
    min: "0",
    placeholder: "0",
    class: "short",
    "aria-label": "Fewest steps",
    value: values.step,
    on: { input: () => change({ step: step.value }) },
  });
  const rewards = REWARDS.some(([value]) => value === values.reward) ? REWARDS : [...REWARDS, [values.reward, values.reward]];
  const clear = make("button", { type: "button", class: "tool", text: "Clear", on: { click: () => clearAll() } });
  let asked = false;
  const offerTasks = async () => {
    if (asked) return;
    asked = true;
    const answers = await Promise.all(run.stores.map((store) => get(withQuery(runPath(run.id, "tasks"), { store: store.id }))));
    const names = [...new Set(answers.flatMap((answer) => answer.tasks.map((row) => row.task)))].sort();
    replace(
      offered,
      names.map((name) => make("option", { value: name })),
    );
  };
  const selects = [
    select("Store", "store", [
      ["", "all stores"],
      ...run.stores.map((store) => [store.id, `${store.id} · ${number(store.trajectories)}`]),
    ]),
    select("Outcome", "reward", rewards),
    select("Status", "status", [["", "any status"], ...STATUSES.map((status) => [status, statusWords(status)])]),
    policies.length > 1
      ? select("Policy", "policy", [["", "any policy"], ...policies.map((policy) => [policy, shorten(policy, 40)])])
      : null,
  ];
  const group = values.group
    ? make("button", {
        type: "button",
        class: "tool",
        title: "Show all groups",
        text: `group ${shorten(values.group, 24)} ✕`,
        on: {
          click: () => {
            group.remove();
            change({ group: "" });
          },
        },
      })
    : null;

  function select(label, name, options) {
    const known = options.some(([value]) => value === values[name]) ? options : [...options, [values[name], values[name]]];
    const element = make(
      "select",
      { "aria-label": label, on: { change: () => change({ [name]: element.value }) } },
      known.map(([value, text]) => make("option", { value, selected: value === values[name], text })),
    );
    return element;
  }

  function clearAll() {
    for (const element of [search, task, step]) element.value = "";
    for (const element of selects.filter(Boolean)) element.value = "";
    group?.remove();
    change({ store: "", task: "", status: "", reward: "", step: "", policy: "", group: "", q: "" });
  }

  return [
    search,
    task,
    offered,
    ...selects,
    make("label", { class: "field" }, make("span", { text: "steps ≥" }), step),
    group,
    clear,
  ];
}

function cells(run, row) {
  const name = sideName(run, row.store, row.id);
  const on = isMarked(name);
  const mark = make("button", {
    type: "button",
    class: `mark${on ? " on" : ""}`,
    "aria-pressed": String(on),
    "aria-label": "Mark for comparison",
    title: "Mark for comparison (x)",
    tabindex: "-1",
    text: on ? "✕" : "",
    on: { click: () => toggle(name) },
  });
  const reward = row.reward === null || row.reward === undefined ? "–" : number(row.reward);
  return [
    cell(mark, "marker"),
    cell(
      make("a", { href: link(trajectoryPath(run, row.store, row.id)), tabindex: "-1", text: row.task, title: row.id }),
      "task",
    ),
    cell(String(row.seed), "num muted"),
    cell(make("span", { class: outcomeClass(row.reward), text: reward }), "num reward"),
    cell(statusWords(row.status), row.status === "done" ? "muted" : row.reward === null ? "warn" : ""),
    cell(number(row.steps), "num"),
    cell(
      row.group
        ? make("a", {
            href: link(groupPath(run, row.store, row.group)),
            tabindex: "-1",
            title: `Group ${row.group}`,
            text: `${row.index}`,
          })
        : "–",
      "num extra",
    ),
    cell(row.policy ?? "", "extra muted"),
    cell(row.store, "extra muted"),
  ];
}
