"""Samples, batches and the trainer: no number may depend on packing, prefixes, micro-batches or ranks (law 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import model_for, picture, renderer, with_fields

from stepladder.agents.qwen_vl import QwenVLAgent
from stepladder.images import ImageStore
from stepladder.models.attention import use_attention, watch
from stepladder.models.heads import LETTERS, PerceptionHead, letter_targets
from stepladder.train import batch as batch_module
from stepladder.train import mixtures
from stepladder.train.batch import collate, pack
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.mixtures import _chunks
from stepladder.train.optimizer import OptimizerConfig, Schedule, build_optimizers
from stepladder.train.pointing import pointing_loss
from stepladder.train.sample import Sample, from_step, share_prefix
from stepladder.train.scoring import predicting_states
from stepladder.train.trainer import LossWeights, Trainer
from stepladder.train.visual import join_targets, visual_targets
from stepladder.types import Action, Observation, Region, Step, Task

IMAGES = ImageStore()
RENDERER = renderer(IMAGES)
AGENT = QwenVLAgent(system="none", grid=10)
PICTURES = [picture(IMAGES, seed) for seed in range(3)]
LOSSES = LossWeights()


def sample(picture_index: int, instruction: str, x: float = 10, y: float = 20) -> Sample:
    step = Step(Observation(PICTURES[picture_index]), Action("click", x=x, y=y))
    return from_step(RENDERER, AGENT, Task("t", instruction, "test"), (step,), 0)


SAMPLES = [
    sample(0, "click hello"),
    sample(0, "click the world button", 50, 80),
    sample(1, "hello"),
    sample(2, "again and again", 5, 5),
]


def trainer(weights: LossWeights = LOSSES, head: PerceptionHead | None = None, steps: int = 10, **options: object) -> Trainer:
    model = model_for(RENDERER).double()
    use_attention(model)
    return Trainer(model, head, Schedule(steps, warmup=1), weights=weights, autocast=False, **options)  # type: ignore[arg-type]


def gradients(trained: Trainer, groups: Sequence[Sequence[Sample]], row_length: int = 0) -> dict[str, torch.Tensor]:
    """Gradients of one update whose micro-batches are `groups`, without changing the weights."""
    for optimizer in trained.optimizers:
        optimizer.step = lambda: None  # type: ignore[method-assign, assignment]
    trained.optimizer = OptimizerConfig(max_grad_norm=1e9)
    trained.step([MicroBatch(double(collate(group, RENDERER, row_length))) for group in groups])
    return {name: parameter.grad.clone() for name, parameter in trained.named_parameters() if parameter.grad is not None}


def double(batch: object) -> object:
    batch.pixel_values = batch.pixel_values.double()  # type: ignore[attr-defined]
    return batch


@pytest.mark.parametrize("weights", [LOSSES, LossWeights(ce=0.1, pointing=1.0)])
@pytest.mark.parametrize(
    ("groups", "row_length"),
    [
        ([SAMPLES], 400),
        ([SAMPLES[:1], SAMPLES[1:]], 0),
        ([[s] for s in SAMPLES], 0),
        ([[share_prefix(SAMPLES[:2]), *SAMPLES[2:]]], 0),
        ([[share_prefix(SAMPLES[:2])], SAMPLES[2:]], 400),
    ],
)
def test_gradient_does_not_depend_on_packing_micro_batches_or_shared_prefixes(
    groups: list[list[Sample]], row_length: int, weights: LossWeights
) -> None:
    expected = gradients(trainer(weights), [SAMPLES])
    found = gradients(trainer(weights), groups, row_length)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name


def test_the_digits_of_a_click_look_at_the_visual_token_that_shows_the_place() -> None:
    clicked = SAMPLES[1]  # at (50, 80) of 64 x 96 pixels: the third row of two visual tokens, the second of them
    digits = [RENDERER.decode([token]).isdigit() for token in clicked.tokens] & clicked.trained
    assert digits.sum() == 6
    assert (clicked.field("looks_at")[digits] == 5).all()
    assert np.isnan(clicked.field("looks_at")[~digits]).all()
    history = [Step(Observation(PICTURES[0]), Action("click", 50, 80)), Step(Observation(PICTURES[1]), Action("click", -5, 500))]
    agent = QwenVLAgent(system="none", grid=10, screenshots=2)
    later = from_step(RENDERER, agent, Task("t", "click", "test"), history, 1)
    assert np.nanmax(later.field("looks_at")) == 6 + 4, "counted over both pictures; a place beside the picture is at its edge"
    typed = Step(Observation(PICTURES[0]), Action("type", text="12"))
    dragged = Step(Observation(PICTURES[0]), Action("drag", 1, 2, 30, 40))
    for step in (typed, dragged):
        assert np.isnan(from_step(RENDERER, AGENT, Task("t", "go", "test"), (step,), 0).field("looks_at")).all()


def test_pointing_is_the_negative_log_attention_of_one_head() -> None:
    batch = double(collate([share_prefix(SAMPLES[:2]), *SAMPLES[2:]], RENDERER, 400))
    plain = trainer()
    with watch(plain.model) as watched, torch.no_grad():
        predicting_states(plain.model, batch, plain.encode(batch))  # type: ignore[arg-type]
        loss = pointing_loss(watched, batch)  # type: ignore[arg-type]
    seen: list[torch.Tensor] = []
    plain.model.model.language_model.config._attn_implementation = "eager"
    plain.model.model.language_model.layers[-1].self_attn.register_forward_hook(lambda _, __, output: seen.append(output[1]))
    batch.attention = torch.zeros(batch.attention.shape).masked_fill(~batch.attention, -1e9)  # type: ignore[attr-defined]
    with torch.no_grad():
        predicting_states(plain.model, batch, plain.encode(batch))  # type: ignore[arg-type]
    told = batch.field("looks_at").isfinite()  # type: ignore[attr-defined]
    row, place = batch.source[told] // batch.tokens.shape[1], batch.source[told] % batch.tokens.shape[1]  # type: ignore[attr-defined]
    column = batch.field("looks_at")[told].long()  # type: ignore[attr-defined]
    assert batch.image_mask[row, column].all()  # type: ignore[attr-defined]
    expected = -seen[0][row, 0, place, column].log().sum()
    assert torch.allclose(loss, expected, atol=1e-5)


def test_pointing_needs_an_attention_that_can_be_seen() -> None:
    with pytest.raises(ValueError, match="use_attention"):
        Trainer(model_for(RENDERER), None, Schedule(10), weights=LossWeights(pointing=1.0))


def test_activation_checkpointing_changes_no_gradient_and_keeps_less() -> None:
    found, kept = [], []
    for checkpointed in (False, True):
        trained = trainer(activation_checkpointing=checkpointed)
        trained.model.eval()  # as beside an engine
        numbers = 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found.append(gradients(trained, [SAMPLES[:2], SAMPLES[2:]]))
        kept.append(numbers)
        assert not trained.model.training
    assert kept[1] < 0.6 * kept[0], "numbers that the backward pass finds"
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert float((gradient - found[1][name]).abs().max()) < 1e-12, name
    with pytest.raises(ValueError, match="activation checkpointing does not keep"):
        trainer(LossWeights(pointing=1.0), activation_checkpointing=True)


def test_one_picture_is_encoded_once() -> None:
    batch = collate(SAMPLES, RENDERER, 400)
    assert len(batch.images) == 3
    assert set(batch.images) == set(PICTURES)
    assert batch.visual_index is not None
    assert len(batch.visual_index) == int(batch.image_mask.sum())


@pytest.mark.parametrize("limit", ["MOST_PREPARED", "LARGEST_PREPARED"])
def test_pictures_that_are_many_or_large_are_prepared_when_they_are_needed(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their pixels are those that would have been kept, and so is what is learned."""

    def learned() -> dict[str, torch.Tensor]:
        trained = Trainer(model_for(RENDERER), None, Schedule(10, warmup=1), autocast=False)
        batches = [collate(samples, RENDERER, 400) for samples in (SAMPLES, SAMPLES[:2], SAMPLES[2:])]
        kept.append(batches[0].pixel_values)
        trained.step([MicroBatch(batch) for batch in batches])
        return trained.model.state_dict()

    kept: list[torch.Tensor | None] = []
    before = learned()
    sizes = [one.width * one.height for one in PICTURES]
    monkeypatch.setattr(batch_module, limit, (sum(sizes) if limit == "MOST_PREPARED" else max(sizes)) - 1)
    after = learned()
    assert kept[0] is not None
    assert kept[1] is None
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_held_out_samples_are_judged_in_passes_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(chunk) for chunk in _chunks(SAMPLES * 20)] == [32, 32, 16]
    monkeypatch.setattr(mixtures, "MOST_JUDGED", 2 * len(SAMPLES[0]) + 1)
    found = _chunks([SAMPLES[0]] * 5)
    assert [len(chunk) for chunk in found] == [2, 2, 1]
    monkeypatch.setattr(mixtures, "MOST_JUDGED", 1)
    assert [len(chunk) for chunk in _chunks(SAMPLES)] == [1, 1, 1, 1]


def test_shared_prefix_keeps_every_trained_token_and_its_predecessor() -> None:
    shared = share_prefix(SAMPLES[:2])
    trained = np.flatnonzero(shared.trained)
    expected = np.concatenate([s.tokens[s.trained] for s in SAMPLES[:2]])
    assert shared.tokens[trained].tolist() == expected.tolist()
    predecessors = np.concatenate([s.tokens[s.previous[s.trained]] for s in SAMPLES[:2]])
    assert shared.tokens[shared.previous[trained]].tolist() == predecessors.tolist()
    assert len(shared) < sum(map(len, SAMPLES[:2]))


def test_equal_prompts_branch_at_the_reply() -> None:
    other = sample(0, "click hello", 60, 90)
    shared = share_prefix([SAMPLES[0], other])
    firsts = [int(np.flatnonzero((shared.segments == k) & shared.trained)[0]) for k in (1, 2)]
    assert shared.previous[firsts[0]] == shared.previous[firsts[1]]
    logprobs = trainer().logprobs(double(collate([shared], RENDERER)))  # type: ignore[arg-type]
    apart = [trainer().logprobs(double(collate([s], RENDERER))) for s in (SAMPLES[0], other)]  # type: ignore[arg-type]
    assert torch.allclose(logprobs, torch.cat(apart), atol=1e-6)


def test_pictures_that_differ_cannot_share_a_trunk() -> None:
    with pytest.raises(ValueError, match="cannot share a trunk"):
        share_prefix([SAMPLES[0], SAMPLES[2]])


def test_a_step_without_reply_or_action_is_named() -> None:
    step = Step(Observation(PICTURES[0]), error="not a tool call")
    with pytest.raises(ValueError, match="neither a sampled reply nor an action"):
        from_step(RENDERER, AGENT, Task("t", "x", "test"), (step,), 0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 80))
def test_packing_keeps_every_sample_once_and_respects_the_row(lengths: list[int], row: int) -> None:
    rows = pack(lengths, row)
    assert sorted(i for r in rows for i in r) == list(range(len(lengths)))
    assert all(len(r) == 1 or sum(lengths[i] for i in r) <= row for r in rows)


@settings(max_examples=200)
@given(st.integers(2, 400), st.integers(0, 400), st.sampled_from([0.0, 0.3, 0.7]))
def test_schedule_ends_and_decays(steps: int, goal_at: int, decay: float) -> None:
    schedule = Schedule(steps, warmup=5, decay=decay)
    if schedule.finish_early(goal_at):
        assert goal_at <= schedule.last_step <= steps + 1
    else:
        assert schedule.last_step == steps
    factors = [schedule.factor(step) for step in range(schedule.last_step)]
    assert all(0 < factor <= 1 for factor in factors)
    if decay and schedule.last_step > 50:
        assert factors[-1] < 0.2


def test_muon_takes_matrices_and_adamw_the_rest() -> None:
    model = model_for(RENDERER)
    muon, adam = build_optimizers(model.named_parameters(), OptimizerConfig())
    matrices = [p for group in muon.param_groups for p in group["params"]]
    assert all(p.ndim == 2 for p in matrices)
    embedding = model.model.language_model.embed_tokens.weight
    assert any(p is embedding for group in adam.param_groups for p in group["params"])
    assert len(matrices) + sum(len(group["params"]) for group in adam.param_groups) == len(list(model.parameters()))


def test_training_continues_bit_for_bit() -> None:
    batches = [[MicroBatch(collate([one], RENDERER))] for one in SAMPLES]

    def fresh() -> Trainer:
        return Trainer(model_for(RENDERER).train(), None, Schedule(4, warmup=1))

    straight = fresh()
    for batch in batches:
        straight.step(batch)
    first = fresh()
    for batch in batches[:2]:
        first.step(batch)
    second = fresh()
    second.load_state(first.state())
    for batch in batches[2:]:
        second.step(batch)
    for (name, a), (_, b) in zip(straight.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    trained = trainer()
    before = {name: p.detach().clone() for name, p in trained.named_parameters()}
    bad = double(collate([with_fields(SAMPLES[0], w_ce=SAMPLES[0].field("w_ce") * np.float32(np.inf))], RENDERER))
    with pytest.raises(FloatingPointError, match="update 0"):
        trained.step([MicroBatch(bad)])  # type: ignore[arg-type]
    assert all(torch.equal(before[name], p) for name, p in trained.named_parameters())


def test_nothing_to_train_is_told() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        trainer(trainable=("no.such.part",))


def test_visual_targets_and_head_learn_what_is_where() -> None:
    word = RENDERER.single_token("click")
    assert word is not None
    torch.manual_seed(0)
    letter = RENDERER.single_token("x")
    assert letter is not None
    head = PerceptionHead(48, {"textbox": letter}, {"click": word})
    regions = (Region("click", "word", (2, 2, 28, 12), (0, 0, 32, 20), "button"), Region("", "textbox", (34, 70, 28, 20)))
    image = PICTURES[0]
    targets = visual_targets(head, RENDERER, image, regions)
    label = targets.label.view(3, 2)
    assert label[0, 0] == head.word_label["click"]
    assert label[2, 1] == head.label_of["textbox"]
    assert int((label > 0).sum()) == 2
    assert targets.letters.view(3, 2, -1)[0, 0, :5].tolist() == [LETTERS.index(letter) for letter in "click"]
    assert targets.centre.view(3, 2, 2)[0, 0].tolist() == pytest.approx([16 / 64, 10 / 96])

    learner = Trainer(
        model_for(RENDERER).train(),
        head,
        Schedule(60, warmup=2),
        weights=LossWeights(ce=0, word=1, letters=1, centre=1),
        trainable=("model.visual", "heads", "model.language_model.embed_tokens"),
    )
    batch = collate([SAMPLES[0]], RENDERER)
    history = [learner.step([MicroBatch(batch, join_targets([targets]), text=False)]) for _ in range(60)]
    assert history[-1]["word"] < 0.2 * history[0]["word"]
    assert history[-1]["letters"] < 0.2 * history[0]["letters"]
    hits = head.accuracy(learner.look(batch), learner.model.model.language_model.embed_tokens.weight, targets)
    assert hits["seen"] == (2.0, 2.0)
    assert hits["spelled"] == (1.0, 1.0)


@given(st.text(max_size=15))
def test_letter_targets_have_one_class_a_slot(word: str) -> None:
    codes = letter_targets(word)
    assert len(codes) == 10
    assert all(-100 <= code <= len(LETTERS) for code in codes)


def test_learning_overfits_a_few_samples() -> None:
    learner = Trainer(model_for(RENDERER).train(), None, Schedule(150, warmup=5), OptimizerConfig(lr=3e-3))
    batch = collate(SAMPLES, RENDERER)
    first = learner.step([MicroBatch(batch)])["ce"]
    for _ in range(149):
        last = learner.step([MicroBatch(batch)])["ce"]
    assert last < 0.05 * first
    assert torch.equal(learner.most_probable(batch), batch.targets)
