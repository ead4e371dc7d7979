"""Perception as a benchmark (rung 8): any agent, any policy, questions of every kind about screens that training has not seen.

    stepladder bench perception --policy runs/demo/sft/checkpoint --pages runs/demo/collect
    stepladder bench perception --policy gold --set kinds=caption,change

<output>/
    items.jsonl    the questions with their right answers, as trajectories; their pictures are in images/
    replies.jsonl  what was answered, written reply by reply; an interrupted run goes on with what is missing
    result.json    scores by kind, source and measure, each with n and its interval
    report.html    the same as a table (and report.md, report.json)
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, get_args

from stepladder.agents.setup import AgentSetup, Given, set_up
from stepladder.codec import to_json
from stepladder.config import ConfigError, to_dict
from stepladder.data.perception import items, score
from stepladder.data.perception_question import Kind
from stepladder.data.screen_pool import Screen
from stepladder.images import ImageStore
from stepladder.interfaces import Agent, ParseError
from stepladder.report import Perceived, Report, write_report
from stepladder.run import Run, describe_machine, write_json
from stepladder.stages.asking import GOLD, REPLIES, Asker, Question, ask, read_replies
from stepladder.stages.evaluate import about
from stepladder.stages.perception_sources import CONDITIONS, SYNTHETIC, stored_screens, synthetic_screens
from stepladder.stages.policies import QWEN_DIALECT, ApiOptions, agent_setup, check_policy, policy_name
from stepladder.stats import mean_interval, success_rate
from stepladder.store import TrajectoryStore
from stepladder.tasks import task_set_hash
from stepladder.types import Action, ImageRef, Trajectory

KINDS: tuple[Kind, ...] = get_args(Kind)
ITEMS, RESULT = "items.jsonl", "result.json"
#: Screens that are looked at for one that has something to ask, for each that is wanted.
TRIED = 4
#: Measures beside "correct"; of a rate of errors less is better.
MEASURES: Mapping[str, tuple[str, ...]] = {
    "caption": ("precision", "recall", "f1", "states"),
    "change": ("f1", "events"),
    "recognition": ("character_error_rate",),
    "reading": ("characters",),
}
FREE = ("output", "concurrency", *(f"api.{name}" for name in ApiOptions.FREE))


@dataclass(frozen=True)
class PerceptionConfig:
    """`policy` answers in `dialect` with the options `agent` and so many screenshots (`history`), as in `EvaluateConfig`; "gold"
    gives the right answers, which shows what the dialect itself cannot say. `kinds` are asked (default: all), `questions` of each
    about each of up to `screens` screens a source that have something to ask.

    Sources are synthetic screens of `width` by `height` pixels (0: as the first stored screenshot, or else 160 x 224), the pages of
    demonstrations in `pages` and the desktops of those in `desktops`, directories of `stepladder collect`; of these the ones that
    are held back from training, or with `seen` all. The uppermost `ignore_above` pixels of a page are an instruction area. `grid`
    rounds places in questions and captions, in thousandths of the screen.
    """

    policy: str = GOLD
    dialect: str | None = None
    agent: Mapping[str, Given] = field(default_factory=dict)
    history: int | None = None
    output: Path = Path("runs/perception")
    pages: Path | None = None
    desktops: Path | None = None
    synthetic: bool = True
    seen: bool = False
    kinds: tuple[str, ...] = KINDS
    screens: int = 40
    questions: int = 1
    width: int = 0
    height: int = 0
    ignore_above: float = 50.0
    grid: int = 10
    concurrency: int = 8
    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0
    api: ApiOptions = field(default_factory=ApiOptions)

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise ConfigError(f"kinds: there is no {', '.join(unknown) or 'kind given'}; there are {', '.join(KINDS)}")
        for name in ("screens", "questions", "grid", "concurrency", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not (self.synthetic or self.pages or self.desktops):
            raise ConfigError("synthetic is false and neither pages nor desktops names a directory: there is nothing to ask about")
        if self.policy != GOLD:
            check_policy(self.policy)

    def setup(self, history: int | None = None) -> AgentSetup:
        """The agent that is asked, with `history` screenshots whatever the settings say. Raises ConfigError, PluginError."""
        given = {name: value for name, value in self.agent.items() if history is None or name != "screenshots"}
        if self.policy == GOLD:
            return set_up(self.dialect or QWEN_DIALECT, given, history=history or self.history)
        return agent_setup(self.policy, self.dialect, given, history or self.history)


def main(config: PerceptionConfig, show: bool = True) -> dict[str, Any]:
    """Ask what is missing, and return what `result.json` says. Raises ConfigError, PluginError."""
    config.check()
    agent, wide = config.setup(), None
    if "change" in config.kinds and agent.options.get("screenshots") == 1:
        wide = config.setup(history=2).build()
    settings = {**to_dict(config), "dialect": agent.dialect, "agent": dict(agent.options)}
    with Run(config.output, settings, {"sampling": config.seed}, may_change=FREE) as run:
        images = ImageStore(config.output / "images")
        asked = questions_of(config, images)
        found = {item.id: item for several in asked.values() for item in several}
        _keep(config.output / ITEMS, found.values())
        questions = [Question(one.id, one.task, one.steps[:-1], one.steps[-1].observation, one.steps[-1]) for one in found.values()]
        replies = read_replies(config.output / REPLIES)
        missing = [question for question in questions if question.id not in replies]
        with run.phase(f"{len(questions)} questions"), Asker(config, agent.build(), images, wide) as asker:
            if missing:
                asyncio.run(ask(asker, missing, config, replies, show, "perception"))
            read = {one.id: asker.read(one, replies[one.id]) for one in questions}
        rows = [row for (kind, source), several in asked.items() for row in _rows(kind, CONDITIONS[source], several, read)]
        result = {
            "policy": config.policy,
            "agent": asker.agent.name,
            "questions": len(questions),
            "questions_hash": task_set_hash([replace(item.task, id=item.id) for item in found.values()]),
            "unreadable": sum(isinstance(one, ParseError) for one in read.values()),
            "missing": _missing(config, asked),
            "scores": [to_json(row) for row in rows],
        }
        write_json(config.output / RESULT, result)
        _report(config, asker.agent, rows, run)
    return result


def questions_of(config: PerceptionConfig, images: ImageStore) -> dict[tuple[Kind, str], list[Trajectory]]:
    """The items of every kind and source, the same for equal settings; their pictures are in `images`, and on disk where that has a
    directory. Raises ConfigError."""
    stored = {name: where for name, where in (("pages", config.pages), ("desktops", config.desktops)) if where is not None}
    screens: dict[str, list[Screen]] = {}
    for name, directory in stored.items():
        above = config.ignore_above if name == "pages" else 0.0
        screens[name] = stored_screens(directory, seen=config.seen, ignore_above=above)
    first = next((several[0].image for several in screens.values()), ImageRef("", 160, 224))
    width, height = config.width or first.width, config.height or first.height
    asked: dict[tuple[Kind, str], list[Trajectory]] = {}
    for name, several in screens.items():
        source = ImageStore(stored[name] / "images")
        for screen in several[: config.screens * TRIED]:
            for one in (screen, screen.before):
                if one is not None:
                    images.put(source.get(one.image))
        _ask_about(config, name, several, images, asked)
    for split in SYNTHETIC if config.synthetic else ():
        _ask_about(config, split, synthetic_screens(images, split, config.screens * TRIED, width, height), images, asked)
    return asked


def _ask_about(
    config: PerceptionConfig,
    source: str,
    screens: Iterable[Screen],
    images: ImageStore,
    asked: dict[tuple[Kind, str], list[Trajectory]],
) -> None:
    kinds: list[Kind] = [kind for kind in KINDS if kind in config.kinds]
    left = dict.fromkeys(kinds, config.screens)
    for kind in kinds:
        asked[kind, source] = []
    for number, screen in enumerate(screens):
        if number >= config.screens * TRIED or not any(left.values()):
            return
        for kind in kinds:
            found = _items(config, screen, kind, Random(f"{source}-{number}-{kind}"), images) if left[kind] else []
            left[kind] -= bool(found)
            asked[kind, source] += found
            for image in {step.observation.screenshot for item in found for step in item.steps}:
                if image is not None:
                    images.put(images.get(image))  # one that was drawn was in memory only


def _items(config: PerceptionConfig, screen: Screen, kind: Kind, random: Random, images: ImageStore) -> list[Trajectory]:
    before = None if screen.before is None else (screen.before.image, screen.before.regions)
    return items(
        screen.image,
        screen.regions,
        random,
        config.questions,
        kinds={kind: 1.0},
        grid=config.grid,
        ignore_above=screen.ignore_above,
        images=images,
        before=before,
    )


def _keep(path: Path, found: Iterable[Trajectory]) -> None:
    with TrajectoryStore(path, "a") as store:
        for item in found:
            if item.id not in store:
                store.append(item)


def _missing(config: PerceptionConfig, asked: Mapping[tuple[Kind, str], Sequence[Trajectory]]) -> dict[str, int]:
    """How many questions fewer than wanted there are, by kind and source: the screens had no more to ask for."""
    wanted = config.screens * config.questions
    return {
        f"{kind}, {CONDITIONS[source]}": wanted - len(several) for (kind, source), several in asked.items() if len(several) < wanted
    }


def _rows(kind: Kind, source: str, several: Sequence[Trajectory], read: Mapping[str, Any]) -> Iterator[Perceived]:
    """The scores of one kind on one source. Questions about one screenshot are one draw: resampling takes whole screenshots, and a
    rate of one question a screenshot has Wilson's interval."""
    by_screen: defaultdict[str, list[tuple[Trajectory, dict[str, float]]]] = defaultdict(list)
    for item in several:
        answered = read[item.id]
        actions: Sequence[Action] = () if isinstance(answered, ParseError) else answered
        scored = score(item, actions[0] if len(actions) == 1 else None)
        image = item.steps[-1].observation.screenshot
        by_screen[image.sha256 if image else item.id].append((item, scored))
    correct = {name: [scored["correct"] for _, scored in one] for name, one in by_screen.items()}
    right = sum(map(sum, correct.values()))
    rate = success_rate(round(right), len(several))
    low, high = (rate.low, rate.high) if len(correct) == len(several) else mean_interval(correct)
    yield Perceived(kind, source, "correct", len(several), rate.rate, low, high)
    for measure in MEASURES.get(kind, ()) if several else ():
        pooled = {
            name: [value for item, scored in one for value in [scored[measure]] * _weight(kind, item)]
            for name, one in by_screen.items()
        }
        count = sum(map(len, pooled.values()))
        low, high = mean_interval(pooled)
        yield Perceived(kind, source, measure, len(several), sum(map(sum, pooled.values())) / count, low, high)


def _weight(kind: Kind, item: Trajectory) -> int:
    """Errors of characters are pooled over all characters, other measures over questions."""
    return len(item.task.check["text"]) if kind in ("recognition", "reading") else 1


def _report(config: PerceptionConfig, agent: Agent, rows: Sequence[Perceived], run: Run) -> None:
    write_report(
        config.output,
        Report(
            title=f"Perception of {policy_name(config.policy) if config.policy != GOLD else 'the right answers'}",
            summary=f"Questions with known answers about screens that training never shows, asked through {agent.name}.",
            rungs=(),
            baselines={},
            seconds=run.seconds,
            perceived=tuple(rows),
            about=about(describe_machine()),
        ),
    )
