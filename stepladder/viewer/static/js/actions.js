// Canonical actions in words, and as marks on the screen on which they were done.

import { svg } from "./dom.js";
import { number, shorten } from "./format.js";

const POINTED = [
  "click",
  "double_click",
  "triple_click",
  "right_click",
  "middle_click",
  "move",
  "drag",
  "mouse_down",
  "mouse_up",
  "scroll",
];

const TYPED = ["type", "key", "key_down", "key_up"];

// A short sign for a film strip.
const SIGNS = {
  click: "●",
  double_click: "●●",
  triple_click: "●●●",
  right_click: "◐",
  middle_click: "◍",
  move: "↖",
  drag: "⇢",
  mouse_down: "▼",
  mouse_up: "▲",
  scroll: "⇅",
  type: "⌨",
  key: "⌘",
  key_down: "⌘",
  key_up: "⌘",
  wait: "◷",
  call: "ƒ",
  done: "✓",
  fail: "✕",
};

export function sign(action) {
  return action ? (SIGNS[action.kind] ?? "?") : "–";
}

export function isTyped(action) {
  return TYPED.includes(action.kind);
}

export function hasPlace(action) {
  return Boolean(action) && POINTED.includes(action.kind) && Number.isFinite(action.x) && Number.isFinite(action.y);
}

// Where the last action with a place was, [x, y], before the step at `index`; null where there was none.
export function pointerBefore(steps, index) {
  const done = steps.slice(0, index).flatMap((step) => step.actions ?? []);
  const last = done.findLast(hasPlace);
  return last ? [last.x2 ?? last.x, last.y2 ?? last.y] : null;
}

// "click (52, 130)", "type “abc”", "press ctrl+a". `most` bounds the length of text in it.
export function describe(action, most = 80) {
  const kind = String(action.kind ?? "").replaceAll("_", " ");
  const keys = (action.keys ?? []).join("+");
  const held = keys ? ` with ${keys}` : "";
  const place = point(action.x, action.y);
  switch (action.kind) {
    case "drag":
      return `drag${place}${point(action.x2, action.y2) ? ` to${point(action.x2, action.y2)}` : ""}${held}`;
    case "scroll":
      return `scroll ${direction(action)} ${number(Math.abs(action.amount ?? 0))}${place}${held}`;
    case "type":
      return `type “${shorten(action.text ?? "", most)}”`;
    case "key":
      return `press ${keys}`;
    case "key_down":
    case "key_up":
      return `${kind} ${keys}`;
    case "wait":
      return `wait ${number(action.seconds ?? 0)} s`;
    case "call":
      return shorten(
        `call ${action.name ?? ""}(${Object.entries(action.args ?? {})
          .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
          .join(", ")})`,
        most + 8,
      );
    case "done":
    case "fail":
      return action.text ? `${kind} “${shorten(action.text, most)}”` : kind;
    default:
      return `${kind}${place}${held}`;
  }
}

// What a step did, in words; why it did nothing where it did nothing.
export function describeStep(step, most = 80) {
  if (!step.actions?.length) return step.error ? `no action: ${shorten(step.error, most)}` : "no action";
  return step.actions.map((action) => describe(action, most)).join(", then ");
}

// SVG marks of an action on a picture shown at `scale` screen pixels a pixel, `width` x `height` screen pixels large. `order`
// numbers the actions of a step that has several; `focus` [x, y], in pixels of the picture, is where what is typed goes to.
export function drawAction(action, scale, { width, height, order = 0, focus = null }) {
  const marks = [];
  const at = hasPlace(action) ? [action.x * scale, action.y * scale] : null;
  if (action.kind === "drag" && at && Number.isFinite(action.x2) && Number.isFinite(action.y2)) {
    marks.push(...arrow(at, [action.x2 * scale, action.y2 * scale], 7), ring(at, 7));
  } else if (action.kind === "scroll") {
    marks.push(...scrolled(action, at ?? [width / 2, height / 2]));
  } else if (at) {
    marks.push(...clicked(action.kind, at));
  }
  const words = label(action);
  const typed = focus && isTyped(action) ? [focus[0] * scale, focus[1] * scale] : null;
  if (words) marks.push(tag(words, at ?? typed, width, height));
  if (order && at) marks.push(numbered(order, at));
  return svg("g", { class: `mark mark-${action.kind}` }, marks);
}

function clicked(kind, at) {
  if (kind === "move") return [halo("path", { d: pointer(at) }), svg("path", { class: "stroke fill", d: pointer(at) })];
  const radii = { double_click: [9, 15], triple_click: [8, 13, 18] }[kind] ?? [12];
  const rings = radii.map((radius) => ring(at, radius));
  if (kind === "right_click")
    rings.push(svg("path", { class: "fill", d: `M${at[0]} ${at[1] - 12}A12 12 0 0 1 ${at[0]} ${at[1] + 12}Z`, opacity: 0.5 }));
  return [...rings, svg("circle", { class: "dot", cx: at[0], cy: at[1], r: 3 })];
}

function scrolled(action, at) {
  const length = (action.amount ?? 0) > 0 ? 46 : -46;
  const end = action.name === "horizontal" ? [at[0] + length, at[1]] : [at[0], at[1] - length];
  return [...arrow(at, end), svg("circle", { class: "dot", cx: at[0], cy: at[1], r: 4 })];
}

// What a mark cannot show: typed text, keys, the kind of a button.
function label(action) {
  const keys = (action.keys ?? []).join("+");
  switch (action.kind) {
    case "type":
      return `⌨ ${shorten(action.text ?? "", 48)}`;
    case "key":
    case "key_down":
    case "key_up":
    case "wait":
    case "call":
      return describe(action, 40);
    case "done":
    case "fail":
      return `${sign(action)} ${describe(action, 48)}`;
    case "right_click":
    case "middle_click":
    case "mouse_down":
    case "mouse_up":
      return `${action.kind.replaceAll("_", " ")}${keys ? ` + ${keys}` : ""}`;
    default:
      return keys;
  }
}

function point(x, y) {
  return Number.isFinite(x) && Number.isFinite(y) ? ` (${Math.round(x)}, ${Math.round(y)})` : "";
}

function direction(action) {
  const positive = (action.amount ?? 0) > 0;
  if (action.name === "horizontal") return positive ? "right" : "left";
  return positive ? "up" : "down";
}

function halo(shape, attributes) {
  return svg(shape, { ...attributes, class: "halo" });
}

function ring([x, y], r) {
  return svg("g", {}, halo("circle", { cx: x, cy: y, r }), svg("circle", { class: "stroke", cx: x, cy: y, r }));
}

// An arrow that begins `gap` away from where it comes from.
function arrow(from, to, gap = 0) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  const back = [to[0] - ux * 11, to[1] - uy * 11];
  const head = `M${to[0]} ${to[1]}L${back[0] - uy * 6} ${back[1] + ux * 6}L${back[0] + uy * 6} ${back[1] - ux * 6}Z`;
  const line = { x1: from[0] + ux * gap, y1: from[1] + uy * gap, x2: back[0], y2: back[1] };
  return [
    halo("line", line),
    halo("path", { d: head }),
    svg("line", { ...line, class: "stroke" }),
    svg("path", { class: "fill", d: head }),
  ];
}

function pointer([x, y]) {
  return `M${x} ${y}l0 15 4-4 3 6 3-1.5-3-6 5.5-.5Z`;
}

// A label near the mark and inside of the picture; at its lower edge where the action has no place.
function tag(text, at, width, height) {
  const wide = Math.min(width - 8, 7.1 * [...text].length + 16);
  const high = 22;
  const [x, y] = at ? [at[0] - wide / 2, at[1] + 20] : [width / 2 - wide / 2, height - high - 10];
  const left = Math.max(4, Math.min(width - wide - 4, x));
  const top = at && y + high > height - 4 ? at[1] - 20 - high : Math.max(4, y);
  const most = Math.max(3, Math.floor((wide - 14) / 7.1));
  return svg(
    "g",
    { class: "tag", transform: `translate(${left} ${top})` },
    svg("rect", { width: wide, height: high, rx: 5 }),
    svg("text", { x: wide / 2, y: high / 2, text: shorten(text, most) }),
  );
}

function numbered(order, [x, y]) {
  return svg(
    "g",
    { class: "order", transform: `translate(${x + 13} ${y - 13})` },
    svg("circle", { r: 8 }),
    svg("text", { text: String(order) }),
  );
}
