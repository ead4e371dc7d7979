// A person's mouse and keyboard on the screen that is shown, as events for the server, which makes actions of them.

// Buttons as X counts them.
const BUTTONS = { 0: 1, 1: 2, 2: 3 };
const WHEEL = { up: 4, down: 5, left: 6, right: 7 };
const HELD = { Control: "ctrl", Shift: "shift", Alt: "alt", Meta: "super" };
// What a browser calls a notch of the wheel: so many pixels, or lines.
const NOTCH = { 0: 100, 1: 3, 2: 1 };
const MOST_NOTCHES = 20;

export class Hands {
  // `place(event)` gives [x, y] on the screenshot; `active()` whether the person drives; `send(events)` a promise; `deed(kind, x, y)` is
  // called instead where a tap means one thing, which `tap()` names; `leave()` when the key that hands back is pressed.
  constructor(frame, { place, active, send, deed, tap, leave, failed }) {
    Object.assign(this, { frame, place, active, send, deed, tap, leave, failed });
    this.queue = [];
    this.sending = false;
    this.turned = [0, 0];
    this.held = new Set();
    const on = (name, work, options) => frame.addEventListener(name, (event) => this.active() && work.call(this, event), options);
    on("pointerdown", this.#down);
    on("pointerup", this.#up);
    on("pointercancel", this.#cancel);
    on("contextmenu", (event) => event.preventDefault());
    on("auxclick", (event) => event.preventDefault());
    on("wheel", this.#wheel, { passive: false });
    on("keydown", this.#keyDown);
    on("keyup", this.#keyUp);
    frame.addEventListener("blur", () => this.release());
  }

  // No modifier stays down when the keyboard goes elsewhere.
  release() {
    for (const key of this.held) this.#put({ kind: "key_up", key });
    this.held.clear();
  }

  #down(event) {
    if (!(event.button in BUTTONS)) return;
    event.preventDefault();
    this.frame.focus({ preventScroll: true });
    this.frame.setPointerCapture(event.pointerId);
    if (this.tap() === "mouse") this.#put({ kind: "button_down", button: BUTTONS[event.button], ...this.#at(event) }, event.timeStamp);
  }

  #up(event) {
    if (!(event.button in BUTTONS)) return;
    event.preventDefault();
    const at = this.#at(event);
    if (this.tap() === "mouse") this.#put({ kind: "button_up", button: BUTTONS[event.button], ...at }, event.timeStamp);
    else this.deed(this.tap(), at.x, at.y);
  }

  #cancel(event) {
    this.#put({ kind: "button_up", button: BUTTONS[event.button] ?? 1, ...this.#at(event) }, event.timeStamp);
  }

  #wheel(event) {
    event.preventDefault();
    const notch = NOTCH[event.deltaMode] ?? 100;
    this.turned[0] += event.deltaX / notch;
    this.turned[1] += event.deltaY / notch;
    const [right, down] = this.turned.map((value) => Math.max(-MOST_NOTCHES, Math.min(MOST_NOTCHES, Math.trunc(value))));
    this.turned = [this.turned[0] - right, this.turned[1] - down];
    const press = (button, times) => {
      for (let i = 0; i < times; i += 1) this.#put({ kind: "button_down", button, ...this.#at(event) }, event.timeStamp);
    };
    press(down > 0 ? WHEEL.down : WHEEL.up, Math.abs(down));
    press(right > 0 ? WHEEL.right : WHEEL.left, Math.abs(right));
  }

  #keyDown(event) {
    event.stopPropagation();
    if (event.key === "F9") {
      event.preventDefault();
      this.leave();
      return;
    }
    if (event.isComposing || ["Unidentified", "Process", "Dead", "AltGraph"].includes(event.key)) return;
    event.preventDefault();
    const key = HELD[event.key];
    if (key) {
      if (!event.repeat) {
        this.held.add(key);
        this.#put({ kind: "key_down", key }, event.timeStamp);
      }
      return;
    }
    const third = event.getModifierState("AltGraph");
    const types = [...event.key].length === 1 && (third || !(event.ctrlKey || event.altKey || event.metaKey));
    this.#put({ kind: "key_down", key: event.key, text: types ? event.key : "" }, event.timeStamp);
  }

  #keyUp(event) {
    event.stopPropagation();
    const key = HELD[event.key];
    if (!key || !this.held.delete(key)) return;
    this.#put({ kind: "key_up", key }, event.timeStamp);
  }

  #at(event) {
    const [x, y] = this.place(event);
    return { x, y };
  }

  #put(event, time = performance.now()) {
    this.queue.push({ ...event, time: time / 1000 });
    if (!this.sending) this.#flush();
  }

  async #flush() {
    this.sending = true;
    while (this.queue.length) {
      try {
        await this.send(this.queue.splice(0, 200));
      } catch (error) {
        this.queue = [];
        this.failed(error);
      }
    }
    this.sending = false;
  }
}
