// Elements from values. Text goes in as text and never as markup: what a trajectory says is hostile.

const SVG = "http://www.w3.org/2000/svg";

// A new HTML element. `attributes`: "class", "text", "on" ({event: listener}), "vars" ({property: value} of its style), and
// any other attribute; null and false are left out, true is an empty one. Children: nodes, strings, numbers, lists; null is skipped.
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function append(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren();
  return append(node, ...children);
}

// Sets `text` only where it differs, so that a selection in it and a screen reader are left in peace.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function inField(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName));
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "vars") for (const [property, part] of Object.entries(value)) node.style.setProperty(property, part);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  return append(node, ...children);
}
