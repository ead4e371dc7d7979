// What was done so far, by whom, and whether it is to be learned.

import { describeStep } from "./actions.js";
import { make, replace, setText } from "./dom.js";

const BY = { agent: "agent", person: "you", corrected: "you, instead of the agent" };

export class StepsDone {
  // `look(number)` shows a step's screen, `mark(number, learned)` says whether the step is to be learned.
  constructor({ look, mark }) {
    Object.assign(this, { look, mark });
    this.list = make("ol", { class: "play-steps" });
    this.title = make("h2", {});
    this.element = make("section", { "aria-label": "Steps" }, this.title, this.list);
    this.chosen = null;
    this.drawn = "";
  }

  show(steps) {
    setText(this.title, steps.length ? "Done so far" : "Nothing was done yet");
    const key = JSON.stringify(steps);
    if (key === this.drawn) return;
    const grown = this.list.children.length < steps.length;
    this.drawn = key;
    replace(this.list, steps.map((step) => this.#row(step)));
    this.choose(this.chosen);
    if (grown && this.chosen === null) this.list.scrollTop = this.list.scrollHeight;
  }

  choose(number) {
    this.chosen = number;
    [...this.list.children].forEach((row, index) => row.classList.toggle("active", index === number));
  }

  #row(step) {
    const learned = step.imitated !== "nothing";
    const words = learned ? "learned" : "not learned";
    return make(
      "li",
      { class: `by-${step.by}` },
      make("button", { class: "play-step", type: "button", on: { click: () => this.look(this.chosen === step.number ? null : step.number) } },
        make("span", { class: "play-by", text: BY[step.by] ?? step.by }),
        make("span", { class: "play-said", text: describeStep(step) }),
        step.thought ? make("span", { class: "play-thought", text: step.thought }) : null),
      make("button", { class: "tool", type: "button", "aria-pressed": String(learned), title: "Whether training learns this step", text: words, on: { click: () => this.mark(step.number, !learned) } }),
    );
  }
}
