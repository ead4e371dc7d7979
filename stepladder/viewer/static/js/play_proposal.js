// What the agent wants to do, and what the person makes of it: thought and actions can be changed before they are carried out.

import { describe } from "./actions.js";
import { make, replace, setText } from "./dom.js";

const KINDS = ["click", "double_click", "triple_click", "right_click", "middle_click", "move", "drag", "scroll", "type", "key", "wait", "call", "done", "fail"];
const POINTED = ["click", "double_click", "triple_click", "right_click", "middle_click", "move", "drag", "scroll"];
const TEXT = ["type", "done", "fail"];

export class ProposalEditor {
  // `changed(actions)` is called when the person has changed something; `carryOut()` and `correct({thought, actions})` end it.
  constructor({ changed, carryOut, correct }) {
    Object.assign(this, { changed, carryOut, correct });
    this.thought = make("textarea", { rows: 3, "aria-label": "Thought", on: { input: () => this.#touch() } });
    this.rows = make("div", { class: "proposal-rows" });
    this.reply = make("pre", { class: "small" });
    this.error = make("p", { class: "notice bad" });
    this.button = make("button", { class: "button first", type: "button", on: { click: () => this.accept() } });
    this.reset = make("button", { class: "button", type: "button", text: "As proposed", on: { click: () => this.show(this.proposal, true) } });
    this.element = make(
      "section",
      { class: "proposal", "aria-label": "Proposal" },
      make("h2", { text: "It proposes" }),
      this.error,
      make("label", { class: "proposal-thought" }, make("span", { class: "muted", text: "Thought" }), this.thought),
      this.rows,
      make("p", { class: "muted small", text: "Click on the screen to move the place. Change anything, and what you say is carried out instead and learned." }),
      make("div", { class: "play-bar" }, this.button, this.reset),
      make("details", {}, make("summary", { text: "The reply as it was written" }), this.reply),
    );
    this.proposal = null;
    this.actions = [];
  }

  // Shows `proposal`; one that is shown already stays as the person has changed it, unless `anew`.
  show(proposal, anew = false) {
    const same = JSON.stringify(proposal) === JSON.stringify(this.proposal);
    this.proposal = proposal;
    this.element.hidden = !proposal;
    if (!proposal || (same && !anew)) return;
    this.touched = false;
    this.thought.value = proposal.thought;
    this.actions = proposal.actions.map((action) => ({ ...action }));
    if (!this.actions.length) this.actions = [{ kind: "click" }];
    setText(this.reply, proposal.text);
    this.reply.parentElement.hidden = !proposal.text;
    setText(this.error, proposal.error ? `It could not be read: ${proposal.error}` : "");
    this.error.hidden = !proposal.error;
    this.#draw();
  }

  accept() {
    if (!this.proposal) return;
    if (this.touched) this.correct({ thought: this.thought.value, actions: this.actions });
    else this.carryOut();
  }

  // A click on the screen moves the first action with a place; with `end` it moves where a drag ends.
  setPlace(x, y, end = null) {
    const action = this.actions.find((one) => POINTED.includes(one.kind));
    if (!action) return;
    Object.assign(action, { x, y });
    if (action.kind === "drag" && end) Object.assign(action, { x2: end[0], y2: end[1] });
    this.#touch();
    this.#draw();
  }

  #touch() {
    this.touched = true;
    this.#label();
    this.changed(this.actions);
  }

  #label() {
    setText(this.button, this.touched ? "Do this instead" : this.proposal?.error ? "Tell it so" : "Carry out");
    this.reset.hidden = !this.touched;
  }

  #draw() {
    replace(this.rows, this.actions.map((action, index) => this.#row(action, index)));
    this.#label();
    this.changed(this.actions);
  }

  #row(action, index) {
    const kind = make("select", { "aria-label": `Action ${index + 1}`, on: { change: () => this.#setKind(index, kind.value) } }, KINDS.concat(KINDS.includes(action.kind) ? [] : [action.kind]).map((name) => make("option", { value: name, text: name.replaceAll("_", " "), selected: name === action.kind })));
    const remove = make("button", { class: "tool", type: "button", "aria-label": `Leave out action ${index + 1}`, text: "×", on: { click: () => this.#remove(index) } });
    return make("div", { class: "proposal-row" }, kind, this.#fields(action), this.actions.length > 1 ? remove : null);
  }

  #fields(action) {
    const fields = [];
    if (POINTED.includes(action.kind)) fields.push(this.#number(action, "x"), this.#number(action, "y"));
    if (action.kind === "drag") fields.push(this.#number(action, "x2"), this.#number(action, "y2"));
    if (action.kind === "scroll") fields.push(this.#number(action, "amount"));
    if (action.kind === "wait") fields.push(this.#number(action, "seconds"));
    if (TEXT.includes(action.kind)) fields.push(this.#text(action, "text", action.text ?? "", (value) => value));
    if (action.kind === "key" || (action.keys ?? []).length) fields.push(this.#text(action, "keys", (action.keys ?? []).join("+"), readKeys));
    if (action.kind === "call") fields.push(make("span", { class: "muted", text: describe(action) }));
    return fields;
  }

  #number(action, name) {
    const field = make("input", { type: "number", step: "any", value: action[name] ?? "", "aria-label": name, placeholder: name });
    field.addEventListener("input", () => {
      if (field.value === "") delete action[name];
      else action[name] = Number(field.value);
      this.#touch();
    });
    return field;
  }

  #text(action, name, value, read) {
    const field = make("input", { type: "text", value, "aria-label": name, placeholder: name });
    field.addEventListener("input", () => {
      action[name] = read(field.value);
      this.#touch();
    });
    return field;
  }

  #setKind(index, kind) {
    const { x, y, text } = this.actions[index];
    const action = { kind };
    if (POINTED.includes(kind)) Object.assign(action, { x, y });
    if (kind === "drag") Object.assign(action, { x2: x, y2: y });
    if (TEXT.includes(kind)) action.text = text ?? "";
    if (kind === "scroll") action.amount = -3;
    if (kind === "wait") action.seconds = 1;
    this.actions[index] = action;
    this.#touch();
    this.#draw();
  }

  #remove(index) {
    this.actions.splice(index, 1);
    this.#touch();
    this.#draw();
  }
}

// "ctrl+a" as a list; a lone "+" is a key.
export function readKeys(text) {
  const keys = text.trim().split(/(?<=[^+\s])\s*\+\s*|\s+/).filter(Boolean);
  return keys.map((key) => (key.length > 1 ? key.toLowerCase() : key));
}
