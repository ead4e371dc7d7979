// One screenshot with what was done on it, the element under it, and an element that is pointed at.

import { picture } from "./api.js";
import { drawAction, hasPlace, isTyped } from "./actions.js";
import { make, replace, setText, svg } from "./dom.js";
import { shorten } from "./format.js";
import { elementAt, focusedElement } from "./tree.js";

// Small screens (MiniWoB++'s 160 x 210) are enlarged so far, by a whole number, so that their pixels stay sharp.
const LARGEST_ZOOM = 4;
const RETRY_MILLISECONDS = 2500;

// `onHover(index | null)` is called with the element under the pointer.
export class Screen {
  constructor({ onHover = () => {}, label = "Screenshot" } = {}) {
    this.onHover = onHover;
    this.image = make("img", { alt: label, decoding: "async", draggable: "false" });
    this.layer = svg("svg", { class: "marks", "aria-hidden": "true" });
    this.place = make("span", { class: "place", "aria-hidden": "true" });
    this.frame = make("div", { class: "frame" }, this.image, this.layer, this.place);
    this.none = make("p", { class: "empty", text: "No screenshot" });
    this.element = make("div", { class: "screen" }, this.frame, this.none);
    this.state = { screenshot: null, actions: [], elements: null, marked: null };
    this.actual = false;
    this.observer = new ResizeObserver(() => this.#layout());
    this.observer.observe(this.element);
    this.image.addEventListener("error", () => this.#retry());
    this.image.addEventListener("load", () => this.element.classList.remove("broken"));
    this.frame.addEventListener("pointermove", (event) => this.#hover(event));
    this.frame.addEventListener("pointerleave", () => this.#leave());
  }

  // `screenshot` {url, width, height} or null; `actions` of the step; `elements` its accessibility tree, once it is there. `past`
  // actions led to this screen and were done on the one before. `pointer` [x, y]: where the last action before these was.
  show({ screenshot, actions = [], elements = null, label = "Screenshot", past = false, pointer = null }) {
    this.state = { screenshot, actions, elements, pointer, marked: null };
    this.layer.classList.toggle("past", past);
    this.frame.hidden = !screenshot;
    this.none.hidden = Boolean(screenshot);
    if (screenshot) {
      const address = picture(screenshot.url);
      if (this.image.getAttribute("src") !== address) this.image.src = address;
      this.image.width = screenshot.width;
      this.image.height = screenshot.height;
      this.image.alt = label;
      this.element.style.setProperty("--ratio", `${screenshot.width} / ${screenshot.height}`);
    }
    this.#layout();
  }

  setElements(elements) {
    this.state.elements = elements;
    this.#draw();
  }

  // Outlines one element more: the one that is pointed at in the tree.
  point(index) {
    if (this.state.marked === index) return;
    this.state.marked = index;
    this.#draw();
  }

  toggleSize() {
    this.actual = !this.actual;
    this.element.classList.toggle("actual", this.actual);
    this.#layout();
    return this.actual;
  }

  close() {
    clearTimeout(this.waiting);
    this.observer.disconnect();
  }

  // A picture of a run that has just begun may come a moment later than what names it.
  #retry() {
    this.element.classList.add("broken");
    const address = this.image.getAttribute("src");
    if (this.tried === address) return;
    this.tried = address;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      if (this.image.getAttribute("src") === address) this.image.src = address;
    }, RETRY_MILLISECONDS);
  }

  #layout() {
    const { screenshot } = this.state;
    if (!screenshot) return;
    const [wide, high] = [this.element.clientWidth, this.element.clientHeight];
    if (!wide) return;
    let scale = this.actual ? 1 : Math.min(wide / screenshot.width, high / screenshot.height, LARGEST_ZOOM);
    if (!this.actual && scale > 2) scale = Math.floor(scale * 2) / 2;
    this.scale = scale;
    this.frame.style.width = `${Math.round(screenshot.width * scale)}px`;
    this.frame.style.height = `${Math.round(screenshot.height * scale)}px`;
    this.frame.classList.toggle("enlarged", scale >= 3);
    this.#draw();
  }

  #draw() {
    const { screenshot, actions, elements, marked } = this.state;
    if (!screenshot || !this.scale) return;
    const [width, height] = [screenshot.width * this.scale, screenshot.height * this.scale];
    this.layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [];
    const typed = actions.some(isTyped);
    const focused = typed && elements ? focusedElement(elements) : null;
    const focus = focused === null ? (this.state.pointer ?? null) : lowerEdge(elements[focused]);
    if (elements) {
      for (const action of actions.filter(hasPlace)) {
        const index = elementAt(elements, action.x, action.y);
        if (index !== null && index !== marked && !isBackground(elements[index], screenshot))
          parts.push(this.#outline(elements[index], "under", width, height));
      }
      if (focused !== null && focused !== marked) parts.push(this.#outline(elements[focused], "under", width, height));
      if (marked !== null && elements[marked]?.box) parts.push(this.#outline(elements[marked], "pointed", width, height));
    }
    const order = (i) => (actions.length > 1 ? i + 1 : 0);
    actions.forEach((action, i) => parts.push(drawAction(action, this.scale, { width, height, focus, order: order(i) })));
    replace(this.layer, parts);
  }

  #outline(element, name, width, height) {
    const [left, top, wide, high] = element.box.map((value) => value * this.scale);
    const words = shorten(`${element.role}${element.name ? ` “${element.name}”` : ""}`, 44);
    const length = 6.3 * words.length + 12;
    const x = Math.max(0, Math.min(left, width - length));
    const y = top > 20 ? top - 20 : Math.min(height - 19, top + high + 2);
    return svg(
      "g",
      { class: `outline ${name}` },
      svg("rect", { x: left, y: top, width: Math.max(1, wide), height: Math.max(1, high), rx: 2 }),
      name === "pointed"
        ? svg(
            "g",
            { transform: `translate(${x} ${y})` },
            svg("rect", { class: "plate", width: length, height: 18, rx: 3 }),
            svg("text", { x: 6, y: 9.5, text: words }),
          )
        : null,
    );
  }

  #hover(event) {
    const { elements, screenshot } = this.state;
    if (!screenshot || !this.scale) return;
    const box = this.frame.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / this.scale, (event.clientY - box.top) / this.scale];
    setText(this.place, `${Math.floor(x)}, ${Math.floor(y)}`);
    this.frame.classList.add("hovered");
    if (!elements) return;
    const index = elementAt(elements, x, y);
    if (index === this.state.marked) return;
    this.point(index);
    this.onHover(index);
  }

  #leave() {
    this.frame.classList.remove("hovered");
    if (this.state.marked === null) return;
    this.point(null);
    this.onHover(null);
  }
}

// An outline around nearly everything says nothing.
function isBackground({ box }, screenshot) {
  return box[2] * box[3] > 0.7 * screenshot.width * screenshot.height;
}

// A little above the lower edge: a label of what is typed then stands right below the field.
function lowerEdge({ box: [left, top, width, height] }) {
  return [left + width / 2, top + height - 8];
}
