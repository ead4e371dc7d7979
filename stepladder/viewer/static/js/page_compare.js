// Trajectories of one task side by side, their steps aligned by what the screens showed, scrubbed together.

import { get } from "./api.js";
import { describe, describeStep, pointerBefore } from "./actions.js";
import { make, replace } from "./dom.js";
import { thumbnail } from "./film.js";
import { count, number, outcomeClass, outcomeWords, shorten, statusWords } from "./format.js";
import { forPage } from "./keys.js";
import { comparePath } from "./marks.js";
import { keep, link, trajectoryPath } from "./router.js";
import { Screen } from "./screen.js";

const REASONS = {
  start: "they began in different states",
  actions: "in the same state they did different things",
  environment: "the same actions led elsewhere",
};

export async function show(root, { query, crumbs, title }) {
  crumbs([
    ["Runs", "/"],
    ["Compare", ""],
  ]);
  title("Compare");
  const names = [...query]
    .filter(([key]) => /^[a-z]$/.test(key))
    .sort()
    .map(([, value]) => value);
  if (names.length < 2) {
    root.append(
      make("h1", { text: "Compare" }),
      make("p", {}, "Mark two trajectories of a run with x and press c, or choose Compare on the page of one."),
    );
    return undefined;
  }
  const answer = await get(comparePath(names).replace("/compare", "/api/compare"));
  const view = new Comparison(answer, names);
  root.append(...view.parts());
  const wanted = Number(query.get("row") ?? NaN) - 1;
  view.choose(Number.isInteger(wanted) && wanted >= 0 && wanted < view.rows.length ? wanted : (view.parting ?? 0));
  view.keys();
  title(`Compare ${answer.sides[0].task.id}`);
  return () => view.close();
}

class Comparison {
  constructor({ sides, rows, divergence, why = [] }, names) {
    const ends = sides.map((side) => (side.final?.screenshot ? side.steps.length : null));
    // The screens at the end stand side by side too, whichever step came before them.
    Object.assign(this, { sides, divergence, why, names, rows: ends.some((end) => end !== null) ? [...rows, ends] : rows });
    // Where different actions led apart, the step that did it is the last one that all have: it is what one wants to see.
    const decided = divergence > 0 && why.every((one) => one === null || one.reason === "actions");
    this.parting = decided ? divergence - 1 : divergence;
    this.screens = sides.map((_, i) => new Screen({ label: `Screen ${letter(i)}` }));
    this.captions = sides.map(() => make("div", { class: "said", "aria-live": "polite" }));
    this.where = make("span", { class: "where muted" });
    this.grid = this.#timeline();
  }

  parts() {
    const { sides, divergence } = this;
    const same = sides.every((side) => side.task.id === sides[0].task.id && side.seed === sides[0].seed);
    const head = make(
      "header",
      { class: "trajectory-head" },
      make(
        "div",
        { class: "what" },
        make("h1", { text: sides[0].task.instruction || sides[0].task.id }),
        make(
          "p",
          { class: "facts-line" },
          make("span", { text: sides[0].task.id }),
          make("span", { text: `seed ${sides[0].seed}` }),
          make("span", { text: this.#verdict() }),
        ),
      ),
    );
    const warning = same
      ? null
      : make(
          "div",
          { class: "notice warn" },
          make("strong", { text: "Different starts. " }),
          "These are not the same task and seed: what differs may be the task and not the agent.",
        );
    const columns = make(
      "div",
      { class: "sides", vars: { "--sides": sides.length } },
      sides.map((side, i) => this.#column(side, i)),
    );
    const jump = make("button", {
      type: "button",
      class: "tool",
      disabled: divergence === null,
      text: "First difference",
      title: "First difference (d)",
      on: { click: () => this.choose(this.parting) },
    });
    const tool = (text, label, by) =>
      make("button", {
        type: "button",
        class: "tool",
        "aria-label": label,
        title: label,
        text,
        on: { click: () => this.choose(this.row + by) },
      });
    const controls = make(
      "div",
      { class: "controls" },
      tool("←", "Previous step", -1),
      tool("→", "Next step", 1),
      this.where,
      jump,
    );
    return [head, warning, columns, controls, make("div", { class: "timeline-scroll" }, this.grid)].filter(Boolean);
  }

  choose(row) {
    if (row === null || row < 0 || row >= this.rows.length) return;
    this.row = row;
    this.sides.forEach((side, i) => this.#showSide(side, i, this.rows[row][i]));
    for (const cell of this.grid.querySelectorAll("[data-row]")) {
      if (Number(cell.dataset.row) === row) cell.setAttribute("aria-current", "step");
      else cell.removeAttribute("aria-current");
    }
    const current = this.grid.querySelector(`[data-row="${row}"]`);
    const scroll = this.grid.parentElement;
    if (current && scroll)
      scroll.scrollTo({ left: current.offsetLeft - (scroll.clientWidth - current.offsetWidth) / 2, behavior: "smooth" });
    this.where.textContent = `${row + 1} / ${this.rows.length}${row === this.parting ? ", the first difference" : ""}`;
    keep({ row: row + 1 });
  }

  keys() {
    forPage(
      { keys: ["ArrowRight", "j"], label: "next step of all", run: () => this.choose(this.row + 1) },
      { keys: ["ArrowLeft", "k"], label: "previous step of all", run: () => this.choose(this.row - 1) },
      { keys: ["Home"], label: "first step", run: () => this.choose(0) },
      { keys: ["End"], label: "last step", run: () => this.choose(this.rows.length - 1) },
      { keys: ["d"], label: "first difference", run: () => this.choose(this.parting) },
    );
  }

  close() {
    for (const screen of this.screens) screen.close();
  }

  #verdict() {
    if (this.divergence === null) return "no difference found";
    const reasons = [...new Set(this.why.filter(Boolean).map(({ reason }) => REASONS[reason] ?? reason))].join("; ");
    const when = this.divergence === 0 ? "apart from the first step" : `alike for ${count(this.divergence, "step")}, then apart`;
    return reasons ? `${when}: ${reasons}` : when;
  }

  #column(side, i) {
    const [run] = this.names[i].split("/").map(decodeURIComponent);
    const head = make(
      "div",
      { class: "side-head" },
      make("span", { class: `letter series-${i + 1}`, text: letter(i) }),
      make("a", { href: link(trajectoryPath(run, side.store, side.id)), text: shorten(side.policy || side.id, 48) }),
      make("span", {
        class: `badge ${outcomeClass(side.reward)}`,
        text: side.reward === null ? statusWords(side.status) : `${outcomeWords(side.reward)} ${number(side.reward)}`,
      }),
      make("span", { class: "muted small", text: `${count(side.steps.length, "step")} · ${run} / ${side.store}` }),
    );
    return make("section", { class: "side", "aria-label": `Side ${letter(i)}` }, head, this.screens[i].element, this.captions[i]);
  }

  #showSide(side, i, index) {
    const caption = this.captions[i];
    const absent = index === null || index === undefined;
    this.screens[i].element.classList.toggle("waiting", absent);
    if (absent) {
      this.screens[i].show({ screenshot: this.#lastSeen(side, i), label: `Side ${letter(i)} has no step here` });
      replace(caption, make("p", { class: "muted", text: "No step stands beside the other one here." }));
      return;
    }
    const step = side.steps[index];
    const observation = step?.observation ?? side.final;
    this.screens[i].show({
      screenshot: observation?.screenshot ?? null,
      actions: step?.actions ?? [],
      pointer: pointerBefore(side.steps, index),
      label: `Side ${letter(i)}: ${step ? describeStep(step) : "the end"}`,
    });
    const shown = step
      ? [
          make("p", { class: "kicker" }, make("b", { text: `Step ${index + 1}` })),
          make(
            "p",
            { class: "did" },
            step.actions?.length ? step.actions.map((action) => describe(action, 160)).join(", then ") : "no action",
          ),
          step.error ? make("div", { class: "notice bad", text: step.error }) : null,
          step.thought ? make("blockquote", { class: "thought", text: step.thought }) : null,
        ]
      : [
          make("p", { class: "kicker" }, make("b", { text: "End" })),
          make("p", { class: `did ${outcomeClass(side.reward)}`, text: outcomeWords(side.reward) }),
        ];
    replace(caption, shown);
  }

  // The screen that a side without a step in this row has seen last, to stand dimmed beside the others.
  #lastSeen(side, i) {
    const index = this.rows.slice(0, this.row).findLast((pair) => pair[i] !== null)?.[i];
    return (side.steps[index ?? -1]?.observation ?? null)?.screenshot ?? null;
  }

  #timeline() {
    const cells = this.rows.flatMap((pair, row) => pair.map((index, i) => this.#cell(index, row, i)));
    const line =
      this.divergence === null
        ? null
        : make("span", {
            class: "parting",
            vars: { "grid-column": String(this.divergence + 2), "grid-row": `1 / span ${this.sides.length}` },
            "aria-hidden": "true",
          });
    const letters = this.sides.map((_, i) =>
      make("span", { class: `letter series-${i + 1}`, vars: { "grid-column": "1", "grid-row": String(i + 1) }, text: letter(i) }),
    );
    return make("div", { class: "timeline", role: "group", "aria-label": "Aligned steps" }, letters, cells, line);
  }

  #cell(index, row, i) {
    const place = { "grid-column": String(row + 2), "grid-row": String(i + 1) };
    if (index === null || index === undefined) return make("span", { class: "gap", "data-row": row, vars: place });
    const side = this.sides[i];
    const step = side.steps[index];
    const words = step ? describeStep(step, 30) : outcomeWords(side.reward);
    const observation = step?.observation ?? side.final;
    return make(
      "button",
      {
        type: "button",
        class: "film-frame",
        "data-row": row,
        vars: place,
        title: `${letter(i)}${index + 1}. ${words}`,
        "aria-label": `Side ${letter(i)}, step ${index + 1}: ${words}`,
        on: { click: () => this.choose(row) },
      },
      thumbnail(observation?.screenshot ?? null, step?.actions ?? []),
      make(
        "span",
        { class: "film-caption" },
        make("b", { text: step ? String(index + 1) : "end" }),
        make("span", { class: "words", text: words }),
      ),
    );
  }
}

function letter(i) {
  return String.fromCharCode(65 + i);
}
