"""What calls of servers use and cost, and how much of it a run may spend.

`Completion.usage` holds, for one call:

    input_tokens         of the prompt, read afresh
    cached_tokens        of the prompt, read from the server's cache
    cache_write_tokens   of the prompt, read and put into the cache at a price of their own (Anthropic)
    output_tokens        of the reply, reasoning included
    reasoning_tokens     those of output_tokens that were reasoning, where the server tells
    attempts             how often the call was made until it was answered
    dollars              what it cost, where prices are known

An entry that the server does not tell is not there. No two of the first four count the same token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from stepladder.errors import UserError

#: The entries that have a price; together they are all tokens of a call.
PRICED = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens")


class BudgetSpent(UserError):
    """The budget does not allow one more call. What was played before is kept."""


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `calls`, `tokens` (read and written) and `dollars`; None sets no limit. Raises ValueError for one below 0."""

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "dollars"):
            limit = getattr(self, name)
            if limit is not None and not limit >= 0:
                raise ValueError(f"a budget of {limit} {name} cannot be; it must be at least 0")


class Meter:
    """Counts in `used` what all calls together have used: "calls", and the entries of `Completion.usage`.

    `prices` are dollars for a million tokens by the names of `PRICED`, such as {"input_tokens": 3, "output_tokens": 15}; one that
    is not given is that of "input_tokens". No call begins once the budget is reached. Calls that are under way then are finished:
    tokens and dollars may exceed the budget by theirs. Raises ValueError for other names, and for a budget of dollars without
    prices.
    """

    def __init__(self, budget: Budget | None = None, prices: Mapping[str, float] | None = None) -> None:
        self.budget = budget or Budget()
        self.prices = dict(prices or {})
        self.used: Counter[str] = Counter()
        for name, price in self.prices.items():
            if name not in PRICED:
                raise ValueError(f"there is no price of {name!r}; there are those of {', '.join(PRICED)}")
            if not price >= 0:
                raise ValueError(f"the price of {name} is {price}; it must be at least 0")
        if self.prices and not {"input_tokens", "output_tokens"} <= self.prices.keys():
            raise ValueError("prices need at least those of input_tokens and output_tokens, in dollars for a million tokens")
        if self.budget.dollars is not None and not self.prices:
            raise ValueError("a budget of dollars needs prices; give them in dollars for a million tokens")

    @property
    def tokens(self) -> int:
        return sum(self.used[name] for name in PRICED)

    @property
    def must_know(self) -> bool:
        """Whether the budget can only be kept when servers tell what a call has used."""
        return self.budget.tokens is not None or self.budget.dollars is not None

    def begin(self) -> None:
        """One more call. Raises BudgetSpent when there may be none."""
        spent = {"calls": self.used["calls"], "tokens": self.tokens, "dollars": self.used["dollars"]}
        for name, amount in spent.items():
            limit = getattr(self.budget, name)
            if limit is not None and amount >= limit:
                raise BudgetSpent(f"the budget of {limit:g} {name} is spent ({amount:.6g}); what was played is kept")
        self.used["calls"] += 1

    def add(self, usage: Mapping[str, float]) -> dict[str, float]:
        """Count what a call has used; the same with its dollars."""
        counted = {name: float(amount) for name, amount in usage.items()}
        if self.prices and any(name in counted for name in PRICED):
            counted["dollars"] = sum(counted.get(name, 0.0) * self._price(name) for name in PRICED) / 1e6
        for name, amount in counted.items():
            self.used[name] += amount  # type: ignore[assignment]  # dollars are no whole numbers
        return counted

    def _price(self, name: str) -> float:
        return self.prices.get(name, self.prices["input_tokens"])
