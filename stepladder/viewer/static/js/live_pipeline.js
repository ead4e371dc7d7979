// How busy the parts of an asynchronous run are: environments, engine and trainer, and what waits between them.

import { make, replace } from "./dom.js";
import { count, number, percent, seconds } from "./format.js";

const USES = [
  ["environment_use", "Environments"],
  ["engine_use", "Engine"],
  ["trainer_use", "Trainer"],
];

export class Pipeline {
  constructor() {
    this.bars = make("dl", { class: "pipeline-bars" });
    this.words = make("p", { class: "facts-line" });
    this.element = make("section", { class: "pipeline", hidden: true, "aria-label": "Pipeline" }, this.bars, this.words);
  }

  draw(rollouts) {
    this.element.hidden = !rollouts;
    if (!rollouts) return;
    replace(this.bars, ...USES.filter(([name]) => name in rollouts).flatMap(([name, label]) => bar(label, rollouts[name])));
    replace(this.words, words(rollouts).join(" · "));
  }
}

function bar(label, share) {
  const filled = make("span", { class: "pipeline-filled" });
  filled.style.width = `${Math.round(100 * Math.min(1, share))}%`;
  return [
    make("dt", { text: label }),
    make("dd", {}, make("span", { class: "pipeline-bar" }, filled), make("span", { class: "muted", text: percent(share, 0) })),
  ];
}

function words(told) {
  const found = [
    `update ${number(told.step)}`,
    `${count(told.queue, "group")} waiting, ${number(told.open_groups)} being played`,
    `staleness ${number(told.staleness, 2)}, at most ${number(told.staleness_max)}`,
    `trainer waited ${seconds(told.trainer_waited)}`,
    `${number(told.samples_per_second, 2)} episodes a second`,
  ];
  const broken = [
    ["dropped", "groups too old"],
    ["repeated", "episodes repeated"],
    ["given_up", "given up"],
    ["blacklisted", "tasks left out"],
    ["processes_lost", "processes lost"],
  ];
  return [...found, ...broken.filter(([name]) => told[name] > 0).map(([name, label]) => `${number(told[name])} ${label}`)];
}
