"""Keys and values of many replies in one block of memory, a slot for each, written column by column."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache


class SlotCache:
    """For each layer keys and values [slots, heads, columns, size]; replies stand in slots 0..n-1 and begin at column 0.

    `update` is what transformers' attention calls on the cache it is given. It writes one new column for each of the first B
    slots, at the places set by `at`, and returns views of what is stored so far; an attention mask must hide each slot's rest.
    """

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._slots = torch.zeros(0, dtype=torch.int64)
        self._columns = torch.zeros(0, dtype=torch.int64)
        self._width = 0

    def insert(self, first: int, source: DynamicCache, rows: Tensor, columns: int) -> None:
        """Copy `rows` int64[n] of a prefilled cache into slots `first`... ; room for `columns` columns is made."""
        layers = [(layer.keys, layer.values) for layer in source.layers]
        self._reserve(first + len(rows), columns, layers)
        for store, value in zip([*self.keys, *self.values], [k for k, _ in layers] + [v for _, v in layers], strict=True):
            store[first : first + len(rows), :, : value.shape[2]] = value[rows]

    def move(self, source: int, target: int, columns: int) -> None:
        """Copy slot `source` over slot `target`."""
        for store in (*self.keys, *self.values):
            store[target, :, :columns] = store[source, :, :columns]

    def at(self, columns: Tensor, width: int) -> None:
        """Set where the next `update` writes: columns int64[B]. It returns the first `width` columns."""
        self._slots = torch.arange(len(columns), device=columns.device)
        self._columns, self._width = columns, width

    def update(self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write key and value [B, heads, 1, size] and return all keys and values [B, heads, width, size]."""
        keys, values = self.keys[layer], self.values[layer]
        keys[self._slots, :, self._columns] = key[:, :, 0].to(keys.dtype)
        values[self._slots, :, self._columns] = value[:, :, 0].to(values.dtype)
        return keys[: len(self._slots), :, : self._width], values[: len(self._slots), :, : self._width]

    def _reserve(self, slots: int, columns: int, layers: list[tuple[Tensor, Tensor]]) -> None:
        if self.keys and slots <= self.keys[0].shape[0] and columns <= self.keys[0].shape[2]:
            return
        old_slots, old_columns = (self.keys[0].shape[0], self.keys[0].shape[2]) if self.keys else (0, 0)
        slots = max(old_slots, 1 << (slots - 1).bit_length())
        columns = max(old_columns, -(-columns // 128) * 128)
        self.keys = [_grown(self.keys, number, key, slots, columns) for number, (key, _) in enumerate(layers)]
        self.values = [_grown(self.values, number, value, slots, columns) for number, (_, value) in enumerate(layers)]


def _grown(stores: list[Tensor], number: int, like: Tensor, slots: int, columns: int) -> Tensor:
    """Zeros, not uninitialised memory: a masked infinity would still spoil the attention's sums."""
    grown = like.new_zeros((slots, like.shape[1], columns, like.shape[3]))
    if stores:
        old = stores[number]
        grown[: old.shape[0], :, : old.shape[2]] = old
    return grown
