"""The engine's decoder and transformers' generate, asked for the same replies by `bench/gpu.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from contestants.gpu_model import as_transformers, ours
from torch.nn.utils.rnn import pad_sequence
from transformers import LogitsProcessorList, Qwen3VLForConditionalGeneration

from stepladder.models.forward import banned_ids
from stepladder.models.renderer import Renderer
from stepladder.policies.decoder import Decoder, new_reply
from stepladder.types import Prompt, Sampling

#: Of so many of the prompts and so many tokens a reply: the first tokens, the seconds to all of them, and those of the rest.
Answer = Callable[[int, int], tuple[list[int], float, float]]
#: Seconds, after all work of the device is done.
Clock = Callable[[], float]


def engine_answers(model: Qwen3VLForConditionalGeneration, renderer: Renderer, prompts: Sequence[Prompt], clock: Clock) -> Answer:
    """Greedy replies of the decoder, which keeps nothing from one call to the next but its memory."""
    ours(model)
    decoder = Decoder(model, renderer)

    def answer(count: int, tokens: int) -> tuple[list[int], float, float]:
        decoder.forget()
        begin = clock()
        replies = [new_reply(prompt, Sampling(temperature=0.0, max_tokens=tokens), tokens) for prompt in prompts[:count]]
        decoder.start(replies)
        middle = clock()
        for _ in range(tokens - 1):
            decoder.step()
        end = clock()
        assert len(decoder.pop_finished()) == count
        return [reply.tokens[0] for reply in replies], middle - begin, end - middle

    return answer


def transformers_answers(
    model: Qwen3VLForConditionalGeneration, renderer: Renderer, prompts: Sequence[Prompt], clock: Clock
) -> Answer:
    """Greedy replies of transformers' generate, all prompts in one batch."""
    as_transformers(model)
    banned = banned_ids(model, renderer).to(model.device)

    def answer(count: int, tokens: int) -> tuple[list[int], float, float]:
        begin, middle = clock(), 0.0
        inputs = _inputs(renderer, prompts[:count], model.device)
        length = inputs["input_ids"].shape[1]

        def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            nonlocal middle
            if ids.shape[1] == length:
                middle = clock()
            return scores.index_fill(-1, banned, -torch.inf)

        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, logits_processor=LogitsProcessorList([process]))
        assert output.shape == (count, length + tokens)
        return output[:, length].tolist(), middle - begin, clock() - middle

    return answer


def _inputs(renderer: Renderer, prompts: Sequence[Prompt], device: torch.device) -> dict[str, torch.Tensor]:
    """Prompts padded on the left, and their pictures in bfloat16."""
    ids = [torch.from_numpy(prompt.tokens).long() for prompt in prompts if prompt.tokens is not None]
    tokens = pad_sequence(ids, batch_first=True, padding_value=renderer.pad_id, padding_side="left")
    mask = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True, padding_side="left")
    pixels, grid = renderer.pixels([image for prompt in prompts for image in prompt.images])
    inputs = {
        "input_ids": tokens,
        "attention_mask": mask,
        "mm_token_type_ids": (tokens == renderer.image_id).int(),
        "image_grid_thw": grid,
    }
    moved = {name: tensor.to(device) for name, tensor in inputs.items()}
    return moved | {"pixel_values": pixels.to(device).to(torch.bfloat16)}
