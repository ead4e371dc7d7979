// A run's measurements as charts, phase by phase, and its alarms.

import { get, runPath, withQuery } from "./api.js";
import { chart } from "./chart.js";
import { make, replace } from "./dom.js";
import { count, moment, shorten } from "./format.js";
import { empty, failure, loading } from "./notices.js";
import { keep, link, trajectoryPath } from "./router.js";

const POINTS = 400;
// Alarms beyond these are folded.
const FEW = 4;

export async function metricsView(place, run, query) {
  const phases = run.metrics.map((part) => part.phase);
  const charts = make("div", {});
  const alarms = run.alarms.length ? alarmList(run) : null;
  place.append(...[alarms].filter(Boolean));
  if (!phases.length) {
    place.append(empty("Nothing was measured in this run"));
    return;
  }
  let phase = phases.includes(query.get("phase")) ? query.get("phase") : mostMeasured(run.metrics);
  const search = make("input", {
    type: "search",
    placeholder: "Search metrics",
    "aria-label": "Search metrics",
    value: query.get("q") ?? "",
    on: { input: () => filter() },
  });
  const choice = make(
    "select",
    { "aria-label": "Phase", on: { change: () => draw(choice.value) } },
    run.metrics.map((part) =>
      make("option", {
        value: part.phase,
        selected: part.phase === phase,
        text: `${part.phase || "(no phase)"} · ${part.keys.length}`,
      }),
    ),
  );
  place.append(
    make("div", { class: "filters" }, make("label", { class: "field" }, make("span", { text: "Phase" }), choice), search),
    charts,
  );

  function filter() {
    keep({ q: search.value.trim() });
    const wanted = search.value.trim().toLowerCase();
    for (const figure of charts.querySelectorAll("figure")) figure.hidden = !figure.dataset.name.toLowerCase().includes(wanted);
    for (const section of charts.querySelectorAll("section")) section.hidden = !section.querySelector("figure:not([hidden])");
  }

  async function draw(name) {
    phase = name;
    keep({ phase: phase === mostMeasured(run.metrics) ? "" : phase });
    replace(charts, loading());
    try {
      const answer = await get(withQuery(runPath(run.id, "metrics"), { phase, points: POINTS }), { fresh: true });
      if (phase !== name) return;
      replace(charts, sections(answer.series));
      if (!charts.childElementCount) charts.append(empty("No numbers in this phase"));
      filter();
    } catch (error) {
      replace(charts, failure(error));
    }
  }
  await draw(phase);
}

function mostMeasured(metrics) {
  return metrics.reduce((most, part) => (part.keys.length > most.keys.length ? part : most)).phase;
}

// What one looks at first stands first: rewards, then what is trained, then the rest, and times last.
function ordered(names) {
  const first = [/reward|success|accuracy|validation$|^rate$/, /loss|entropy|kl|grad|^lr$/, /^(?!.*(seconds|time))/];
  const rank = (name) => first.findIndex((pattern) => pattern.test(name)) >>> 0;
  return names.sort((a, b) => rank(a) - rank(b));
}

// Metrics named "group/name" stand together under the group; those without a group come first.
function sections(series) {
  const groups = new Map([["", []]]);
  for (const name of ordered(Object.keys(series))) {
    const at = name.indexOf("/");
    const group = at > 0 ? name.slice(0, at) : "";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(name);
  }
  return [...groups]
    .filter(([, names]) => names.length)
    .map(([group, names]) =>
      make(
        "section",
        {},
        group ? make("h2", { text: group }) : null,
        make(
          "div",
          { class: "charts" },
          names.map((name) => named(name, chart(group ? name.slice(group.length + 1) : name, { [name]: series[name] }))),
        ),
      ),
    );
}

function named(name, figure) {
  figure.dataset.name = name;
  return figure;
}

function alarmList(run) {
  const newest = [...run.alarms].reverse();
  const list = make(
    "ul",
    { class: "alarm-list" },
    newest.slice(0, FEW).map((alarm) => alarmItem(run, alarm)),
  );
  const rest = newest.slice(FEW);
  const more = rest.length
    ? make("button", {
        type: "button",
        class: "tool small",
        text: `${count(rest.length, "more alarm")}`,
        on: {
          click: (event) => {
            list.append(...rest.map((alarm) => alarmItem(run, alarm)));
            event.target.remove();
          },
        },
      })
    : null;
  return make(
    "section",
    { class: "alarms", "aria-label": "Alarms" },
    make("h2", { text: count(run.alarms.length, "alarm") }),
    list,
    more,
  );
}

function alarmItem(run, alarm) {
  const shown = (alarm.trajectories ?? []).slice(0, 6);
  return make(
    "li",
    {},
    make("span", { class: "badge warn", text: String(alarm.kind ?? "alarm").replaceAll("_", " ") }),
    make("span", { class: "said", text: alarm.message ?? "" }),
    make("span", {
      class: "muted small nowrap",
      title: moment(alarm.time),
      text: `step ${alarm.step}${alarm.phase ? `, ${alarm.phase}` : ""}`,
    }),
    shown.length
      ? make(
          "span",
          { class: "evidence small" },
          shown.map((one) => make("a", { href: link(trajectoryPath(run.id, one.store, one.id)), text: shorten(one.id, 28) })),
        )
      : null,
  );
}
