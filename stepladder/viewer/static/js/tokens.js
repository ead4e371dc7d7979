// A reply token by token, coloured by log-probability, entropy, advantage or divergence, with the numbers of the token that is pointed at.

import { make, replace } from "./dom.js";
import { count, number, percent, signed } from "./format.js";

// Full colour at these values: a token of probability 0.7 %, an entropy of 2 nats.
const FULL = { logprob: 5, entropy: 2 };
const SCALES = [
  ["logprob", "Log-probability"],
  ["entropy", "Entropy"],
  ["advantage", "Advantage"],
  ["divergence", "Divergence"],
];

let chosen = "logprob";

// `tokens`: [{id, text | null, logprob | null, entropy | null, advantage | null, divergence | null}]. A divergence of `furthest`
// nats has the full colour.
export function tokenView(tokens, furthest = null) {
  const has = Object.fromEntries(
    SCALES.map(([name]) => [name, tokens.some((token) => token[name] !== null && token[name] !== undefined)]),
  );
  let scale = has[chosen] ? chosen : (SCALES.find(([name]) => has[name])?.[0] ?? null);
  const readout = make("p", { class: "readout small muted" });
  const legend = make("div", { class: "scale small muted" });
  const text = make("div", {
    class: "tokens",
    tabindex: "0",
    role: "group",
    "aria-label": "Tokens of the reply; arrow keys go through them",
  });
  const spans = tokens.map((token, i) => make("span", { class: "token", "data-index": i }, shown(token)));
  const buttons = SCALES.map(([name, title]) =>
    make("button", {
      type: "button",
      class: "tool",
      disabled: !has[name],
      title: has[name] ? null : `This trajectory holds no ${title.toLowerCase()}`,
      text: title,
      on: { click: () => paint(name) },
    }),
  );
  const paint = (name) => {
    scale = name;
    if (name) chosen = name;
    SCALES.forEach(([other], i) => buttons[i].setAttribute("aria-pressed", String(other === name)));
    const largest = largestOf(tokens, name, furthest);
    colour(spans, tokens, name, largest);
    replace(legend, legendOf(name, largest));
    replace(readout, total(tokens));
  };
  let at = -1;
  const point = (index) => {
    spans[at]?.classList.remove("pointed");
    at = index;
    spans[at]?.classList.add("pointed");
    replace(readout, at < 0 ? total(tokens) : describe(tokens[at]));
  };
  text.append(...spans);
  text.addEventListener("pointerover", (event) => event.target.dataset.index && point(Number(event.target.dataset.index)));
  text.addEventListener("pointerleave", () => point(-1));
  text.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    point(Math.min(tokens.length - 1, Math.max(0, at + by)));
  });
  paint(scale);
  return make(
    "div",
    { class: "token-view" },
    make("div", { class: "bar" }, make("div", { class: "choice", role: "group", "aria-label": "Colour" }, buttons), legend),
    text,
    readout,
  );
}

// Invisible characters get a sign; a token without text is shown by its number.
function shown(token) {
  if (token.text === null || token.text === undefined) return `#${token.id} `;
  if (token.text === "") return "∅";
  return token.text.replaceAll("\n", "⏎\n").replaceAll("\t", "⇥\t");
}

// The value with the full colour.
function largestOf(tokens, name, furthest) {
  if (name === "advantage") return Math.max(...tokens.map((token) => Math.abs(token.advantage ?? 0)));
  if (name === "divergence") return furthest ?? Math.max(...tokens.map((token) => token.divergence ?? 0));
  return FULL[name];
}

function colour(spans, tokens, name, largest) {
  spans.forEach((span, i) => {
    const value = name ? tokens[i][name] : null;
    const size = value === null || value === undefined ? 0 : Math.min(1, Math.abs(value) / Math.max(largest, 1e-9));
    span.style.setProperty("--t", size.toFixed(3));
    span.classList.toggle("up", name === "advantage" && value > 0);
    span.classList.toggle("down", name === "advantage" && value < 0);
    span.classList.toggle("calm", name === "entropy");
    span.classList.toggle("apart", name === "divergence");
  });
}

function legendOf(name, largest) {
  if (!name) return [];
  if (name === "advantage")
    return [make("span", { text: signed(-largest) }), make("i", { class: "ramp both" }), make("span", { text: signed(largest) })];
  const end = { logprob: `≤ −${largest}`, entropy: `≥ ${largest} nats`, divergence: `${number(largest)} nats` }[name];
  const tone = { logprob: "", entropy: " calm", divergence: " apart" }[name];
  return [make("span", { text: "0" }), make("i", { class: `ramp${tone}` }), make("span", { text: end })];
}

function total(tokens) {
  const known = tokens.filter((token) => Number.isFinite(token.logprob));
  if (!known.length) return count(tokens.length, "token");
  const sum = known.reduce((whole, token) => whole + token.logprob, 0);
  const least = known.reduce((a, b) => (b.logprob < a.logprob ? b : a));
  const name = least.text ? `“${least.text.trim() || "space"}”` : `#${least.id}`;
  const unlikely = `least likely ${name} ${percent(Math.exp(least.logprob))}`;
  return `${count(tokens.length, "token")} · log-probability ${number(sum)} · ${unlikely}`;
}

function describe(token) {
  const parts = [`token ${token.id}`];
  if (Number.isFinite(token.logprob))
    parts.push(`log-probability ${number(token.logprob)}`, `probability ${percent(Math.exp(token.logprob))}`);
  if (Number.isFinite(token.entropy)) parts.push(`entropy ${number(token.entropy)}`);
  if (Number.isFinite(token.advantage)) parts.push(`advantage ${signed(token.advantage)}`);
  if (Number.isFinite(token.divergence)) parts.push(`divergence ${number(token.divergence)} nats`);
  return parts.join(" · ");
}
