// One trajectory: its screens, what was done on them, and what the model saw and said.

import { get, picture, runPath } from "./api.js";
import { describeStep, pointerBefore } from "./actions.js";
import { make } from "./dom.js";
import { filmStrip } from "./film.js";
import { count, number, outcomeClass, outcomeWords, shorten, signed, statusWords } from "./format.js";
import { forPage } from "./keys.js";
import { comparePath, compareMarked, isMarked, sideName, toggle, watchMarks } from "./marks.js";
import { toast } from "./notices.js";
import { go, groupPath, keep, link, pagePath, trajectoryPath } from "./router.js";
import { Screen } from "./screen.js";
import { StepPanel, tabsOf } from "./step_panel.js";

const PLAY_MILLISECONDS = 900;

export async function show(root, { parts: [run, store, id], query, crumbs, title }) {
  crumbs([
    ["Runs", "/"],
    [run, pagePath("run", run)],
    [id, ""],
  ]);
  title(id);
  const trajectory = await get(runPath(run, "trajectories", store, id));
  title(`${trajectory.task.id}, ${outcomeWords(trajectory.reward)}`);
  const view = new TrajectoryView(run, trajectory, query);
  root.append(...view.parts());
  view.begin();
  return () => view.close();
}

class TrajectoryView {
  constructor(run, trajectory, query) {
    Object.assign(this, { run, trajectory });
    this.last = trajectory.steps.length - (trajectory.final?.screenshot ? 0 : 1);
    const wanted = query.get("step") === "end" ? this.last : Number(query.get("step") ?? 1) - 1;
    this.index = Math.max(0, Math.min(this.last, Number.isInteger(wanted) ? wanted : 0));
    this.screen = new Screen({ onHover: (index) => this.panel.mark(index) });
    this.film = filmStrip(trajectory, (index) => this.choose(index));
    this.panel = new StepPanel(run, trajectory, {
      tab: query.get("tab"),
      onTree: (elements) => this.screen.setElements(elements),
      onHover: (index) => this.screen.point(index),
      onChoose: (index) => this.choose(index),
      onTab: (name) => keep({ tab: name === "reply" ? "" : name }),
    });
    this.playing = 0;
  }

  parts() {
    const step = (text, label, by, key) =>
      make("button", {
        class: "tool",
        type: "button",
        "aria-label": label,
        title: `${label} (${key})`,
        text,
        on: { click: () => this.choose(this.index + by) },
      });
    this.playButton = make("button", {
      class: "tool",
      type: "button",
      title: "Play (space)",
      "aria-label": "Play the steps",
      text: "▶",
      on: { click: () => this.togglePlay() },
    });
    this.sizeButton = make("button", {
      class: "tool",
      type: "button",
      title: "Actual size (z)",
      "aria-pressed": "false",
      text: "1:1",
      "aria-label": "Actual size",
      on: { click: () => this.toggleSize() },
    });
    this.where = make("span", { class: "where muted", "aria-hidden": "true" });
    const controls = make(
      "div",
      { class: "controls" },
      step("←", "Previous step", -1, "←"),
      this.playButton,
      step("→", "Next step", 1, "→"),
      this.where,
      this.sizeButton,
    );
    const stage = make("section", { class: "stage", "aria-label": "Screen" }, this.screen.element, controls, this.film.element);
    return [this.#header(), make("div", { class: "trajectory" }, stage, this.panel.element)];
  }

  begin() {
    this.unwatch = watchMarks(() => this.#showMark());
    this.#showMark();
    this.#keys();
    this.choose(this.index);
  }

  close() {
    clearInterval(this.playing);
    this.unwatch();
    this.screen.close();
  }

  choose(index) {
    if (index < 0 || index > this.last) {
      if (this.playing) this.togglePlay();
      return;
    }
    this.index = index;
    const step = this.trajectory.steps[index];
    const observation = step?.observation ?? this.trajectory.final;
    this.screen.show({
      screenshot: observation?.screenshot ?? null,
      pointer: pointerBefore(this.trajectory.steps, index),
      actions: step?.actions ?? [],
      label: step ? `Screen of step ${index + 1}: ${describeStep(step)}` : "Screen at the end",
    });
    this.panel.show(index);
    this.film.choose(index);
    this.where.textContent = step ? `${index + 1} / ${this.trajectory.steps.length}` : "end";
    keep({ step: index === 0 ? "" : step ? index + 1 : "end" });
    this.#prefetch(index + 1);
  }

  togglePlay() {
    if (this.playing) {
      clearInterval(this.playing);
      this.playing = 0;
    } else {
      if (this.index >= this.last) this.choose(0);
      this.playing = setInterval(() => this.choose(this.index + 1), PLAY_MILLISECONDS);
    }
    this.playButton.textContent = this.playing ? "❚❚" : "▶";
    this.playButton.setAttribute("aria-label", this.playing ? "Pause" : "Play the steps");
  }

  toggleSize() {
    this.sizeButton.setAttribute("aria-pressed", String(this.screen.toggleSize()));
  }

  #header() {
    const { trajectory, run } = this;
    const { reward, task, neighbours, parts } = trajectory;
    const facts = [
      count(trajectory.steps.length, "step"),
      `seed ${trajectory.seed}`,
      trajectory.policy ? shorten(trajectory.policy, 40) : "",
    ].filter(Boolean);
    const grade = reward === null ? statusWords(trajectory.status) : `${outcomeWords(reward)} ${number(reward)}`;
    this.markButton = make("button", {
      class: "tool",
      type: "button",
      title: "Mark for comparison (x)",
      text: "Mark",
      on: { click: () => this.#toggleMark() },
    });
    return make(
      "header",
      { class: "trajectory-head" },
      make(
        "div",
        { class: "what" },
        make("h1", { text: task.instruction || task.id }),
        make(
          "p",
          { class: "facts-line" },
          make("span", { class: `badge ${outcomeClass(reward)}`, text: grade }),
          reward !== null && trajectory.status !== "done" ? make("span", { text: statusWords(trajectory.status) }) : null,
          make("a", {
            href: link(`${pagePath("run", run)}?view=trajectories&task=${encodeURIComponent(task.id)}`),
            text: task.id,
          }),
          facts.map((fact) => make("span", { text: fact })),
          trajectory.group
            ? make("a", {
                href: link(groupPath(run, trajectory.store, trajectory.group)),
                text: `attempt ${trajectory.index} of its group`,
              })
            : null,
          Object.entries(parts ?? {}).map(([name, value]) => make("span", { class: "part", text: `${name} ${number(value)}` })),
          Number.isFinite(trajectory.advantage)
            ? make("span", {
                title: `Advantage: ${trajectory.advantage_kind}`,
                text: `advantage ${signed(trajectory.advantage)}`,
              })
            : null,
        ),
        trajectory.error ? make("div", { class: "notice bad" }, make("strong", { text: "Error " }), trajectory.error) : null,
      ),
      make(
        "div",
        { class: "where-to" },
        this.#others(),
        this.markButton,
        this.#neighbour("[", "Previous trajectory", neighbours?.previous),
        this.#neighbour("]", "Next trajectory", neighbours?.next),
      ),
    );
  }

  #others() {
    const { same_start: others = [], store, id } = this.trajectory;
    if (!others.length) return null;
    const mine = sideName(this.run, store, id);
    const items = others.map((other) =>
      make(
        "li",
        {},
        make(
          "a",
          { href: link(comparePath([mine, sideName(other.run, other.store, other.id)])) },
          make("span", { class: `dot ${outcomeClass(other.reward)}` }),
          shorten(other.policy || other.id, 48),
          make("span", { class: "muted", text: ` ${other.run} / ${other.store}` }),
        ),
      ),
    );
    return make(
      "details",
      { class: "menu" },
      make("summary", { class: "button", text: "Compare" }),
      make(
        "div",
        { class: "menu-list" },
        make("p", { class: "muted small", text: "Others from the same start" }),
        make("ul", {}, items),
      ),
    );
  }

  #neighbour(key, label, neighbour) {
    const target = this.#address(neighbour);
    if (!target)
      return make("span", {
        class: "tool",
        "aria-disabled": "true",
        disabled: true,
        title: `${label}: there is none`,
        text: key === "[" ? "‹" : "›",
      });
    return make("a", {
      class: "tool",
      href: link(target),
      "aria-label": label,
      title: `${label} (${key})`,
      text: key === "[" ? "‹" : "›",
    });
  }

  #address(neighbour) {
    if (!neighbour) return null;
    return trajectoryPath(this.run, neighbour.store ?? this.trajectory.store, neighbour.id ?? neighbour);
  }

  #toggleMark() {
    toggle(sideName(this.run, this.trajectory.store, this.trajectory.id));
  }

  #showMark() {
    const on = isMarked(sideName(this.run, this.trajectory.store, this.trajectory.id));
    this.markButton.setAttribute("aria-pressed", String(on));
    this.markButton.textContent = on ? "Marked" : "Mark";
  }

  #goTo(neighbour, words) {
    const target = this.#address(neighbour);
    if (target) go(this.panel.tab === "reply" ? target : `${target}?tab=${this.panel.tab}`);
    else toast(words);
  }

  #prefetch(index) {
    const next = (
      this.trajectory.steps[index]?.observation ?? (index === this.trajectory.steps.length ? this.trajectory.final : null)
    )?.screenshot;
    if (next) new Image().src = picture(next.url);
  }

  #keys() {
    const { neighbours } = this.trajectory;
    forPage(
      { keys: ["ArrowRight", "j"], label: "next step", run: () => this.choose(this.index + 1) },
      { keys: ["ArrowLeft", "k"], label: "previous step", run: () => this.choose(this.index - 1) },
      { keys: ["Home"], label: "first step", run: () => this.choose(0) },
      { keys: ["End"], label: "the end", run: () => this.choose(this.last) },
      { keys: [" "], label: "play or pause", run: () => this.togglePlay() },
      { keys: ["]"], label: "next trajectory", run: () => this.#goTo(neighbours?.next, "This is the last one") },
      { keys: ["["], label: "previous trajectory", run: () => this.#goTo(neighbours?.previous, "This is the first one") },
      { keys: ["z"], label: "actual size", run: () => this.toggleSize() },
      { keys: ["x"], label: "mark for comparison", run: () => this.#toggleMark() },
      { keys: ["c"], label: "compare what is marked", run: compareMarked },
      ...tabsOf(this.trajectory).map(([name, words], i) => ({
        keys: [String(i + 1)],
        label: words.toLowerCase(),
        run: () => this.panel.choose(name),
      })),
    );
  }
}
