// A group: all attempts of one task from one start, with their rewards and advantages.

import { get, runPath } from "./api.js";
import { make } from "./dom.js";
import { thumbnail } from "./film.js";
import { count, number, outcomeClass, percent, signed, statusWords } from "./format.js";
import { forPage } from "./keys.js";
import { compareMarked, isMarked, sideName, toggle, watchMarks } from "./marks.js";
import { signedBar } from "./measures.js";
import { go, link, pagePath, trajectoryPath } from "./router.js";

// Film strips are fetched when their row comes near the window.
const NEAR = "400px";
const MOST_FRAMES = 24;

export async function show(root, { parts: [run, store, name], crumbs, title }) {
  crumbs([
    ["Runs", "/"],
    [run, pagePath("run", run)],
    ["Group", ""],
  ]);
  title(`Group ${name}`);
  const group = await get(runPath(run, "groups", store, name));
  const { members } = group;
  title(`${group.task ?? members[0]?.task}, ${count(members.length, "attempt")}`);
  const largest = Math.max(...members.map((member) => Math.abs(member.advantage ?? 0)), 1e-9);
  const observer = new IntersectionObserver(
    (entries) => entries.forEach((entry) => entry.isIntersecting && fillStrip(entry.target)),
    { rootMargin: NEAR },
  );
  const rows = members.map((member) => memberRow(run, member, largest));
  const list = make("ol", { class: "members" }, rows);
  root.append(heading(run, group, name), list);
  for (const row of rows) observer.observe(row.querySelector(".film"));
  const unwatch = watchMarks(() => rows.forEach((row, i) => showMark(row, run, members[i])));

  let active = -1;
  const choose = (index) => {
    active = Math.max(0, Math.min(rows.length - 1, index));
    rows.forEach((row, i) => row.classList.toggle("active", i === active));
    rows[active].scrollIntoView({ block: "nearest" });
  };
  forPage(
    { keys: ["j", "ArrowDown"], label: "next attempt", run: () => choose(active + 1) },
    { keys: ["k", "ArrowUp"], label: "previous attempt", run: () => choose(active - 1) },
    { keys: ["Enter"], label: "open the attempt", run: () => (active < 0 ? false : go(address(run, members[active]))) },
    {
      keys: ["x"],
      label: "mark the attempt for comparison",
      run: () => active >= 0 && toggle(sideName(run, members[active].store, members[active].id)),
    },
    { keys: ["c"], label: "compare what is marked", run: compareMarked },
  );
  return () => {
    observer.disconnect();
    unwatch();
  };
}

function address(run, member) {
  return trajectoryPath(run, member.store, member.id);
}

function heading(run, group, name) {
  const { members } = group;
  const graded = members.filter((member) => member.reward !== null);
  const successes = graded.filter((member) => member.reward >= 0.5).length;
  const mean = graded.reduce((whole, member) => whole + member.reward, 0) / (graded.length || 1);
  const task = group.task ?? members[0]?.task ?? name;
  const facts = [
    count(members.length, "attempt"),
    `seed ${group.seed ?? members[0]?.seed}`,
    graded.length ? `${percent(successes / graded.length, 0)} succeed` : "none graded",
    graded.length ? `mean reward ${number(mean)}` : "",
    group.kind ? `advantages: ${group.kind}` : "",
  ];
  return make(
    "header",
    { class: "trajectory-head" },
    make(
      "div",
      { class: "what" },
      make("h1", { text: group.instruction || task }),
      make(
        "p",
        { class: "facts-line" },
        make("a", { href: link(`${pagePath("run", run)}?view=trajectories&task=${encodeURIComponent(task)}`), text: task }),
        facts.filter(Boolean).map((fact) => make("span", { text: fact })),
      ),
    ),
  );
}

function memberRow(run, member, largest) {
  const mark = make("button", {
    type: "button",
    class: "tool mark-this",
    title: "Mark for comparison (x)",
    text: "Mark",
    on: { click: () => toggle(sideName(run, member.store, member.id)) },
  });
  const strip = make("div", {
    class: "film small",
    "data-path": runPath(run, "trajectories", member.store, member.id),
    "data-page": address(run, member),
  });
  const row = make(
    "li",
    { class: "member" },
    make(
      "div",
      { class: "member-head" },
      make("a", { class: "attempt", href: link(address(run, member)), text: `Attempt ${member.index}` }),
      make("span", {
        class: `badge ${outcomeClass(member.reward)}`,
        text: member.reward === null ? statusWords(member.status) : number(member.reward),
      }),
      mark,
    ),
    make(
      "div",
      { class: "advantage" },
      member.advantage === null || member.advantage === undefined
        ? make("span", { class: "muted small", text: "no advantage" })
        : [signedBar(member.advantage, largest), make("span", { class: "num", text: signed(member.advantage) })],
      make("span", { class: "muted small", text: `${count(member.steps, "step")}, ${statusWords(member.status)}` }),
    ),
    strip,
  );
  showMark(row, run, member);
  return row;
}

function showMark(row, run, member) {
  const on = isMarked(sideName(run, member.store, member.id));
  const button = row.querySelector(".mark-this");
  button.setAttribute("aria-pressed", String(on));
  button.textContent = on ? "Marked" : "Mark";
}

async function fillStrip(strip) {
  if (strip.dataset.filled) return;
  strip.dataset.filled = "yes";
  try {
    const trajectory = await get(strip.dataset.path);
    const shown = trajectory.steps.slice(0, MOST_FRAMES);
    strip.append(...shown.map((step, i) => frame(strip, step.observation.screenshot, step.actions ?? [], String(i + 1))));
    if (trajectory.final?.screenshot && shown.length === trajectory.steps.length)
      strip.append(frame(strip, trajectory.final.screenshot, [], "end"));
  } catch (error) {
    strip.append(make("span", { class: "muted small", text: error.message }));
  }
}

function frame(strip, screenshot, actions, step) {
  const target = link(`${strip.dataset.page}${step === "1" ? "" : `?step=${step}`}`);
  return make(
    "a",
    { class: "film-frame", href: target, "aria-label": step === "end" ? "The end" : `Step ${step}` },
    thumbnail(screenshot, actions),
  );
}
