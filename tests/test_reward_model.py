"""A reward model end to end on a page where about half of all replies succeed: its data, its training, the use of its scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import killed_at
from safetensors.torch import load_file
from small_models import model_for, picture, renderer
from test_rl import SIDES, checkpoint, click_anywhere
from torch import Tensor
from typer.testing import CliRunner

from stepladder import cli
from stepladder.algos.objective import PolicyObjective
from stepladder.algos.ppo import Ppo
from stepladder.algos.reward_loss import bradley_terry_loss
from stepladder.compare.ranked import of_outcomes, of_policies
from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.models.forward import Visual, banned_ids, hidden_states
from stepladder.models.reward_head import RewardHead
from stepladder.rewards import build_reward
from stepladder.rewards.model import ModelReward
from stepladder.run import read_metrics, read_phases
from stepladder.seeds import train_seeds
from stepladder.stages import best_of, rl
from stepladder.stages import reward_model as stage
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.best_of import BestOfConfig
from stepladder.stages.measure import Playing, measure
from stepladder.stages.prefer_config import PlaySettings
from stepladder.stages.preference_pairs import held_back, read_ranked
from stepladder.stages.reward_model import RewardModelConfig
from stepladder.stages.reward_scores import GroupScorer, RewardModelSettings, load_reward_model
from stepladder.store import TrajectoryStore
from stepladder.tasks import load_tasks
from stepladder.train.batch import Batch, collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.reward_model import References, prompt_key
from stepladder.train.reward_sample import answer_sample, side_by_side
from stepladder.train.trainer import LossWeights, Trainer
from stepladder.types import Completion, Message, Prompt, Trajectory

TASKS = "env:test_rl:Sides"
PLAYING = Playing(trials=8, max_tokens=1, ranks=1, environments=8)
PLAY = PlaySettings(tasks=TASKS, starts=4, attempts=6, first=100, max_tokens=1, environments=8)


@pytest.fixture(autouse=True, scope="module")
def clicks() -> Iterator[None]:
    build = AgentOptions.build
    click_anywhere()
    yield
    AgentOptions.build = build  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """start/ is a checkpoint that has learned nothing yet, sampled-0.jsonl its episodes, eight from each of ten starts."""
    folder = tmp_path_factory.mktemp("reward")
    start = checkpoint(folder / "start")
    measure(folder, start, [(task, seed) for task in load_tasks(TASKS, "train") for seed in train_seeds(10, 14)], PLAYING)
    return folder


def settings(played: Path, output: Path, **changes: object) -> RewardModelConfig:
    config = RewardModelConfig(
        runs=(played / "sampled-0.jsonl",),
        checkpoint=played / "start",
        output=output,
        compare="episodes",
        per_start=2,
        ranks=1,
        bf16=False,
        batch=6,
        epochs=4,
        score_every=5,
        save_every=3,
        optimizer=OptimizerConfig(lr=1e-3, adam_lr=1e-3),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(played: Path) -> Path:
    stage.main(settings(played, played / "reward-model"), show=False)
    return played / "reward-model"


def episodes(path: Path) -> list[Trajectory]:
    with TrajectoryStore(path) as store:
        return list(store)


def test_outcome_pairs_are_last_replies_of_a_success_and_a_failure(trained: Path, played: Path) -> None:
    known = {one.id: one for one in episodes(played / "sampled-0.jsonl")}
    pairs = read_ranked(trained)
    assert len(pairs) > 12
    assert {held_back(pair) for pair in pairs} == {True, False}
    for pair in pairs:
        better, worse = known[pair.chosen.source], known[pair.rejected.source]
        assert (better.success, worse.success) == (True, False)
        assert (better.task.id, better.seed) == (worse.task.id, worse.seed) == (pair.task, pair.seed)
        assert pair.chosen.step == len(better.steps) - 1
    starts = [(pair.task, pair.seed) for pair in pairs]
    assert max(starts.count(start) for start in starts) == 2


def test_training_puts_the_preferred_answers_ahead(trained: Path, played: Path) -> None:
    records = read_metrics(trained, "reward-model")
    assert records[1]["loss"] == pytest.approx(0.6931, abs=1e-3), "at first every answer scores 0"
    assert records[-1]["loss"] < 0.6
    assert records[-1]["accuracy"] == 1.0
    assert "held_out_accuracy" in records[-1]
    told = read_phases(trained)["train"]["result"]
    assert 0 <= told["low"] <= told["accuracy"] <= told["high"] <= 1
    assert told["n"] == sum(map(held_back, read_ranked(trained)))
    model = load_reward_model(trained / "checkpoint", ImageStore(trained / "images"))
    training = [pair for pair in read_ranked(trained) if not held_back(pair)]
    scores = [model.scores([(pair.task, one.prompt, one.reply) for one in (pair.chosen, pair.rejected)]) for pair in training]
    assert np.mean(scores) == pytest.approx(0.0, abs=1e-3)
    assert np.std(scores) == pytest.approx(1.0, abs=1e-3)
    assert np.min(scores) == pytest.approx(model.scale.lowest, abs=1e-3)
    assert all(good > bad for good, bad in scores)


@pytest.mark.learning
def test_a_run_that_was_killed_ends_with_the_same_weights(
    trained: Path, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_at(monkeypatch, stage.RewardLearner, 5):
        stage.main(settings(played, tmp_path), show=False)
    assert not (tmp_path / "checkpoint").exists()
    final = stage.main(settings(played, tmp_path), show=False)
    expected = trained / "checkpoint"
    weights = load_file(expected / "model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in load_file(final / "model.safetensors").items())
    heads = [torch.load(path / "reward_head.pt", weights_only=True) for path in (final, expected)]
    assert all(torch.equal(value, heads[1]["state"][name]) for name, value in heads[0]["state"].items())
    assert heads[0]["scale"] == heads[1]["scale"]
    assert stage.main(settings(played, tmp_path), show=False) == final, "a run that is done does nothing"


# ------------------------------------------------------------------------------------------------------------ the gradient


IMAGES = ImageStore()
RENDERER = renderer(IMAGES)


def answers() -> list[tuple[Prompt, Completion, Completion]]:
    """Three prompts with two replies each, of different lengths; the last pair differs in its pictures too."""
    random = np.random.default_rng(0)
    banned = {*RENDERER.banned_ids, *RENDERER.stop_ids}
    ordinary = np.asarray([i for i in range(RENDERER.vocabulary) if i not in banned])

    def said(length: int) -> Completion:
        return Completion("", np.append(random.choice(ordinary, length - 1), RENDERER.stop_ids[0]).astype(np.int32))

    asked = [RENDERER.render((Message("user", (picture(IMAGES, seed), f"click {seed}")),)) for seed in range(3)]
    return [(prompt, said(first), said(second)) for prompt, first, second in zip(asked, (3, 6, 2), (5, 1, 4), strict=True)]


@pytest.mark.parametrize("pieces", [1, 3])
def test_the_trainer_takes_the_gradient_of_the_loss(pieces: int) -> None:
    """By backward passes through every answer alone, in float64, and through the trainer's packed rows."""
    model = model_for(RENDERER).double()
    head = RewardHead(model.config.text_config.hidden_size).double()
    torch.nn.init.normal_(head.outer.weight, std=0.3)
    trainer = Trainer(
        model,
        None,
        Schedule(10, warmup=1),
        OptimizerConfig(max_grad_norm=1e9),
        LossWeights(ce=0.0, pg=0.0, kl=0.0, value=1.0),
        trainable=("model", "critic"),
        autocast=False,
        objective=PolicyObjective(kind="reinforce", aggregation="token-sum", correction=None, value_slopes=True),
        critic=head,
        banned=banned_ids(model, RENDERER),
    )
    for optimizer in trainer.optimizers:
        optimizer.step = lambda: None  # type: ignore[method-assign, assignment]

    def batched(samples: list) -> MicroBatch:  # type: ignore[type-arg]
        batch = collate(samples, RENDERER, 400 if len(samples) > 1 else 0)
        assert batch.pixel_values is not None
        batch.pixel_values = batch.pixel_values.double()
        return MicroBatch(batch)

    raw = []
    for prompt, *replies in answers():
        for reply in replies:
            assert prompt.tokens is not None
            assert reply.tokens is not None
            # the state of the answer's last token, from the model's own forward pass and not by way of a predicted token
            tokens = torch.from_numpy(np.concatenate([prompt.tokens, reply.tokens])).long()[None]
            batch = batched([answer_sample(RENDERER, prompt, reply)]).batch
            visual = trainer.encode(batch)
            assert visual is not None
            states = states_of(trainer, batch, visual)
            assert batch.tokens[0, : tokens.shape[1]].tolist() == tokens[0].tolist()
            raw.append(head(states[0, tokens.shape[1] - 1][None])[0])
    scores = torch.stack(raw).reshape(3, 2)
    named = {name: parameter for name, parameter in trainer.named_parameters() if parameter.requires_grad}
    loss = bradley_terry_loss(scores[:, 0], scores[:, 1], margin=0.1, centre=0.05)[0].mean()
    wanted = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    leaves = scores.detach().requires_grad_()
    slopes = torch.autograd.grad(bradley_terry_loss(leaves[:, 0], leaves[:, 1], margin=0.1, centre=0.05)[0].sum(), leaves)[0]
    samples = [
        sample
        for (prompt, *replies), pair in zip(answers(), slopes.tolist(), strict=True)
        for sample in side_by_side(
            [answer_sample(RENDERER, prompt, reply, slope=2.0 * slope) for reply, slope in zip(replies, pair, strict=True)]
        )
    ]
    assert len(samples) == 3, "what the answers of a pair have in common stands once"
    trainer.step([batched(samples[start::pieces]) for start in range(pieces)])
    largest = max(float(gradient.abs().max()) for gradient in wanted if gradient is not None)
    assert largest > 1e-3
    for (name, parameter), gradient in zip(named.items(), wanted, strict=True):
        expected = torch.zeros(()) if gradient is None else gradient
        assert parameter.grad is not None
        assert float((parameter.grad - expected).abs().max()) < 1e-6 * max(1.0, largest), name


def states_of(trainer: Trainer, batch: Batch, visual: Visual) -> Tensor:
    """float64[R, S, hidden] of all tokens of a batch."""
    return hidden_states(trainer.model, batch.tokens, batch.positions.clamp(min=0), batch.attention, visual, batch.image_mask)


# ------------------------------------------------------------------------------------------------------- by comparing policies


def test_policies_are_told_apart_beside_a_reply_of_one_of_them(played: Path, tmp_path: Path) -> None:
    everything = episodes(played / "sampled-0.jsonl")
    runs = []
    for name, success in (("right", True), ("wrong", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "images").symlink_to(played / "images")
        with TrajectoryStore(tmp_path / name / "trajectories.jsonl", "a") as store:
            for one in everything:
                if one.success is success:
                    store.append(one)
        runs.append(tmp_path / name)
    config = settings(played, tmp_path / "polar", runs=tuple(runs), compare="policies", per_start=3)
    made = stage.main(config, show=False)
    pairs = read_ranked(config.output)
    texts = {success: {one.steps[0].completion.text for one in everything if one.success is success} for success in (True, False)}  # type: ignore[union-attr]
    for pair in pairs:
        own = pair.reference in texts[True]
        assert pair.chosen.reply.text in texts[own]
        assert pair.rejected.reply.text in texts[not own]
    assert {pair.reference in texts[True] for pair in pairs} == {True, False}, "each policy is in turn the one in question"
    records = read_metrics(config.output, "reward-model")
    assert records[-1]["loss"] < records[1]["loss"]
    model = load_reward_model(made, ImageStore(played / "images"))
    assert model.kind == "policy"
    one = everything[0]
    assert model.references.of(one.task.id, one.steps[0].prompt) in texts[True]  # type: ignore[arg-type]
    (score,) = model.of_episodes([one])
    (beside,) = model.scores([(one.task.id, one.steps[0].prompt, one.steps[0].completion)])  # type: ignore[list-item]
    assert score == beside
    with pytest.raises(UserError, match="knows no reply of its policy to the task 'other'"):
        model.references.of("other", Prompt((Message("user", ("hello",)),)))


def test_references_are_read_as_they_were_written(tmp_path: Path) -> None:
    known, asked = References(), Prompt((Message("user", ("do ü\n",)),))
    known.add("a", asked, "reply ü\x85\u2028")
    known.add("a", Prompt((Message("user", ("other",)),)), "second")
    known.save(tmp_path)
    assert References.load(tmp_path) == known
    assert known.of("a", asked) == "reply ü\x85\u2028"
    assert known.of("a", Prompt((Message("user", ("unknown",)),))) == "reply ü\x85\u2028"
    assert prompt_key(asked) != prompt_key(Prompt((Message("assistant", ("do ü\n",)),)))
    (tmp_path / "references.jsonl").write_text('{"prompt": "a", "reply": "b"}\n[1]\n')
    with pytest.raises(UserError, match=r"references.jsonl, line 2 is no reference"):
        References.load(tmp_path)


def test_pairs_that_cannot_be_are_counted(played: Path) -> None:
    everything = episodes(played / "sampled-0.jsonl")
    successes = [one for one in everything if one.success]
    pairs, left_out = of_outcomes(successes, 2)
    assert pairs == []
    assert set(left_out) == {"a start that was not both solved and failed"}
    pairs, left_out = of_policies([everything[:1], []], 2)
    assert pairs == []
    assert set(left_out) == {"a prompt without two replies of one policy and one of another"}


# ------------------------------------------------------------------------------------------------------------- its scores


def scored(trained: Path, played: Path, members: list[Trajectory], aggregate: str = "mean") -> list[Trajectory]:
    model = load_reward_model(trained / "checkpoint", ImageStore(played / "images"))
    return GroupScorer(model, aggregate, model.renderer)(members)  # type: ignore[arg-type]


def test_scores_of_episodes_are_those_of_their_replies(trained: Path, played: Path) -> None:
    first, second = episodes(played / "sampled-0.jsonl")[:2]
    joined = replace(first, id="joined", steps=(*first.steps, *second.steps))
    empty, broken = replace(first, id="empty", steps=()), replace(first, id="broken", status="env_error", reward=None)
    members = [first, second, joined, empty, broken]
    by = {name: [one.parts.get("model") for one in scored(trained, played, members, name)] for name in ("mean", "last", "min")}
    one, other = by["mean"][:2]
    assert one is not None
    assert other is not None
    assert [by[name][2] for name in ("mean", "last", "min")] == pytest.approx([(one + other) / 2, other, min(one, other)], abs=1e-4)
    lowest = load_reward_model(trained / "checkpoint", ImageStore()).scale.lowest
    assert by["mean"][3] == lowest
    assert by["mean"][4] is None, "an episode without a grade has no score"
    terms = ModelReward()(scored(trained, played, [first, broken]))
    assert terms == [{"model": pytest.approx(one, abs=1e-4)}, {}]
    with pytest.raises(ConfigError, match=r"has no score; name a reward model with reward_model\.checkpoint"):
        build_reward("model")([first])


def test_a_model_of_another_vocabulary_reads_the_texts(trained: Path, played: Path, tmp_path: Path) -> None:
    model = load_reward_model(trained / "checkpoint", ImageStore(played / "images"))
    other = load_reward_model(trained / "checkpoint", ImageStore())
    other.renderer = RENDERER
    one = episodes(played / "sampled-0.jsonl")[0]
    (graded,) = GroupScorer(model, "mean", RENDERER)([one])
    step = one.steps[0]
    assert step.prompt is not None
    assert step.completion is not None
    rendered = model.scores([(one.task.id, Prompt(step.prompt.messages), Completion(step.completion.text))])
    assert graded.parts["model"] == pytest.approx(rendered[0], abs=1e-5)


@pytest.mark.learning
def test_reinforcement_learning_is_rewarded_by_the_model(trained: Path, played: Path, tmp_path: Path) -> None:
    config = replace(
        SIDES,
        checkpoint=played / "start",
        output=tmp_path / "rl",
        algo=Ppo(reward="reward", kl=0.01),
        rewards={"model": 1.0, "outcome": 0.0},
        reward_model=RewardModelSettings(trained / "checkpoint"),
        updates=2,
        groups=2,
        group_size=4,
        validation=0,
        bf16=False,
    )
    rl.main(config, show=False)
    played_now = episodes(tmp_path / "rl" / "rollouts-0.jsonl")
    records = [record for record in read_metrics(tmp_path / "rl", "rl") if record["step"] > 0]
    expected = [one.parts["model"] for one in scored(trained, tmp_path / "rl", played_now)]
    found = sum(record["term/model"] * record["episodes"] for record in records) / len(played_now)
    assert found == pytest.approx(float(np.mean(expected)), abs=1e-4)
    assert records[0]["term/reward"] == pytest.approx(records[0]["term/model"])
    assert "kl" in records[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rewards": {"model": 1.0}, "reward_model": RewardModelSettings()},
            r"reward_model\.checkpoint is missing: rewards name",
        ),
        ({"rewards": {"model": 1.0}, "reward_model": RewardModelSettings(Path("nowhere"))}, r"nowhere lacks reward_head\.pt"),
        ({"rewards": {"model": 1.0}, "reward_model": RewardModelSettings(None, "sum")}, r"aggregate is 'sum'"),  # type: ignore[arg-type]
    ],
)
def test_settings_of_reinforcement_learning_that_cannot_be(changes: dict[str, object], message: str, played: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SIDES, checkpoint=played / "start", **changes).check()  # type: ignore[arg-type]


def test_a_reward_model_that_nobody_weighs_is_refused(trained: Path, played: Path) -> None:
    config = replace(SIDES, checkpoint=played / "start", reward_model=RewardModelSettings(trained / "checkpoint"))
    with pytest.raises(ConfigError, match=r"rewards do not weigh 'model'; add it, such as rewards\.model=1\.0"):
        config.check()


def test_the_best_of_each_start_are_imitated(trained: Path, played: Path, tmp_path: Path) -> None:
    config = BestOfConfig(played / "start", RewardModelSettings(trained / "checkpoint"), tmp_path, play=PLAY, ranks=1, bf16=False)
    short = replace(config.train.cloning_frozen, steps=3, score_every=3, batch=4)
    config = replace(config, train=replace(config.train, cloning_frozen=short))
    found = best_of.main(config, show=False)
    sampled, chosen = (episodes(tmp_path / name) for name in ("play/sampled-0.jsonl", "data/trajectories.jsonl"))
    kept = {one.id: one for one in chosen if "-again-" not in one.id}
    assert len(kept) == PLAY.starts
    scores = {one.id: one.parts["model"] for one in scored(trained, tmp_path / "play", sampled)}
    for one in kept.values():
        assert scores[one.id] == max(scores[other.id] for other in sampled if other.seed == one.seed)
    assert (found.one.n, found.best.n) == (len(sampled), len(kept))
    assert found.best.successes == sum(one.success for one in kept.values())
    assert (found.checkpoint / "model.safetensors").exists()
    assert best_of.main(config, show=False) == found, "a run that is done does nothing"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compare": "hope"}, "compare is 'hope'; it must be one of forks, episodes, policies"),
        ({"compare": "policies"}, "compare=policies needs two runs or more"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5"),
        ({"margin": -1.0}, "margin is -1.0; it must be at least 0"),
        ({"batch": 1, "ranks": 2}, "batch is 1; 2 ranks need at least a pair each"),
        ({"checkpoint": Path("nowhere")}, "checkpoint: nowhere is no directory"),
        ({"runs": (Path("nowhere"),)}, "runs: nowhere holds no episodes"),
        ({"runs": ()}, "runs and pairs are empty"),
        ({"pairs": (Path("nowhere"),)}, r"pairs: nowhere has no pairs\.jsonl"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str, played: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        stage.main(replace(settings(played, tmp_path / "out"), **change), show=False)  # type: ignore[arg-type]


def test_the_command_says_how_good_it_is(played: Path, tmp_path: Path) -> None:
    words = ["reward-model", str(played / "sampled-0.jsonl"), "--checkpoint", str(played / "start"), "-o", str(tmp_path)]
    for name, value in (("compare", "episodes"), ("ranks", "1"), ("epochs", "1"), ("bf16", "false")):
        words += ["--set", f"{name}={value}"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    assert "accuracy on pairs held back: " in result.output
    assert f"reward model: {tmp_path / 'checkpoint'}" in result.output


@pytest.mark.learning
def test_scores_choose_and_teach_what_truly_succeeds(tmp_path: Path) -> None:
    """Learned from pairs, the model makes the best of eight better than one, and PPO against it raises the true success."""
    start, tasks = checkpoint(tmp_path / "start"), load_tasks(TASKS, "train")
    starts = [(task, seed) for task in tasks for seed in train_seeds(24, 0)]
    playing = replace(PLAYING, environments=16)
    before = measure(tmp_path / "before", start, starts, playing)
    scorer = stage.main(
        settings(tmp_path, tmp_path / "scorer", runs=(tmp_path / "before/sampled-0.jsonl",), per_start=6, batch=16, epochs=8),
        show=False,
    )
    use = RewardModelSettings(scorer)
    play = replace(PLAY, starts=24, attempts=8, environments=16)
    chosen = best_of.main(BestOfConfig(start, use, tmp_path / "best", play=play, ranks=1, bf16=False), show=False)
    config = replace(
        SIDES,
        checkpoint=start,
        output=tmp_path / "rl",
        algo=Ppo(reward="reward", kl=0.01, updates=2),
        rewards={"model": 1.0},
        reward_model=use,
        updates=30,
        groups=12,
        group_size=8,
        first=200,
        seeds=200,
        validation=0,
        environments=16,
        bf16=False,
        optimizer=OptimizerConfig(lr=5e-3, adam_lr=3e-3),
    )
    after = measure(tmp_path / "after", rl.main(config, show=False), starts, playing)
    print(f"\none {chosen.one}, best {chosen.best}, {before.sampled} -> {after.sampled}")
    assert chosen.best.rate is not None
    assert chosen.one.rate is not None
    assert chosen.best.rate > chosen.one.rate + 0.2
    assert before.sampled.rate is not None
    assert after.sampled.rate is not None
    assert after.sampled.rate > before.sampled.rate + 0.2
