// One play, live: the screen, who drives, what the agent thinks and proposes, and what has been done so far.

import { make, replace, setText } from "./dom.js";
import { count, statusWords } from "./format.js";
import { forPage } from "./keys.js";
import { toast } from "./notices.js";
import { PlayControls } from "./play_controls.js";
import { Hands } from "./play_hands.js";
import { eventsPath, order } from "./play_orders.js";
import { ProposalEditor } from "./play_proposal.js";
import { StepsDone } from "./play_steps.js";
import { link, trajectoryPath } from "./router.js";
import { Screen } from "./screen.js";

const DOING = {
  starting: "starting the environment", paused: "paused", thinking: "the agent thinks", proposed: "the agent waits for you", acting: "acting",
  person: "you drive", judging: "was it done?", ended: "over",
};

export class PlayPage {
  constructor(root, id, { title }) {
    Object.assign(this, { id, title, state: null, past: null });
    this.heading = make("h1", {});
    this.about = make("p", { class: "muted" });
    this.badge = make("span", { class: "badge", role: "status" });
    this.pending = make("span", { class: "muted small play-pending" });
    this.notice = make("div", { class: "notice warn", role: "alert", hidden: true });
    this.said = make("div", { class: "notice", hidden: true });
    this.result = make("section", { class: "play-result", hidden: true });
    this.screen = new Screen({ label: "The environment's screen" });
    this.screen.frame.tabIndex = -1;
    this.controls = new PlayControls((command, fields) => this.#order(command, fields));
    this.proposal = new ProposalEditor({
      changed: () => this.#drawScreen(),
      carryOut: () => this.#order("carry_out"),
      correct: (deed) => this.#order("correct", deed),
    });
    this.steps = new StepsDone({ look: (number) => this.#lookBack(number), mark: (step, learned) => this.#order("mark", { step, learned }) });
    this.hands = new Hands(this.screen.frame, {
      place: (event) => this.#place(event),
      active: () => this.#drives(),
      send: (events) => order(id, "input", { events }),
      deed: (kind, x, y) => this.#order("act", { actions: [{ kind, x, y }] }),
      tap: () => this.controls.tap,
      leave: () => this.#order("hand_back"),
      failed: (error) => toast(error.message),
    });
    this.screen.frame.addEventListener("pointerdown", (event) => this.#pointDown(event));
    this.screen.frame.addEventListener("pointerup", (event) => this.#pointUp(event));
    this.back = make("button", { class: "button", type: "button", text: "Back to now", hidden: true, on: { click: () => this.#lookBack(null) } });
    replace(
      root,
      make("header", { class: "play-head" }, this.heading, this.about),
      make(
        "div",
        { class: "play" },
        make("div", { class: "play-screen" }, make("div", { class: "play-bar" }, this.badge, this.pending, this.back), this.screen.element, this.said),
        make("div", { class: "play-side" }, this.notice, this.result, this.controls.element, this.proposal.element, this.steps.element),
      ),
    );
    this.proposal.element.hidden = true;
    this.#keys();
    this.source = new EventSource(eventsPath(id));
    this.source.addEventListener("message", (event) => this.#show(JSON.parse(event.data)));
    this.source.addEventListener("error", () => this.#lost());
  }

  close() {
    this.source.close();
    this.screen.close();
    this.hands.release();
  }

  #show(state) {
    const before = this.state;
    this.state = state;
    if (state.doing === "ended") this.source.close();
    setText(this.heading, state.instruction || state.task);
    const turns = state.doing === "ended" ? count(state.steps.length, "turn") : `turn ${state.steps.length + 1}`;
    setText(this.about, `${state.task}, seed ${state.seed}, ${state.alone ? "played by you" : `played by ${state.player}`}; ${turns}, the task allows ${state.max_steps}`);
    this.title(state.instruction || state.task);
    setText(this.badge, DOING[state.doing] ?? state.doing);
    this.badge.className = `badge ${{ person: "good", proposed: "warn", judging: "warn", paused: "warn" }[state.doing] ?? ""}`;
    setText(this.pending, state.pending ? `about to ${state.pending}` : state.waiting ? `${state.waiting} to be carried out` : "");
    this.#say(this.notice, state.notice);
    this.#say(this.said, state.text);
    this.controls.show(state);
    this.proposal.show(state.proposal);
    this.steps.show(state.steps);
    this.#showResult(state);
    this.screen.element.classList.toggle("driven", this.#drives());
    this.screen.frame.tabIndex = this.#drives() ? 0 : -1;
    this.screen.frame.setAttribute("role", this.#drives() ? "application" : "img");
    this.screen.frame.setAttribute("aria-label", this.#drives() ? "The environment's screen. Mouse and keys go to it; F9 hands back" : "The environment's screen");
    this.#drawScreen();
    if (this.#drives() && before?.driver !== "person") this.screen.frame.focus({ preventScroll: true });
  }

  #say(place, text) {
    setText(place, text ?? "");
    place.hidden = !text;
  }

  #drawScreen() {
    const { state } = this;
    if (!state) return;
    const old = this.past === null ? null : state.steps[this.past];
    this.back.hidden = !old;
    if (old) this.screen.show({ screenshot: old.screenshot, actions: old.actions });
    else this.screen.show({ screenshot: state.screenshot, actions: state.proposal ? this.proposal.actions : [] });
  }

  #lookBack(number) {
    this.past = number;
    this.steps.choose(number);
    this.#drawScreen();
  }

  #drives() {
    const { state } = this;
    return Boolean(state) && state.driver === "person" && ["person", "acting"].includes(state.doing) && this.past === null;
  }

  #edits() {
    return Boolean(this.state?.proposal) && this.past === null;
  }

  #pointDown(event) {
    if (this.#edits() && event.button === 0) this.pressed = this.#place(event);
  }

  #pointUp(event) {
    if (!this.#edits() || event.button !== 0 || !this.pressed) return;
    this.proposal.setPlace(...this.pressed, this.#place(event));
    this.pressed = null;
  }

  // A pixel of the screenshot; a pointer that was dragged off it stays at its edge.
  #place(event) {
    const box = this.screen.frame.getBoundingClientRect();
    const { width, height } = this.state.screenshot;
    const at = (value, size, most) => Math.max(0, Math.min(most - 1, Math.floor((value / size) * most)));
    return [at(event.clientX - box.left, box.width, width), at(event.clientY - box.top, box.height, height)];
  }

  #showResult(state) {
    this.result.hidden = !["judging", "ended"].includes(state.doing);
    const key = `${state.doing} ${state.error} ${state.trajectory?.id}`;
    if (this.result.hidden || this.shownResult === key) return;
    this.shownResult = key;
    replace(this.result, state.doing === "judging" ? this.#verdict() : this.#outcome(state));
  }

  #verdict() {
    const say = (success) => () => this.#order("judge", { success });
    return [
      make("h2", { text: "Was it done?" }),
      make("p", { class: "muted", text: "There is no check of your instruction; what you say is the reward." }),
      make("div", { class: "play-bar" }, make("button", { class: "button first", type: "button", text: "Yes, it was done", on: { click: say(true) } }), make("button", { class: "button", type: "button", text: "No", on: { click: say(false) } })),
    ];
  }

  #outcome(state) {
    const { reward, status, trajectory, error } = state;
    const name = reward === null ? "warn" : reward >= 0.5 ? "good" : "bad";
    const words = reward === null ? "not graded" : reward >= 0.5 ? "success" : "failure";
    const again = (seed) => link(`/play?task=${encodeURIComponent(state.task)}&player=${encodeURIComponent(state.player)}&seed=${seed}`);
    return [
      make("h2", {}, make("span", { class: `badge ${name}`, text: words }), reward === null ? null : ` reward ${reward}`, status ? make("span", { class: "muted", text: `, ${statusWords(status)}` }) : null),
      error ? make("p", { class: "notice bad", text: error }) : null,
      trajectory ? make("p", {}, make("a", { class: "play-kept", href: link(trajectoryPath(trajectory.run, trajectory.store, trajectory.id)), text: "Look at the trajectory" })) : null,
      make("div", { class: "play-bar" }, make("a", { class: "button first", href: again(state.seed + 1), text: "Play the next seed" }), make("a", { class: "button", href: again(state.seed), text: "Play again" })),
    ];
  }

  #lost() {
    if (this.state?.doing === "ended") return;
    if (this.source.readyState === EventSource.CLOSED) this.#say(this.notice, "This play is not there any more.");
    else this.#say(this.notice, "The server does not answer; trying again …");
  }

  async #order(command, fields = {}) {
    try {
      await order(this.id, command, fields);
    } catch (error) {
      toast(error.message);
    }
  }

  #keys() {
    const going = (work) => () => (this.state && !["starting", "judging", "ended"].includes(this.state.doing) ? work() : false);
    const withAgent = (work) => going(() => (this.state.alone ? false : work()));
    forPage(
      { keys: [" "], label: "pause, or go on", run: withAgent(() => this.controls.pauseOrRun()) },
      { keys: ["s"], label: "one step", run: withAgent(() => this.#order("step")) },
      { keys: ["r"], label: "look at every proposal first, or not", run: withAgent(() => this.controls.toggleReview()) },
      { keys: ["Enter"], label: "carry out what is proposed", run: going(() => (this.state.proposal ? this.proposal.accept() : false)) },
      { keys: ["t", "F9"], label: "take over, or hand back (F9 from the screen, too)", run: withAgent(() => this.controls.takeOverOrHandBack()) },
      { keys: ["ArrowLeft"], label: "look back a step", run: () => this.#walk(-1) },
      { keys: ["ArrowRight"], label: "look a step on", run: () => this.#walk(1) },
    );
  }

  #walk(by) {
    const last = this.state?.steps.length ?? 0;
    if (!last) return false;
    const next = (this.past ?? last) + by;
    this.#lookBack(next >= last ? null : Math.max(0, next));
    return true;
  }
}
