// A prompt as the model saw it: its messages in order, pictures where they stand.

import { picture } from "./api.js";
import { make } from "./dom.js";
import { count } from "./format.js";

const LONG = 1400;

// `prompt`: {messages: [{role, parts: [{text} | {image}]}], tokens}.
export function promptView(prompt) {
  const images = prompt.messages.flatMap((message) => message.parts).filter((part) => part.image).length;
  const facts = [
    count(prompt.messages.length, "message"),
    images ? count(images, "picture") : "",
    prompt.tokens ? count(prompt.tokens, "token") : "",
  ];
  return make(
    "div",
    { class: "prompt" },
    make("p", { class: "muted small", text: facts.filter(Boolean).join(" · ") }),
    prompt.messages.map((message) => messageView(message)),
  );
}

// `message`: {role, parts, title}; `title` stands in place of the role, `alt` says what its pictures are.
export function messageView(message, alt = "Picture of the prompt") {
  const length = message.parts.reduce((whole, part) => whole + (part.text?.length ?? 0), 0);
  const content = make(
    "div",
    { class: "content" },
    message.parts.map((part) => (part.image ? pictureView(part, alt) : make("span", { text: part.text ?? "" }))),
  );
  const section = make("section", { class: `message ${message.role}` }, make("h3", { text: message.title ?? message.role }), content);
  if (length > LONG) section.append(fold(content, length));
  return section;
}

// Long messages (system prompts with tool descriptions) start folded.
function fold(content, length) {
  content.classList.add("folded");
  const button = make("button", {
    type: "button",
    class: "tool small",
    "aria-expanded": "false",
    text: `All ${count(length, "character")}`,
  });
  button.addEventListener("click", () => {
    const folded = content.classList.toggle("folded");
    button.setAttribute("aria-expanded", String(!folded));
    button.textContent = folded ? `All ${count(length, "character")}` : "Less";
  });
  return button;
}

function pictureView(part, alt) {
  const address = picture(part.image);
  const image = make("img", {
    src: address,
    loading: "lazy",
    decoding: "async",
    alt,
    width: part.width,
    height: part.height,
  });
  return make("a", { class: "shot", href: address, target: "_blank", rel: "noopener" }, image);
}
