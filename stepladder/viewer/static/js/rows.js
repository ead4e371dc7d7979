// A windowed list: only the rows in sight are in the page, and they are fetched in pages as they come into sight.

import { make, replace } from "./dom.js";
import { failure } from "./notices.js";

export const PAGE = 200;
const SPARE = 12;
// Browsers lay out no element higher than some 16 million pixels: longer lists scroll faster than their rows are high.
const HIGHEST = 8_000_000;

// `load(offset, limit)` gives {total, rows}; `draw(row, index)` the cells of a row; `open(row)` and `mark(row)` act on one.
// Rows are all `height` pixels high. The page scrolls, not the list.
export class Rows {
  constructor({
    label,
    columns,
    height = 32,
    load,
    draw,
    open,
    mark = null,
    href = null,
    sort = null,
    onSort = null,
    onTotal = () => {},
  }) {
    Object.assign(this, { load, draw, open, mark, href, height, onTotal });
    this.total = null;
    this.active = -1;
    this.pages = new Map();
    this.shown = new Map();
    this.generation = 0;
    this.body = make("div", { class: "rows-body", role: "rowgroup" });
    this.message = make("div", {});
    this.head = make(
      "div",
      { class: "row head", role: "row", "aria-rowindex": "1" },
      columns.map((column) => this.#heading(column, sort, onSort)),
    );
    this.table = make(
      "div",
      {
        class: "rows",
        role: "grid",
        tabindex: "0",
        "aria-label": label,
        "aria-rowcount": "-1",
        "aria-colcount": columns.length,
        vars: { "--columns": template(columns), "--row": `${height}px` },
      },
      make("div", { role: "rowgroup" }, this.head),
      this.body,
    );
    this.element = make("div", {}, this.table, this.message);
    this.redraw = () => this.#schedule();
    addEventListener("scroll", this.redraw, { passive: true });
    addEventListener("resize", this.redraw);
    this.table.addEventListener("focus", () => this.active < 0 && this.total && this.choose(this.#firstVisible()));
  }

  // Forget all rows and ask for them again.
  async reload() {
    this.generation += 1;
    this.pages.clear();
    this.active = -1;
    await this.#page(0);
  }

  // Rows whose look has changed (a mark, say) are drawn anew.
  refresh() {
    for (const node of this.shown.values()) node.remove();
    this.shown.clear();
    this.#draw();
  }

  close() {
    this.generation += 1;
    removeEventListener("scroll", this.redraw);
    removeEventListener("resize", this.redraw);
  }

  move(by) {
    if (!this.total) return;
    const next = this.active < 0 ? this.#firstVisible() : this.active + by;
    this.choose(Math.min(this.total - 1, Math.max(0, next)));
    this.#reveal(this.active);
  }

  // Makes the row at `index` the one that keys act on.
  choose(index) {
    this.active = index;
    this.#draw();
    for (const [at, node] of this.shown) setActive(node, at === index);
    this.table.setAttribute("aria-activedescendant", `row-${index}`);
  }

  chosen() {
    return this.row(this.active);
  }

  row(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? null;
  }

  openChosen() {
    const row = this.chosen();
    if (row) this.open(row);
    return Boolean(row);
  }

  markChosen() {
    const row = this.chosen();
    if (row && this.mark) this.mark(row);
  }

  #heading(column, sort, onSort) {
    const name = column.sort;
    const direction = name && sort === name ? "ascending" : name && sort === `-${name}` ? "descending" : null;
    const attributes = {
      role: "columnheader",
      class: `${column.class ?? ""}${direction ? " sorted" : ""}`,
      "aria-sort": name ? (direction ?? "none") : null,
    };
    if (!name || !onSort) return make("div", attributes, column.title);
    const press = () =>
      onSort(direction === "descending" ? name : direction === "ascending" ? `-${name}` : column.descending ? `-${name}` : name);
    return make("div", attributes, make("button", { type: "button", on: { click: press } }, column.title));
  }

  async #page(number) {
    if (this.pages.has(number)) return;
    const generation = this.generation;
    this.pages.set(number, null);
    try {
      const answer = await this.load(number * PAGE, PAGE);
      if (generation !== this.generation) return;
      this.pages.set(number, answer.rows);
      this.#setTotal(answer.total);
      replace(this.message, this.total === 0 ? make("p", { class: "empty", text: "Nothing fits" }) : null);
      this.refresh();
    } catch (error) {
      if (generation !== this.generation) return;
      this.pages.delete(number);
      replace(this.message, failure(error));
    }
  }

  #setTotal(total) {
    if (total === this.total) return;
    this.total = total;
    this.table.setAttribute("aria-rowcount", total + 1);
    this.body.style.height = `${Math.min(total * this.height, HIGHEST)}px`;
    this.onTotal(total);
  }

  // Index of the row at the upper edge of the window, under the list's own head.
  #firstVisible() {
    const box = this.body.getBoundingClientRect();
    const covered = this.head.getBoundingClientRect().bottom;
    return Math.max(0, Math.min(this.total - 1, Math.ceil(this.#rowAt(covered - box.top))));
  }

  #stretch() {
    return Math.max(1, (this.total * this.height) / HIGHEST);
  }

  #rowAt(pixels) {
    return (pixels * this.#stretch()) / this.height;
  }

  #reveal(index) {
    const box = this.body.getBoundingClientRect();
    const top = box.top + (index * this.height) / this.#stretch();
    const upper = this.head.getBoundingClientRect().bottom;
    if (top < upper) scrollBy(0, top - upper);
    else if (top + this.height > innerHeight) scrollBy(0, top + this.height - innerHeight + 8);
  }

  #schedule() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.#draw();
    });
  }

  #draw() {
    if (!this.total || !this.table.isConnected) {
      this.body.replaceChildren();
      this.shown.clear();
      return;
    }
    const box = this.body.getBoundingClientRect();
    const hidden = Math.min(Math.max(0, -box.top), box.height);
    const first = Math.max(0, Math.floor(this.#rowAt(hidden)) - SPARE);
    const last = Math.min(this.total - 1, Math.floor(this.#rowAt(hidden)) + Math.ceil(innerHeight / this.height) + SPARE);
    for (const [index, node] of this.shown) {
      if (index < first || index > last) {
        node.remove();
        this.shown.delete(index);
      }
    }
    const shift = hidden - hidden * this.#stretch();
    for (let index = first; index <= last; index += 1) {
      if (!this.shown.has(index)) this.#add(index);
      this.shown.get(index).style.transform = `translateY(${index * this.height + shift}px)`;
    }
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) this.#page(page);
  }

  #add(index) {
    const row = this.row(index);
    const cells = row ? this.draw(row, index) : make("span", { class: "muted", text: "…" });
    const attributes = { class: "row", role: "row", id: `row-${index}`, "aria-rowindex": index + 2 };
    const node = make("div", { ...attributes, on: { click: (event) => this.#click(event, index) } }, cells);
    setActive(node, index === this.active);
    this.shown.set(index, node);
    this.body.append(node);
  }

  #click(event, index) {
    const row = this.row(index);
    if (!row || event.target.closest("a, button, input")) return;
    this.choose(index);
    this.open(row);
  }
}

// Keys of a list, for `forPage`.
export function listKeys(rows, what) {
  const keys = [
    { keys: ["j", "ArrowDown"], label: `next ${what}`, run: () => rows.move(1) },
    { keys: ["k", "ArrowUp"], label: `previous ${what}`, run: () => rows.move(-1) },
    { keys: ["Enter"], label: `open the ${what}`, run: () => rows.openChosen() },
  ];
  if (rows.mark) keys.push({ keys: ["x"], label: `mark the ${what} for comparison`, run: () => rows.markChosen() });
  return keys;
}

export function cell(content, name = "") {
  return make("div", { role: "gridcell", class: name }, content);
}

function setActive(node, active) {
  node.classList.toggle("active", active);
  node.setAttribute("aria-selected", String(active));
}

function template(columns) {
  return columns.map((column) => column.width ?? "minmax(0, 1fr)").join(" ");
}
