// Short messages: what failed, what is loading, what is empty, and a line that goes away again.

import { make } from "./dom.js";

let shown = null;
let timer = 0;

export function failure(error) {
  return make(
    "div",
    { class: "notice bad", role: "alert" },
    make("strong", { text: "This could not be shown. " }),
    error.message,
  );
}

export function loading(what = "Loading") {
  return make("p", { class: "loading", role: "status", text: `${what} …` });
}

export function empty(text) {
  return make("p", { class: "empty", text });
}

export function toast(text, action = "", href = "") {
  shown?.remove();
  clearTimeout(timer);
  shown = make("div", { class: "toast", role: "status" }, text, action ? make("a", { href, text: action }) : null);
  document.body.append(shown);
  timer = setTimeout(() => shown?.remove(), action ? 5000 : 2200);
}
