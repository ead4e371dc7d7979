"""How many tasks and trials it takes to see a difference, and which difference so many can show.

Two agents play `trials` episodes of each of `tasks` tasks. A task i has its own chances p_i and q_i; over tasks they have means
p = `rate` and q = `rate` + `difference`, variances icc * p (1 - p) and icc * q (1 - q), and correlation `correlation`. Hence the
variance of an agent's mean on a task is

    p (1 - p) (icc + (1 - icc) / trials)

of which only the second part shrinks with more trials. On the same tasks the first part cancels as far as the two agents find the
same tasks hard: the variance of the difference on a task is the sum of both agents' less 2 icc correlation sqrt(p (1-p) q (1-q)).
A difference d must come from somewhere: of single trials a share of |d| or more ends differently, hence with variance |d| - d^2 or
more. Where the assumptions leave less, that much is taken to lie between tasks.

Source of the design effect: A. Donner and N. Klar, "Design and Analysis of Cluster Randomization Trials in Health Research" (2000),
chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy.special import nctdtr, ndtr, ndtri, stdtrit

Design = Literal["paired", "independent"]
DESIGNS: tuple[Design, ...] = get_args(Design)
#: Where no pilot says otherwise.
ICC, CORRELATION = 0.5, 0.5
MOST_TASKS = 10_000_000
#: From so many degrees of freedom on Student's distribution is the normal one for every purpose here.
NORMAL = 20_000


@dataclass(frozen=True, slots=True)
class Assumptions:
    """About two agents. `rate` is the success rate of the first and `difference` the second's less that, in 0..1; `icc` is the
    intra-class correlation, the share of the variance of outcomes that lies between tasks (0: all tasks equally hard, 1: each is
    always or never solved); `correlation` is that of the two agents' chances over tasks (1: the same tasks are hard for both).

    Raises ValueError that names the field."""

    rate: float
    difference: float
    icc: float = ICC
    correlation: float = CORRELATION

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is {self.rate}; it must lie between 0 and 1")
        if self.difference == 0 or not 0 <= self.rate + self.difference <= 1:
            raise ValueError(
                f"difference is {self.difference}; it must not be 0, and rate + difference must lie between 0 and 1, "
                f"not at {self.rate + self.difference:g}"
            )
        if not 0 <= self.icc <= 1:
            raise ValueError(f"icc is {self.icc}; it must lie between 0 and 1")
        if not -1 <= self.correlation <= 1:
            raise ValueError(f"correlation is {self.correlation}; it must lie between -1 and 1")

    @property
    def variances(self) -> tuple[float, float]:
        """Of one episode of each agent."""
        other = self.rate + self.difference
        return self.rate * (1 - self.rate), other * (1 - other)


@dataclass(frozen=True, slots=True)
class Plan:
    """`tasks` tasks, each played `trials` times by either agent, show the difference with probability `power`. "paired" means the
    same tasks for both, "independent" means as many other tasks for the second."""

    design: Design
    tasks: int
    trials: int
    power: float

    @property
    def episodes(self) -> int:
        """Of each agent."""
        return self.tasks * self.trials


def tasks_needed(
    assumed: Assumptions, trials: int = 1, design: Design = "paired", power: float = 0.8, significance: float = 0.05
) -> Plan:
    """The fewest tasks with which the difference is found significant with probability `power`. Raises ValueError, also where
    ten million do not suffice."""
    if not 0 < power < 1:
        raise ValueError(f"power is {power}; it must lie between 0 and 1")
    few, many = 1, 2
    while power_of(assumed, many, trials, design, significance) < power:
        few, many = many, 2 * many
        if many > MOST_TASKS:
            raise ValueError(f"a difference of {assumed.difference:g} takes more than {MOST_TASKS:,} tasks to be seen")
    while many - few > 1:
        middle = (few + many) // 2
        enough = power_of(assumed, middle, trials, design, significance) >= power
        few, many = (few, middle) if enough else (middle, many)
    return Plan(design, many, trials, power_of(assumed, many, trials, design, significance))


def power_of(assumed: Assumptions, tasks: int, trials: int = 1, design: Design = "paired", significance: float = 0.05) -> float:
    """The probability that the difference is found significant (two-sided) with so many tasks, two or more.

    The tests are those of the field: McNemar's exact test for one trial of the same tasks, Student's t over the tasks' means
    otherwise, which `paired_bootstrap` comes to agree with. Raises ValueError.
    """
    if tasks < 2 or trials < 1:
        raise ValueError(f"{tasks} tasks of {trials} trials; there must be at least 2 tasks and 1 trial")
    if not 0 < significance < 1:
        raise ValueError(f"significance is {significance}; it must lie between 0 and 1")
    if design not in DESIGNS:
        raise ValueError(f"there is no design {design!r}; there are {', '.join(DESIGNS)}")
    first, second = assumed.variances
    if design == "independent":
        spread = (first + second) * (assumed.icc + (1 - assumed.icc) / trials)
        return _power_of_t(assumed.difference, spread / tasks, 2 * tasks - 2, significance)
    shared = assumed.correlation * assumed.icc * math.sqrt(first * second)
    if trials == 1:
        # A pair differs where one agent alone succeeds. No fewer can than the difference itself needs.
        differing = first + second - 2 * shared + assumed.difference**2
        return _power_of_mcnemar(assumed.difference, max(differing, abs(assumed.difference)), tasks, significance)
    within = (first + second) * (1 - assumed.icc)
    # More trials leave what lies between tasks, of which the difference itself needs no less than for single trials.
    least = abs(assumed.difference) - assumed.difference**2 - within
    between = max((first + second) * assumed.icc - 2 * shared, least)
    spread = between + within / trials
    return _power_of_t(assumed.difference, spread / tasks, tasks - 1, significance)


def smallest_difference(
    rate: float,
    tasks: int,
    trials: int = 1,
    design: Design = "paired",
    power: float = 0.8,
    significance: float = 0.05,
    icc: float = ICC,
    correlation: float = CORRELATION,
) -> float | None:
    """The smallest gain over `rate` that so many tasks show with probability `power`, to 1e-5; None where they show none.

    Raises ValueError as `power_of` does.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate is {rate}; it must be at least 0 and below 1, for there must be something to gain")
    assumed = Assumptions(rate, 1 - rate, icc, correlation)
    if power_of(assumed, tasks, trials, design, significance) < power:
        return None
    low, high = 0.0, 1 - rate
    while high - low > 1e-5:
        middle = (low + high) / 2
        enough = power_of(replace(assumed, difference=middle), tasks, trials, design, significance) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def _power_of_t(difference: float, variance: float, freedom: int, significance: float) -> float:
    """Of Student's t-test, two-sided, for a mean difference with this sampling variance."""
    if variance <= 0:
        return 1.0
    shift = abs(difference) / math.sqrt(variance)
    if freedom >= NORMAL:
        critical = float(-ndtri(significance / 2))
        return float(ndtr(shift - critical) + ndtr(-shift - critical))
    critical = float(stdtrit(freedom, 1 - significance / 2))
    # Far out scipy gives NaN, where the chance of the wrong sign is 0 to every digit, and later that of the right one 1.
    wrong_sign = float(nctdtr(freedom, shift, -critical)) if shift < 8 else 0.0
    return 1 - float(nctdtr(freedom, shift, critical)) + wrong_sign if shift < critical + 30 else 1.0


def _power_of_mcnemar(difference: float, differing: float, pairs: int, significance: float) -> float:
    """Of McNemar's exact test, over all numbers of pairs that may differ. `differing` is the chance that a pair does."""
    from scipy.stats import binom  # here, for loading it would delay every command

    differing = min(differing, 1.0)
    spread = math.sqrt(pairs * differing * (1 - differing))
    low = max(0, math.floor(pairs * differing - 9 * spread - 9))
    n = np.arange(low, min(pairs, math.ceil(pairs * differing + 9 * spread + 9)) + 1)
    # The largest count of the rarer kind with which the test rejects; -1 where none does.
    rarer = binom.ppf(significance / 2, n, 0.5)
    rarer = np.where(binom.cdf(rarer, n, 0.5) <= significance / 2, rarer, rarer - 1)
    gained = (1 + difference / differing) / 2
    rejected = binom.cdf(rarer, n, gained) + binom.sf(n - rarer - 1, n, gained)
    return float(np.sum(binom.pmf(n, pairs, differing) * np.where(rarer >= 0, rejected, 0.0)))


# ------------------------------------------------------------------------------------------------ from what was played


def intraclass_correlation(scores: Mapping[str, Sequence[float]]) -> float | None:
    """The share of the variance of `scores`, by task, that lies between tasks, in 0..1: the analysis-of-variance estimator. None
    where it cannot be told: fewer than two tasks, no task with two episodes, or scores that are all alike.

    Source: A. Donner, "A review of inference procedures for the intraclass correlation coefficient", International Statistical
    Review 54 (1986), section 2.
    """
    found = _components(scores)
    if found is None or found[0] + found[1] <= 0:
        return None
    between, within = found
    return max(0.0, between) / (max(0.0, between) + within)


def difficulty_correlation(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> float | None:
    """The correlation over tasks of two agents' chances, in -1..1, from their scores on the tasks that both have played: the
    covariance of the tasks' means over what their variance would be without the chance of single episodes. None where it cannot
    be told."""
    tasks = [task for task in first if task in second and len(first[task]) and len(second[task])]
    parts = [_components({task: scores[task] for task in tasks}) for scores in (first, second)]
    if len(tasks) < 2 or any(part is None or part[0] <= 0 for part in parts):
        return None
    means = [[float(np.mean(scores[task])) for task in tasks] for scores in (first, second)]
    shared = float(np.cov(means)[0, 1])
    spread = math.sqrt(math.prod(part[0] for part in parts if part is not None))
    return min(1.0, max(-1.0, shared / spread))


def _components(scores: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """The variance between tasks (which an estimate may put below 0) and within them."""
    groups = [np.asarray(values, dtype=np.float64) for values in scores.values() if len(values)]
    total = sum(map(len, groups))
    if len(groups) < 2 or total == len(groups):
        return None
    mean = sum(float(group.sum()) for group in groups) / total
    between = sum(len(group) * (float(group.mean()) - mean) ** 2 for group in groups) / (len(groups) - 1)
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / (total - len(groups))
    typical = (total - sum(len(group) ** 2 for group in groups) / total) / (len(groups) - 1)
    return (between - within) / typical, within
