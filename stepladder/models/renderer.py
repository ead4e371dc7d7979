"""The only code that tokenizes: messages to token ids, reply texts to token ids, pictures to patches.

Four properties hold and are tested (law 2):
1. a conversation without recorded tokens renders to the ids that the checkpoint's own chat template gives;
2. the prompt of a turn, followed by the sampled ids, is a prefix of the next turn's prompt when the history only grew;
3. ids that were sampled are put back as they are, never tokenized again;
4. text never becomes a special token: "<|im_end|>" in an instruction stays text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from stepladder.images import ImageStore, Pixels
from stepladder.models.processor import IMAGE_TOKEN, ImageTextProcessor
from stepladder.types import ImageRef, IntArray, Message, Prompt

Spans = tuple[tuple[int, int], ...]


class Renderer:
    """Turns message space into token space for one checkpoint's tokenizer and picture preprocessing."""

    def __init__(self, processor: ImageTextProcessor, images: ImageStore | None = None) -> None:
        self.processor = processor
        self.images = images
        tokenizer = processor.tokenizer
        self._tokenizer = tokenizer
        ids = tokenizer.convert_tokens_to_ids
        self._start, self._end = ids("<|im_start|>"), ids("<|im_end|>")
        self._vision_start, self._vision_end = ids("<|vision_start|>"), ids("<|vision_end|>")
        self._end_of_text: int | None = ids("<|endoftext|>")
        self.image_id: int = ids(IMAGE_TOKEN)
        picture = processor.image_processor
        self.patch: int = picture.patch_size
        self.merge: int = picture.merge_size
        self._time: int = picture.temporal_patch_size
        #: Ids that end a reply.
        self.stop_ids: tuple[int, ...] = (self._end, *(i for i in [self._end_of_text] if i is not None))
        #: Ids that may never be sampled: every special token except those that end a reply.
        self.banned_ids: tuple[int, ...] = tuple(
            sorted({i for i, t in tokenizer.added_tokens_decoder.items() if t.special} - set(self.stop_ids))
        )
        self._encode = functools.lru_cache(maxsize=100_000)(self._encode_text)
        self._levels = self._normalised_levels()
        #: bool[vocabulary]: the tokens that are one digit.
        self.is_digit = np.zeros(len(tokenizer), dtype=bool)
        self.is_digit[[i for digit in "0123456789" if (i := self.single_token(digit)) is not None]] = True

    # ------------------------------------------------------------------ text

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> Prompt:
        """Token ids int32[P] of a conversation, with one placeholder id for every visual token, and the pictures' spans."""
        pieces: list[int | str | IntArray | ImageRef] = []
        for message in messages:
            pieces += [self._start, f"{message.role}\n"]
            if message.tokens is not None:
                pieces.append(message.tokens)
                if len(message.tokens) == 0 or int(message.tokens[-1]) not in self.stop_ids:
                    pieces.append(self._end)
            else:
                for part in message.content:
                    pieces += [self._vision_start, part, self._vision_end] if isinstance(part, ImageRef) else [part]
                pieces.append(self._end)
            pieces.append("\n")
        if add_generation_prompt:
            pieces += [self._start, "assistant\n"]
        tokens, spans = self._join(pieces)
        return Prompt(tuple(messages), tokens, spans)

    def reply(self, text: str) -> IntArray:
        """Ids int32[C] of an assistant's reply as it would be sampled: the text, then the end token."""
        return np.asarray([*self._encode(text), self._end], dtype=np.int32)

    def document(self, images: Sequence[ImageRef], texts: Sequence[str]) -> tuple[IntArray, Spans, IntArray]:
        """A document of pre-training: ids int32[T], the pictures' spans, and int32[T] which of the texts a token is of (-1: none).

        It is the end-of-text token, the pictures, the texts, each tokenized by itself, and the end-of-text token once more: what
        ends a document also predicts the first token of the next. Raises ValueError for a vocabulary without such a token.
        """
        if self._end_of_text is None:
            raise ValueError("the tokenizer has no <|endoftext|>, which stands before and after every document")
        pieces: list[int | str | IntArray | ImageRef] = [self._end_of_text]
        for image in images:
            pieces += [self._vision_start, image, self._vision_end]
        tokens, spans = self._join(pieces)
        encoded = [np.asarray(self._encode_text(text), dtype=np.int32) for text in texts]  # not cached: it will not come again
        lengths = [len(tokens), *(len(ids) for ids in encoded), 1]
        owners = np.repeat(np.asarray([-1, *range(len(encoded)), -1], dtype=np.int32), lengths)
        return np.concatenate([tokens, *encoded, np.asarray([self._end_of_text], dtype=np.int32)]), spans, owners

    def decode(self, tokens: Sequence[int] | IntArray) -> str:
        """The text of sampled ids, without the end token."""
        kept = [int(t) for t in tokens if int(t) not in self.stop_ids]
        return str(self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def single_token(self, text: str) -> int | None:
        """The id of `text` when it is one token, else None."""
        ids = self._encode(text)
        return ids[0] if len(ids) == 1 else None

    def reads_alike(self, other: Renderer) -> bool:
        """Whether equal ids and pictures mean the same to both."""
        pictures = (self.patch, self.merge) == (other.patch, other.merge)
        return pictures and self._tokenizer.get_vocab() == other._tokenizer.get_vocab()

    @property
    def vocabulary(self) -> int:
        return len(self._tokenizer)

    @property
    def pad_id(self) -> int:
        return int(self._tokenizer.pad_token_id)

    def _join(self, pieces: Sequence[int | str | IntArray | ImageRef]) -> tuple[IntArray, Spans]:
        tokens: list[int] = []
        spans: list[tuple[int, int]] = []
        text = ""
        for piece in [*pieces, -1]:
            if isinstance(piece, str):  # neighbouring texts are one string to the tokenizer, as they are in the chat template
                text += piece
                continue
            if text:
                tokens += self._encode(text)
                text = ""
            if isinstance(piece, ImageRef):
                count = self.visual_tokens(piece)
                spans.append((len(tokens), count))
                tokens += [self.image_id] * count
            elif isinstance(piece, np.ndarray):
                tokens += piece.tolist()
            elif piece >= 0:
                tokens.append(piece)
        return np.asarray(tokens, dtype=np.int32), tuple(spans)

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)

    # ------------------------------------------------------------------ pictures

    def resized(self, ref: ImageRef) -> tuple[int, int]:
        """(height, width) in pixels that the model sees."""
        size = self.processor.image_processor.size
        return smart_resize(
            ref.height, ref.width, self.patch * self.merge, min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"]
        )

    def grid(self, ref: ImageRef) -> tuple[int, int, int]:
        """(time, height, width) in patches."""
        height, width = self.resized(ref)
        return 1, height // self.patch, width // self.patch

    def visual_tokens(self, ref: ImageRef) -> int:
        _, height, width = self.grid(ref)
        return height * width // self.merge**2

    def visual_token_at(self, ref: ImageRef, x: float, y: float) -> int:
        """Which of the picture's visual tokens shows the point (x, y) in its pixels; for a point beside it, the nearest."""
        _, height, width = self.grid(ref)
        rows, columns = height // self.merge, width // self.merge
        row = min(rows - 1, max(0, int(y * rows / ref.height)))
        return row * columns + min(columns - 1, max(0, int(x * columns / ref.width)))

    def pixels(self, refs: Sequence[ImageRef]) -> tuple[torch.Tensor, torch.Tensor]:
        """(pixel_values float32[N, channels * time * patch * patch], grid int64[pictures, 3]): what transformers' own image
        processor gives, to the bit. Raises KeyError for a picture that the image store does not have."""
        if self.images is None:
            raise ValueError("this Renderer has no image store; construct it with images=")
        patches = [self.patches(self.images.load(ref)) for ref in refs]
        return torch.from_numpy(np.concatenate(patches)), torch.tensor([self.grid(ref) for ref in refs], dtype=torch.int64)

    def patches(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """float32[patches, channels * time * patch * patch] of uint8[height, width, 3]."""
        height, width = self.resized(ImageRef("", pixels.shape[1], pixels.shape[0]))
        if (height, width) != pixels.shape[:2]:
            resized = self.processor.image_processor([pixels], return_tensors="np")
            return np.asarray(resized["pixel_values"], dtype=np.float32)
        patch, merge = self.patch, self.merge
        rows, columns = height // patch // merge, width // patch // merge
        cut = pixels.reshape(rows, merge, patch, columns, merge, patch, 3).transpose(0, 3, 1, 4, 6, 2, 5)
        cut = cut.reshape(rows * columns * merge * merge, 3, 1, patch * patch)
        values = np.empty((len(cut), 3, self._time, patch * patch), dtype=np.float32)
        for channel in range(3):
            values[:, channel] = self._levels[channel][cut[:, channel]]
        return values.reshape(len(cut), -1)

    def _normalised_levels(self) -> npt.NDArray[np.float32]:
        """[3, 256]: where transformers' rescaling and normalising sends each byte. A table is exact and quicker than arithmetic."""
        picture = self.processor.image_processor
        ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, None], (3, 1, 256))
        values = picture.rescale(ramp, picture.rescale_factor) if picture.do_rescale else ramp
        if picture.do_normalize:
            values = picture.normalize(values, picture.image_mean, picture.image_std)
        return np.asarray(values, dtype=np.float32).reshape(3, 256)

    # ------------------------------------------------------------------ positions

    def positions(self, length: int, spans: Spans, grids: Sequence[tuple[int, int, int]]) -> npt.NDArray[np.int64]:
        """M-RoPE positions int64[3, length] (time, height, width) of a sequence with pictures at `spans`.

        Source: Qwen2-VL (arXiv 2409.12191), section 2.1; as `Qwen3VLModel.get_rope_index` computes them.
        """
        positions = np.empty((3, length), dtype=np.int64)
        written = following = 0
        for (start, count), (_, height, width) in zip(spans, grids, strict=True):
            positions[:, written:start] = np.arange(following, following + start - written)
            following += start - written
            rows, columns = height // self.merge, width // self.merge
            positions[0, start : start + count] = following
            positions[1, start : start + count] = following + np.repeat(np.arange(rows), columns)
            positions[2, start : start + count] = following + np.tile(np.arange(columns), rows)
            written, following = start + count, following + max(rows, columns)
        positions[:, written:] = np.arange(following, following + length - written)
        return positions
