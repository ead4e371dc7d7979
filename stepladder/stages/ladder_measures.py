"""What a checkpoint of the ladder can do, on the same held-out sets after every rung: text, needles, questions, screens, pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stepladder.codec import from_json, to_json
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.run import write_json
from stepladder.stages import evaluate, perception
from stepladder.stages.local_policy import load_policy
from stepladder.stages.pretrain_config import PretrainConfig
from stepladder.stages.pretrain_setup import open_corpus
from stepladder.stats import (
    Rate,
    compare_paired,
    difference_interval,
    paired_bootstrap,
    stratified_test,
    success_rate,
)
from stepladder.train.documents import document_samples
from stepladder.train.needle import NeedleTest, needle_scores
from stepladder.train.perplexity import document_nats, perplexity
from stepladder.train.scoring import Scorer

MeasureName = Literal["perplexity", "needle", "questions", "perception", "pages", "thinking", "acting"]
#: Those of every rung.
MEASURES: tuple[MeasureName, ...] = ("perplexity", "needle", "questions", "perception", "pages")
#: Those of a checkpoint that has learned thoughts and, with thought dropout, to do without.
BOTH_WAYS: tuple[MeasureName, ...] = ("thinking", "acting")
TITLES: Mapping[MeasureName, str] = {
    "perplexity": "perplexity of held-out documents",
    "needle": "facts found in long texts",
    "questions": "questions answered",
    "perception": "screens read and places found",
    "pages": "web tasks done",
    "thinking": "web tasks done, a thought before every action",
    "acting": "web tasks done by the same checkpoint without thoughts",
}
#: Of these less is better.
ERRORS: frozenset[MeasureName] = frozenset({"perplexity"})


@dataclass(frozen=True)
class MeasureSettings:
    """How much is asked after every rung: `documents` of each corpus for the perplexity, cut at `context` tokens; the `needle`
    test; each task of `questions` on `question_episodes` held-out seeds; perception of the `kinds` on `screens` of each source;
    each web task on `episodes` held-out seeds, and on the first `few` of them before the agent has learned to act.
    `question_tokens`, `page_tokens` and, where a thought is written before every action, `thought_tokens` bound a reply."""

    documents: int = 24
    context: int = 256
    needle: NeedleTest = field(default_factory=lambda: NeedleTest(lengths=(256, 512, 1024), depths=(0.1, 0.5, 0.9), count=10))
    question_episodes: int = 120
    question_tokens: int = 64
    kinds: tuple[str, ...] = ("grounding", "reading", "state")
    screens: int = 20
    episodes: int = 6
    few: int = 1
    page_tokens: int = 48
    thought_tokens: int = 160

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name in (
            "documents",
            "question_episodes",
            "question_tokens",
            "screens",
            "episodes",
            "few",
            "page_tokens",
            "thought_tokens",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"measure.{name} is {getattr(self, name)}; it must be at least 1")
        if self.few > self.episodes:
            raise ConfigError(f"measure.few is {self.few}; it is a part of measure.episodes, {self.episodes}")
        self.needle.check()


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % interval over `n` documents, texts, questions or episodes. `outcomes` names each of them and says what
    it came to, so that two checkpoints are compared on the very same; empty where only the sum was kept. `parts` are the same
    number by corpus, length, kind or task."""

    value: float
    low: float
    high: float
    n: int
    outcomes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """From one checkpoint to another: the `difference` of two rates (of two perplexities: of the mean nats a token), its 95 %
    interval, and how probable so large a one is by chance. `better` where the interval leaves 0 out on the good side."""

    difference: float
    low: float
    high: float
    p: float
    better: bool
    worse: bool


def change(name: MeasureName, before: Figure, after: Figure) -> Change:
    """How much better `after` is. Episodes, documents and questions that both have are compared one with the other; where only sums
    are known, as two independent rates."""
    if name in ERRORS:
        found = paired_bootstrap(before.outcomes, after.outcomes)
        return _change(-1, found.difference, found.low, found.high, found.p)
    if before.outcomes.keys() & after.outcomes.keys():
        first, second = ({key: bool(one[0]) for key, one in side.outcomes.items()} for side in (before, after))
        paired = compare_paired(first, second)
        return _change(1, paired.difference, paired.low, paired.high, paired.p)
    table = (round(before.value * before.n), before.n, round(after.value * after.n), after.n)
    return _change(1, after.value - before.value, *difference_interval(table), stratified_test([table]))


def _change(good: int, difference: float, low: float, high: float, p: float) -> Change:
    rises, falls = low > 0, high < 0
    return Change(difference, low, high, p, rises if good > 0 else falls, falls if good > 0 else rises)


@dataclass(frozen=True)
class Measurer:
    """Measures checkpoints of a ladder. `sources` are the corpora of its pre-training, as `corpora` says them, `tasks` web tasks,
    `questions` those that a program checks, `question_agent` and `thinking_agent` the options of the agent that answers them and of
    one that writes a thought before every action, `demonstrations` a directory of `stepladder collect`, `options` those of the web
    tasks' environment. What was measured is in `output`, in a directory for every rung, and is not measured again."""

    output: Path
    corpora: PretrainConfig
    sources: tuple[str, ...]
    demonstrations: Path
    tasks: str
    questions: str
    question_agent: Mapping[str, Any]
    thinking_agent: Mapping[str, Any]
    options: Mapping[str, Any]
    ignore_above: float
    settings: MeasureSettings

    def measure(
        self, rung: str, checkpoint: Path, *, acts: bool, thinking: Path | None = None, show: bool = True
    ) -> dict[MeasureName, Figure]:
        """All figures of the checkpoint of one rung; `acts` says whether it has learned to act on pages. `thinking` is one that can
        be asked to write a thought before every action: it plays the pages with thoughts and without."""
        found = self.known(rung)
        for name in MEASURES if thinking is None else (*MEASURES, *BOTH_WAYS):
            if name not in found:
                given = thinking if thinking is not None and name in BOTH_WAYS else checkpoint
                found[name] = self._one(name, rung, given, acts, show)
                write_json(self._file(rung), to_json(found))
        return found

    def known(self, rung: str) -> dict[MeasureName, Figure]:
        """What was measured before."""
        path = self._file(rung)
        if not path.exists():
            return {}
        return {name: from_json(Figure, record, f"{path}: {name}") for name, record in json.loads(path.read_text()).items()}

    def _file(self, rung: str) -> Path:
        return self.output / rung / "figures.json"

    def _one(self, name: MeasureName, rung: str, checkpoint: Path, acts: bool, show: bool) -> Figure:
        where = self.output / rung
        where.mkdir(parents=True, exist_ok=True)
        if name in ("perplexity", "needle"):
            return self._of_text(name, checkpoint)
        if name == "perception":
            return self._of_screens(checkpoint, where / name, show)
        if name == "questions":
            return self._of_episodes(checkpoint, where / name, self._asking(), show)
        return self._of_episodes(checkpoint, where / name, self._acting(acts, thinks=name == "thinking"), show)

    def _acting(self, acts: bool, thinks: bool) -> dict[str, Any]:
        settings = self.settings
        return {
            "tasks": self.tasks,
            "episodes": settings.episodes if acts else settings.few,
            "max_tokens": settings.thought_tokens if thinks else settings.page_tokens,
            "agent": self.thinking_agent if thinks else {},
            "options": self.options,
        }

    def _asking(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "tasks": self.questions,
            "episodes": settings.question_episodes,
            "max_tokens": settings.question_tokens,
            "agent": self.question_agent,
        }

    def _of_text(self, name: MeasureName, checkpoint: Path) -> Figure:
        images = ImageStore(self.output / "images")
        model, renderer = load_policy(checkpoint, images)
        scorer = Scorer(model.eval(), renderer)
        if name == "needle":
            scores = [score for score in needle_scores(scorer, renderer, self.settings.needle) if score.depth is None]
            rate = success_rate(sum(score.successes for score in scores), sum(score.n for score in scores))
            return _rate(rate, parts={f"{score.length} tokens": score.rate for score in scores})
        outcomes, parts = dict[str, tuple[float, ...]](), dict[str, float]()
        for source in self.sources:
            documents = open_corpus(source, self.corpora, images).held_out(self.settings.documents)
            samples = [
                document_samples(renderer, [(one.text, True)], one.images, context=self.settings.context, key=f"{source} {number}")
                for number, one in enumerate(documents)
            ]
            nats = document_nats(scorer, samples)
            parts[source] = perplexity(nats).value or 0.0
            outcomes |= {f"{source} {number}": tuple(one.tolist()) for number, one in enumerate(nats) if len(one)}
        whole = perplexity([np.asarray(one, dtype=np.float32) for one in outcomes.values()])
        if whole.value is None or whole.low is None or whole.high is None:
            raise ConfigError(f"measure.documents: {whole.documents} documents are held out; two are needed")
        return Figure(whole.value, whole.low, whole.high, whole.documents, outcomes, parts)

    def _of_screens(self, checkpoint: Path, where: Path, show: bool) -> Figure:
        config = perception.PerceptionConfig(
            policy=str(checkpoint),
            output=where,
            pages=self.demonstrations,
            kinds=self.settings.kinds,
            screens=self.settings.screens,
            ignore_above=self.ignore_above,
            max_tokens=self.settings.page_tokens,
        )
        rows = [row for row in perception.main(config, show)["scores"] if row["measure"] == "correct" and row["n"]]
        right = {kind: (_right(rows, kind), sum(row["n"] for row in rows if row["kind"] == kind)) for kind in self.settings.kinds}
        rate = success_rate(sum(one for one, _ in right.values()), sum(n for _, n in right.values()))
        return _rate(rate, parts={kind: hits / n for kind, (hits, n) in right.items() if n})

    def _of_episodes(self, checkpoint: Path, where: Path, settings: Mapping[str, Any], show: bool) -> Figure:
        config = evaluate.EvaluateConfig(policy=str(checkpoint), baselines=(), strips=0, output=where, **settings)
        result = evaluate.main(config, show)
        outcomes = {f"{task} {seed}": (float(trials[0]),) for (task, seed), trials in result.starts().items() if trials}
        parts = {one.task: one.rate for one in result.tasks if one.rate is not None}
        return _rate(success_rate(result.successes, result.n), outcomes, parts)


def _right(rows: list[dict[str, Any]], kind: str) -> int:
    return sum(round(row["value"] * row["n"]) for row in rows if row["kind"] == kind)


def _rate(rate: Rate, outcomes: Mapping[str, tuple[float, ...]] | None = None, parts: Mapping[str, float] | None = None) -> Figure:
    return Figure(rate.rate or 0.0, rate.low, rate.high, rate.n, outcomes or {}, parts or {})
