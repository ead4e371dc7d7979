"""One new token of every sequence, against the same token at the end of a whole forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.attention import use_attention
from stepladder.models.forward import hidden_states
from stepladder.models.lora import LoraSettings, add_adapters
from stepladder.models.next_token import next_states
from stepladder.models.rope import remap, rope_of
from stepladder.models.small import SmallModel, build_model
from stepladder.models.tokenizer import build_tokenizer
from stepladder.policies.decoder import pass_sizes
from stepladder.policies.key_value_cache import SlotCache

LENGTHS = [7, 3, 12]
WIDTH = max(LENGTHS)


def model(heads: int = 4, key_value_heads: int = 2) -> Qwen3VLForConditionalGeneration:
    sizes = SmallModel(hidden=96, layers=2, heads=heads, key_value_heads=key_value_heads, vision_hidden=32, vision_layers=1)
    made = build_model(sizes, build_tokenizer(["Click the button."] * 3, 300)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # norms that weigh every entry alike would hide one that is left out
        for module in made.modules():
            if type(module).__name__ == "Qwen3VLTextRMSNorm":
                module.weight.mul_(1 + 0.5 * torch.rand(module.weight.shape, generator=generator))
    return made


@torch.no_grad()
def compared(made: Qwen3VLForConditionalGeneration, half: bool = False) -> tuple[Tensor, Tensor]:
    """Hidden states of the last token of each sequence, from a whole pass and from one more token after a pass over the others."""
    tokens = torch.randint(0, 250, (len(LENGTHS), WIDTH), generator=torch.Generator().manual_seed(1))
    last = torch.tensor([[length - 1] for length in LENGTHS])
    positions = torch.arange(WIDTH).expand(3, len(LENGTHS), WIDTH)
    causal = torch.ones(WIDTH, WIDTH, dtype=torch.bool).tril().expand(len(LENGTHS), 1, -1, -1)
    rows = torch.arange(len(LENGTHS))
    cache = SlotCache(made, torch.bfloat16 if half else torch.float32)
    cache.reserve(len(LENGTHS) + 1, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        whole = hidden_states(made, tokens, positions, causal)[rows, last[:, 0]]
        cache.at(1, torch.arange(WIDTH).expand(len(LENGTHS), -1), WIDTH)
        other = tokens.index_put((rows, last[:, 0]), tokens[rows, last[:, 0]] + 1)  # the last columns must be written again
        hidden_states(made, other, positions, causal, cache=cache)
        cache.at(1, last, WIDTH)
        mask = torch.zeros(len(LENGTHS), 1, 1, WIDTH, dtype=cache.dtype)
        mask.masked_fill_(torch.arange(WIDTH) > last[:, None, :, None], -torch.inf)
        one = next_states(made, tokens[rows, last[:, 0]], last[:, 0], mask, cache)
    return whole, one


@pytest.mark.parametrize("own_attention", [False, True])
@pytest.mark.parametrize("key_value_heads", [1, 2, 4])
def test_it_is_the_end_of_a_whole_pass(key_value_heads: int, own_attention: bool) -> None:
    made = model(key_value_heads=key_value_heads)
    if own_attention:
        use_attention(made)
    whole, one = compared(made)
    torch.testing.assert_close(one, whole, atol=2e-6, rtol=1e-5)


def test_with_longer_rotary_positions_and_adapters() -> None:
    made = model()
    before = compared(made)[1]
    remap(made, rope_of(made, 4), "yarn", 64)
    turned, one = compared(made)
    torch.testing.assert_close(one, turned, atol=2e-6, rtol=1e-5)
    assert (one - before).abs().max() > 1e-3
    add_adapters(made, LoraSettings(rank=4), seed=0)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.5)
    whole, adapted = compared(made)
    torch.testing.assert_close(adapted, whole, atol=1e-5, rtol=1e-5)
    assert (adapted - one).abs().max() > 1e-2


def test_in_half_precision() -> None:
    made = model()
    whole, one = compared(made, half=True)
    exact, _ = compared(made)
    assert (one - whole).abs().max() < 2 * (whole - exact).abs().max()


@pytest.mark.parametrize(
    ("counts", "most", "sizes"),
    [
        ([], 1000, []),
        ([105, *[58] * 15], 16384, [1, 15]),  # 47 tokens of padding in each of 15 prompts are more than a pass
        ([60, 58, 58, 30], 16384, [4]),
        ([500, 90, 90], 16384, [1, 2]),
        ([40] * 5, 100, [2, 2, 1]),
        ([400, 10], 100, [1, 1]),
    ],
)
def test_passes_over_prompts(counts: list[int], most: int, sizes: list[int]) -> None:
    found = pass_sizes(counts, most, 50)
    assert sorted(found) == sorted(sizes)
    assert sum(found) == len(counts)
    begin = 0
    for size in found:
        assert size == 1 or size * counts[begin] <= most
        begin += size
