// All runs: how well each one does, how it got there, and what went wrong.

import { get } from "./api.js";
import { interval, sparkline } from "./chart.js";
import { make, replace } from "./dom.js";
import { ago, count, moment, number, percent } from "./format.js";
import { forPage } from "./keys.js";
import { go, keep, link, pagePath } from "./router.js";

const COLUMNS = [
  ["name", "Run", "text"],
  ["rate", "Success", "number"],
  ["curve", "Curve", null],
  ["trajectories", "Trajectories", "number"],
  ["step", "Step", "number"],
  ["alarms", "Alarms", "number"],
  ["updated", "Updated", "number"],
];

const VALUE = {
  name: (run) => run.name,
  rate: (run) => run.headline?.rate ?? -1,
  trajectories: (run) => run.trajectories ?? 0,
  step: (run) => run.latest?.step ?? -1,
  alarms: (run) => run.alarms ?? 0,
  updated: (run) => run.updated ?? 0,
};

export async function show(root, { query, crumbs, title }) {
  crumbs([["Runs", ""]]);
  title("Runs");
  const answer = await get("/api/runs?limit=1000", { fresh: true });
  const table = new RunTable(answer.runs, query);
  root.append(table.heading, table.element);
  table.draw();
  forPage(
    { keys: ["j", "ArrowDown"], label: "next run", run: () => table.move(1) },
    { keys: ["k", "ArrowUp"], label: "previous run", run: () => table.move(-1) },
    { keys: ["Enter"], label: "open the run", run: () => table.open() },
  );
}

class RunTable {
  constructor(runs, query) {
    this.runs = runs;
    this.sort = query.get("sort") ?? "-updated";
    this.active = -1;
    this.search = make("input", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Search runs",
      value: query.get("q") ?? "",
      on: { input: () => this.#searched(), keydown: (event) => event.key === "Enter" && this.#enter() },
    });
    this.note = make("span", { class: "muted", role: "status" });
    this.heading = make("div", { class: "page-head" }, make("h1", { text: "Runs" }), this.note, this.search);
    this.head = make("tr");
    this.body = make("tbody");
    this.element = make(
      "div",
      { class: "scroll" },
      make(
        "table",
        { class: "runs" },
        make("caption", { class: "unseen", text: "Runs" }),
        make("thead", {}, this.head),
        this.body,
      ),
    );
  }

  draw() {
    replace(
      this.head,
      COLUMNS.map((column) => this.#heading(column)),
    );
    this.shown = this.#sorted(this.runs.filter((run) => this.#fits(run)));
    replace(
      this.note,
      this.shown.length === this.runs.length
        ? count(this.runs.length, "run")
        : `${this.shown.length} of ${count(this.runs.length, "run")}`,
    );
    replace(
      this.body,
      this.shown.map((run, i) => this.#row(run, i)),
    );
    if (!this.shown.length)
      replace(
        this.body,
        make(
          "tr",
          {},
          make("td", {
            colspan: COLUMNS.length,
            class: "empty",
            text: this.runs.length ? "No run fits" : "There is no run here yet",
          }),
        ),
      );
    this.choose(Math.min(this.active, this.shown.length - 1));
  }

  move(by) {
    if (!this.shown.length) return;
    this.choose(Math.max(0, Math.min(this.shown.length - 1, this.active + by)));
    this.body.children[this.active].scrollIntoView({ block: "nearest" });
  }

  choose(index) {
    this.active = index;
    [...this.body.children].forEach((row, i) => row.classList.toggle("active", i === index));
  }

  open() {
    const run = this.shown[this.active];
    if (!run) return false;
    go(pagePath("run", run.id));
    return true;
  }

  #enter() {
    if (this.active < 0) this.active = 0;
    this.open();
  }

  #searched() {
    keep({ q: this.search.value.trim() });
    this.active = -1;
    this.draw();
  }

  #fits(run) {
    const words = this.search.value.trim().toLowerCase().split(/\s+/);
    const text = `${run.name} ${run.id} ${run.kind ?? ""}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  #sorted(runs) {
    const down = this.sort.startsWith("-");
    const value = VALUE[this.sort.replace(/^-/, "")] ?? VALUE.updated;
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    return [...runs].sort((a, b) => (down ? -1 : 1) * order(value(a), value(b)));
  }

  #heading([name, title, kind]) {
    const classes = `col-${name}${kind === "number" && name !== "rate" ? " num" : ""}`;
    if (!kind) return make("th", { scope: "col", class: classes, text: title });
    const direction = this.sort === name ? "ascending" : this.sort === `-${name}` ? "descending" : "none";
    const press = () => {
      this.sort = direction === "none" ? (kind === "number" ? `-${name}` : name) : direction === "ascending" ? `-${name}` : name;
      keep({ sort: this.sort === "-updated" ? "" : this.sort });
      this.draw();
      this.head.querySelector(`.col-${name} button`).focus();
    };
    return make(
      "th",
      { scope: "col", class: `${classes}${direction === "none" ? "" : " sorted"}`, "aria-sort": direction },
      make("button", { type: "button", text: title, on: { click: press } }),
    );
  }

  #row(run, i) {
    const { headline } = run;
    const measured = Object.entries(run.latest?.metrics ?? {})
      .slice(0, 2)
      .map(([name, value]) => `${name} ${number(value)}`);
    const open = (event) => {
      if (event.target.closest("a")) return;
      this.choose(i);
      this.open();
    };
    return make(
      "tr",
      { on: { click: open } },
      make(
        "th",
        { scope: "row", class: "col-name" },
        make("a", { href: link(pagePath("run", run.id)), text: run.name }),
        make("span", { class: "muted kind", text: run.kind ?? "" }),
      ),
      make(
        "td",
        { class: "col-rate" },
        headline
          ? make(
              "span",
              { class: "rate" },
              make("b", { text: percent(headline.rate) }),
              interval(headline.rate, headline.low, headline.high),
              make("span", { class: "muted small", text: `n ${number(headline.n)}` }),
            )
          : make("span", { class: "muted", text: "–" }),
      ),
      make("td", { class: "col-curve" }, sparkline(run.curve, `Curve of ${run.name}`)),
      make("td", { class: "num col-trajectories", text: number(run.trajectories) }),
      make(
        "td",
        { class: "num col-step", title: measured.join(", ") },
        run.latest
          ? [number(run.latest.step), make("span", { class: "muted small phase", text: ` ${run.latest.phase ?? ""}` })]
          : "–",
      ),
      make(
        "td",
        { class: "num col-alarms" },
        run.alarms
          ? make("span", { class: "badge warn", text: number(run.alarms) })
          : make("span", { class: "muted", text: "–" }),
      ),
      make("td", { class: "num col-updated muted", title: moment(run.updated), text: ago(run.updated) }),
    );
  }
}
