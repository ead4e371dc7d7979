"""Self-distillation through the trainer: the loss on packed samples is that of `ops`, and the teacher is who it is said to be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import model_for, picture, renderer
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.algos import ops
from stepladder.algos.credit import Credit
from stepladder.algos.objective import PolicyObjective
from stepladder.algos.sdpo import Sdpo
from stepladder.images import ImageStore
from stepladder.models.forward import banned_ids, token_logits
from stepladder.stages.rl_teacher import Lesson, SelfTeacher, follow, teacher_scorer, with_told
from stepladder.train.batch import collate
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.optimizer import OptimizerConfig, Schedule
from stepladder.train.sample import Sample, from_reply, merge_turns, share_prompts, taught
from stepladder.train.scoring import Scorer, predicting_states
from stepladder.train.trainer import LossWeights, Trainer
from stepladder.types import Completion, Message, Observation, Step

IMAGES = ImageStore()
RENDERER = renderer(IMAGES)
PICTURES = [picture(IMAGES, seed) for seed in range(3)]
TOLD = ("\nfeedback: ", PICTURES[2], " click hello")


def policy(seed: int = 0) -> Qwen3VLForConditionalGeneration:
    return model_for(RENDERER, seed).double()


def scorer(model: Qwen3VLForConditionalGeneration) -> Scorer:
    return Scorer(model, RENDERER, 0.8, banned_ids(model, RENDERER), chunk=2)


def steps() -> list[Step]:
    """Three turns: two that begin alike, and one that goes on from the first."""
    random = np.random.default_rng(0)
    banned = {*RENDERER.banned_ids, *RENDERER.stop_ids}
    ordinary = [number for number in range(RENDERER.vocabulary) if number not in banned]

    def turn(messages: tuple[Message, ...], length: int) -> Step:
        tokens = np.append(random.choice(ordinary, length - 1), RENDERER.stop_ids[0]).astype(np.int32)
        logprobs = -random.random(length).astype(np.float32) * 5
        return Step(
            Observation(), prompt=RENDERER.render(messages), completion=Completion(RENDERER.decode(tokens), tokens, logprobs)
        )

    hello = Message("user", (PICTURES[0], "click hello"))
    first, second = turn((hello,), 3), turn((hello,), 5)
    assert first.completion is not None
    said = Message("assistant", (first.completion.text,), first.completion.tokens)
    return [first, second, turn((hello, said, Message("user", (PICTURES[1], "again"))), 4)]


def lessons(credit: Credit) -> list[Lesson]:
    found = []
    for number, step in enumerate(steps()):
        assert step.prompt is not None
        assert step.completion is not None
        assert step.completion.tokens is not None
        sample = from_reply(
            RENDERER,
            step.prompt.messages,
            step.completion.tokens,
            prompt=step.prompt.tokens,
            spans=step.prompt.image_spans,
            logprobs=step.completion.logprobs,
            credit=credit,
        )
        found.append(Lesson("t", number, step, credit, sample))
    return found


def logits_of(model: Qwen3VLForConditionalGeneration, lesson: Lesson, told: Sequence[object]) -> Tensor:
    """Logits float64[C, V] of one reply, computed alone."""
    step = lesson.step
    assert step.prompt is not None
    assert step.completion is not None
    assert step.completion.tokens is not None
    messages = with_told(step.prompt.messages, told) if told else step.prompt.messages  # type: ignore[arg-type]
    batch = collate([from_reply(RENDERER, messages, step.completion.tokens)], RENDERER)
    visual = scorer(model)._look(model, batch)
    return token_logits(model, predicting_states(model, batch, visual), banned_ids(model, RENDERER), 0.8)


def loss_by_hand(
    student: Qwen3VLForConditionalGeneration, teacher: Qwen3VLForConditionalGeneration, algorithm: Sdpo, cap: float
) -> Tensor:
    total, count = torch.zeros((), dtype=torch.float64), 0
    for lesson in lessons(Credit(distill=1.0, told=TOLD)):
        assert lesson.step.completion is not None
        assert lesson.step.completion.tokens is not None
        ours = logits_of(student, lesson, ())
        with torch.no_grad():
            theirs = logits_of(teacher, lesson, TOLD)
        ids = torch.from_numpy(lesson.step.completion.tokens).long()
        logprobs = ours.detach().log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        weights = (logprobs - torch.from_numpy(lesson.step.completion.logprobs)).exp().clamp(max=cap)
        for place in range(len(ids)):
            pair = ours[None, place : place + 1], theirs[None, place : place + 1], torch.ones(1, 1)
            total = total + weights[place] * ops.self_distillation_loss(*pair, algorithm.alpha, algorithm.top_k, algorithm.tail)
        count += len(ids)
    return total / count


@pytest.mark.parametrize(
    "algorithm",
    [Sdpo(alpha=0.0, top_k=None), Sdpo(alpha=0.5, top_k=7), Sdpo(alpha=1.0, top_k=7, tail=False), Sdpo(alpha=0.3, top_k=100_000)],
    ids=["forward, all", "tail", "no tail", "more than there are"],
)
@pytest.mark.parametrize("packing", ["alone", "together", "merged"])
def test_the_loss_is_that_of_ops_however_samples_are_packed(algorithm: Sdpo, packing: str, tmp_path: Path) -> None:
    student, other = policy(), policy(1)
    expected = loss_by_hand(student, other, algorithm, 1.5)
    wanted = torch.autograd.grad(expected, student.model.language_model.layers[0].mlp.up_proj.weight)[0]
    found = lessons(Credit(distill=1.0, told=TOLD))
    teacher = SelfTeacher(algorithm, scorer(student), scorer(other), RENDERER, tmp_path)
    samples, told = teacher.teach(found, 0)
    assert told["tokens"] == 12
    assert told["divergence"] > 0
    pieces: list[list[Sample]] = [[sample] for sample in samples]
    if packing == "together":
        pieces = [samples]
    elif packing == "merged":
        # The third turn goes on from the first; the second begins as the first does.
        alone = merge_turns([samples[0], samples[2]])
        assert len(alone) == 1
        pieces = [[*alone, *share_prompts([samples[1]])]]
    objective = PolicyObjective(alpha=algorithm.alpha, top_k=algorithm.top_k, tail=algorithm.tail, correction_cap=1.5)
    trainer = Trainer(
        student,
        None,
        Schedule(1, 0, 0.0),
        OptimizerConfig(max_grad_norm=1e9),
        LossWeights(),
        trainable=("model.language_model",),
        autocast=False,
        objective=objective,
        temperature=0.8,
        banned=banned_ids(student, RENDERER),
    )
    for parameter in trainer.optimizers:
        for group in parameter.param_groups:
            group["lr"] = 0.0
    metrics = trainer.step([MicroBatch(collate(piece, RENDERER)) for piece in pieces])
    assert metrics["distill"] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert "pg" not in metrics
    assert metrics["entropy"] > 0
    gradient = student.model.language_model.layers[0].mlp.up_proj.weight.grad
    assert gradient is not None
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-7)


def test_prompts_that_are_shared_keep_the_teachers_words() -> None:
    one, two, _ = lessons(Credit(distill=1.0))
    ids = np.arange(6).reshape(3, 2).astype(np.int32)
    first = taught(one.sample, ids, -ids.astype(np.float32))
    (shared,) = share_prompts([first, two.sample])
    batch = collate([shared], RENDERER)
    assert batch.teacher is not None
    assert batch.teacher.shape == (2, 2, 8)
    np.testing.assert_array_equal(batch.teacher[0, :, :3].T.numpy(), ids)
    assert batch.teacher[:, :, 3:].isnan().all()


@pytest.mark.parametrize("kind", ["current", "ema", "trust-region", "checkpoint"])
def test_who_teaches(kind: str) -> None:
    student, start = policy(), policy(1)
    algorithm = Sdpo(teacher=kind, teacher_rate=0.25)  # type: ignore[arg-type]
    teacher = teacher_scorer(algorithm, scorer(student), scorer(start))
    (lesson, *_) = lessons(Credit(distill=1.0))
    ids = scorer(student).likeliest([lesson.sample], None)
    (found,) = teacher.logprobs_of([lesson.sample], ids)
    ours, theirs = logits_of(student, lesson, ()), logits_of(start, lesson, ())
    expected = {
        "current": ours,
        "ema": ours,
        "trust-region": torch.lerp(theirs, ours, 0.25),
        "checkpoint": theirs,
    }[kind].log_softmax(-1)
    wanted = expected.gather(-1, torch.from_numpy(ids[0]).long())
    np.testing.assert_allclose(found.clip(min=-1e6), wanted.detach().numpy().clip(min=-1e6), rtol=1e-4, atol=1e-4)


def test_an_average_follows_the_policy_and_is_remembered(tmp_path: Path) -> None:
    student, algorithm = policy(), Sdpo(teacher_rate=0.1)
    teacher = SelfTeacher(algorithm, scorer(student), teacher_scorer(algorithm, scorer(student), None), RENDERER, tmp_path)
    before = student.lm_head.weight.detach().clone()
    with torch.no_grad():
        student.lm_head.weight += 1.0
    teacher.updated()
    state = teacher.state()["teacher"]
    torch.testing.assert_close(state["lm_head.weight"], before + 0.1)
    other = SelfTeacher(algorithm, scorer(student), teacher_scorer(algorithm, scorer(policy(3)), None), RENDERER, tmp_path)
    other.load_state({"teacher": {name: value.clone() for name, value in state.items()}})
    torch.testing.assert_close(other.state()["teacher"]["lm_head.weight"], before + 0.1)
    average = policy(2)
    follow(average, student, 1.0)
    torch.testing.assert_close(average.lm_head.weight, student.lm_head.weight)


def test_what_was_told_and_where_it_went_wrong_is_written_down(tmp_path: Path) -> None:
    found = lessons(Credit(distill=1.0, told=TOLD))
    SelfTeacher(Sdpo(top_k=5), scorer(policy()), scorer(policy(1)), RENDERER, tmp_path).teach(found, 7)
    records = [json.loads(line) for line in (tmp_path / "distillation-0.jsonl").read_text().splitlines()]
    assert [(record["update"], record["trajectory"], record["step"]) for record in records] == [(7, "t", n) for n in range(3)]
    assert records[0]["told"] == ["\nfeedback: ", {"image": PICTURES[2].sha256}, " click hello"]
    assert [len(record["divergence"]) for record in records] == [3, 5, 4]
    assert all(value >= 0 for record in records for value in record["divergence"])


def test_feedback_stands_at_the_end_of_the_prompt() -> None:
    user, said = Message("user", ("go",)), Message("assistant", ("yes",))
    assert with_told((user,), ("a", PICTURES[0]))[-1].content == ("go", "a", PICTURES[0])
    assert [message.role for message in with_told((user, said), ("a",))] == ["user", "assistant", "user"]
    demonstrated = Lesson("t", 4, Step(Observation()), Credit(distill=1.0), lessons(Credit(distill=1.0))[0].sample)
    teacher = SelfTeacher(Sdpo(), scorer(policy()), scorer(policy()), RENDERER, Path())
    with pytest.raises(ValueError, match="step t/4 was not sampled"):
        teacher.teach([replace(demonstrated)], 0)
