// The accessibility tree of a screen as an indented list, and which element lies under a point.

import { make, replace, setText } from "./dom.js";
import { count } from "./format.js";

// More rows than this make a page slow; the rest is found by the filter.
const MOST_ROWS = 3000;

// Elements of an answer with `depth`, in document order. An element's place in the list is what names it.
export function readTree(answer) {
  const places = new Map(answer.elements.map((element, i) => [element.index ?? i, i]));
  const elements = [];
  for (const element of answer.elements) {
    const parent = places.get(element.parent) ?? -1;
    const above = parent >= 0 && parent < elements.length ? elements[parent] : null;
    elements.push({ ...element, states: element.states ?? [], depth: above ? above.depth + 1 : 0 });
  }
  return elements;
}

// The smallest element whose box holds the point; of equals the inner one. Null where there is none.
export function elementAt(elements, x, y) {
  let found = null;
  let least = Infinity;
  elements.forEach(({ box }, i) => {
    if (!box) return;
    const [left, top, width, height] = box;
    const area = width * height;
    if (x < left || y < top || x >= left + width || y >= top + height || area > least) return;
    [found, least] = [i, area];
  });
  return found;
}

// The innermost element that has the keyboard and a place on the screen. Null where none is known.
export function focusedElement(elements) {
  let found = null;
  elements.forEach(({ box, states }, i) => {
    if (box && states.includes("focused") && (found === null || elements[i].depth >= elements[found].depth)) found = i;
  });
  return found;
}

export function describeElement(element) {
  return `${element.role}${element.name ? ` “${element.name}”` : ""}`;
}

// `onHover(index | null)` is called for the row under the pointer or the focus.
export class Tree {
  constructor(onHover) {
    this.onHover = onHover;
    this.rows = [];
    this.pointed = null;
    this.filter = make("input", {
      type: "search",
      placeholder: "Filter the tree",
      "aria-label": "Filter the tree",
      on: { input: () => this.#list() },
    });
    this.note = make("span", { class: "muted small" });
    this.list = make("div", { class: "tree", role: "tree", "aria-label": "Accessibility tree" });
    this.element = make("div", {}, make("div", { class: "bar" }, this.filter, this.note), this.list);
    this.list.addEventListener("pointerover", (event) => this.#pointAt(event.target.closest("[role=treeitem]")));
    this.list.addEventListener("pointerleave", () => this.#pointAt(null));
    this.list.addEventListener("focusin", (event) => this.#pointAt(event.target.closest("[role=treeitem]")));
    this.list.addEventListener("keydown", (event) => this.#key(event));
  }

  // `under`: places of the elements that the step's actions hit.
  show(elements, under = []) {
    this.elements = elements;
    this.under = new Set(under);
    this.#list();
  }

  // Marks a row from outside and brings it into sight.
  mark(index) {
    this.#highlight(index);
    const row = this.rows[index];
    if (!row) return;
    const [box, list] = [row.getBoundingClientRect(), this.list.getBoundingClientRect()];
    if (box.top < list.top || box.bottom > list.bottom) this.list.scrollTop += box.top - list.top - list.height / 2;
  }

  #list() {
    const wanted = this.filter.value.trim().toLowerCase();
    const fits = (element) =>
      !wanted ||
      [element.role, element.name, element.value, ...element.states].some((text) => text?.toLowerCase().includes(wanted));
    const places = this.elements.map((_, i) => i).filter((i) => fits(this.elements[i]));
    this.rows = [];
    const shown = places.slice(0, MOST_ROWS);
    for (const i of shown) this.rows[i] = this.#row(this.elements[i], i, wanted ? 0 : this.elements[i].depth);
    setText(
      this.note,
      shown.length < places.length ? `the first ${shown.length} of ${places.length}` : count(places.length, "element"),
    );
    replace(
      this.list,
      shown.map((i) => this.rows[i]),
    );
    const first = this.rows[[...this.under][0]] ?? this.rows[shown[0]];
    first?.setAttribute("tabindex", "0");
    if (this.under.size && !wanted) this.mark([...this.under][0]);
    this.#highlight(null);
  }

  #row(element, i, depth) {
    return make(
      "div",
      {
        role: "treeitem",
        tabindex: "-1",
        "data-index": i,
        "aria-level": depth + 1,
        class: `node${this.under.has(i) ? " under" : ""}${element.box ? "" : " nowhere"}`,
        vars: { "--depth": Math.min(depth, 24) },
      },
      make("span", { class: "role", text: element.role }),
      element.name ? make("span", { class: "name", text: element.name }) : null,
      element.value ? make("span", { class: "value", text: `= ${element.value}` }) : null,
      element.states.map((state) => make("span", { class: "state", text: state })),
    );
  }

  #pointAt(row) {
    const index = row ? Number(row.dataset.index) : null;
    this.#highlight(index);
    this.onHover(index);
  }

  #highlight(index) {
    this.rows[this.pointed]?.classList.remove("pointed");
    this.pointed = index;
    this.rows[index]?.classList.add("pointed");
  }

  #key(event) {
    const by = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const next = by && event.target.closest("[role=treeitem]")?.[by];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    event.target.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}
