"""`bench/gpu.py` on the CPU at a small shape: its rows, what it counts, and the attention that it takes on a GPU."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stepladder.algos.grpo import Grpo
from stepladder.models.attention import attend, attend_causally, attend_with_one
from stepladder.models.forward import token_logprobs
from stepladder.models.vision import encode_images
from stepladder.policies.decoder import Decoder, new_reply
from stepladder.policies.key_value_cache import SlotCache
from stepladder.train.batch import collate
from stepladder.train.scoring import predicting_states
from stepladder.types import Sampling

ROOT = Path(__file__).parent.parent
TRAINING = {
    *("rounds", "samples", "tokens", "patches", "predicted", "learning", "first_step_seconds", "step_seconds"),
    *("optimizer_seconds", "tokens_per_second", "replies_per_second", "utilisation", "gradient_norm"),
}
GENERATION = {
    *("rounds", "prompts", "prompt_tokens", "visual_tokens", "reply_tokens", "alone_seconds", "first_seconds"),
    *("prefill_tokens_per_second", "prefill_utilisation", "decode_tokens_per_second", "token_seconds"),
}


@dataclass
class Small:
    """What the script makes at its small shape, with the model in float32; `sizes` is `contestants.gpu_model`."""

    sizes: ModuleType
    shape: Any
    episodes: Any
    model: Any


@pytest.fixture(scope="module")
def small() -> Iterator[Small]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        sizes = importlib.import_module("contestants.gpu_model")
        shape = sizes.SHAPES["small"]
        episodes = importlib.import_module("contestants.gpu_episodes").Episodes(shape)
        yield Small(sizes, shape, episodes, sizes.build(shape, episodes.renderer, torch.float32, torch.device("cpu")))


@pytest.mark.learning
def test_every_part_gives_its_rows(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    hide = "import sys; sys.modules['rich'] = sys.modules['typer'] = None; import runpy; sys.argv = sys.argv[1:]; "
    command = [sys.executable, "-c", f"{hide}runpy.run_path(sys.argv[0], run_name='__main__')", "bench/gpu.py"]
    options = [*("--shapes", "small", "--device", "cpu", "--prompts", "2", "--samples", "2"), *("--rounds", "1", "--peak", "0.001")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'bench'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options, "--out", str(out)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["part"] for row in rows] == ["pictures", *["generate"] * 2, *["sft"] * 2, *["rl"] * 4]
    assert not any("error" in row for row in rows)
    engine, theirs = rows[1:3]
    assert set(engine) >= GENERATION
    assert set(theirs) >= GENERATION | {"alike", "engine_is_quicker"}
    assert theirs["alike"] == 2
    assert (engine["prompts"], engine["reply_tokens"], engine["visual_tokens"]) == (2, 6, 48)
    trained = [*rows[3:5], rows[6], rows[8]]
    for row in trained:
        assert set(row) >= TRAINING
        assert row["predicted"] == 12
        assert row["gradient_norm"] > 0
        assert 0 < row["utilisation"][1] <= row["utilisation"][0] <= row["utilisation"][2] < 1000
    assert trained[0]["learning"] > trained[1]["learning"]
    own, shared = trained[2:]
    assert shared["samples"] == 1
    assert shared["tokens"] < 0.6 * own["tokens"]
    assert len(done.stdout.splitlines()) == len(rows)


def test_a_word_that_it_does_not_know_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "bench/gpu.py", "--parts", "sftt"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "unknown: sftt; known are generate, sft, rl" in done.stderr


def test_shapes_have_the_published_number_of_parameters(small: Small) -> None:
    for name, millions in (("2b", 2128), ("8b", 8767)):
        model = small.sizes.build(small.sizes.SHAPES[name], small.episodes.renderer, torch.bfloat16, torch.device("meta"))
        assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


def test_what_is_counted_is_what_is_multiplied(small: Small) -> None:
    """PyTorch's own count of a forward pass; it takes causal attention for whole."""
    sizes, renderer = small.sizes, small.episodes.renderer
    sample = small.episodes.imitation(1)
    batch = collate([sample], renderer)
    assert batch.pixel_values is not None
    assert batch.grid is not None
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        states = predicting_states(small.model, batch, encode_images(small.model, batch.pixel_values, batch.grid))
        token_logprobs(small.model, states, batch.targets)
    work = sizes.work_of_sample(renderer, sample)
    whole = sizes.Work(work.tokens, work.tokens**2, work.predicted, work.pictures)
    assert counter.get_total_flops() == pytest.approx(sizes.operations(small.shape, whole), rel=0.01)
    assert work.pairs == work.tokens * (work.tokens + 1) // 2


def test_what_learns_costs_three_times_what_is_frozen(small: Small) -> None:
    sizes, shape = small.sizes, small.shape
    work = sizes.Work(1000, 500_000, 6, (96, 96))
    forward = sizes.operations(shape, work)
    assert sizes.operations(shape, work, sizes.Learns(shape.layers, True)) == pytest.approx(3 * forward)
    seen = sizes.operations(shape, sizes.Work(0, 0, 0, (96, 96)))
    assert sizes.operations(shape, work, sizes.Learns(shape.layers, False)) == pytest.approx(3 * forward - 2 * seen)
    last, two = (sizes.operations(shape, work, sizes.Learns(number, False)) for number in (1, 2))
    assert forward < last < two


def test_branches_see_the_trunk_and_themselves(small: Small) -> None:
    episodes = small.episodes
    (shared,) = episodes.credited(episodes.group(3, True), Grpo())
    work = small.sizes.work_of_sample(episodes.renderer, shared)
    assert work.pairs == int(collate([shared], episodes.renderer).attention.sum())
    assert work.predicted == 3 * small.shape.reply


@pytest.mark.parametrize(("rows", "columns", "key_heads"), [(5, 5, 4), (5, 9, 4), (5, 9, 2), (1, 9, 2)])
def test_attention_without_a_mask_is_that_with_one(rows: int, columns: int, key_heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, rows, 8, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 2, key_heads, columns, 8, generator=generator, dtype=torch.float64)
    mask = torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)[None, None]
    every = 4 // key_heads
    expected = attend(query, key.repeat_interleave(every, 1), value.repeat_interleave(every, 1), mask, 0.3)
    torch.testing.assert_close(attend_causally(query, key, value, 0.3), expected)
    if rows == 1:
        hidden = torch.arange(columns)[None, None, None] < torch.tensor([9, 4])[:, None, None, None]
        expected = attend(query, key.repeat_interleave(every, 1), value.repeat_interleave(every, 1), hidden, 0.3)
        torch.testing.assert_close(attend_with_one(query, key, value, hidden, 0.3), expected)


def test_prompts_read_without_a_mask_give_the_same_replies(small: Small) -> None:
    """As on a GPU: causal attention over what is known of the prompts and what is read, padding on the right."""
    episodes, model = small.episodes, small.model
    prompts = [episodes.prompt(number) for number in (0, 1, 5)]
    found = []
    for flash in (False, True):
        decoder = Decoder(model, episodes.renderer)
        assert not decoder._flash
        decoder._flash = flash
        replies = [new_reply(prompt, Sampling(max_tokens=4, seed=7), 4) for prompt in prompts]
        decoder.start(replies)
        for _ in range(3):
            decoder.step()
        found.append(replies)
    for masked, plain in zip(*found, strict=True):
        assert masked.tokens == plain.tokens
        np.testing.assert_allclose(masked.logprobs, plain.logprobs, atol=1e-4)


def test_a_cache_whose_growth_failed_half_way_grows_later(small: Small) -> None:
    """Layers grow one after another; memory may end between two of them."""
    cache = SlotCache(small.model, torch.float32)
    cache.reserve(2, 100)
    cache._blocks[1][:] = 1.0
    cache._blocks[0] = torch.zeros((2, 8, *cache._blocks[0].shape[2:]))  # of an attempt at 8 slots
    cache.reserve(4, 200)
    assert [tuple(block.shape[1:4:2]) for block in cache._blocks] == [(8, 256), *[(4, 256)] * 3]
    assert cache._blocks[1].sum() == 2 * 2 * small.shape.key_value_heads * 128 * small.shape.head
    key = torch.rand(3, small.shape.key_value_heads, 1, small.shape.head)
    cache.at(1, torch.tensor([[0], [5], [199]]), 200)
    for layer in range(small.shape.layers):
        keys, values = cache.update(key, -key, layer)
        assert torch.equal(keys[2, :, 199], key[2, :, 0])
        assert torch.equal(values[1, :, 5], -key[1, :, 0])
    assert torch.equal(cache.read(3, 199, 200)[2 * small.shape.layers - 1], -key[2])


def test_a_cache_that_finds_no_memory_is_as_large_as_before(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SlotCache(small.model, torch.float32)
    cache.reserve(2, 100)
    before = [block.shape for block in cache._blocks]
    made, new_zeros = [0], torch.Tensor.new_zeros

    def scarce(block: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        made[0] += 1
        if made[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return new_zeros(block, shape)

    monkeypatch.setattr(torch.Tensor, "new_zeros", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        cache.reserve(64, 4096)
    assert [block.shape for block in cache._blocks] == before


def test_a_batch_knows_whether_its_rows_are_plain_sequences(small: Small) -> None:
    episodes = small.episodes
    apart = [episodes.imitation(number) for number in range(2)]
    assert collate(apart, episodes.renderer).causal
    assert not collate(apart, episodes.renderer, 4 * len(apart[0])).causal
    assert not collate(episodes.credited(episodes.group(2, True), Grpo()), episodes.renderer).causal


def test_what_goes_wrong_is_a_row_and_the_rest_is_measured(small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--shapes", "small", "--device", "cpu", "--parts", "sft", "--samples", "1"])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--rounds", "1", "--out", str(tmp_path / "rows.jsonl")])
    script = importlib.import_module("gpu")
    built = []

    def first_too_large(*arguments: Any) -> Any:
        built.append(arguments)
        if len(built) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has 80 GiB")
        raise ValueError("no such shape\nat all")

    monkeypatch.setattr(script, "build", first_too_large)
    with pytest.raises(SystemExit, match="could not be measured"):
        script.main()
    errors = [json.loads(line)["error"] for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    assert errors == ["out of memory after 0 s: CUDA out of memory. Tried to allocate 9 GiB", "ValueError: no such shape"]
