// The screens of a run that is playing now: all of them, or one that is followed.

import { exported, follow, get, runPath } from "./api.js";
import { describe } from "./actions.js";
import { make, replace, setText } from "./dom.js";
import { ago, count, number, outcomeClass, percent, statusWords } from "./format.js";
import { forPage } from "./keys.js";
import { Pipeline } from "./live_pipeline.js";
import { empty, failure } from "./notices.js";
import { keep, link, pagePath, trajectoryPath } from "./router.js";
import { Screen } from "./screen.js";

const EVERY_MILLISECONDS = 1000;
const FINISHED_SHOWN = 40;

export async function show(root, { parts: [run], query, crumbs, title }) {
  crumbs([
    ["Runs", "/"],
    [run, pagePath("run", run)],
    ["Live", ""],
  ]);
  title(`Live: ${run}`);
  if (exported) {
    root.append(empty("An export shows what was, not what is."));
    return undefined;
  }
  await get(runPath(run));
  const view = new LiveView(run, query.get("slot"));
  root.append(...view.parts());
  view.begin();
  return () => view.close();
}

class LiveView {
  constructor(run, slot) {
    Object.assign(this, { run, slot });
    this.cards = new Map();
    this.finished = [];
    this.ended = false;
    this.state = make("span", { class: "badge", role: "status", text: "connecting" });
    this.counts = make("span", { class: "muted" });
    this.pipeline = new Pipeline();
    this.grid = make("div", { class: "live-grid" });
    this.large = make("section", { class: "live-one", "aria-label": "Followed episode", hidden: true });
    this.none = make("div", {});
    this.list = make("ul", { class: "finished" });
    this.listed = make(
      "section",
      { class: "finished-part", hidden: true },
      make("h2", { text: "Finished while you watch" }),
      this.list,
    );
  }

  parts() {
    return [
      make("div", { class: "page-head" }, make("h1", { text: "Live" }), this.state, this.counts),
      this.pipeline.element,
      this.large,
      this.grid,
      this.none,
      this.listed,
    ];
  }

  begin() {
    this.stop = follow(
      this.run,
      (event) => this.#event(event),
      (open) => this.#connected(open),
    );
    this.timer = setInterval(() => this.#ask(), EVERY_MILLISECONDS);
    this.#ask();
    const at = (by) => () => this.#step(by);
    forPage(
      { keys: ["j", "ArrowRight", "ArrowDown"], label: "follow the next screen", run: at(1) },
      { keys: ["k", "ArrowLeft", "ArrowUp"], label: "follow the previous screen", run: at(-1) },
      { keys: ["Escape", "a"], label: "all screens", run: () => this.follow(null) },
    );
  }

  close() {
    clearInterval(this.timer);
    this.stop?.();
    this.screen?.close();
  }

  follow(slot) {
    this.slot = slot === null ? null : String(slot);
    keep({ slot: this.slot });
    this.#draw();
  }

  async #ask() {
    if (document.hidden || this.asking) return;
    this.asking = true;
    try {
      const answer = await get(`/api/live/${encodeURIComponent(this.run)}/screens`, { fresh: true });
      this.screens = answer.screens;
      this.pipeline.draw(answer.rollouts);
      this.#draw();
    } catch (error) {
      replace(this.none, failure(error));
    } finally {
      this.asking = false;
    }
  }

  #draw() {
    const screens = this.screens ?? [];
    const followed = this.slot === null ? null : screens.find((screen) => String(screen.slot) === this.slot);
    this.grid.hidden = this.slot !== null;
    this.large.hidden = this.slot === null;
    if (this.slot !== null) this.#drawLarge(followed);
    this.#drawCards(screens);
    replace(
      this.none,
      screens.length || this.slot !== null ? null : empty(this.ended ? "The run has ended" : "No episode is being played now"),
    );
  }

  // Cards stay in the page while their slot lives: a picture that has not changed is not drawn again.
  #drawCards(screens) {
    const present = new Set(screens.map((screen) => String(screen.slot)));
    for (const [slot, card] of this.cards) {
      if (present.has(slot)) continue;
      card.screen.close();
      card.element.remove();
      this.cards.delete(slot);
    }
    for (const shown of screens) {
      const slot = String(shown.slot);
      if (!this.cards.has(slot)) this.#addCard(slot);
      const card = this.cards.get(slot);
      card.screen.show({
        screenshot: shown.screenshot,
        actions: shown.action ? [shown.action] : [],
        past: true,
        label: `Screen of ${shown.task}`,
      });
      setText(card.task, `${shown.task} · seed ${shown.seed}`);
      setText(card.step, `step ${shown.step}`);
      setText(card.action, shown.action ? describe(shown.action, 60) : "waits for an action");
      card.element.setAttribute("aria-label", `Follow ${shown.task}, seed ${shown.seed}`);
    }
  }

  #addCard(slot) {
    const screen = new Screen();
    const [task, step, action] = [
      make("b", {}),
      make("span", { class: "muted nowrap" }),
      make("span", { class: "muted did-last" }),
    ];
    const element = make(
      "button",
      { type: "button", class: "live-card", on: { click: () => this.follow(slot) } },
      screen.element,
      make("span", { class: "live-line" }, task, step),
      action,
    );
    this.cards.set(slot, { screen, element, task, step, action });
    this.grid.append(element);
  }

  #drawLarge(shown) {
    if (!this.screen) {
      this.screen = new Screen();
      this.caption = make("div", { class: "said", "aria-live": "polite" });
      const back = make("button", {
        type: "button",
        class: "tool",
        text: "All screens",
        title: "All screens (esc)",
        on: { click: () => this.follow(null) },
      });
      this.largeHead = make("p", { class: "facts-line" });
      this.large.append(
        make("div", { class: "live-head" }, back, this.largeHead),
        make("div", { class: "live-body" }, this.screen.element, this.caption),
      );
    }
    if (!shown) {
      const { last } = this;
      replace(
        this.largeHead,
        make("span", { class: "muted", text: "This episode has ended" }),
        last ? make("a", { href: link(trajectoryPath(this.run, last.store, last.id)), text: `look at ${last.task}` }) : null,
      );
      return;
    }
    this.last = shown;
    this.screen.show({
      screenshot: shown.screenshot,
      actions: shown.action ? [shown.action] : [],
      past: true,
      label: `Screen of ${shown.task}`,
    });
    replace(
      this.largeHead,
      make("b", { text: shown.task }),
      make("span", { text: `seed ${shown.seed}` }),
      make("span", { text: `step ${shown.step}` }),
      make("span", { class: "muted", text: ago(shown.updated) }),
    );
    replace(
      this.caption,
      shown.instruction ? make("p", { class: "asked", text: shown.instruction }) : null,
      make("p", { class: "did", text: shown.action ? describe(shown.action, 160) : "waits for an action" }),
      shown.thought ? make("blockquote", { class: "thought", text: shown.thought }) : null,
    );
  }

  #step(by) {
    const slots = (this.screens ?? []).map((screen) => String(screen.slot));
    if (!slots.length) return;
    const at = slots.indexOf(this.slot);
    this.follow(slots[at < 0 ? (by > 0 ? 0 : slots.length - 1) : (at + by + slots.length) % slots.length]);
  }

  #event(event) {
    if (event.type === "count") this.#count(event);
    if (event.type === "trajectory") this.#finish(event.trajectory ?? event);
    if (event.type === "running") this.ended = !event.running;
    if (event.type === "end") this.ended = true;
    if (event.type === "running" || event.type === "end") {
      this.#state(this.ended ? "ended" : "following", this.ended ? "" : "good");
      this.#ask();
    }
  }

  #count({ trajectories, graded, successes }) {
    const parts = [count(trajectories, "trajectory", "trajectories")];
    if (graded) parts.push(`${number(successes)} of ${number(graded)} succeed, ${percent(successes / graded)}`);
    setText(this.counts, parts.join(" · "));
  }

  #finish(row) {
    this.finished.unshift(row);
    this.finished.length = Math.min(this.finished.length, FINISHED_SHOWN);
    this.listed.hidden = false;
    const outcome = row.reward === null ? statusWords(row.status) : `reward ${number(row.reward)}`;
    this.list.prepend(
      make(
        "li",
        {},
        make("span", { class: `dot ${outcomeClass(row.reward)}` }),
        make("a", { href: link(trajectoryPath(this.run, row.store, row.id)), text: row.task }),
        make("span", {
          class: "muted",
          text: `seed ${row.seed} · ${outcome} · ${count(row.steps, "step")}`,
        }),
      ),
    );
    while (this.list.childElementCount > FINISHED_SHOWN) this.list.lastElementChild.remove();
  }

  #connected(open) {
    if (!this.ended) this.#state(open ? "following" : "the server does not answer", open ? "good" : "warn");
  }

  #state(text, kind) {
    setText(this.state, text);
    this.state.className = `badge ${kind}`;
  }
}
