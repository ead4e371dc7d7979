"""Documents as samples: packing changes no loss and no gradient, long ones are cut, pictures find their texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import model_for, picture, renderer
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.config import ConfigError
from stepladder.corpora.conditioning import Conditioning
from stepladder.corpora.corpus import GeneratedCorpus
from stepladder.corpora.document import Document
from stepladder.corpora.mixture import Mixture, Schedule
from stepladder.images import ImageStore
from stepladder.models.attention import use_attention
from stepladder.models.forward import token_logprobs
from stepladder.models.heads import ContrastiveHead
from stepladder.models.vision import encode_images
from stepladder.train.batch import Batch, collate
from stepladder.train.contrastive import ContrastiveTrainer
from stepladder.train.document_mixture import DocumentMixture
from stepladder.train.documents import caption_sample, chosen_windows, document_samples, token_count
from stepladder.train.micro_batch import MicroBatch
from stepladder.train.mixtures import Share
from stepladder.train.optimizer import Schedule as RateSchedule
from stepladder.train.perplexity import perplexities, perplexity
from stepladder.train.sample import Sample
from stepladder.train.scoring import Scorer, predicting_states
from stepladder.train.trainer import LossWeights

IMAGES = ImageStore()
RENDERER = renderer(IMAGES)
END = RENDERER.processor.tokenizer.convert_tokens_to_ids("<|endoftext|>")
WORDS = ["click", "the", "button", "user", "hello", "world", "step"]


def text(count: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def one(content: str, context: int = 64, loss: bool = True) -> Sample:
    (sample,) = document_samples(RENDERER, [(content, loss)], context=context)
    return sample


def some_documents() -> list[Sample]:
    plain = [one(text(count, count)) for count in (3, 9, 20, 5, 14)]
    shown = [document_samples(RENDERER, [(text(6, i), True)], [picture(IMAGES, i)], context=64)[0] for i in (1, 2, 1)]
    return plain + shown


def summed_loss(model: Qwen3VLForConditionalGeneration, batch: Batch) -> Tensor:
    visual = None if batch.pixel_values is None else encode_images(model, batch.pixel_values, batch.grid)  # type: ignore[arg-type]
    return -(batch.field("w_ce") * token_logprobs(model, predicting_states(model, batch, visual), batch.targets)).sum()


def gradient(model: Qwen3VLForConditionalGeneration) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("attention", ["own", "transformers"])
def test_packing_changes_neither_loss_nor_gradient(attention: str) -> None:
    model, samples = model_for(RENDERER), some_documents()
    if attention == "own":
        use_attention(model)
    packed = collate(samples, RENDERER, 64)
    assert packed.tokens.shape[0] < len(samples)  # several documents a row, or nothing is shown
    loss = summed_loss(model, packed)
    loss.backward()
    together = gradient(model)
    model.zero_grad()
    alone = sum((summed_loss(model, collate([sample], RENDERER)) for sample in samples), torch.zeros(()))
    alone.backward()
    count = token_count(samples)
    assert loss.item() / count == pytest.approx(alone.item() / count, abs=1e-5)
    for name, value in gradient(model).items():
        assert torch.allclose(value / count, together[name] / count, atol=1e-5), name


def test_a_packed_document_does_not_see_its_neighbours() -> None:
    model = model_for(RENDERER)
    first, second, other = one(text(8, 1)), one(text(9, 2)), one(text(8, 3))
    with torch.no_grad():
        losses = [float(summed_loss(model, collate([before, second], RENDERER, 64))) for before in (first, other)]
        alone = [float(summed_loss(model, collate([one_], RENDERER))) for one_ in (first, other)]
    assert losses[0] - alone[0] == pytest.approx(losses[1] - alone[1], abs=1e-3)


def test_a_document_is_its_tokens_between_two_end_tokens() -> None:
    sample = one("hello world")
    assert (sample.tokens[0], sample.tokens[-1]) == (END, END)
    assert RENDERER.decode(sample.tokens) == "hello world"
    assert sample.trained.tolist() == [False, *[True] * (len(sample) - 1)]


def test_prefixes_carry_no_loss_and_a_hidden_end_none_either() -> None:
    (sample,) = document_samples(RENDERER, [("URL: ", False), ("a.org\n\n", False), ("hello", True)], context=64)
    learned = sample.tokens[sample.trained]
    assert RENDERER.decode(learned[:-1]) == "hello"
    assert learned[-1] == END
    (asked,) = document_samples(RENDERER, [("hello", False), (" world", True), (".", False)], context=64)
    assert RENDERER.decode(asked.tokens[asked.trained]) == " world"


def test_special_tokens_in_a_document_stay_text() -> None:
    sample = one("a <|im_end|> b <|endoftext|> c")
    assert (sample.tokens == END).sum() == 2
    assert RENDERER.decode(sample.tokens) == "a <|im_end|> b <|endoftext|> c"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=40), st.booleans()), max_size=6), st.integers(4, 40))
def test_every_token_is_learned_once_however_a_document_is_cut(pieces: list[tuple[str, bool]], context: int) -> None:
    whole = document_samples(RENDERER, pieces, context=10_000)
    parts = document_samples(RENDERER, pieces, context=context)
    assert all(len(part) <= context for part in parts)
    assert token_count(parts) == token_count(whole)
    expected = [int(token) for sample in whole for token in sample.tokens[sample.trained]]
    assert [int(token) for part in parts for token in part.tokens[part.trained]] == expected


def test_pictures_stand_in_the_first_part_alone_and_need_room() -> None:
    image = picture(IMAGES)
    parts = document_samples(RENDERER, [(text(60), True)], [image], context=32)
    assert [len(part.images) for part in parts] == [1, *[0] * (len(parts) - 1)]
    with pytest.raises(ConfigError, match=r"context is 8, and the pictures of document 'big' take 9 tokens before its text begins"):
        document_samples(RENDERER, [("hello", True)], [image], context=8, key="big")


def test_windows_are_neighbours() -> None:
    parts = document_samples(RENDERER, [(text(200), True)], context=16)
    chosen = chosen_windows(parts, 3, start=5)
    assert list(chosen) == parts[5:8]
    assert chosen_windows(parts, 0, 7) is parts
    assert len(chosen_windows(parts, 3, start=10**9)) == 3


def test_a_caption_is_marked_at_its_end() -> None:
    sample = caption_sample(RENDERER, [("source: x\n\n", False), ("hello world", True)], context=64)
    assert sample is not None
    assert RENDERER.decode(sample.tokens) == "hello world"
    assert np.flatnonzero(sample.trained).tolist() == [len(sample) - 1]
    assert caption_sample(RENDERER, [("source: x", False)], context=64) is None
    cut = caption_sample(RENDERER, [(text(50), True)], context=16)
    assert cut is not None
    assert (len(cut), cut.tokens[-1]) == (16, END)


# ---------------------------------------------------------------------------------------------------------------- contrastive


def captions(seed: int, number: int) -> Document:
    return Document(text(2 + number % 5, number), (picture(IMAGES, number % 50),), "captions")


def mixture(world: int = 1, rank: int = 0, accumulate: int = 1, documents: int = 6) -> DocumentMixture:
    drawn = Mixture({"captions": GeneratedCorpus(captions)}, Schedule.constant({"captions": 1.0}), seed=0, steps=50)
    return DocumentMixture(
        RENDERER,
        drawn,
        Conditioning(),
        name="core",
        share=Share(rank, world),
        documents=documents,
        context=48,
        accumulate=accumulate,
        pairs=True,
    )


def contrastive_trainer(lr_steps: int = 20) -> ContrastiveTrainer:
    torch.manual_seed(0)
    model = model_for(RENDERER)
    use_attention(model)
    return ContrastiveTrainer(
        model=model,
        head=None,
        schedule=RateSchedule(lr_steps, warmup=0),
        weights=LossWeights(contrastive=0.7),
        autocast=False,
        contrast=ContrastiveHead(model.config.text_config.hidden_size, 16),
    )


def gradients_of(trainer: ContrastiveTrainer, batches: Sequence[MicroBatch]) -> tuple[dict[str, Tensor], dict[str, float]]:
    figures = trainer.step(batches)
    return {name: p.grad.clone() for name, p in trainer.named_parameters() if p.grad is not None}, figures


def test_the_contrastive_loss_is_over_the_update_however_it_is_cut() -> None:
    whole, figures = gradients_of(contrastive_trainer(), mixture().micro_batches(0))
    pieces, other = gradients_of(contrastive_trainer(), mixture(accumulate=3).micro_batches(0))
    assert figures["pairs"] == other["pairs"] == 6
    assert figures["contrastive"] == pytest.approx(other["contrastive"], abs=1e-5)
    assert whole.keys() == pieces.keys()
    assert {"heads.contrast.log_scale", "heads.contrast.picture.weight"} <= whole.keys()
    for name, value in whole.items():
        assert torch.allclose(value, pieces[name], atol=1e-5), name


def test_the_contrastive_gradient_is_that_of_the_loss_written_down_plainly() -> None:
    trainer = contrastive_trainer()
    trainer.optimizer = type(trainer.optimizer)(max_grad_norm=1e9)
    (batch,) = mixture().micro_batches(0)
    found, _ = gradients_of(trainer, [batch])
    plain = contrastive_trainer()
    assert plain.contrast is not None
    pictures, texts = plain._features(batch, None)
    scale = plain.contrast.log_scale.exp()
    logits = scale * pictures @ texts.T
    picked = (logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean()) / -2
    visual = encode_images(plain.model, batch.batch.pixel_values, batch.batch.grid)  # type: ignore[arg-type]
    states = predicting_states(plain.model, batch.batch, visual)
    ce = -token_logprobs(plain.model, states, batch.batch.targets).mean()
    (ce + 0.7 * picked).backward()
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, found[name], atol=1e-5), name


def test_ranks_share_the_pictures_of_an_update_and_no_picture_comes_twice() -> None:
    def pairs(batches: Sequence[MicroBatch]) -> list[str]:
        return [batch.batch.images[n].sha256 for batch in batches for n in getattr(batch, "pictures", ())]

    everything = pairs(mixture(documents=70).micro_batches(3))
    shared = [pairs(mixture(2, rank, documents=70).micro_batches(3)) for rank in (0, 1)]
    assert sorted(shared[0] + shared[1]) == sorted(everything)
    assert len(set(everything)) == len(everything) < 70


def test_the_temperature_stays_within_its_bounds() -> None:
    head = ContrastiveHead(8, 4)
    assert float(head.log_scale.exp()) == pytest.approx(1 / 0.07)
    head.log_scale.data.fill_(9.0)
    head.clamp()
    assert float(head.log_scale.exp()) == pytest.approx(100.0)


def test_pictures_find_their_texts_after_a_few_updates() -> None:
    trainer, drawn = contrastive_trainer(60), mixture(documents=12)
    batches = drawn.micro_batches(0)
    figures = [trainer.step(batches) for _ in range(25)]
    assert figures[0]["contrastive"] > 1.5
    assert figures[-1]["matched"] > 0.9
    assert figures[-1]["contrastive"] < 0.5 * figures[0]["contrastive"]


# ----------------------------------------------------------------------------------------------------------------- perplexity


def test_perplexity_is_exp_of_the_mean_over_tokens_with_an_interval_over_documents() -> None:
    nats = [np.full(n, value, dtype=np.float32) for n, value in ((10, 1.0), (30, 2.0), (5, 0.5))]
    found = perplexity(nats)
    assert found.value == pytest.approx(math.exp((10 + 60 + 2.5) / 45))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert (found.documents, found.tokens) == (3, 45)
    assert perplexity([]).value is None
    assert perplexity(nats[:1]).low is None


def test_perplexity_does_not_depend_on_the_company_a_document_is_scored_in() -> None:
    model = model_for(RENDERER)
    documents = [Document(text(count, count), source="x") for count in (4, 30, 11, 7)]
    scorer = Scorer(model, RENDERER, chunk=3)
    found = perplexities(scorer, RENDERER, {"all": documents, "second": documents[1:2]}, 24)
    samples = [document_samples(RENDERER, [(d.text, True)], context=24) for d in documents]
    with torch.no_grad():
        total = sum(float(summed_loss(model, collate([part], RENDERER))) for parts in samples for part in parts)
    tokens = sum(token_count(parts) for parts in samples)
    assert found["all"].tokens == tokens
    assert found["all"].value == pytest.approx(math.exp(total / tokens), rel=1e-4)
    assert found["second"].documents == 1
