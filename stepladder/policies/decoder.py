"""Writing many replies in step: prompts are read once, then every reply grows by a token at a time."""

from __future__ import annotations

import functools
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder.models.attention import NAME as ATTENTION
from stepladder.models.forward import Visual, banned_ids, hidden_states
from stepladder.models.next_token import next_states
from stepladder.models.renderer import Renderer
from stepladder.models.vision import encode_images
from stepladder.policies.key_value_cache import SlotCache
from stepladder.policies.prefix_cache import PrefixCache, common_length, content_ids, outside_pictures
from stepladder.policies.sampling import sample_tokens
from stepladder.types import Completion, FinishReason, ImageRef, IntArray, Prompt, Sampling

#: One pass more over prompts costs about as much as reading this many tokens. A small model on a processor: 1.5 ms, and 0.03 ms a
#: token. Qwen3-VL-8B on an H200: launching a pass took some 0.1 s, in which 1,500 tokens are read.
WORTH_A_PASS = {"cpu": 50, "cuda": 1000}
#: Columns are seen in steps of so many on a GPU, whose attention kernels would otherwise copy the mask in every layer.
_ALIGNED = 16
OnToken = Callable[[int, float], None]


@dataclass(eq=False)
class Reply:
    """One reply being written to a prompt.

    `limit` is the number of tokens it may have, `version` that of the weights which sampled its first token, `finish` is set when
    it is complete. `one_version` says that all its keys and values come from the present weights. `on_token` is told every token
    with its log-probability, in the decoding thread.
    """

    prompt: IntArray
    images: tuple[ImageRef, ...]
    spans: tuple[tuple[int, int], ...]
    sampling: Sampling
    limit: int
    version: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    finish: FinishReason | None = None
    on_token: OnToken | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(self.sampling.seed)
        self.ids = content_ids(self.prompt, self.spans, self.images)
        self.next_position = 0
        self.one_version = True

    @property
    def length(self) -> int:
        """Tokens of prompt and reply together."""
        return len(self.prompt) + len(self.tokens)

    def completion(self, renderer: Renderer) -> Completion:
        return Completion(
            text=renderer.decode(self.tokens),
            tokens=np.asarray(self.tokens, dtype=np.int32),
            logprobs=np.asarray(self.logprobs, dtype=np.float32),
            finish=self.finish or "abort",
            version=self.version,
            entropies=np.asarray(self.entropies, dtype=np.float32),
        )


@dataclass(eq=False)
class _Reading:
    """A prompt to be read for the replies that share it. `past` [layers * 2, heads, start, size] holds the keys and values of its
    first `start` tokens, which are known."""

    replies: list[Reply]
    past: Tensor | None
    start: int

    @property
    def prompt(self) -> Reply:
        return self.replies[0]

    @property
    def count(self) -> int:
        """Tokens to be read."""
        return len(self.prompt.prompt) - self.start


class Decoder:
    """Holds the replies being written, their keys and values, those of recent prompts and replies, and recent visual tokens.

    `prefill_tokens` bounds the tokens (padding included) of one pass over prompts, `prefix_tokens` the tokens whose keys and values
    are kept for prompts that begin with them, `picture_tokens` the visual tokens that are kept. With `autocast` the forward passes
    run in bfloat16. Not safe for several threads.
    """

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        renderer: Renderer,
        *,
        prefill_tokens: int = 16384,
        prefix_tokens: int = 32768,
        picture_tokens: int = 65536,
        autocast: bool = False,
    ) -> None:
        self.model = model
        self.renderer = renderer
        self.replies: list[Reply] = []
        self._cache = SlotCache(model, torch.bfloat16 if autocast else model.dtype)
        self._flash = model.device.type != "cpu" and model.model.language_model.config._attn_implementation == ATTENTION
        self._prefixes = PrefixCache(prefix_tokens)
        self._pictures = _Pictures(model, renderer, picture_tokens)
        self._prefill_tokens = prefill_tokens
        self._worth_a_pass = WORTH_A_PASS.get(model.device.type, WORTH_A_PASS["cpu"])
        self._autocast = autocast
        self._banned = banned_ids(model, renderer).to(model.device)

    @torch.no_grad()
    def start(self, replies: Sequence[Reply]) -> None:
        """Read the prompts of `replies` and sample the first token of each.

        Equal prompts are read once. Of a prompt that begins like another, the common part is read once, in an earlier pass.
        """
        if replies:
            columns = max(len(reply.prompt) + reply.limit for reply in replies)
            self._cache.reserve(len(self.replies) + len(replies), columns)
        groups: dict[bytes, list[Reply]] = {}
        for reply in replies:
            groups.setdefault(reply.ids.tobytes(), []).append(reply)
        waiting = list(groups.values())
        while waiting:
            readings: list[_Reading] = []
            later = []
            for group in waiting:
                reading = self._reading(group)
                if any(self._waits(reading, other) for other in readings):
                    later.append(group)
                else:
                    readings.append(reading)
            self._prefill_in_passes(readings)
            waiting = later

    @torch.no_grad()
    def step(self) -> None:
        """Add one token to every reply that is not complete; those that are have been taken out by `pop_finished`."""
        if not self.replies:
            return
        device = self.model.device
        width = max(reply.length for reply in self.replies)
        if device.type != "cpu":  # there are as many: columns are reserved in larger steps
            width = -(-width // _ALIGNED) * _ALIGNED
        columns = torch.tensor([[reply.length - 1] for reply in self.replies], device=device)
        tokens = torch.tensor([reply.tokens[-1] for reply in self.replies], device=device)
        positions = torch.tensor([reply.next_position for reply in self.replies], device=device)
        hidden = torch.arange(width, device=device) > columns[:, None, :, None]
        mask = torch.zeros(hidden.shape, dtype=self._cache.dtype, device=device).masked_fill_(hidden, -torch.inf)
        self._cache.at(0, columns, width)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._autocast):
            states = next_states(self.model, tokens, positions, mask, self._cache)
        for reply in self.replies:
            reply.next_position += 1
        self._sample(states, self.replies)

    def pop_finished(self) -> list[Reply]:
        """Take out the replies that are complete. What was read and written is kept for the next turn's prompt."""
        finished = [reply for reply in self.replies if reply.finish is not None]
        for reply in finished:
            if reply.one_version:
                self._keep(reply)
            self.drop(reply)
        return finished

    def drop(self, reply: Reply) -> None:
        """Take out a reply, complete or not. The last slot's reply moves into its place."""
        slot, last = self.replies.index(reply), len(self.replies) - 1
        if slot != last:
            self._cache.copy(last, slot, self.replies[last].length)
            self.replies[slot] = self.replies[last]
        self.replies.pop()

    def weights_changed(self) -> None:
        """Drop what the old weights gave, except the keys and values of the replies in progress, which go on from them."""
        self._prefixes.clear()
        self._pictures.clear()
        for reply in self.replies:
            reply.one_version = False

    def forget(self) -> None:
        """Drop everything, the replies in progress too."""
        self.replies.clear()
        self.weights_changed()

    def _reading(self, replies: list[Reply]) -> _Reading:
        """The last token of a prompt is read even when it is known: its hidden state gives the first token of the reply."""
        past = self._prefixes.find(replies[0].ids[:-1])
        start = 0 if past is None else outside_pictures(past.shape[2], replies[0].spans)
        return _Reading(replies, None if past is None else past[:, :, :start], start)

    def _waits(self, reading: _Reading, other: _Reading) -> bool:
        """Whether reading `other` first saves enough."""
        saved = common_length(reading.prompt.ids, other.prompt.ids) - reading.start
        return saved >= self._worth_a_pass and len(other.prompt.ids) <= self._prefixes.capacity

    def _prefill_in_passes(self, readings: list[_Reading]) -> None:
        """Prompts of like length go together, longest first."""
        ordered = sorted(readings, key=lambda reading: -reading.count)
        begin = 0
        for size in pass_sizes([reading.count for reading in ordered], self._prefill_tokens, self._worth_a_pass):
            self._prefill(ordered[begin : begin + size])
            begin += size

    def _keep(self, reply: Reply) -> None:
        """The last token that was sampled has no keys and values yet."""
        slot = self.replies.index(reply)
        ids = np.concatenate([reply.ids, np.asarray(reply.tokens[:-1], dtype=np.int64)])
        self._prefixes.add(ids, functools.partial(self._cache.read, slot))

    def _prefill(self, readings: list[_Reading]) -> None:
        """One pass over what is not known of distinct prompts, padded on the right, where the mask hides the padding."""
        device = self.model.device
        count = max(reading.count for reading in readings)
        tokens = np.full((len(readings), count), self.renderer.pad_id, dtype=np.int64)
        positions = np.zeros((3, *tokens.shape), dtype=np.int64)
        image_mask = np.zeros(tokens.shape, dtype=bool)
        images: list[ImageRef] = []
        for row, reading in enumerate(readings):
            prompt, start, length = reading.prompt, reading.start, len(reading.prompt.prompt)
            placed = self.renderer.positions(length + 1, prompt.spans, [self.renderer.grid(image) for image in prompt.images])
            tokens[row, : reading.count], positions[:, row, : reading.count] = prompt.prompt[start:], placed[:, start:length]
            for (begin, size), image in zip(prompt.spans, prompt.images, strict=True):
                if begin >= start:
                    image_mask[row, begin - start : begin - start + size] = True
                    images.append(image)
            for reply in reading.replies:
                reply.next_position = int(placed[0, length])
        mask = self._place(readings, count)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._autocast):
            states = hidden_states(
                self.model,
                torch.from_numpy(tokens).to(device),
                torch.from_numpy(positions).to(device),
                mask,
                self._pictures.get(images),
                torch.from_numpy(image_mask).to(device),
                self._cache,
            )
        self._join(readings, states)

    def _place(self, readings: list[_Reading], count: int) -> Tensor | None:
        """Give the prompts slots after those in use, with what is known of them. The attention mask bool[B, 1, count, K] is causal
        from each prompt's own start; None when they all start alike, for flash kernels take no mask."""
        device = self.model.device
        first = len(self.replies)
        replies = [reply for reading in readings for reply in reading.replies]
        room = max(len(reply.prompt) + reply.limit for reply in replies)
        padded = max(reading.start for reading in readings) + count
        self._cache.reserve(first + len(replies), max(room, padded))
        for slot, reading in enumerate(readings, start=first):
            if reading.past is not None:
                self._cache.write(slot, reading.past)
        starts = torch.tensor([[reading.start] for reading in readings], device=device)
        columns = starts + torch.arange(count, device=device)
        if self._flash and len({reading.start for reading in readings}) == 1:
            self._cache.at(first, columns, padded)
            return None
        width = max(len(reading.prompt.prompt) for reading in readings)
        self._cache.at(first, columns, width)
        return torch.arange(width, device=device) <= columns[:, None, :, None]

    def _join(self, readings: list[_Reading], states: Tensor) -> None:
        """Keep the prompts that were read, copy them for the other replies that share them, and sample all first tokens."""
        first = len(self.replies)
        rows = list(range(len(readings)))
        self.replies.extend(reading.prompt for reading in readings)
        for row, reading in enumerate(readings):
            prompt = reading.prompt
            self._prefixes.add(prompt.ids, functools.partial(self._cache.read, first + row))
            for reply in reading.replies[1:]:
                self._cache.copy(first + row, len(self.replies), len(prompt.prompt))
                self.replies.append(reply)
                rows.append(row)
        last = states[range(len(readings)), [reading.count - 1 for reading in readings]]
        self._sample(last[rows], self.replies[first:])

    def _logits(self, states: Tensor, replies: Sequence[Reply]) -> Tensor:
        """float[B, V] from hidden states float[B, hidden]: what the next token of each reply is sampled by."""
        with torch.autocast(states.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            logits: Tensor = self.model.lm_head(states)
        return logits

    def _sample(self, states: Tensor, replies: Sequence[Reply]) -> None:
        logits = self._logits(states, replies)
        uniforms = [reply.random.random() for reply in replies]
        sampled = sample_tokens(logits, [reply.sampling for reply in replies], uniforms, self._banned)
        for reply, token, logprob, entropy in zip(replies, *(values.tolist() for values in sampled), strict=True):
            reply.tokens.append(token)
            reply.logprobs.append(logprob)
            reply.entropies.append(entropy)
            reply.finish = self._finish(reply)
            if reply.on_token is not None:
                reply.on_token(token, logprob)

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


def pass_sizes(counts: Sequence[int], most: int, worth: int) -> list[int]:
    """How many of the prompts with `counts` tokens to be read, longest first, to take into each pass, so that what is read, padding
    and `worth` tokens a pass included, is least. A pass reads at most `most` tokens, or one prompt."""
    least = [0.0] + [math.inf] * len(counts)  # of what is read, for the first so many
    begins = [0] * (len(counts) + 1)
    for begin, longest in enumerate(counts):
        for size in range(1, len(counts) - begin + 1):
            if size > 1 and size * longest > most:
                break
            cost = least[begin] + size * longest + worth
            if cost < least[begin + size]:
                least[begin + size], begins[begin + size] = cost, begin
    sizes: list[int] = []
    end = len(counts)
    while end:
        sizes.insert(0, end - begins[end])
        end = begins[end]
    return sizes


def new_reply(prompt: Prompt, sampling: Sampling, limit: int, on_token: OnToken | None = None) -> Reply:
    """Raises ValueError when `prompt` was not rendered."""
    if prompt.tokens is None:
        raise ValueError("the prompt has no tokens; render the messages first")
    return Reply(prompt.tokens, prompt.images, prompt.image_spans, sampling, limit, on_token=on_token)
