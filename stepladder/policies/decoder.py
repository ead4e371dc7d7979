"""Writing many replies in step: prompts are read once, then every reply grows by a token at a time."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, Qwen3VLForConditionalGeneration

from stepladder.models.forward import Visual, hidden_states
from stepladder.models.renderer import Renderer
from stepladder.models.vision import encode_images
from stepladder.policies.key_value_cache import SlotCache
from stepladder.policies.sampling import sample_tokens
from stepladder.types import Completion, FinishReason, ImageRef, IntArray, Prompt, Sampling


@dataclass(eq=False)
class Reply:
    """One reply being written to a prompt. `limit` is the number of tokens it may have, `finish` is set when it is complete."""

    prompt: IntArray
    images: tuple[ImageRef, ...]
    spans: tuple[tuple[int, int], ...]
    sampling: Sampling
    limit: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(self.sampling.seed)
        self.next_position = 0

    @property
    def length(self) -> int:
        """Tokens of prompt and reply together."""
        return len(self.prompt) + len(self.tokens)

    def completion(self, renderer: Renderer, version: int) -> Completion:
        return Completion(
            text=renderer.decode(self.tokens),
            tokens=np.asarray(self.tokens, dtype=np.int32),
            logprobs=np.asarray(self.logprobs, dtype=np.float32),
            finish=self.finish or "abort",
            version=version,
        )


class Decoder:
    """Holds the replies being written, their keys and values, and the visual tokens of recent pictures.

    `prefill_tokens` bounds the tokens (padding included) of one pass over prompts, `picture_tokens` the visual tokens that are
    kept. With `autocast` the forward passes run in bfloat16. Not safe for several threads.
    """

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        renderer: Renderer,
        *,
        prefill_tokens: int = 16384,
        picture_tokens: int = 65536,
        autocast: bool = False,
    ) -> None:
        self.model = model
        self.renderer = renderer
        self.replies: list[Reply] = []
        self._cache = SlotCache()
        self._pictures = _Pictures(model, renderer, picture_tokens)
        self._prefill_tokens = prefill_tokens
        self._autocast = autocast
        self._banned = banned_ids(model, renderer).to(model.device)

    @torch.no_grad()
    def start(self, replies: Sequence[Reply]) -> None:
        """Read the prompts of `replies` and sample the first token of each. Equal prompts are read once."""
        groups: dict[object, list[Reply]] = {}
        for reply in replies:
            groups.setdefault((reply.prompt.tobytes(), reply.images), []).append(reply)
        chunk: list[list[Reply]] = []
        for group in sorted(groups.values(), key=lambda group: -len(group[0].prompt)):
            if chunk and (len(chunk) + 1) * len(chunk[0][0].prompt) > self._prefill_tokens:
                self._prefill(chunk)
                chunk = []
            chunk.append(group)
        if chunk:
            self._prefill(chunk)

    @torch.no_grad()
    def step(self) -> None:
        """Add one token to every reply that is not complete; those that are have been taken out by `pop_finished`."""
        if not self.replies:
            return
        device = self.model.device
        columns = torch.tensor([reply.length - 1 for reply in self.replies], device=device)
        width = int(columns.max()) + 1
        tokens = torch.tensor([[reply.tokens[-1]] for reply in self.replies], device=device)
        positions = torch.tensor([[reply.next_position] for reply in self.replies], device=device)
        mask = torch.arange(width, device=device)[None] <= columns[:, None]
        self._cache.at(columns, width)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._autocast):
            states = hidden_states(self.model, tokens, positions.expand(3, -1, -1), mask[:, None, None], cache=self._cache)
        for reply in self.replies:
            reply.next_position += 1
        self._sample(states[:, 0], self.replies)

    def pop_finished(self) -> list[Reply]:
        """Take out the replies that are complete."""
        finished = [reply for reply in self.replies if reply.finish is not None]
        for reply in finished:
            self.drop(reply)
        return finished

    def drop(self, reply: Reply) -> None:
        """Take out a reply, complete or not. The last slot's reply moves into its place."""
        slot, last = self.replies.index(reply), len(self.replies) - 1
        if slot != last:
            self._cache.move(last, slot, self.replies[last].length)
            self.replies[slot] = self.replies[last]
        self.replies.pop()

    def forget(self) -> None:
        """Drop what depends on the weights: call it after they changed. Replies in progress are lost."""
        self.replies.clear()
        self._pictures.clear()

    def _prefill(self, groups: list[list[Reply]]) -> None:
        """One pass over the distinct prompts, padded on the right, where causal attention keeps the padding out of sight."""
        device = self.model.device
        prompts = [group[0] for group in groups]
        lengths = [len(reply.prompt) for reply in prompts]
        tokens = np.full((len(prompts), max(lengths)), self.renderer.pad_id, dtype=np.int64)
        positions = np.zeros((3, *tokens.shape), dtype=np.int64)
        image_mask = np.zeros(tokens.shape, dtype=bool)
        for row, group in enumerate(groups):
            prompt, length = prompts[row], lengths[row]
            grids = [self.renderer.grid(image) for image in prompt.images]
            placed = self.renderer.positions(length + 1, prompt.spans, grids)
            tokens[row, :length], positions[:, row, :length] = prompt.prompt, placed[:, :length]
            for start, count in prompt.spans:
                image_mask[row, start : start + count] = True
            for reply in group:
                reply.next_position = int(placed[0, length])
        cache = DynamicCache()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._autocast):
            states = hidden_states(
                self.model,
                torch.from_numpy(tokens).to(device),
                torch.from_numpy(positions).to(device),
                None,
                self._pictures.get([image for prompt in prompts for image in prompt.images]),
                torch.from_numpy(image_mask).to(device),
                cache,
            )
        replies = [reply for group in groups for reply in group]
        rows = torch.tensor([row for row, group in enumerate(groups) for _ in group], device=device)
        room = max(len(reply.prompt) + reply.limit for reply in replies)
        self._cache.insert(len(self.replies), cache, rows, room)
        self.replies.extend(replies)
        last = states[torch.arange(len(prompts), device=device), torch.tensor(lengths, device=device) - 1]
        self._sample(last[rows], replies)

    def _sample(self, states: Tensor, replies: Sequence[Reply]) -> None:
        with torch.autocast(states.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            logits = self.model.lm_head(states)
        uniforms = [reply.random.random() for reply in replies]
        tokens, logprobs = sample_tokens(logits, [reply.sampling for reply in replies], uniforms, self._banned)
        for reply, token, logprob in zip(replies, tokens.tolist(), logprobs.tolist(), strict=True):
            reply.tokens.append(token)
            reply.logprobs.append(logprob)
            reply.finish = self._finish(reply)

    def _finish(self, reply: Reply) -> FinishReason | None:
        if reply.tokens[-1] in self.renderer.stop_ids:
            return "stop"
        if reply.sampling.stop:
            # every token has at least one byte, so this many of the last tokens hold any stop string that ends here
            tail = self.renderer.decode(reply.tokens[-max(len(text.encode()) for text in reply.sampling.stop) :])
            if any(text in tail for text in reply.sampling.stop):
                return "stop"
        return "length" if len(reply.tokens) >= reply.limit else None


class _Pictures:
    """Visual tokens of the pictures used last, each picture encoded once."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, renderer: Renderer, capacity: int) -> None:
        self._model = model
        self._renderer = renderer
        self._capacity = capacity
        self._held = 0
        self._encoded: OrderedDict[ImageRef, tuple[Tensor, ...]] = OrderedDict()

    def get(self, images: Sequence[ImageRef]) -> Visual | None:
        """The visual tokens of `images` one after another, as `models.forward.hidden_states` takes them; None for no pictures."""
        if not images:
            return None
        missing: dict[tuple[int, int, int], list[ImageRef]] = {}
        for image in dict.fromkeys(images):
            if image not in self._encoded:
                missing.setdefault(self._renderer.grid(image), []).append(image)
        for same_size in missing.values():
            self._encode(same_size)
        for image in images:
            self._encoded.move_to_end(image)
        parts = [self._encoded[image] for image in images]
        joined = [torch.cat(features) for features in zip(*parts, strict=True)]
        while self._held > self._capacity and len(self._encoded) > 1:
            self._held -= len(self._encoded.popitem(last=False)[1][0])
        return joined[0], joined[1:]

    def clear(self) -> None:
        self._encoded.clear()
        self._held = 0

    def _encode(self, images: list[ImageRef]) -> None:
        pixels, grid = self._renderer.pixels(images)
        device = self._model.device
        tokens, deepstack = encode_images(self._model, pixels.to(device), grid.to(device))
        count = self._renderer.visual_tokens(images[0])
        for image, *features in zip(images, *(feature.split(count) for feature in (tokens, *deepstack)), strict=True):
            self._encoded[image] = tuple(features)
            self._held += count


def banned_ids(model: Qwen3VLForConditionalGeneration, renderer: Renderer) -> Tensor:
    """Ids int64[K] that are never sampled: the renderer's, and rows of the output layer for which the tokenizer has no token."""
    return torch.tensor([*renderer.banned_ids, *range(renderer.vocabulary, model.lm_head.out_features)], dtype=torch.int64)


def new_reply(prompt: Prompt, sampling: Sampling, limit: int) -> Reply:
    """Raises ValueError when `prompt` was not rendered."""
    if prompt.tokens is None:
        raise ValueError("the prompt has no tokens; render the messages first")
    return Reply(prompt.tokens, prompt.images, prompt.image_spans, sampling, limit)
