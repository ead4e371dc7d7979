"""Rotary positions for a longer context: transformers' own functions agree, and an exported checkpoint loads with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import model_for, renderer
from transformers import Qwen3VLConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from stepladder.models.checkpoint import load_checkpoint, save_checkpoint
from stepladder.models.rope import Rope, RopeKind, frequencies, ntk_theta, plain_frequencies, remap, remapped, rope_of

RENDERER = renderer()
SECTIONS = {"mrope_section": [24, 20, 20], "mrope_interleaved": True}


def text_config(parameters: dict[str, Any], head: int, context: int) -> Any:
    config = Qwen3VLConfig(text_config={"head_dim": head, "max_position_embeddings": context, "rope_parameters": parameters})
    return config.text_config


def rope(theta: float, head: int, context: int) -> Rope:
    return Rope(theta, head, context, {"rope_theta": theta, **SECTIONS})


thetas, heads = st.floats(1e3, 5e6), st.sampled_from([16, 48, 64, 128])
contexts, factors = st.integers(64, 300_000), st.floats(1.01, 64)


@settings(max_examples=60, deadline=None)
@given(thetas, heads, contexts, factors, st.sampled_from(["linear", "yarn"]))
def test_linear_and_yarn_are_those_of_transformers(theta: float, head: int, context: int, factor: float, kind: RopeKind) -> None:
    parameters = remapped(rope(theta, head, context), kind, round(context * factor) + 1)
    theirs, scale = ROPE_INIT_FUNCTIONS[kind](text_config(copy.deepcopy(parameters), head, context))
    ours, our_scale = frequencies(parameters, head)
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    assert torch.allclose(ours / theirs, torch.ones(head // 2), atol=1e-5)
    assert our_scale == pytest.approx(scale, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(thetas, heads, st.integers(64, 4096), st.integers(2, 64))
def test_ntk_is_the_base_that_transformers_takes_for_a_sequence_of_that_length(
    theta: float, head: int, context: int, factor: int
) -> None:
    # with a factor of 1 their dynamic kind multiplies the base by (length / context)^(d / (d - 2))
    dynamic = {"rope_type": "dynamic", "factor": 1.0, "rope_theta": theta, **SECTIONS}
    theirs, _ = ROPE_INIT_FUNCTIONS["dynamic"](text_config(dynamic, head, context), seq_len=context * factor)
    ours, scale = frequencies(remapped(rope(theta, head, context), "ntk", context * factor), head)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert scale == 1.0


def test_ntk_slows_the_slowest_pair_by_the_factor_and_the_fastest_not_at_all() -> None:
    before, after = plain_frequencies(1e4, 64), plain_frequencies(ntk_theta(1e4, 64, 8.0), 64)
    assert float(before[-1] / after[-1]) == pytest.approx(8.0, rel=1e-4)
    assert float(before[0] / after[0]) == 1.0


@pytest.mark.parametrize("kind", ["linear", "ntk", "yarn"])
def test_an_exported_checkpoint_loads_as_it_was_remapped(kind: RopeKind, tmp_path: Path) -> None:
    model = model_for(RENDERER)
    native = rope_of(model, 64)
    tokens = torch.arange(10, 60)[None]
    before = model(input_ids=tokens).logits
    remap(model, native, kind, 256)
    remapped_logits = model(input_ids=tokens).logits
    assert not torch.allclose(before, remapped_logits, atol=1e-4)
    save_checkpoint(tmp_path, model, RENDERER.processor)
    loaded, _ = load_checkpoint(tmp_path)
    again = loaded.config.text_config.rope_parameters
    assert again["mrope_section"] == model_for(RENDERER).config.text_config.rope_parameters["mrope_section"]
    assert torch.equal(loaded.model.language_model.rotary_emb.inv_freq, model.model.language_model.rotary_emb.inv_freq)
    assert torch.allclose(loaded(input_ids=tokens).logits, remapped_logits, atol=1e-5)


def test_stages_of_lengthening_all_start_from_the_first_context() -> None:
    once, twice = model_for(RENDERER), model_for(RENDERER)
    remap(once, rope_of(once, 64), "yarn", 256)
    remap(twice, rope_of(twice, 64), "yarn", 128)
    remap(twice, rope_of(twice), "yarn", 256)
    assert rope_of(twice) == rope_of(once)
    assert torch.equal(once.model.language_model.rotary_emb.inv_freq, twice.model.language_model.rotary_emb.inv_freq)


def test_the_largest_position_grows_and_never_shrinks() -> None:
    model = model_for(RENDERER)
    largest = model.config.text_config.max_position_embeddings
    remap(model, rope_of(model, 64), "yarn", 256)
    assert model.config.text_config.max_position_embeddings == largest
    remap(model, rope_of(model, 64), "yarn", 2 * largest)
    assert model.config.text_config.max_position_embeddings == 2 * largest


def test_a_context_that_is_not_longer_changes_nothing() -> None:
    model = model_for(RENDERER)
    before = dict(model.config.text_config.rope_parameters)
    remap(model, rope_of(model, 64), "yarn", 64)
    assert dict(model.config.text_config.rope_parameters) == before


def test_another_kind_of_remapping_is_refused() -> None:
    model = model_for(RENDERER)
    model.config.text_config.rope_parameters = {"rope_type": "longrope", "rope_theta": 1e4}
    with pytest.raises(ValueError, match="'longrope'; default, linear and yarn"):
        rope_of(model)
