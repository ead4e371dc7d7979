// A run's groups: attempts of one task from one start, with the spread of their rewards.

import { get, runPath, withQuery } from "./api.js";
import { make, replace } from "./dom.js";
import { count, number, outcomeClass, percent } from "./format.js";
import { empty } from "./notices.js";
import { go, groupPath, keep, link } from "./router.js";
import { Rows, cell } from "./rows.js";

const COLUMNS = [
  { title: "Task", width: "minmax(9rem, 1.2fr)" },
  { title: "Seed", width: "5rem", class: "num" },
  { title: "Attempts", width: "5rem", class: "num" },
  { title: "Success", width: "5rem", class: "num" },
  { title: "Rewards", width: "minmax(7rem, 1.4fr)" },
  { title: "Group", width: "minmax(6rem, 1fr)", class: "extra" },
];
// So many rewards fit into a row.
const DOTS = 32;

export async function groupsView(place, run, query) {
  const stores = run.stores.map((store) => store.id);
  if (!stores.length) {
    place.append(empty("This run holds no trajectory yet"));
    return undefined;
  }
  let store = stores.includes(query.get("store")) ? query.get("store") : "";
  const note = make("span", { class: "muted", role: "status" });
  const choice = make(
    "select",
    {
      "aria-label": "Store",
      on: {
        change: () => {
          store = choice.value;
          keep({ store });
          rows.reload();
        },
      },
    },
    make("option", { value: "", text: "all stores" }),
    stores.map((id) => make("option", { value: id, selected: id === store, text: id })),
  );
  const address = (row) => groupPath(run.id, row.store ?? store, row.group);
  const rows = new Rows({
    label: "Groups",
    columns: COLUMNS,
    load: async (offset, limit) => {
      const answer = await get(withQuery(runPath(run.id, "groups"), { store, offset, limit }), { fresh: offset === 0 });
      return { total: answer.total, rows: answer.groups };
    },
    draw: (row) => cells(row, address(row)),
    open: (row) => go(address(row)),
    onTotal: (total) => replace(note, count(total, "group")),
  });
  place.append(
    make("div", { class: "filters" }, make("label", { class: "field" }, make("span", { text: "Store" }), choice), note),
    rows.element,
  );
  await rows.reload();
  const acts = { next: () => rows.move(1), previous: () => rows.move(-1), open: () => rows.openChosen() };
  return { act: (name) => acts[name] !== undefined && acts[name]() !== false, close: () => rows.close() };
}

function cells(row, address) {
  const graded = row.rewards.filter((reward) => reward !== null);
  const successes = graded.filter((reward) => reward >= 0.5).length;
  const dots = row.rewards
    .slice(0, DOTS)
    .map((reward) =>
      make("i", { class: `dot ${outcomeClass(reward)}`, title: reward === null ? "not graded" : `reward ${number(reward)}` }),
    );
  return [
    cell(make("a", { href: link(address), tabindex: "-1", text: row.task }), "task"),
    cell(String(row.seed), "num muted"),
    cell(number(row.n), "num"),
    cell(graded.length ? percent(successes / graded.length, 0) : "–", "num"),
    cell([dots, row.rewards.length > DOTS ? "…" : null], "dots"),
    cell(row.group, "extra muted"),
  ];
}
