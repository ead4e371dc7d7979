"""Questions about rollouts as samples, and a model's verdicts by how probable it holds them (`judges.self_judging`)."""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.algos.credit import IMITATION
from stepladder.domains import domain_of
from stepladder.judges.agreement import Judged
from stepladder.judges.judge import FAILURE, SUCCESS, screenshots_of
from stepladder.judges.self_judging import SelfJudging, judging_items, pointwise_question, verdict_line
from stepladder.models.renderer import Renderer
from stepladder.train.sample import Sample, from_reply, share_prompts
from stepladder.train.scoring import Scorer
from stepladder.types import Group, Trajectory


def item_sample(renderer: Renderer, item: Trajectory) -> Sample:
    """The sample of an item, all of whose reply is imitated. Raises ValueError for a trajectory that is none."""
    step = item.steps[-1] if item.steps else None
    if step is None or step.prompt is None or step.completion is None:
        raise ValueError(f"{item.id!r} is no judging item: it has no question with an answer")
    tokens = step.completion.tokens
    reply = renderer.reply(step.completion.text) if tokens is None else tokens
    return from_reply(renderer, step.prompt.messages, reply, credit=IMITATION, key=item.id)


def judging_samples(renderer: Renderer, groups: Sequence[Group], settings: SelfJudging, seed: object = 0) -> list[Sample]:
    """What the rollouts of an update teach about judging them; the same question stands once."""
    return share_prompts(item_sample(renderer, item) for item in judging_items(groups, settings, seed))


def likelier_verdicts(
    scorer: Scorer, attempts: Sequence[Trajectory], ends: int | None = None, store: str = "rollouts"
) -> list[Judged]:
    """For each attempt the verdict whose line the model holds for more probable, beside what the task's own check says; lines of
    `judges.agreement.summarise`. It costs one pass and no sampling. Attempts that were not graded are left out."""
    graded = [one for one in attempts if one.reward is not None and not one.environment_failed]
    samples = []
    for attempt in graded:
        messages, code = pointwise_question(attempt, ends)
        for answer in (SUCCESS, FAILURE):
            samples.append(from_reply(scorer.renderer, messages, scorer.renderer.reply(verdict_line(code, answer))))
    sums = [float(found.sum()) for found in scorer.logprobs(samples)]
    judged = []
    for number, attempt in enumerate(graded):
        success = sums[2 * number] > sums[2 * number + 1]
        count = len(screenshots_of(attempt))
        shown = count if ends is None else min(count, 2 * ends)
        judged.append(
            Judged(
                store,
                attempt.id,
                attempt.task.id,
                domain_of(attempt.task),
                attempt.success,
                success,
                (success,),
                shown=shown,
                screenshots=count,
                last=attempt.final is not None and attempt.final.screenshot is not None,
            )
        )
    return judged
