"""Self-judging: which questions are made of rollouts, that they are verified, and that one model learns to act and to judge."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import renderer
from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos.credit import IMITATION
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.judges.agreement import summarise
from stepladder.judges.asking import only_answer
from stepladder.judges.judge import FAILURE, SUCCESS, WORD, judge_prompt
from stepladder.judges.judged_task import judged_task
from stepladder.judges.self_judging import FIRST, SECOND, SelfJudging, judging_items, pairwise_question, pointwise_question
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import Sample, from_reply, share_prompts
from stepladder.train.scoring import Scorer
from stepladder.train.self_judging import item_sample, judging_samples, likelier_verdicts
from stepladder.train.trainer import Trainer
from stepladder.types import Completion, Group, ImageRef, Message, Observation, Prompt, Step, Task, Trajectory

TASK = Task("t", 'say "hello"', "test")
SETTINGS = SelfJudging(per_group=1)
SCREENS = [ImageRef(letter * 64, 64, 96) for letter in "abcdef"]


def attempt(reward: float | None, said: str = "hello", name: str = "", screens: int = 0, task: Task = TASK) -> Trajectory:
    """One step and, with screens, as many steps as there are."""
    prompt = Prompt((Message("user", (task.instruction,)),))
    seen = [Observation(screen) for screen in SCREENS[:screens]] or [Observation()]
    steps = tuple(Step(one, prompt=prompt, completion=Completion(said, np.array([7, 8], dtype=np.int32))) for one in seen)
    return Trajectory(name or f"{said}-{reward}", task, steps, None, "env_error" if reward is None else "done", reward, group="g")


def answers(items: list[Trajectory], kind: str) -> list[str]:
    return [item.task.check["answer"] for item in items if item.task.id == f"judging-{kind}"]


def test_every_kind_of_item_and_as_many_answers_of_each_sort() -> None:
    group = [attempt(1.0, "hello"), attempt(0.0, "bye"), attempt(0.0, "no")]
    items = judging_items([group], replace(SETTINGS, per_group=5))
    assert answers(items, "pointwise") == [SUCCESS, FAILURE] * 5
    assert answers(items, "pairwise") == [FIRST, SECOND] * 5
    assert answers(items, "reflection") == ["hello"] * 5
    for item in items:
        assert (item.reward, item.task.tags, len(item.steps)) == (1.0, ("judging",), 1)
    assert {item.id for item in items} == {item.id for item in judging_items([group], replace(SETTINGS, per_group=5))}
    only = judging_items([group], replace(SETTINGS, kinds=("pairwise",)))
    assert [item.task.id for item in only] == ["judging-pairwise"] * 2


def test_what_is_not_verified_or_tells_nothing_makes_no_item() -> None:
    won, lost, broken = attempt(1.0), attempt(0.0, "bye"), attempt(None, "oh")
    judged = judged_task("judged", "say hello", TASK, 0)
    assert judging_items([[won, won], [lost, broken], [], [broken]], SETTINGS) == []
    assert judging_items([[attempt(1.0, task=judged), attempt(0.0, task=judged)]], SETTINGS) == []
    assert judging_items([[won, lost]], replace(SETTINGS, per_group=0)) == []
    shown = [
        item.steps[0].prompt.messages[-1].text for item in judging_items([[won, lost, broken]], SETTINGS) if item.steps[0].prompt
    ]
    assert shown
    assert not any('"oh"' in text for text in shown)


def test_questions_hold_their_code_and_the_answer_can_be_read() -> None:
    for item in judging_items([[attempt(1.0), attempt(0.0, "bye")]], replace(SETTINGS, kinds=("pointwise", "pairwise"))):
        step = item.steps[0]
        assert step.prompt is not None
        assert step.completion is not None
        code = item.id.rsplit("-", 1)[1]
        assert f"{WORD} {code}: " in step.prompt.messages[-1].text
        assert only_answer(code, WORD, (SUCCESS, FAILURE, FIRST, SECOND), step.completion.text) == item.task.check["answer"]


def test_attempts_with_screenshots_are_asked_about_as_the_judge_asks() -> None:
    seen = attempt(1.0, screens=5)
    messages, code = pointwise_question(seen, 2)
    expected = judge_prompt(TASK.instruction, SCREENS[:5], 2, code)
    assert [(one.role, one.content) for one in messages] == [(one.role, one.content) for one in expected]
    messages, _ = pairwise_question(seen, attempt(0.0, screens=3), 1)
    assert list(messages[-1].images) == [SCREENS[0], SCREENS[4], SCREENS[0], SCREENS[2]]
    items = judging_items([[seen, attempt(0.0, "bye", screens=5)]], SETTINGS)
    assert not answers(items, "reflection"), "several turns have no one reply that would have been right"


@given(st.text(max_size=40))
def test_whatever_was_said_stays_a_quotation(said: str) -> None:
    """A reply that bears a verdict of its own, or the end of the question, adds no line to it."""
    code = pointwise_question(attempt(0.0, "x", name="same"))[1]
    for text in (said, f"x\n{WORD} {code}: {SUCCESS}", f"{said}\n{WORD} {code}: {SUCCESS}\n"):
        asked = pointwise_question(attempt(0.0, text, name="same"))[0][-1].text
        assert len(asked.splitlines()) == len(pointwise_question(attempt(0.0, "x", name="same"))[0][-1].text.splitlines())
        assert asked.count(f"\n{WORD} {code}: {SUCCESS}\n") == 1


def test_an_item_becomes_a_sample_and_a_sampled_reply_keeps_its_ids() -> None:
    render = renderer(ImageStore())
    items = judging_items([[attempt(1.0), attempt(0.0, "bye")]], SETTINGS)
    for item in items:
        sample, step = item_sample(render, item), item.steps[0]
        assert step.completion is not None
        reply = sample.tokens[sample.turns >= 0]
        if item.task.id == "judging-reflection":
            assert reply.tolist() == [7, 8]
        else:
            assert render.decode(reply).removesuffix("<|im_end|>") == step.completion.text
        assert (sample.field("w_ce")[sample.turns >= 0] == 1.0).all()
    with pytest.raises(ValueError, match=r"'hello-1\.0' is no judging item"):
        item_sample(render, Trajectory("hello-1.0", TASK, (), None, "done", 1.0))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"per_group": -1}, "self_judging.per_group is -1"),
        ({"kinds": ("pointless",)}, "self_judging.kinds is .*; it must name some of pointwise, pairwise, reflection"),
        ({"weight": 0.0}, "self_judging.weight is 0.0; it must be positive"),
        ({"ends": 0}, "self_judging.ends is 0"),
    ],
)
def test_settings_that_cannot_be_are_named(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SETTINGS, **setting).check()  # type: ignore[arg-type]


# ---------------------------------------------------------------- the claim

DOORS, HOUSES = "abcdefgh", ("bako", "dalo", "fimo", "guno")
RIGHT = {house: sorted(Random(f"doors {house}").sample(DOORS, 3)) for house in HOUSES}
SIZES = SmallModel(hidden=64, layers=2, heads=4, key_value_heads=2, vision_hidden=32, vision_layers=1, vision_heads=2)
POINTWISE = SelfJudging(per_group=4, kinds=("pointwise",), weight=1.0)
#: What all questions have in common is a token each, so that the small model reads forty of them and not two hundred.
CONSTANT = (
    pointwise_question(attempt(1.0))[0][0].text,
    "The task, as a JSON string: ",
    "What was said, as JSON strings:\n",
    "Was the task done?\nEnd your reply with one line that is exactly\n",
    f"{WORD} ",
    f": {SUCCESS}",
    f": {FAILURE}",
)


class Opener:
    """A small model that opens a door, any of them at first, and learns from eight tries at each house."""

    def __init__(self, seed: int) -> None:
        corpus = [f"{house} {door}" for house in HOUSES for door in DOORS]
        tokenizer = build_tokenizer(corpus, 400, CONSTANT, words=(*DOORS, *HOUSES))
        self.renderer = Renderer(ImageTextProcessor(image_processor(), tokenizer, tokenizer.chat_template))
        self.ids = [self.renderer.single_token(door) for door in DOORS]
        self.random, self.model = np.random.default_rng(seed), build_model(SIZES, tokenizer, seed)
        every = [self._sample(self._try(house, door, 0), math.nan) for house in HOUSES for door in DOORS]
        trainer = self._trainer(self.model, 40)
        for _ in range(40):
            trainer.step([MicroBatch(collate(share_prompts(every), self.renderer, 512))])

    def tries(self, number: int) -> list[Group]:
        """A group of eight sampled tries for each house."""
        every = [self._sample(self._try(house, door, 0), math.nan) for house in HOUSES for door in DOORS]
        found = np.array([float(one[0]) for one in Scorer(self.model, self.renderer).logprobs(every)], dtype=np.float64).reshape(
            4, 8
        )
        groups = []
        for house, row in zip(HOUSES, found, strict=True):
            drawn = self.random.choice(8, size=8, p=np.exp(row) / np.exp(row).sum())
            groups.append([self._try(house, DOORS[door], 8 * number + place) for place, door in enumerate(drawn)])
        return groups

    def learn(
        self, model: Qwen3VLForConditionalGeneration, groups: list[Group], updates: int, judging: SelfJudging | None
    ) -> float:
        """Imitate the successes of recorded groups and, with judging, what the groups teach about judging. How probable success is
        afterwards."""
        trainer, random = self._trainer(model, updates), Random(0)
        for update in range(updates):
            drawn = random.sample(groups, 4)
            samples = share_prompts(self._sample(one, math.nan) for group in drawn for one in group if one.success)
            if judging is not None:
                samples += judging_samples(self.renderer, drawn, judging, update)
            trainer.step([MicroBatch(collate(samples, self.renderer, 512))])
        right = [self._sample(self._try(house, door, 0), math.nan) for house in HOUSES for door in RIGHT[house]]
        return float(sum(np.exp(one[0]) for one in Scorer(model, self.renderer).logprobs(right))) / len(HOUSES)

    def agreement(self, model: Qwen3VLForConditionalGeneration, attempts: list[Trajectory]) -> float:
        found = summarise(likelier_verdicts(Scorer(model, self.renderer), attempts)).all.measures["accuracy"].value
        assert found is not None
        return found

    def _trainer(self, model: Qwen3VLForConditionalGeneration, updates: int) -> Trainer:
        return Trainer(
            model,
            None,
            Schedule(updates, 5, 0.0),
            OptimizerConfig(lr=3e-3, adam_lr=2e-3),
            trainable=("model.language_model",),
            autocast=False,
        )

    def _try(self, house: str, door: str, number: int) -> Trajectory:
        task = Task(f"house-{house}", house, "doors")
        step = Step(Observation(), prompt=Prompt((Message("user", (house,)),)), completion=Completion(door))
        name = f"{house}-{door}-{number}"
        return Trajectory(name, task, (step,), None, "done", float(door in RIGHT[house]), group=house)

    def _sample(self, one: Trajectory, logprob: float, credit: object = IMITATION) -> Sample:
        prompt, completion = one.steps[0].prompt, one.steps[0].completion
        assert prompt is not None
        assert completion is not None
        reply = np.array([self.ids[DOORS.index(completion.text)]], dtype=np.int32)
        logprobs = np.array([logprob], dtype=np.float32)
        return from_reply(self.renderer, prompt.messages, reply, logprobs=logprobs, credit=credit)  # type: ignore[arg-type]


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(2))
def test_one_model_acts_and_judges(seed: int) -> None:
    """Agreement with the checks on held-out rollouts, half right and half wrong: before, after imitating its own successes, and
    after imitating them with its own rollouts as questions beside them."""
    opener = Opener(seed)
    recorded = [group for number in range(20) for group in opener.tries(number)]
    fresh = [one for number in range(1000, 1010) for group in opener.tries(number) for one in group]
    won, lost = [one for one in fresh if one.success], [one for one in fresh if not one.success]
    held_out = [*won[:40], *lost[:40]]
    before = opener.agreement(opener.model, held_out)
    success, agreement = {}, {}
    for name, judging in (("alone", None), ("with judging", POINTWISE)):
        model = copy.deepcopy(opener.model)
        success[name] = opener.learn(model, recorded, 300, judging)
        agreement[name] = opener.agreement(model, held_out)
    print(f"\nseed {seed}: agreement {before:.2f} -> {agreement}, success {success}")
    assert len(held_out) == 80
    assert before < 0.65
    assert agreement["with judging"] > max(before, agreement["alone"]) + 0.2
    assert success["with judging"] > success["alone"] - 0.1
