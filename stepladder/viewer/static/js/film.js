// A film strip: small screens of all steps in a row, each with the place and the kind of its action, and how far it was from its
// teacher.

import { picture } from "./api.js";
import { describeStep, hasPlace, sign } from "./actions.js";
import { make } from "./dom.js";
import { outcomeWords } from "./format.js";
import { apartWords, gauge } from "./lessons.js";

// `onChoose(index)`; the index after the last step is the screen at the end.
export function filmStrip(trajectory, onChoose) {
  const items = trajectory.steps.map((step, i) => {
    const item = frame(step.observation.screenshot, step, i, onChoose, "", apartWords(trajectory, i));
    const apart = gauge(trajectory, i);
    if (apart) item.append(apart);
    return item;
  });
  const ending = trajectory.final?.screenshot
    ? frame(trajectory.final.screenshot, null, items.length, onChoose, outcomeWords(trajectory.reward))
    : null;
  if (ending) items.push(ending);
  const strip = make("div", { class: "film", role: "group", "aria-label": "Film strip" }, items);
  return {
    element: strip,
    choose(index) {
      items.forEach((item, i) =>
        i === index ? item.setAttribute("aria-current", "step") : item.removeAttribute("aria-current"),
      );
      const item = items[index];
      if (item) strip.scrollTo({ left: item.offsetLeft - (strip.clientWidth - item.offsetWidth) / 2, behavior: "smooth" });
    },
  };
}

// A small picture with the place of an action on it.
export function thumbnail(screenshot, actions = [], alt = "") {
  if (!screenshot) return make("span", { class: "thumb none" });
  const image = make("img", {
    src: picture(screenshot.url, screenshot.width > 320 ? 320 : 0),
    loading: "lazy",
    decoding: "async",
    alt,
    width: screenshot.width,
    height: screenshot.height,
  });
  const spots = actions.filter(hasPlace).map((action) =>
    make("i", {
      class: "spot",
      vars: { left: `${(100 * action.x) / screenshot.width}%`, top: `${(100 * action.y) / screenshot.height}%` },
    }),
  );
  return make("span", { class: `thumb${screenshot.height > screenshot.width ? " tall" : ""}` }, image, spots);
}

function frame(screenshot, step, index, onChoose, words = "", remark = "") {
  const caption = step ? describeStep(step, 24) : words;
  const remarks = remark ? `; ${remark}` : "";
  const actions = step?.actions ?? [];
  return make(
    "button",
    {
      type: "button",
      class: `film-frame${step?.error ? " failed" : ""}${step?.person ? " person" : ""}`,
      title: `${step ? `${index + 1}. ` : ""}${caption}${remarks}`,
      "aria-label": `${step ? `Step ${index + 1}` : "End"}: ${caption}${remarks}`,
      on: { click: () => onChoose(index) },
    },
    thumbnail(screenshot, actions),
    make(
      "span",
      { class: "film-caption" },
      make("b", { text: step ? String(index + 1) : "end" }),
      make("span", { class: "sign", text: step ? (step.error ? "!" : sign(actions[0])) : "" }),
      step?.person ? make("span", { class: "hand", title: "a person acted here", text: "person" }) : null,
    ),
  );
}
