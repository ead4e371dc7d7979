// What self-distillation told of the steps of a trajectory, and how far each reply was from its teacher.

import { describeStep } from "./actions.js";
import { make } from "./dom.js";
import { count, number } from "./format.js";
import { messageView } from "./prompt.js";

// Whether there is anything to show, or may be once all has been read.
export function hasLessons(trajectory) {
  return trajectory.lessons.steps > 0 || !trajectory.lessons.complete;
}

export function isFurthest(trajectory, index) {
  return trajectory.lessons.furthest === index;
}

// "0.82 nats a token from its teacher, the furthest", "" for a step that was not taught.
export function apartWords(trajectory, index) {
  const divergence = apart(trajectory, index);
  if (divergence === null) return "";
  return `${number(divergence)} nats a token from its teacher${isFurthest(trajectory, index) ? ", the furthest" : ""}`;
}

// For the film strip: the mean divergence of a step as a bar and a number, the largest marked; null for one that was not taught.
export function gauge(trajectory, index) {
  const divergence = apart(trajectory, index);
  if (divergence === null) return null;
  const furthest = isFurthest(trajectory, index);
  return make(
    "span",
    { class: `apart${furthest ? " furthest" : ""}`, title: apartWords(trajectory, index) },
    bar(trajectory, index),
    make("span", { class: "num", text: `${furthest ? "▲ " : ""}${number(divergence, 2)}` }),
  );
}

// The tab: what was told of the step at `index`, and how far all steps were from their teacher; `onChoose(index)`.
export function lessonView(trajectory, index, onChoose) {
  const { steps, complete } = trajectory.lessons;
  const lesson = trajectory.steps[index]?.lesson;
  return make(
    "div",
    { class: "lesson" },
    complete ? null : make("p", { class: "notice", text: "The feedback of this run is still being read; load the page again in a moment." }),
    lesson ? told(trajectory, index, lesson) : make("p", { class: "muted", text: "Nothing was told of this step; it was not taught." }),
    steps ? [make("h3", { text: "How far from the teacher, in nats a token" }), distances(trajectory, index, onChoose)] : null,
  );
}

function told(trajectory, index, lesson) {
  const facts = [
    lesson.update < 0 ? "" : `taught in update ${lesson.update}`,
    count(lesson.tokens, "token"),
    apartWords(trajectory, index),
  ];
  return [
    make("p", { class: "muted small", text: facts.filter(Boolean).join(" · ") }),
    lesson.told.length
      ? messageView({ role: "told", title: "What the teacher was told", parts: lesson.told }, "Picture that the teacher was shown")
      : make("p", { class: "muted", text: "The teacher was told nothing beyond the prompt." }),
  ];
}

function distances(trajectory, current, onChoose) {
  return trajectory.steps.flatMap((step, index) => {
    const divergence = apart(trajectory, index);
    if (divergence === null) return [];
    const furthest = isFurthest(trajectory, index);
    return make(
      "button",
      {
        type: "button",
        class: `time-row apart${furthest ? " furthest" : ""}`,
        "aria-current": index === current ? "step" : null,
        "aria-label": `Step ${index + 1}: ${apartWords(trajectory, index)}`,
        title: describeStep(step, 60),
        on: { click: () => onChoose(index) },
      },
      make("span", { class: "num muted", text: String(index + 1) }),
      bar(trajectory, index),
      make("span", { class: "num", text: `${furthest ? "▲ " : ""}${number(divergence)}` }),
    );
  });
}

function apart(trajectory, index) {
  return trajectory.steps[index]?.lesson?.divergence ?? null;
}

// As long as the step's share of the largest one.
function bar(trajectory, index) {
  const { furthest } = trajectory.lessons;
  const share = furthest === null ? 0 : Math.max(0, apart(trajectory, index)) / apart(trajectory, furthest);
  return make("span", { class: "stack" }, make("i", { vars: { width: `${(100 * share).toFixed(1)}%` } }));
}
