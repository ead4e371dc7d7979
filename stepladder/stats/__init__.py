"""Statistics of evaluations: intervals, paired comparisons, repeats, corrections for many comparisons, and planning.

Two questions, two intervals. *How well does it do on these very tasks, had other seeds been drawn?* is answered by the Wilson
interval of the pooled rate (`success_rate`). *How well would it do on other tasks of this kind?* is answered by resampling
whole tasks (`cluster_bootstrap`), which is wider as soon as tasks differ in difficulty. A report must say which one it shows.

*Is one policy better than another?* is asked on the same tasks and seeds (`compare_paired`, `paired_bootstrap`), where it takes far
fewer episodes than two separate intervals would need. How many it takes is told by `tasks_needed`.
"""

from stepladder.stats.corrections import benjamini_hochberg, holm
from stepladder.stats.intervals import Rate, cluster_bootstrap, exact_interval, mean_interval, success_rate, wilson_interval
from stepladder.stats.paired import (
    Comparison,
    PairedDifference,
    compare_paired,
    exchange_test,
    mcnemar,
    paired_bootstrap,
    paired_interval,
)
from stepladder.stats.planning import (
    Assumptions,
    Plan,
    difficulty_correlation,
    intraclass_correlation,
    power_of,
    smallest_difference,
    tasks_needed,
)
from stepladder.stats.repeats import Mean, Repeats, flip_rate, pass_at_k, pass_hat_k, summarise_repeats
from stepladder.stats.two_by_two import difference_interval, stratified_test

__all__ = [
    "Assumptions",
    "Comparison",
    "Mean",
    "PairedDifference",
    "Plan",
    "Rate",
    "Repeats",
    "benjamini_hochberg",
    "cluster_bootstrap",
    "compare_paired",
    "difference_interval",
    "difficulty_correlation",
    "exact_interval",
    "exchange_test",
    "flip_rate",
    "holm",
    "intraclass_correlation",
    "mcnemar",
    "mean_interval",
    "paired_bootstrap",
    "paired_interval",
    "pass_at_k",
    "pass_hat_k",
    "power_of",
    "smallest_difference",
    "stratified_test",
    "success_rate",
    "summarise_repeats",
    "tasks_needed",
    "wilson_interval",
]
