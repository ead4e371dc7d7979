// The form that begins a play: who plays, what, from which seed, and an instruction of one's own.

import { make, replace, setText } from "./dom.js";
import { count } from "./format.js";
import { begin } from "./play_orders.js";
import { link } from "./router.js";

const SHOWN = 400;

// `offer` is the answer of /api/play, `chosen` the query with what is to be filled in, `begun(id)` is called once a play begins.
export function startForm(offer, { chosen, begun }) {
  const task = make("select", { id: "play-task", size: 9, required: true });
  const filter = make("input", { type: "search", id: "play-filter", placeholder: "Filter tasks", "aria-label": "Filter tasks", autocomplete: "off" });
  const number = make("p", { class: "muted small", "aria-live": "polite" });
  const player = make("select", { id: "play-player" }, offer.players.map(({ name }) => make("option", { value: name, text: name === "person" ? "nobody: I play it myself" : name })));
  const seed = make("input", { type: "number", id: "play-seed", min: 0, max: 2 ** 31, step: 1, value: chosen.get("seed") ?? 0 });
  const instruction = make("textarea", { id: "play-instruction", rows: 3, maxlength: 4000 });
  const review = make("input", { type: "checkbox", id: "play-review" });
  const hint = make("p", { class: "muted small", id: "play-hint" });
  const wrong = make("div", { role: "alert" });
  const button = make("button", { class: "button first", type: "submit", text: "Play" });

  const list = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = offer.tasks.filter((one) => words.every((word) => `${one.id} ${one.env} ${one.tags.join(" ")} ${one.instruction}`.toLowerCase().includes(word)));
    const before = task.value;
    replace(task, fits.slice(0, SHOWN).map((one) => make("option", { value: one.id, text: one.needs_instruction ? `${one.id} (an instruction of your own)` : one.id, selected: one.id === before })));
    if (!task.value && task.options.length) task.selectedIndex = 0;
    setText(number, fits.length > SHOWN ? `${SHOWN} of ${count(fits.length, "task")}; filter for the others` : count(fits.length, "task"));
    explain();
  };
  const explain = () => {
    const one = offer.tasks.find(({ id }) => id === task.value);
    const demonstrates = offer.players.find(({ name }) => name === player.value)?.demonstrates;
    review.disabled = player.value === "person";
    instruction.disabled = Boolean(demonstrates);
    instruction.required = Boolean(one?.needs_instruction) && !demonstrates;
    instruction.placeholder = one?.instruction || (one?.needs_instruction ? "What is to be done?" : "The task's own; it depends on the seed");
    setText(hint, demonstrates ? "The environment's own solution plays the task as it is." : one?.needs_instruction ? "There is no check: you say in the end whether it was done." : "Left empty, the task's own instruction and check count. With one of yours you say in the end whether it was done.");
  };
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    replace(wrong);
    try {
      begun(await begin({ task: task.value, seed: Number(seed.value), player: player.value, instruction: instruction.disabled ? "" : instruction.value, review: review.checked }));
    } catch (error) {
      replace(wrong, make("p", { class: "notice bad", text: error.message }));
      button.disabled = false;
    }
  };

  filter.addEventListener("input", list);
  task.addEventListener("change", explain);
  player.addEventListener("change", explain);
  list();
  choose(task, chosen.get("task"));
  choose(player, chosen.get("player"));
  explain();
  return make(
    "div",
    { class: "play-start" },
    make("h1", { text: "Play" }),
    make("p", { class: "muted", text: "Watch an agent act and see what it thinks. Pause it, correct it, take over and hand back: what you do becomes training data." }),
    make(
      "form",
      { on: { submit } },
      make("div", { class: "play-pick" }, make("label", { for: "play-task", text: "Task" }), filter, task, number),
      make(
        "div",
        { class: "play-options" },
        make("label", { for: "play-player", text: "Who plays" }), player,
        make("label", { for: "play-seed", text: "Seed" }), seed,
        make("label", { for: "play-instruction", text: "Instruction" }), instruction, hint,
        make("label", { class: "field" }, review, make("span", { text: "Ask me before each action" })), wrong,
        make("div", {}, button),
      ),
    ),
    goingOn(offer),
  );
}

function choose(select, value) {
  if (value !== null && [...select.options].some((option) => option.value === value)) select.value = value;
}

function goingOn(offer) {
  if (!offer.sessions.length) return null;
  return make(
    "section",
    {},
    make("h2", { text: `Going on (at most ${offer.limit} at a time)` }),
    make("ul", { class: "play-going" }, offer.sessions.map((one) => make("li", {}, make("a", { href: link(`/play?play=${encodeURIComponent(one.id)}`), text: `${one.task}, seed ${one.seed}` }), make("span", { class: "muted", text: ` ${one.player}, ${one.doing}` })))),
  );
}
