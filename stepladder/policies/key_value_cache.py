"""Keys and values of many replies, a slot for each, written column by column."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration


class SlotCache:
    """A block [2, slots, heads, columns, size] for each layer, keys before values; replies begin at column 0.

    `update` is what transformers' attention calls on the cache it is given. It writes new columns of some neighbouring slots, at
    the places set by `at`, and returns views of what is stored so far; an attention mask must hide each slot's rest.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration, dtype: torch.dtype) -> None:
        config = model.config.text_config
        self.dtype = dtype
        sizes = (2, 0, config.num_key_value_heads, 0, config.head_dim)
        self._blocks = [torch.zeros(sizes, dtype=dtype, device=model.device) for _ in range(config.num_hidden_layers)]
        self._slots = slice(0)
        self._rows = self._columns = torch.zeros(0, 0, dtype=torch.int64)
        self._width = 0
        self._known_places: dict[tuple[int, int], Tensor] = {}

    def reserve(self, slots: int, columns: int) -> None:
        """Make room, a layer at a time, so that little more memory is needed meanwhile than afterwards. Zeros, not uninitialised
        memory: a masked infinity would still spoil the attention's sums."""
        # the last layer has grown only when memory sufficed for all
        _, old_slots, _, old_columns, _ = self._blocks[-1].shape
        if slots <= old_slots and columns <= old_columns:
            return
        slots = max(old_slots, 1 << (slots - 1).bit_length())
        columns = max(old_columns, -(-columns // 128) * 128)
        try:
            self._grow(slots, columns)
        except torch.OutOfMemoryError:
            for layer, block in enumerate(self._blocks):  # or what has grown would leave no room for anything else
                if block.shape[1] > old_slots or block.shape[3] > old_columns:
                    self._blocks[layer] = block[:, :old_slots, :, :old_columns].clone()
            raise

    def _grow(self, slots: int, columns: int) -> None:
        for layer, block in enumerate(self._blocks):
            _, old_slots, heads, old_columns, size = block.shape
            if old_slots < slots or old_columns < columns:
                grown = block.new_zeros((2, max(slots, old_slots), heads, max(columns, old_columns), size))
                grown[:, :old_slots, :, :old_columns] = block
                self._blocks[layer] = grown

    def at(self, first: int, columns: Tensor, width: int) -> None:
        """Set where the next `update` writes: `columns` int64[B, S] of the slots from `first` on, for which there must be room.
        It returns the first `width` columns."""
        self._slots = slice(first, first + len(columns))
        self._rows = torch.arange(first, first + len(columns), device=columns.device)[:, None]
        self._columns, self._width = columns, width
        self._known_places.clear()

    def update(self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write key and value [B, heads, S, size] and return all keys and values [B, heads, width, size]."""
        keys, values = self._blocks[layer]
        keys[self._rows, :, self._columns] = key.transpose(1, 2).to(keys.dtype)
        values[self._rows, :, self._columns] = value.transpose(1, 2).to(values.dtype)
        return keys[self._slots, :, : self._width], values[self._slots, :, : self._width]

    def append(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """`update` for one new column a slot, in fewer steps: key and value [B, heads, 1, size]."""
        block = self._blocks[layer]
        size = block.shape[4]
        block.view(-1, size).index_copy_(0, self._places(block), torch.stack((key, value)).view(-1, size).to(block.dtype))
        keys, values = block[:, self._slots, :, : self._width]
        return keys, values

    def _places(self, block: Tensor) -> Tensor:
        """int64[2 * B * heads]: where in a block, seen as rows [2 * slots * heads * columns, size], the one new column of each slot
        is. All layers have the same, but when memory ran out while they grew."""
        _, slots, heads, columns, _ = block.shape
        if (slots, columns) not in self._known_places:
            device = block.device
            kinds = torch.arange(2, device=device)[:, None, None] * slots
            rows = (kinds + self._rows) * heads + torch.arange(heads, device=device)
            self._known_places[slots, columns] = (rows * columns + self._columns).flatten()
        return self._known_places[slots, columns]

    def read(self, slot: int, start: int, stop: int) -> Tensor:
        """A copy [layers * 2, heads, stop - start, size] of some columns of a slot."""
        return torch.cat([block[:, slot, :, start:stop] for block in self._blocks])

    def write(self, slot: int, block: Tensor) -> None:
        """Put the columns [layers * 2, heads, n, size] at the beginning of a slot."""
        for layer, own in enumerate(self._blocks):
            own[:, slot, :, : block.shape[2]] = block[2 * layer : 2 * layer + 2]

    def copy(self, source: int, target: int, columns: int) -> None:
        """Copy the first `columns` columns of slot `source` over those of slot `target`."""
        for block in self._blocks:
            block[:, target, :, :columns] = block[:, source, :, :columns]
