"""The policy gradient through the trainer, against a reply-by-reply computation: no number may depend on micro-batches, packing,
shared prompts, merged turns or ranks (law 5), whatever the loss."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import model_for, picture, renderer, with_fields
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos import ops
from stepladder.algos.credit import Credit
from stepladder.algos.grpo import Grpo
from stepladder.algos.objective import PolicyObjective
from stepladder.images import ImageStore
from stepladder.models import forward
from stepladder.models.forward import banned_ids, hidden_states
from stepladder.models.heads import ValueHead, own_trunk
from stepladder.models.vision import encode_images
from stepladder.train.batch import Batch, collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.parallel import run_ranks
from stepladder.train.sample import Sample, from_reply, merge_turns, share_prompts
from stepladder.train.scoring import Scorer
from stepladder.train.trainer import LossWeights, Trainer
from stepladder.types import FloatArray, IntArray, Message, Task, Trajectory

IMAGES = ImageStore()
RENDERER = renderer(IMAGES)
PICTURES = [picture(IMAGES, seed) for seed in range(3)]
TEMPERATURE = 0.8
WEIGHTS = LossWeights(ce=0.7, pg=1.3, kl=0.9, entropy=0.2, value=0.4)
SCALE = 6.0
#: How far the policy that sampled, which is also that before the first of several updates, is from the present one.
OLDER = 0.01
#: Clips, dual clip, the cap of the correction and the clip of values, each so tight that it matters here.
LOW, HIGH, DUAL, CAP, VALUE_CLIP = 0.05, 0.08, 1.01, 1.2, 0.5
LOSSES = ("ce", "pg", "kl", "entropy", "value")


@dataclass(eq=False)
class Reply:
    """One turn: what was asked, what was sampled, what it is credited with."""

    messages: tuple[Message, ...]
    tokens: IntArray
    logprobs: FloatArray | None
    credit: Credit

    def sample(self) -> Sample:
        return from_reply(RENDERER, self.messages, self.tokens, logprobs=self.logprobs, credit=self.credit)


def policy(shift: float = 0.0) -> Qwen3VLForConditionalGeneration:
    """A float64 model; with a shift, one that some updates have moved."""
    model = model_for(RENDERER).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += shift * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def critic() -> ValueHead:
    torch.manual_seed(2)
    head = ValueHead(48, width=8).double()
    torch.nn.init.normal_(head.outer.weight)
    return head


@functools.cache
def episodes() -> list[list[Reply]]:
    """Five episodes. The first four begin with the same prompt; in the third and fourth a second picture comes after replies of
    equal length, so that their pictures stand in equal places. Every way of being credited occurs."""
    random = np.random.default_rng(0)
    model, older = policy(), policy(OLDER)
    banned = {*RENDERER.banned_ids, *RENDERER.stop_ids}
    ordinary = np.asarray([i for i in range(RENDERER.vocabulary) if i not in banned])

    def said(length: int) -> IntArray:
        return np.append(random.choice(ordinary, length - 1), RENDERER.stop_ids[0]).astype(np.int32)

    def asked(*content: object) -> Message:
        return Message("user", content)  # type: ignore[arg-type]

    def turns(start: Message, *then: tuple[int, Message | None], **credit: object) -> list[Reply]:
        messages, found = (start,), []
        for length, following in then:
            tokens = said(length)
            found.append(Reply(messages, tokens, None, credited(model, older, messages, tokens, random, **credit)))
            found[-1].logprobs = near(older, messages, tokens, random)
            if following is not None:
                messages = (*messages, Message("assistant", (RENDERER.decode(tokens),), tokens), following)
        return found

    hello, screen = asked(PICTURES[0], "click hello"), asked(PICTURES[1], "hello")
    made = [
        turns(hello, (3, None)),
        turns(hello, (5, asked("again")), (2, asked("button")), (4, None)),
        turns(hello, (4, screen), (6, None)),
        turns(hello, (4, screen), (1, None)),
        turns(asked(PICTURES[2], "the world"), (3, asked("system")), (2, None)),
    ]
    made[0][0].credit = replace(made[0][0].credit, advantage=-1.5, pg=0.5)
    made[1][1].credit = replace(made[1][1].credit, pg=0.0, returns=None)
    made[2][0].credit = replace(made[2][0].credit, kl=0.0, ref_logprobs=None, values=None, returns=None)
    made[2][1].credit = Credit(ce=1.0)
    made[4][0].credit = replace(made[4][0].credit, ce=0.5)
    made[4][1].logprobs = None
    return made


def near(
    model: Qwen3VLForConditionalGeneration, messages: Sequence[Message], tokens: IntArray, random: np.random.Generator
) -> FloatArray:
    sample = from_reply(RENDERER, messages, tokens)
    with torch.no_grad():
        logprobs = distribution(model, states_of(model, sample)).gather(-1, torch.from_numpy(tokens).long()[:, None])[:, 0]
    return (logprobs.numpy() + random.normal(0, 0.3, len(tokens))).astype(np.float32)


def credited(
    model: Qwen3VLForConditionalGeneration,
    older: Qwen3VLForConditionalGeneration,
    messages: Sequence[Message],
    tokens: IntArray,
    random: np.random.Generator,
) -> Credit:
    def numbers() -> FloatArray:
        return random.normal(0, 1, len(tokens)).astype(np.float32)

    return Credit(
        pg=1.0,
        kl=0.3,
        advantage=numbers(),
        ref_logprobs=near(model, messages, tokens, random),
        values=numbers(),
        returns=numbers(),
    )


# ---------------------------------------------------------------- the reference: one reply after another, no batch


def states_of(model: Qwen3VLForConditionalGeneration, sample: Sample) -> Tensor:
    """Hidden states [C, hidden] that predict the reply of a sample, which stands alone."""
    pixels, grid = RENDERER.pixels(sample.images)
    mask = torch.zeros(1, len(sample), dtype=torch.bool)
    for start, count in sample.spans:
        mask[0, start : start + count] = True
    tokens, positions = torch.from_numpy(sample.tokens).long()[None], torch.from_numpy(sample.positions)[:, None]
    states = hidden_states(model, tokens, positions, None, encode_images(model, pixels.double(), grid), mask)
    return states[0, np.flatnonzero(sample.turns >= 0) - 1]


def distribution(model: Qwen3VLForConditionalGeneration, states: Tensor) -> Tensor:
    logits = model.lm_head(states) / TEMPERATURE
    logits[:, banned_ids(model, RENDERER)] = -torch.inf
    return logits.log_softmax(-1)


class Reference:
    """What the present and the older policy, and the critic, say about every reply, [replies, longest] each, with gradients."""

    def __init__(self) -> None:
        self.model, self.critic = policy(), critic()
        older = policy(OLDER)
        replies = [reply for episode in episodes() for reply in episode]
        samples = [reply.sample() for reply in replies]
        states = [states_of(self.model, sample) for sample in samples]
        tokens = [torch.from_numpy(reply.tokens).long()[:, None] for reply in replies]
        spread = [distribution(self.model, each) for each in states]
        self.logprobs = pad([each.gather(-1, ids)[:, 0] for each, ids in zip(spread, tokens, strict=True)])
        self.entropy = pad([-(each.exp() * each.clamp(min=-1e9)).sum(-1) for each in spread])
        self.values = pad([self.critic(each) for each in states])
        with torch.no_grad():
            old = [distribution(older, states_of(older, each)) for each in samples]
            self.old = pad([each.gather(-1, ids)[:, 0] for each, ids in zip(old, tokens, strict=True)])
        self.fields = {
            name: pad([torch.from_numpy(each.field(name)[each.turns >= 0]).double() for each in samples], empty)
            for name, empty in (("w_ce", 0), ("w_pg", 0), ("w_kl", 0), ("advantages", 0), ("logprobs", torch.nan))
        }
        self.fields |= {
            name: pad([torch.from_numpy(each.field(name)[each.turns >= 0]).double() for each in samples], torch.nan)
            for name in ("ref_logprobs", "values", "returns")
        }

    def losses(self, objective: PolicyObjective, updated: bool) -> dict[str, Tensor]:
        field = self.fields
        old = self.old if updated else self.logprobs.detach()
        graded, near_reference, valued = field["w_pg"] != 0, field["w_kl"] != 0, field["returns"].isfinite()
        weights = field["w_pg"] * ops.importance_weights(old, field["logprobs"], graded, "token_truncate", CAP)
        how = {"aggregation": objective.aggregation, "scale": SCALE}
        pg, _ = ops.policy_loss(
            self.logprobs, old, field["advantages"], graded, objective.kind, LOW, HIGH, DUAL, weights=weights, **how
        )
        divergence = ops.kl(self.logprobs, torch.where(near_reference, field["ref_logprobs"], 0.0), "k3") * field["w_kl"]
        return {
            "ce": -(field["w_ce"] * self.logprobs).sum() / field["w_ce"].sum(),
            "pg": pg,
            "kl": ops.aggregate(divergence, near_reference, objective.aggregation, scale=SCALE),
            "entropy": ops.masked_mean(self.entropy, graded),
            "value": ops.value_loss(self.values, field["values"], field["returns"], valued, VALUE_CLIP),
        }

    def gradients(self, objective: PolicyObjective, updated: bool) -> dict[str, Tensor]:
        named = dict(self.model.named_parameters()) | {f"critic.{n}": p for n, p in self.critic.named_parameters()}
        total = sum(WEIGHTS.of(name) * loss for name, loss in self.losses(objective, updated).items())
        found = torch.autograd.grad(total, list(named.values()), retain_graph=True, allow_unused=True)
        return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}


def pad(rows: Sequence[Tensor], value: float = 0.0) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=value)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


# ---------------------------------------------------------------- the trainer


def trainer(shift: float = 0.0) -> Trainer:
    """One that computes gradients and changes no weight."""
    model = policy(shift)
    trained = Trainer(
        model,
        None,
        Schedule(10, warmup=1),
        OptimizerConfig(max_grad_norm=1e9),
        WEIGHTS,
        trainable=("model", "lm_head", "critic"),
        autocast=False,
        critic=critic(),
        temperature=TEMPERATURE,
        banned=banned_ids(model, RENDERER),
    )
    for optimizer in trained.optimizers:
        optimizer.step = lambda: None  # type: ignore[method-assign, assignment]
    return trained


@functools.cache
def cached_trainer(shift: float = 0.0) -> Trainer:
    return trainer(shift)


def objective(kind: str, aggregation: str) -> PolicyObjective:
    return PolicyObjective(kind, LOW, HIGH, DUAL, aggregation, SCALE, correction_cap=CAP, value_clip=VALUE_CLIP)


def double(batch: Batch) -> Batch:
    assert batch.pixel_values is not None
    batch.pixel_values = batch.pixel_values.double()
    return batch


def gradients(
    trained: Trainer, pieces: Iterable[Sequence[Sample]], row_length: int, updated: bool
) -> tuple[dict[str, Tensor], dict[str, float]]:
    micro_batches = [MicroBatch(double(collate(piece, RENDERER, row_length))) for piece in pieces]
    if updated:
        for micro_batch in micro_batches:
            micro_batch.old_logprobs = cached_trainer(OLDER).logprobs(micro_batch.batch)
    metrics = trained.step(micro_batches)
    return {name: p.grad.clone() for name, p in trained.named_parameters() if p.grad is not None}, metrics


def apart() -> list[Sample]:
    return [reply.sample() for episode in episodes() for reply in episode]


def merged() -> list[Sample]:
    return [sample for episode in episodes() for sample in merge_turns(reply.sample() for reply in episode)]


def shared() -> list[Sample]:
    return share_prompts(merged())


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-3
    for name, gradient in found.items():
        wanted = expected.get(name, torch.zeros(()))
        assert float((gradient - wanted).abs().max()) < 1e-6 * min(largest, 1.0), name


def test_samples_are_merged_and_shared_here() -> None:
    assert [len(apart()), len(merged()), len(shared())] == [10, 5, 4]
    assert sorted(int(sample.segments.max()) for sample in shared()) == [1, 1, 1, 2]
    assert sum(map(len, shared())) < sum(map(len, merged())) < sum(map(len, apart()))
    trained = [int(sample.trained.sum()) for samples in (apart(), merged(), shared()) for sample in samples]
    assert sum(trained) == 3 * sum(len(reply.tokens) for episode in episodes() for reply in episode)


@pytest.mark.parametrize("updated", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("aggregation", ops.AGGREGATIONS)
@pytest.mark.parametrize("kind", ops.POLICY_KINDS)
def test_every_loss_has_the_gradient_of_its_replies_one_by_one(
    reference: Reference, kind: str, aggregation: str, updated: bool
) -> None:
    trained = cached_trainer()
    trained.objective = objective(kind, aggregation)
    samples = shared()
    found, metrics = gradients(trained, [samples[:1], samples[1:]], 300, updated)
    assert_equal(found, reference.gradients(trained.objective, updated))
    expected = reference.losses(trained.objective, updated)
    assert {name: metrics[name] for name in LOSSES} == pytest.approx({n: float(v.detach()) for n, v in expected.items()}, rel=1e-6)


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: ([apart()], 0),
        lambda: ([apart()], 400),
        lambda: ([[sample] for sample in apart()], 0),
        lambda: ([apart()[:4], apart()[4:5], apart()[5:]], 150),
        lambda: ([merged()], 0),
        lambda: ([merged()[2:], merged()[:2]], 250),
        lambda: ([share_prompts(apart())], 0),
        lambda: ([shared()], 2000),
        lambda: ([[sample] for sample in shared()], 0),
    ],
    ids=["apart", "packed", "one by one", "pieces", "merged", "merged pieces", "prompts", "shared", "shared one by one"],
)
@pytest.mark.parametrize(
    ("kind", "aggregation"), [("ppo", "token-mean"), ("gspo", "seq-mean-token-mean"), ("gmpo", "seq-mean-token-sum-norm")]
)
def test_gradients_do_not_depend_on_how_samples_are_put_together(
    reference: Reference, kind: str, aggregation: str, pieces: object
) -> None:
    trained = cached_trainer()
    trained.objective = objective(kind, aggregation)
    found, _ = gradients(trained, *pieces(), updated=True)  # type: ignore[operator]
    assert_equal(found, reference.gradients(trained.objective, True))


def test_metrics_do_not_depend_on_how_samples_are_put_together() -> None:
    trained = cached_trainer()
    trained.objective = objective("ppo", "token-mean")
    expected = gradients(trained, [apart()], 0, True)[1]
    assert expected["ratio_max"] > expected["ratio_mean"] > 0
    assert min(expected[name] for name in ("clip_fraction_low", "clip_fraction_high", "dual_clip_fraction")) > 0
    assert expected["correction"] < CAP
    for pieces in ([shared()], [[sample] for sample in shared()], [merged()[:3], merged()[3:]]):
        assert gradients(trained, pieces, 200, True)[1] == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_gradients_and_scores_do_not_depend_on_how_many_logits_there_are_at_a_time(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = cached_trainer()
    trained.objective = objective("ppo", "token-mean")
    batch = double(collate(apart(), RENDERER))
    scores, (_, metrics) = trained.logprobs(batch), gradients(trained, [apart()], 0, True)
    monkeypatch.setattr(forward, "MOST_LOGITS", 5 * trained.model.lm_head.out_features + 1)
    found, in_pieces = gradients(trained, [apart()], 0, True)
    assert_equal(found, reference.gradients(trained.objective, True))
    assert in_pieces == pytest.approx(metrics, rel=1e-9, abs=1e-12)
    assert float((trained.logprobs(batch) - scores).abs().max()) < 1e-12


def test_activation_checkpointing_changes_no_gradient_of_a_critic_with_a_trunk_of_its_own() -> None:
    found, kept = [], []
    for checkpointed in (False, True):
        model = policy()
        torch.manual_seed(2)
        critic = ValueHead(48, width=8, trunk=own_trunk(model)).double()
        torch.nn.init.normal_(critic.outer.weight)
        trained = Trainer(
            model,
            None,
            Schedule(10, warmup=1),
            OptimizerConfig(max_grad_norm=1e9, lr=0.0, adam_lr=0.0),
            WEIGHTS,
            trainable=("model.language_model", "critic"),
            autocast=False,
            objective=objective("ppo", "token-mean"),
            critic=critic,
            temperature=TEMPERATURE,
            banned=banned_ids(model, RENDERER),
            activation_checkpointing=checkpointed,
        )
        numbers = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found.append(gradients(trained, [apart()], 0, False)[0])
        kept.append(numbers)
    assert any(name.startswith("critic.trunk") for name in found[0])
    assert kept[1] < 0.6 * kept[0]
    assert_equal(found[1], found[0])


# ---------------------------------------------------------------- ranks

#: What the two ranks bring: both something, and one of them nothing.
DIVISIONS = ((slice(0, 3), slice(3, None)), (slice(None), slice(0, 0)))


def _of_a_rank(rank: int, world: int, directory: Path) -> None:
    trained = trainer()
    trained.objective = objective("gspo", "seq-mean-token-mean")
    samples = shared()
    found = [gradients(trained, [[each] for each in samples[division[rank]]], 0, True) for division in DIVISIONS]
    torch.save(found, directory / f"{rank}.pt")


def test_two_ranks_have_the_gradient_of_one(reference: Reference, tmp_path: Path) -> None:
    run_ranks(_of_a_rank, 2, tmp_path)
    of_each = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    expected = objective("gspo", "seq-mean-token-mean")
    for division in range(len(DIVISIONS)):
        for found in of_each:
            assert_equal(found[division][0], reference.gradients(expected, True))
            losses = {name: float(value.detach()) for name, value in reference.losses(expected, True).items()}
            assert {name: found[division][1][name] for name in LOSSES} == pytest.approx(losses, rel=1e-6)
        assert of_each[0][division][1] == of_each[1][division][1]


# ---------------------------------------------------------------- what must be exactly so


def learner(algorithm: Grpo, autocast: bool = True, **options: object) -> Trainer:
    """A trainer as the RL stage has it: float32, half precision in between."""
    model = model_for(RENDERER)
    banned = banned_ids(model, RENDERER)
    return Trainer(
        model,
        None,
        Schedule(10, warmup=1),
        autocast=autocast,
        objective=algorithm.objective(),
        banned=banned,
        **options,  # type: ignore[arg-type]
    )


def weights(trained: Trainer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trained.named_parameters()}


def test_one_update_from_a_batch_has_a_ratio_of_exactly_one() -> None:
    trained = learner(Grpo())
    samples = shared()
    for _ in range(2):
        metrics = trained.step([MicroBatch(collate(piece, RENDERER, 512)) for piece in (samples[:2], samples[2:])])
        assert metrics["ratio_max"] == 1.0
        assert metrics["ratio_mean"] == pytest.approx(1.0, abs=1e-6)
        assert [metrics[name] for name in ("approx_kl_k1", "approx_kl_k3", "clip_fraction_low", "clip_fraction_high")] == [0.0] * 4
        assert metrics["grad_norm"] > 0


def test_the_second_update_from_a_batch_sees_how_far_the_first_went() -> None:
    trained = learner(Grpo(), autocast=False)
    micro_batch = MicroBatch(collate(shared(), RENDERER, 512))
    micro_batch.old_logprobs = trained.logprobs(micro_batch.batch)
    first, second = trained.step([micro_batch]), trained.step([micro_batch])
    assert first["ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert second["ratio_max"] > 1.001
    assert second["approx_kl_k3"] > 100 * abs(first["approx_kl_k3"])


def test_a_batch_in_which_every_group_is_flat_changes_no_weight() -> None:
    def trajectory(group: str, reward: float | None) -> Trajectory:
        status = "env_error" if reward is None else "done"
        return Trajectory(f"{group}-{reward}", Task("t", "", "test"), (), None, status, reward, group=group)

    groups = [[trajectory("a", 0.0)] * 3, [trajectory("b", 0.1)] * 3, [trajectory("c", 1.0), trajectory("c", None)]]
    for algorithm in (Grpo(), Grpo(dr=True)):
        assert not any(algorithm.keep(group) for group in groups)
        flat = ops.grpo_advantages(
            algorithm.rewards([each for group in groups for each in group]), torch.tensor([0] * 3 + [1] * 3 + [2] * 2)
        )
        assert flat.tolist() == [0.0] * 8
        trained = learner(algorithm)
        before = weights(trained)
        samples = [
            with_fields(each, advantages=each.field("advantages") * np.float32(flat[0]), w_kl=0.0, w_ce=0.0) for each in shared()
        ]
        metrics = trained.step([MicroBatch(collate(samples, RENDERER, 512))])
        assert metrics["grad_norm"] == 0.0
        assert all(torch.equal(before[name], parameter) for name, parameter in trained.named_parameters())


def test_the_critic_does_not_move_the_policy() -> None:
    trained = trainer()
    trained.weights, trained.objective = LossWeights(ce=0.0, pg=0.0, kl=0.0, value=1.0), objective("ppo", "token-mean")
    found, metrics = gradients(trained, [shared()], 0, False)
    assert metrics["value"] > 0
    for name, gradient in found.items():
        assert bool((gradient != 0).any()) == name.startswith("critic."), name


def test_scores_are_those_of_the_trainer_and_do_not_depend_on_chunks() -> None:
    model = model_for(RENDERER)
    torch.manual_seed(0)
    head = ValueHead(48)
    torch.nn.init.normal_(head.outer.weight)
    samples = [with_fields(each, w_ce=each.turns >= 0) for each in apart()]
    trained = Trainer(model, None, Schedule(1), autocast=False, temperature=TEMPERATURE, banned=banned_ids(model, RENDERER))
    scorers = [Scorer(model, RENDERER, TEMPERATURE, trained.banned, critic=head, chunk=chunk) for chunk in (1, 3, 32)]
    for each, logprobs, values in zip(samples, scorers[0].logprobs(samples), scorers[0].values(samples), strict=True):
        np.testing.assert_allclose(logprobs, trained.logprobs(collate([each], RENDERER)).numpy(), atol=1e-5)
        assert logprobs.shape == values.shape == (int((each.turns >= 0).sum()),)
    for scorer in scorers[1:]:
        for kind in ("logprobs", "values"):
            for one, other in zip(getattr(scorers[0], kind)(samples), getattr(scorer, kind)(samples), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)


def test_sampled_tokens_need_an_objective() -> None:
    trained = trainer()
    with pytest.raises(ValueError, match="the trainer needs an objective"):
        trained.step([MicroBatch(double(collate(shared(), RENDERER)))])


def test_a_wrong_critic_does_not_shrink_the_policys_step() -> None:
    """Gradients are clipped apart: the policy's are the same however far the critic is off."""

    def gradient(wrong: float) -> tuple[Tensor, float]:
        trained = trainer()
        trained.optimizer = replace(trained.optimizer, max_grad_norm=1e-3)
        trained.objective = objective("ppo", "token-mean")
        samples = [with_fields(one, returns=one.field("returns") + np.float32(wrong)) for one in shared()]
        metrics = trained.step([MicroBatch(double(collate(samples, RENDERER)))])
        found = trained.model.model.language_model.layers[0].mlp.up_proj.weight.grad
        assert found is not None
        return found.clone(), metrics["grad_norm"]

    (right, norm), (wrong, same) = gradient(0.0), gradient(1000.0)
    assert norm == pytest.approx(same)
    torch.testing.assert_close(right, wrong)
