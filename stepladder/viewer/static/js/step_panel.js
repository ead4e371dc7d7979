// Beside the screenshot: what was done and thought in a step, and behind tabs its reply, prompt, tree, times, the episode
// and what its teacher was told.

import { get, runPath } from "./api.js";
import { describe, describeStep, hasPlace } from "./actions.js";
import { make, replace } from "./dom.js";
import { count, number, outcomeClass, outcomeWords, seconds, statusWords } from "./format.js";
import { hasLessons, isFurthest, lessonView } from "./lessons.js";
import { jsonText, rewardTerms, timing } from "./measures.js";
import { failure, loading } from "./notices.js";
import { promptView } from "./prompt.js";
import { tokenView } from "./tokens.js";
import { Tree, describeElement, elementAt, readTree } from "./tree.js";

const TABS = [
  ["reply", "Reply"],
  ["prompt", "Prompt"],
  ["tree", "Tree"],
  ["timing", "Timing"],
  ["episode", "Episode"],
];

// The tabs that a trajectory has.
export function tabsOf(trajectory) {
  return hasLessons(trajectory) ? [...TABS, ["feedback", "Feedback"]] : TABS;
}

// `onTree(elements | null)` gets the tree of the shown screen, `onHover(index | null)` the element pointed at in it,
// `onChoose(step)` the step chosen in the times, `onTab(name)` the tab.
export class StepPanel {
  constructor(run, trajectory, { onTree, onHover, onChoose, onTab, tab }) {
    Object.assign(this, { run, trajectory, onTree, onChoose, onTab });
    this.names = tabsOf(trajectory).map(([name]) => name);
    this.tab = this.names.includes(tab) ? tab : "reply";
    this.tree = new Tree(onHover);
    this.elements = null;
    this.treeError = null;
    this.turn = 0;
    this.head = make("div", { class: "step-head", "aria-live": "polite" });
    this.tabs = tabsOf(trajectory).map(([name, title]) =>
      make("button", {
        type: "button",
        role: "tab",
        id: `tab-${name}`,
        "aria-controls": "step-tab",
        text: title,
        on: { click: () => this.choose(name) },
      }),
    );
    this.content = make("div", { class: "step-content", role: "tabpanel", id: "step-tab", tabindex: "-1" });
    this.element = make(
      "section",
      { class: "step-panel", "aria-label": "Step" },
      this.head,
      make("div", { class: "tabs", role: "tablist", "aria-label": "Parts of the step" }, this.tabs),
      this.content,
    );
    this.element.querySelector("[role=tablist]").addEventListener("keydown", (event) => this.#tabKey(event));
  }

  // The step at `index`; the one after the last is the end.
  show(index) {
    this.index = index;
    this.step = this.trajectory.steps[index] ?? null;
    this.elements = null;
    this.treeError = null;
    replace(this.head, this.step ? this.#stepHead() : this.#endHead());
    this.#loadTree();
    this.#draw();
  }

  choose(name) {
    this.tab = name;
    this.onTab(name);
    this.#draw();
  }

  // The element of the screenshot under the pointer.
  mark(index) {
    if (this.tab === "tree" && this.elements) this.tree.mark(index);
  }

  #tabKey(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const { length } = this.names;
    const next = (this.names.indexOf(this.tab) + by + length) % length;
    this.choose(this.names[next]);
    this.tabs[next].focus();
  }

  #stepHead() {
    const { step, index, trajectory } = this;
    this.hit = make("p", { class: "hit muted", hidden: true });
    const more =
      step.actions?.length > 1
        ? make(
            "ol",
            { class: "actions" },
            step.actions.map((action) => make("li", { text: describe(action, 300) })),
          )
        : null;
    const title = more ? count(step.actions.length, "action") : describeStep(step, 300);
    return [
      make(
        "p",
        { class: "kicker" },
        make("b", { text: `Step ${index + 1}` }),
        ` of ${trajectory.steps.length}`,
        step.person ? make("span", { class: "badge warn", text: "a person acted" }) : null,
        step.imitated && step.imitated !== "reply"
          ? make("span", { class: "badge", text: step.imitated === "nothing" ? "not learned from" : "thought learned from" })
          : null,
        isFurthest(trajectory, index) ? make("span", { class: "badge apart", text: "furthest from its teacher" }) : null,
      ),
      make("h2", { class: `did${step.actions?.length ? "" : " bad"}`, text: title }),
      more,
      this.hit,
      step.thought ? make("blockquote", { class: "thought", text: step.thought }) : null,
      step.error ? make("div", { class: "notice bad" }, make("strong", { text: "Error " }), step.error) : null,
      step.observation.text
        ? make("div", { class: "notice" }, make("strong", { text: "Text shown " }), make("pre", { text: step.observation.text }))
        : null,
    ];
  }

  #endHead() {
    const { trajectory } = this;
    const { reward } = trajectory;
    return [
      make("p", { class: "kicker" }, make("b", { text: "End" }), ` after ${count(trajectory.steps.length, "step")}`),
      make("h2", {
        class: `did ${outcomeClass(reward)}`,
        text: `${outcomeWords(reward)}${reward === null ? "" : `, reward ${number(reward)}`}`,
      }),
      make("p", { class: "muted", text: `Ended as: ${statusWords(trajectory.status)}` }),
      trajectory.error ? make("div", { class: "notice bad" }, make("strong", { text: "Error " }), trajectory.error) : null,
      make("h3", { text: "Reward terms" }),
      rewardTerms(trajectory.parts),
    ];
  }

  async #loadTree() {
    const turn = ++this.turn;
    const observation = this.step?.observation ?? this.trajectory.final;
    this.onTree(null);
    if (!observation?.tree) return;
    try {
      const answer = await get(
        `${runPath(this.run, "trajectories", this.trajectory.store, this.trajectory.id)}/tree/${this.index}`,
      );
      if (turn !== this.turn) return;
      this.elements = readTree(answer);
    } catch (error) {
      if (turn !== this.turn) return;
      this.treeError = error;
      if (this.tab === "tree") this.#draw();
      return;
    }
    this.onTree(this.elements);
    this.#describeHit();
    if (this.tab === "tree") this.#draw();
  }

  #under() {
    const places = (this.step?.actions ?? []).filter(hasPlace).map((action) => elementAt(this.elements, action.x, action.y));
    return places.filter((place) => place !== null);
  }

  #describeHit() {
    const [place] = this.#under();
    if (!this.hit || place === undefined || !this.step) return;
    this.hit.hidden = false;
    replace(this.hit, "on ", make("span", { class: "element", text: describeElement(this.elements[place]) }));
  }

  #draw() {
    this.tabs.forEach((tab, i) => {
      const selected = this.names[i] === this.tab;
      tab.setAttribute("aria-selected", String(selected));
      tab.setAttribute("tabindex", selected ? "0" : "-1");
    });
    this.content.setAttribute("aria-labelledby", `tab-${this.tab}`);
    const draw = {
      reply: () => this.#reply(),
      prompt: () => this.#prompt(),
      tree: () => this.#treeTab(),
      timing: () => timing(this.trajectory.steps, this.index, this.onChoose),
      episode: () => this.#episode(),
      feedback: () => lessonView(this.trajectory, this.index, this.onChoose),
    };
    replace(this.content, draw[this.tab]());
    if (this.tab === "tree" && this.elements) this.tree.show(this.elements, this.#under());
  }

  #reply() {
    const { step } = this;
    if (!step) return make("p", { class: "muted", text: "Nothing was asked after the last step." });
    if (!step.tokens?.length && !step.raw)
      return make("p", {
        class: "muted",
        text: step.person ? "A person acted in this step: there is no reply." : "No model was asked in this step.",
      });
    const usage = Object.entries(step.usage ?? {}).map(([name, value]) => `${name} ${number(value)}`);
    const spent = Object.entries(step.seconds ?? {}).map(([name, value]) => `${name} ${seconds(value)}`);
    return [
      step.tokens?.length ? tokenView(step.tokens, this.trajectory.lessons.largest) : null,
      step.raw ? [make("h3", { text: "Raw text" }), make("pre", { class: "raw", text: step.raw })] : null,
      make("p", {
        class: "muted small",
        text: [step.finish ? `finished: ${step.finish}` : "", ...spent, ...usage].filter(Boolean).join(" · "),
      }),
      step.actions?.length ? [make("h3", { text: "Canonical action" }), step.actions.map((action) => jsonText(action))] : null,
    ];
  }

  #prompt() {
    if (this.step?.prompt) return promptView(this.step.prompt);
    return make("p", {
      class: "muted",
      text: this.step ? "No prompt was kept for this step." : "Nothing was asked after the last step.",
    });
  }

  #treeTab() {
    const observation = this.step?.observation ?? this.trajectory.final;
    if (!observation?.tree) return make("p", { class: "muted", text: "The environment gave no accessibility tree here." });
    if (this.treeError) return failure(this.treeError);
    return this.elements ? this.tree.element : loading("The tree is fetched");
  }

  #episode() {
    const { trajectory } = this;
    const { task } = trajectory;
    const facts = [
      ["Task", task.id],
      ["Environment", task.env],
      ["Split", task.split],
      ["Seed", String(trajectory.seed)],
      ["Reward", trajectory.reward === null ? "not graded" : number(trajectory.reward)],
      ["Status", statusWords(trajectory.status)],
      ["Agent", trajectory.agent],
      ["Policy", trajectory.policy],
      ["Group", trajectory.group ? `${trajectory.group}, attempt ${trajectory.index}` : ""],
      ["Store", trajectory.store],
      ["Id", trajectory.id],
      ["Page", (this.step?.observation ?? trajectory.final)?.url],
      ["State key", (this.step?.observation ?? trajectory.final)?.state_key],
    ];
    return [
      make(
        "dl",
        { class: "facts" },
        facts.filter(([, value]) => value).map(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]),
      ),
      make("h3", { text: "Reward terms" }),
      rewardTerms(trajectory.parts),
      Object.keys(task.setup ?? {}).length ? [make("h3", { text: "Setup" }), jsonText(task.setup)] : null,
      Object.keys(task.check ?? {}).length ? [make("h3", { text: "Check" }), jsonText(task.check)] : null,
    ];
  }
}
