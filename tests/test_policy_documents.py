"""Policy documents: rules read and said again, demonstrations that show them, rollouts that do, and what a policy then knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offices import DOCUMENT, HABITS, RULES, OfficeAgent, OfficeEnvironment, policy_that_reads
from small_models import model_for, renderer

from stepladder.algos.credit import Credit
from stepladder.algos.grpo import Grpo
from stepladder.config import ConfigError
from stepladder.corpora import generated_corpus
from stepladder.corpora.rules import Rule, read_rules, rule_forms, rule_text, sort_of
from stepladder.data.policy_documents import SHOWN, DocumentAgent, told, with_document
from stepladder.images import ImageStore
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.rollout.group import EpisodeJob
from stepladder.rollout.policy_aware import PolicyAware, is_shown, without_document
from stepladder.run import read_metrics
from stepladder.seeds import validation_seeds
from stepladder.stages import rl, tell
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.stages.measure import Playing, measure
from stepladder.stages.player import Player
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.tell import TellConfig
from stepladder.store import TrajectoryStore
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import from_step
from stepladder.train.trainer import Trainer
from stepladder.types import Action, Completion, Limits, Observation, Prompt, Sampling, Step, Task, Trajectory

TEXT = """\
# Dates

Dates are typed as YYYY-MM-DD. A date without a year
is this year's.

- Never press Cancel before Save.
- If the form is locked, ask the owner first.
2. Only owners may delete.
"""

# -------------------------------------------------------------------------------------------------------------------- rules


def test_rules_of_a_document_and_their_sorts() -> None:
    assert read_rules(TEXT) == [
        Rule("Dates are typed as YYYY-MM-DD.", "fact", "Dates"),
        Rule("A date without a year is this year's.", "fact", "Dates"),
        Rule("Never press Cancel before Save.", "condition", "Dates"),
        Rule("If the form is locked, ask the owner first.", "condition", "Dates"),
        Rule("Only owners may delete.", "behaviour", "Dates"),
    ]
    assert sort_of("You must log in.") == "behaviour"


@given(st.text())
def test_reading_rules_never_fails_and_loses_no_word(text: str) -> None:
    rules = read_rules(text)
    assert all(rule.text.strip() == rule.text and rule.text for rule in rules)
    assert all(any(one.isalnum() or one == "_" for one in rule.text) for rule in rules)


@given(st.lists(st.from_regex(r"[A-Z][a-z]{1,8} [a-z]{1,8} [a-z]{1,8}\.", fullmatch=True), min_size=1, max_size=6), st.booleans())
def test_every_sentence_is_one_rule(sentences: list[str], listed: bool) -> None:
    text = "\n".join(f"- {one}" for one in sentences) if listed else " ".join(sentences)
    assert [rule.text for rule in read_rules(text)] == sentences


def test_forms_ask_for_what_the_rule_says() -> None:
    condition = read_rules(TEXT)[3]
    forms = rule_forms(condition, "the house rules")
    assert "Question: What holds if the form is locked?\nAnswer: Ask the owner first." in forms["applied"]
    left_out = "Complete this rule of the house rules: If the form is ____, ask the owner first.\nAnswer: locked"
    assert left_out in forms["left_out"]
    assert set(rule_forms(read_rules(TEXT)[0], "x")) == {"said", "asked", "left_out"}
    assert "judged" in rule_forms(read_rules(TEXT)[4], "x")


def test_a_corpus_of_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.md"
    path.write_text(TEXT)
    corpus = generated_corpus("rules", path=str(path), name="the house rules")
    made = [corpus.train(0, number) for number in range(200)]
    assert {one.metadata["form"] for one in made} == {"whole", "said", "asked", "left_out", "judged", "applied"}
    assert made[7] == corpus.train(0, 7)
    words = {word for rule in read_rules(TEXT) for word in rule.text.split()}
    assert all(words & set(one.text.split()) for one in made)
    with pytest.raises(ConfigError, match=r"path: .*nowhere.md is no file"):
        rule_text(0, 0, path=str(tmp_path / "nowhere.md"))
    (tmp_path / "empty.md").write_text("# Only a heading\n")
    with pytest.raises(ConfigError, match=r"empty.md holds no rule"):
        rule_text(0, 0, path=str(tmp_path / "empty.md"))


# ----------------------------------------------------------------------------------------------------------- demonstrations


def demonstration(name: str) -> Trajectory:
    steps = (Step(Observation(text="here"), Action("click", 1, 1)),)
    return Trajectory(name, Task("t", "File it.", "test"), steps, None, "done", 1.0)


def test_the_document_stands_in_front_of_half_of_the_instructions() -> None:
    changed = [told(demonstration(f"e{number}"), DOCUMENT, 0.5) for number in range(400)]
    shown = [one for one in changed if SHOWN in one.extra]
    assert 160 < len(shown) < 240
    assert {one.task.instruction for one in shown} == {f"{DOCUMENT}\n\nFile it."}
    assert {one.task.instruction for one in changed if SHOWN not in one.extra} == {"File it."}
    assert told(demonstration("e1"), DOCUMENT, 0.0).extra == {}
    recorded = demonstration("e1")
    recorded = replace(recorded, steps=(replace(recorded.steps[0], completion=Completion("a")),))
    assert told(recorded, DOCUMENT, 1.0) is recorded


def test_a_directory_of_demonstrations_is_told(tmp_path: Path) -> None:
    ImageStore(tmp_path / "from" / "images").put_pixels(np.zeros((20, 20, 3), dtype=np.uint8))
    with TrajectoryStore(tmp_path / "from" / "trajectories.jsonl", "a") as store:
        for number in range(20):
            store.append(demonstration(f"e{number}"))
    rules = tmp_path / "rules.md"
    rules.write_text(DOCUMENT)
    config = TellConfig(tmp_path / "from", rules, tmp_path / "to")
    count, shown = tell.main(config)
    assert count == 20
    assert 0 < shown < 20
    assert tell.main(config) == (count, shown), "made anew"
    assert len(list((tmp_path / "to" / "images").rglob("*.png"))) == 1
    for change, message in (
        ({"document": tmp_path / "no.md"}, "document: .*no.md is no file"),
        ({"demonstrations": tmp_path}, "holds no trajectories.jsonl"),
        ({"output": tmp_path / "from"}, "the demonstrations themselves"),
        ({"share": 2.0}, "share is 2.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            tell.main(replace(config, **change))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------------ rollouts


def test_a_share_of_a_group_is_shown_the_document() -> None:
    assert [is_shown(index, 0.5) for index in range(6)] == [False, True] * 3
    assert sum(is_shown(index, 0.25) for index in range(8)) == 2
    assert not any(is_shown(index, 0.0) for index in range(8))
    assert all(is_shown(index, 1.0) for index in range(8))


@pytest.mark.parametrize(
    ("aware", "message"),
    [
        (PolicyAware(share=1.5), "aware.share is 1.5"),
        (PolicyAware(document=Path("nowhere.md")), "aware.document: nowhere.md is no file"),
        (PolicyAware(behaviour="guess"), "aware.behaviour is 'guess'"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_be(aware: PolicyAware, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        aware.check()


RENDER = renderer()


def played(tmp_path: Path, behaviour: str) -> list[Trajectory]:
    """A group of four from a model with random weights, two of which are shown the document."""
    (tmp_path / "rules.md").write_text(DOCUMENT)
    engine = Engine(model_for(RENDER), RENDER)

    class AnyShelf(OfficeAgent):
        def parse(self, text: str, observation: Observation) -> tuple[str, Action]:
            return "", Action("type", text="a b")

    async def play() -> list[Trajectory]:
        with TrajectoryStore(tmp_path / "episodes.jsonl", "a") as store:
            episodes = EpisodePlayer(
                LocalPolicy(engine),
                AnyShelf(),
                ImageStore(tmp_path / "images"),
                Limits(),
                environments=2,
                options={},
                aware=PolicyAware(tmp_path / "rules.md", 0.5, behaviour),  # type: ignore[arg-type]
                render=RENDER.render,
            )
            player = Player(episodes, store, Sampling(max_tokens=3))
            try:
                task = OfficeEnvironment.tasks()[0]
                return (await player.groups([EpisodeJob(task, 0, "g", index) for index in range(4)], seed=1))[0]
            finally:
                await player.close()

    try:
        return asyncio.run(play())
    finally:
        engine.close()


def test_prompts_are_kept_without_the_document_and_log_probabilities_are_those_of_sampling(tmp_path: Path) -> None:
    """Importance: what is recorded is log pi(a | x, d), and a trainer finds log pi(a | x) for the very same tokens."""
    group = played(tmp_path, "importance")
    assert [SHOWN in one.extra for one in group] == [False, True, False, True]
    prompts = {tuple(one.steps[0].prompt.tokens.tolist()) for one in group}  # type: ignore[union-attr]
    assert len(prompts) == 1, "all of the group have the prompt without the document"
    model, agent = model_for(RENDER), OfficeAgent()
    trainer = Trainer(model, None, Schedule(1), OptimizerConfig(), autocast=False)
    for one in group:
        step, said = one.steps[0], one.steps[0].completion
        assert said is not None
        assert said.logprobs is not None
        asked = one.task if SHOWN not in one.extra else with_document(one.task, DOCUMENT)
        shown = replace(step, prompt=RENDER.render(agent.prompt(asked, (), step.observation)))
        sample = from_step(RENDER, agent, one.task, (shown,), 0, credit=Credit(pg=1.0, advantage=1.0))
        banned = torch.tensor(RENDER.banned_ids)
        found = trainer.logprobs(collate([sample], RENDER), banned).numpy()
        np.testing.assert_allclose(found, said.logprobs, atol=1e-3)
        kept = from_step(RENDER, agent, one.task, one.steps, 0, credit=Credit(pg=1.0, advantage=1.0))
        apart = np.abs(trainer.logprobs(collate([kept], RENDER), banned).numpy() - said.logprobs).max()
        assert (apart > 1e-3) == (SHOWN in one.extra)


def test_recomputed_means_that_nothing_is_recorded(tmp_path: Path) -> None:
    group = played(tmp_path, "recomputed")
    assert [one.steps[0].completion.logprobs is None for one in group] == [False, True, False, True]  # type: ignore[union-attr]
    sample = from_step(RENDER, OfficeAgent(), group[1].task, group[1].steps, 0, credit=Credit(pg=1.0, advantage=1.0))
    assert np.isnan(sample.field("logprobs")).all()
    model = model_for(RENDER)
    trainer = Trainer(model, None, Schedule(1), OptimizerConfig(lr=0.0), autocast=False, objective=Grpo().objective())
    assert np.isfinite(trainer.step([MicroBatch(collate([sample], RENDER))])["grad_norm"])


def test_later_prompts_keep_the_tokens_that_were_sampled() -> None:
    agent, tokens = AgentOptions(screenshots=2).build(), np.array([5, 6, 7], dtype=np.int32)
    images = ImageStore()
    seen = [Observation(images.put_pixels(np.full((64, 64, 3), level, dtype=np.uint8))) for level in (0, 200)]
    task, shown = Task("t", "File it.", "test"), DocumentAgent(AgentOptions(screenshots=2).build(), DOCUMENT)
    steps: list[Step] = []
    for observation in seen:
        prompt = RENDER.render(shown.prompt(task, steps, observation))
        steps.append(Step(observation, Action("click", 1, 1), prompt=prompt, completion=Completion("x", tokens)))
    episode = Trajectory("e", task, tuple(steps), None, "done", 1.0)
    found = without_document(episode, "recomputed", agent, RENDER.render)
    second = found.steps[1].prompt
    assert isinstance(second, Prompt)
    assert "goes to" not in "".join(message.text for message in second.messages)
    assert second.messages[1].tokens is tokens
    assert found.steps[0].completion.tokens is tokens  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------------------------ learning


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    build = AgentOptions.build
    AgentOptions.build = lambda self: OfficeAgent()  # type: ignore[method-assign, assignment, return-value]
    yield policy_that_reads(tmp_path_factory.mktemp("office") / "start")
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.mark.learning
@pytest.mark.parametrize("seed", range(3))
def test_policy_aware_rollouts_make_the_rules_its_own(seed: int, start: Path, tmp_path: Path) -> None:
    """Without the document in the prompt one reply in 128 is right by chance: alone it finds too little to learn from."""
    (tmp_path / "rules.md").write_text(DOCUMENT)
    assert not set(RULES.values()) & set(HABITS.values())
    starts = [(task, one) for task in OfficeEnvironment.tasks() for one in validation_seeds(10)]
    playing = Playing(trials=5, max_tokens=4, seed=seed, ranks=1, environments=32)
    before = measure(tmp_path / "before", start, starts, playing)
    rates = {}
    for name, aware in (("alone", PolicyAware()), ("aware", PolicyAware(tmp_path / "rules.md"))):
        config = RlConfig(
            checkpoint=start,
            tasks="env:offices:OfficeEnvironment",
            output=tmp_path / name,
            algo=Grpo(),
            aware=aware,
            seed=seed,
            ranks=1,
            bf16=False,
            updates=40,
            groups=4,
            group_size=8,
            rounds=1,
            expand=False,
            first=0,
            seeds=8,
            max_tokens=4,
            environments=32,
            optimizer=OptimizerConfig(lr=2e-3, adam_lr=2e-3),
            warmup=1,
            validation=0,
            save_every=10_000,
        )
        rl.main(config, show=False)
        rates[name] = measure(tmp_path / f"after {name}", tmp_path / name / "checkpoint", starts, playing).sampled
        print(name, [round(record["reward"], 2) for record in read_metrics(tmp_path / name, "rl")])
    print(f"\nseed {seed}: before {before.sampled}; after {rates}")
    assert rates["aware"].low > before.sampled.high
    assert rates["aware"].low > rates["alone"].high
