// The buttons of a play: pace, who drives, what a tap means, the end.

import { make, setText } from "./dom.js";
import { readKeys } from "./play_proposal.js";

const TAPS = [["mouse", "the mouse as it is"], ["click", "click"], ["double_click", "double click"], ["right_click", "right click"], ["move", "point there"]];

export class PlayControls {
  constructor(order) {
    this.order = order;
    const button = (text, work, name = "button") => make("button", { class: name, type: "button", text, on: { click: work } });
    this.pace = button("Pause", () => this.pauseOrRun());
    this.step = button("Step", () => order("step"));
    this.review = make("input", { type: "checkbox", on: { change: () => order("review", { on: this.review.checked }) } });
    this.drive = button("Take over", () => this.takeOverOrHandBack(), "button first");
    this.taps = make("select", { "aria-label": "What a tap on the screen does" }, TAPS.map(([value, text]) => make("option", { value, text })));
    this.thought = make("input", { type: "text", "aria-label": "Thought", placeholder: "Why? It is kept with your next action", on: { change: () => order("think", { text: this.thought.value }) } });
    this.typed = make("input", { type: "text", "aria-label": "Text to type", placeholder: "Type a text, then Enter" });
    this.keys = make("input", { type: "text", "aria-label": "Keys to press", placeholder: "ctrl+w, then Enter" });
    this.typed.addEventListener("keydown", (event) => this.#onEnter(event, this.typed, (text) => [{ kind: "type", text }]));
    this.keys.addEventListener("keydown", (event) => this.#onEnter(event, this.keys, (text) => [{ kind: "key", keys: readKeys(text) }]));
    this.answer = make("input", { type: "text", "aria-label": "Answer", placeholder: "Answer, where one is asked for" });
    this.agentRow = make("div", { class: "play-bar" }, this.pace, this.step, make("label", { class: "field" }, this.review, make("span", { text: "Ask me before each action" })));
    this.handRow = make(
      "div",
      { class: "play-hands" },
      make("label", { class: "field" }, make("span", { text: "A tap is" }), this.taps),
      button("Wait 1 s", () => order("act", { actions: [{ kind: "wait", seconds: 1 }] })),
      this.typed,
      this.keys,
      this.thought,
    );
    this.endRow = make(
      "div",
      { class: "play-bar" },
      this.answer,
      button("Done: grade it", () => order("end", { how: "done", text: this.answer.value }), "button"),
      button("It cannot be done", () => order("end", { how: "fail", text: this.answer.value }), "button"),
      button("Discard", () => this.#discard(), "button"),
    );
    this.driveRow = make("div", { class: "play-bar" }, this.drive);
    this.element = make("section", { class: "play-controls", "aria-label": "Controls" }, this.driveRow, this.agentRow, this.handRow, this.endRow);
    this.state = null;
  }

  get tap() {
    return this.taps.value;
  }

  show(state) {
    const before = this.state;
    this.state = state;
    const going = !["starting", "judging", "ended"].includes(state.doing);
    this.element.hidden = ["judging", "ended"].includes(state.doing);
    for (const control of this.element.querySelectorAll("button, input, select")) control.disabled = !going;
    this.driveRow.hidden = state.alone;
    this.agentRow.hidden = state.alone || state.driver === "person";
    this.handRow.hidden = state.driver !== "person";
    setText(this.drive, state.driver === "person" ? "Hand back" : "Take over");
    setText(this.pace, state.paused ? "Run" : "Pause");
    this.pace.setAttribute("aria-pressed", String(state.paused));
    this.review.checked = state.review;
    if (before?.thought && !state.thought) this.thought.value = "";
  }

  pauseOrRun() {
    this.order(this.state.paused ? "run" : "pause");
  }

  toggleReview() {
    this.order("review", { on: !this.state.review });
  }

  takeOverOrHandBack() {
    this.order(this.state.driver === "person" ? "hand_back" : "take_over");
  }

  #onEnter(event, field, actions) {
    if (event.key !== "Enter" || event.isComposing || !field.value) return;
    event.preventDefault();
    this.order("act", { actions: actions(field.value) });
    field.value = "";
  }

  #discard() {
    if (confirm("End this play and keep nothing of it?")) this.order("discard");
  }
}
