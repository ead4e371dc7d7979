// The keyboard: keys of every page, keys of the page that is shown, and the dialog that lists them.

import { inField, make, replace } from "./dom.js";

const always = [];
let ofPage = [];
let prefix = "";
let prefixTimer = 0;
let dialog = null;

// A key is {keys: ["j", "ArrowDown"], label, run(event)}; "g r" means one after the other. Keys work outside of fields only,
// except those with `inFields`. `run` may return false to leave the key to the browser.
export function everywhere(...keys) {
  always.push(...keys);
}

export function forPage(...keys) {
  ofPage.push(...keys);
}

export function leavePage() {
  ofPage = [];
  prefix = "";
}

export function listen() {
  document.addEventListener("keydown", onKey);
  // A button pressed with the pointer gives the keyboard back to the page: the space bar plays on and does not press it again.
  document.addEventListener("click", (event) => event.detail > 0 && event.target.closest?.("button")?.blur());
}

export function showKeys() {
  if (dialog) return;
  dialog = make("dialog", { "aria-labelledby": "keys-title", on: { close: forget } });
  const close = make("button", { class: "button first", type: "button", text: "Close", on: { click: () => dialog.close() } });
  const parts = [
    ["Everywhere", always],
    ["This page", ofPage],
  ].filter(([, keys]) => keys.some((key) => key.label));
  replace(
    dialog,
    make("h2", { id: "keys-title", text: "Keys" }),
    make(
      "div",
      { class: "keys" },
      parts.map(([title, keys]) => make("section", {}, make("h3", { text: title }), listed(keys))),
    ),
    make("p", { class: "muted small", vars: { "margin-top": "1rem" } }, "Escape closes this and leaves a field."),
    close,
  );
  document.body.append(dialog);
  dialog.showModal();
}

function forget() {
  dialog?.remove();
  dialog = null;
}

function listed(keys) {
  const named = keys.filter((key) => key.label);
  return make(
    "dl",
    {},
    named.map((key) => [
      make(
        "dt",
        {},
        key.keys.map((name) => make("kbd", { text: shown(name) })),
      ),
      make("dd", { text: key.label }),
    ]),
  );
}

function shown(name) {
  const signs = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Enter: "enter", Escape: "esc", " ": "space" };
  return signs[name] ?? name;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (dialog) {
    if (event.key === "?") {
      event.preventDefault();
      dialog.close();
    }
    return;
  }
  const field = inField(event.target);
  if (field && event.key === "Escape") {
    event.target.blur();
    return;
  }
  // A focused button or link keeps its own Enter and Space; a list of choices its own arrows.
  if (event.target.closest?.("a, button, summary, [role='tab']") && (event.key === "Enter" || event.key === " ")) return;
  const pressed = prefix ? `${prefix} ${event.key}` : event.key;
  const candidates = [...ofPage, ...always].filter((key) => !field || key.inFields);
  const found = candidates.find((key) => key.keys.includes(pressed));
  clearPrefix();
  if (found) {
    if (found.run(event) !== false) event.preventDefault();
  } else if (candidates.some((key) => key.keys.some((name) => name.startsWith(`${event.key} `)))) {
    prefix = event.key;
    prefixTimer = setTimeout(clearPrefix, 1200);
  }
}

function clearPrefix() {
  clearTimeout(prefixTimer);
  prefix = "";
}
