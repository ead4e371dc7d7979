"""What simulated times, lengths and numbers of tokens are drawn from.

Written as text: `constant:2`, `exponential:4`, `lognormal:4,0.5` (mean, coefficient of variation), `gamma:4,0.5`, or a measured
sample (`Distribution.measured`), from which values are drawn again as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Literal, get_args

from stepladder.config import ConfigError

Kind = Literal["constant", "exponential", "lognormal", "gamma", "measured"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Of a longer sample as many values are kept, at equal ranks.
MOST_VALUES = 10_000


@dataclass(frozen=True)
class Distribution:
    """A distribution of numbers that are 0 or more, with this mean and coefficient of variation (standard deviation / mean; that of
    "constant" and "exponential" is fixed). What is drawn above `most` becomes `most`, so that the mean of the draws is then lower
    than `mean`. "measured" draws from `values` alone, of which `mean` and `variation` are those of the sample.

    Raises ConfigError that names the field."""

    kind: Kind
    mean: float
    variation: float = 0.0
    values: tuple[float, ...] = ()
    most: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"distribution: there is no kind {self.kind!r}; there are {', '.join(KINDS)}")
        for name in ("mean", "variation", "most"):
            if not getattr(self, name) >= 0 or (math.isinf(getattr(self, name)) and name != "most"):
                raise ConfigError(f"distribution: {name} is {getattr(self, name)}; it must be at least 0 and finite")
        if (self.kind == "measured") != bool(self.values):
            raise ConfigError(f'distribution: {self.kind!r} with {len(self.values)} values; "measured" and it alone has values')
        if self.values and not min(self.values) >= 0:
            raise ConfigError(f"distribution: one of the values is {min(self.values)}; they must be at least 0")
        if self.kind in ("lognormal", "gamma") and not (self.mean > 0 and self.variation > 0):
            raise ConfigError(
                f"distribution: {self.kind} has mean {self.mean} and variation {self.variation}; both must be above 0, "
                "or take constant"
            )

    @classmethod
    def measured(cls, values: Sequence[float]) -> Distribution:
        """The distribution of a sample. Raises ConfigError for an empty one."""
        if not values:
            raise ConfigError("distribution: an empty sample has none")
        ranked = sorted(values)
        kept = ranked
        if len(ranked) > MOST_VALUES:
            kept = [ranked[(2 * i + 1) * len(ranked) // (2 * MOST_VALUES)] for i in range(MOST_VALUES)]
        mean = math.fsum(kept) / len(kept)
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in kept) / len(kept))
        return cls("measured", mean, spread / mean if mean else 0.0, tuple(kept))

    @classmethod
    def parse(cls, text: str) -> Distribution:
        """Of such text as `lognormal:4,0.5`; a number alone is constant. Raises ConfigError."""
        kind, separator, numbers = text.partition(":")
        try:
            if not separator:
                return constant(float(text))
            mean, *rest = (float(number) for number in numbers.split(","))
            if kind not in KINDS or kind == "measured" or len(rest) != (kind in ("lognormal", "gamma")):
                raise ValueError
        except ValueError:
            example = "lognormal:4,0.5 (mean, coefficient of variation), gamma:4,0.5, exponential:4, constant:4"
            raise ConfigError(f"{text!r} is no distribution; write such as {example}") from None
        return cls(kind, mean, *rest)  # type: ignore[arg-type]  # the kind is checked where it is made

    def __str__(self) -> str:
        if self.kind == "measured":
            return f"{len(self.values):,} measured values, mean {self.mean:.4g}, variation {self.variation:.2f}"
        limit = "" if math.isinf(self.most) else f", at most {self.most:g}"
        return f"{self.kind}:{self.mean:g}{f',{self.variation:g}' if self.kind in ('lognormal', 'gamma') else ''}{limit}"

    def at_most(self, most: float) -> Distribution:
        """The same, cut off at `most`."""
        return replace(self, most=most)

    def scaled(self, factor: float) -> Distribution:
        """Of `factor` times the numbers."""
        return replace(
            self, mean=self.mean * factor, values=tuple(value * factor for value in self.values), most=self.most * factor
        )

    @cached_property
    def _lognormal(self) -> tuple[float, float]:
        """Mean and deviation of the logarithm."""
        variance = math.log1p(self.variation**2)
        return math.log(self.mean) - variance / 2, math.sqrt(variance)

    @cached_property
    def _gamma(self) -> tuple[float, float]:
        """Shape and scale."""
        return self.variation**-2, self.mean * self.variation**2

    def draw(self, random: Random) -> float:
        """One number."""
        if self.kind == "constant":
            drawn = self.mean
        elif self.kind == "measured":
            drawn = random.choice(self.values)
        elif self.kind == "lognormal":
            drawn = math.exp(random.gauss(*self._lognormal))
        elif self.kind == "gamma":
            drawn = random.gammavariate(*self._gamma)
        else:
            drawn = random.expovariate(1 / self.mean) if self.mean else 0.0
        return min(drawn, self.most)

    def draw_count(self, random: Random) -> int:
        """One whole number of at least 1: steps or tokens."""
        return max(1, round(self.draw(random)))


def constant(value: float) -> Distribution:
    """Always `value`."""
    return Distribution("constant", value)


def mean_of(distribution: Distribution, count: bool = False, draws: int = 20_000) -> float:
    """The mean of what is drawn, as counts where told: exact for samples and constants, otherwise of `draws` draws (the same ones
    every time), since limits and rounding move it."""
    random = Random(0)
    if distribution.kind in ("constant", "measured"):
        values = distribution.values or (distribution.mean,)
        cut = [min(value, distribution.most) for value in values]
        return math.fsum(max(1, round(value)) if count else value for value in cut) / len(cut)
    if not count and math.isinf(distribution.most):
        return distribution.mean
    draw = distribution.draw_count if count else distribution.draw
    return math.fsum(draw(random) for _ in range(draws)) / draws
