"""How far one text is from another."""

from __future__ import annotations


def edit_distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and substitutions of characters that turn one text into the other (Levenshtein, 1966)."""
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
    return row[-1]
