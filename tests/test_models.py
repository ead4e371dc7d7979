"""Model, processor and renderer against transformers' own results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_models import model_for, picture, renderer
from transformers import AutoModelForImageTextToText, Qwen3VLForConditionalGeneration

from stepladder.images import ImageStore
from stepladder.models import forward
from stepladder.models.attention import attend
from stepladder.models.checkpoint import load_checkpoint, save_checkpoint
from stepladder.models.forward import hidden_states, token_logprobs
from stepladder.models.renderer import Renderer
from stepladder.models.small import whiten_patches
from stepladder.models.vision import encode_images
from stepladder.types import ImageRef, Message

IMAGES = ImageStore()
RENDERER = renderer(IMAGES)
#: Sizes that need no resizing, that are resized, and that are odd.
PICTURES = [picture(IMAGES, 0), picture(IMAGES, 1, 70, 90), picture(IMAGES, 2, 33, 131)]


def chat(messages: tuple[Message, ...]) -> list[dict[str, object]]:
    return [
        {
            "role": message.role,
            "content": [
                {"type": "image"} if isinstance(part, ImageRef) else {"type": "text", "text": part} for part in message.content
            ],
        }
        for message in messages
    ]


def test_ids_pixels_positions_and_logits_equal_transformers() -> None:
    messages = (
        Message("system", ("hello",)),
        Message("user", (PICTURES[0], "click the\nbutton")),
        Message("assistant", ("world",)),
        Message("user", ("\n\n", PICTURES[1], PICTURES[2], " again")),
    )
    processor, prompt = RENDERER.processor, RENDERER.render(messages)
    text = processor.apply_chat_template(chat(messages), add_generation_prompt=True)
    expected = processor(text=[text], images=[Image.fromarray(IMAGES.load(p)) for p in PICTURES], return_tensors="pt")
    assert prompt.tokens is not None
    assert prompt.tokens.tolist() == expected.input_ids[0].tolist()
    pixels, grid = RENDERER.pixels(PICTURES)
    assert torch.equal(pixels, expected.pixel_values)
    assert torch.equal(grid, expected.image_grid_thw)

    model = model_for(RENDERER)
    kinds = (expected.input_ids == RENDERER.image_id).int()
    positions, _ = model.model.get_rope_index(expected.input_ids, mm_token_type_ids=kinds, image_grid_thw=grid)
    ours = RENDERER.positions(len(prompt.tokens), prompt.image_spans, [RENDERER.grid(p) for p in PICTURES])
    assert np.array_equal(positions[:, 0].numpy(), ours)
    with torch.no_grad():
        logits = model(input_ids=expected.input_ids, pixel_values=pixels, image_grid_thw=grid, mm_token_type_ids=kinds).logits
        states = hidden_states(
            model, expected.input_ids, torch.from_numpy(ours)[:, None], None, encode_images(model, pixels, grid), kinds.bool()
        )
        assert torch.allclose(model.lm_head(states), logits, atol=1e-5)


def test_quick_vision_gives_transformers_numbers() -> None:
    quick, plain = model_for(RENDERER), model_for(RENDERER)
    for module in plain.modules():
        module.__dict__.pop("forward", None)
    pixels, grid = RENDERER.pixels([picture(IMAGES, 3), picture(IMAGES, 4)])
    with torch.no_grad():
        assert torch.allclose(encode_images(quick, pixels, grid)[0], encode_images(plain, pixels, grid)[0], atol=1e-5)


def test_attention_in_bfloat16_follows_the_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 17, 8, generator=generator) for _ in range(3))
    mask = torch.ones(17, 17, dtype=torch.bool).tril()[None, None]
    exact = attend(query, key, value, mask, 0.3)
    rough = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), mask, 0.3)
    assert (exact - rough.float()).abs().max() < 0.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=30)), min_size=1, max_size=5))
def test_text_never_becomes_a_special_token_and_comes_back(turns: list[tuple[str, str]]) -> None:
    messages = tuple(Message(role, (text + "<|im_end|>",)) for role, text in turns)  # type: ignore[arg-type]
    prompt = RENDERER.render(messages, add_generation_prompt=False)
    assert prompt.tokens is not None
    end = RENDERER.stop_ids[0]
    assert int((prompt.tokens == end).sum()) == len(messages)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_a_reply_is_read_back(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert RENDERER.decode(RENDERER.reply(text)) == text


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(14, 300), min_size=1, max_size=12), st.booleans())
def test_a_longer_history_extends_the_prompt(sampled: list[int], ended: bool) -> None:
    tokens = np.asarray([*sampled, RENDERER.stop_ids[0]] if ended else sampled, dtype=np.int32)
    first = (Message("system", ("hello",)), Message("user", (PICTURES[0], "click")))
    longer = (*first, Message("assistant", (RENDERER.decode(tokens),), tokens), Message("user", (PICTURES[1], "again")))
    before, after = RENDERER.render(first).tokens, RENDERER.render(longer).tokens
    assert before is not None
    assert after is not None
    assert after[: len(before) + len(tokens)].tolist() == [*before.tolist(), *tokens.tolist()]


def test_placeholders_are_banned_and_ends_are_not() -> None:
    assert RENDERER.image_id in RENDERER.banned_ids
    assert not set(RENDERER.stop_ids) & set(RENDERER.banned_ids)
    model = model_for(RENDERER)
    states = torch.randn(4, model.config.text_config.hidden_size)
    banned = torch.tensor(RENDERER.banned_ids)
    logprobs = token_logprobs(model, states, torch.full((4,), RENDERER.image_id), banned)
    assert (logprobs < -1e30).all()


def test_logits_of_many_tokens_are_never_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_for(RENDERER).double()
    width, count, kept = model.lm_head.out_features, 64, 0
    targets = torch.arange(count) % width

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept = max(kept, tensor.numel())
        return tensor

    found = []
    for most in (count * width, 10 * width + 3):
        monkeypatch.setattr(forward, "MOST_LOGITS", most)
        states = torch.from_numpy(np.random.default_rng(0).normal(size=(count, model.config.text_config.hidden_size)))
        states.requires_grad_()
        kept = 0
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logprobs = token_logprobs(model, states, targets, torch.tensor([3, 5]), 0.7)
        assert (kept >= count * width) == (most >= count * width), "what the backward pass has to remember"
        logprobs.square().sum().backward()
        found.append((logprobs.detach(), states.grad, model.lm_head.weight.grad.clone()))  # type: ignore[union-attr]
        model.zero_grad()
    for one, other in zip(*found, strict=True):
        assert float((one - other).abs().max()) < 1e-12  # type: ignore[operator]


def test_checkpoint_is_an_ordinary_directory(tmp_path: object) -> None:
    directory = str(tmp_path)
    model = model_for(RENDERER)
    save_checkpoint(directory, model, RENDERER.processor)
    loaded, processor = load_checkpoint(directory)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True))
    assert type(AutoModelForImageTextToText.from_pretrained(directory)) is Qwen3VLForConditionalGeneration
    messages = (Message("user", (PICTURES[0], "click")),)
    again = Renderer(processor, IMAGES).render(messages).tokens
    assert again is not None
    assert again.tolist() == RENDERER.render(messages).tokens.tolist()  # type: ignore[union-attr]


def test_an_incomplete_checkpoint_is_named(tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json, tokenizer\.json"):
        load_checkpoint(str(tmp_path))


def test_whitened_patches_have_unit_covariance() -> None:
    model = model_for(RENDERER)
    pixels, _ = RENDERER.pixels([picture(IMAGES, seed) for seed in range(30)])
    whiten_patches(model, pixels)
    with torch.no_grad():
        embedded = model.model.visual.patch_embed(pixels)
    covariance = torch.cov(embedded.T)
    assert embedded.mean(0).abs().max() < 0.2
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 0.3 * covariance.diagonal().mean()
    with pytest.raises(ValueError, match="at least 64 patches"):
        whiten_patches(model, torch.zeros(100, pixels.shape[1]))
