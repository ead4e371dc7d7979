"""What a page shows of a play, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepladder.codec import to_json
from stepladder.report.frames import describe_action, describe_actions
from stepladder.types import ImageRef, Step
from stepladder.viewer.play_actor import PROPOSED, is_persons

if TYPE_CHECKING:
    from stepladder.viewer.play_session import Play

#: Further characters of a reply or of what the environment says are not sent.
LONGEST = 20_000


def state_of(play: Play) -> dict[str, Any]:
    """Everything that the page of a play shows; pictures as addresses."""
    actor, trajectory = play.actor, play.trajectory
    seen = actor.observation
    task = trajectory.task if trajectory is not None else actor.task
    steps = trajectory.steps if trajectory is not None else actor.marked(actor.steps)
    pending = play.pending
    return {
        "id": play.id,
        "task": play.task.id,
        "instruction": (task.instruction if task is not None else "") or play.instruction or play.task.instruction,
        "own_instruction": bool(play.instruction),
        "seed": play.seed,
        "max_steps": play.task.max_steps,
        "player": play.player.name,
        "doing": actor.doing,
        "driver": actor.driver,
        "alone": not actor.has_agent,
        "paused": actor.paused,
        "review": actor.review,
        "notice": actor.notice[:LONGEST],
        "waiting": actor.waiting,
        "thought": play.thought,
        "pending": None if pending is None else describe_action(pending),
        "screenshot": picture(play.id, None if seen is None else seen.screenshot),
        "text": "" if seen is None else seen.text[:LONGEST],
        "url": "" if seen is None else seen.url,
        "proposal": None if actor.proposal is None else _proposal(actor.proposal),
        "steps": [_step(play.id, number, step) for number, step in enumerate(steps)],
        "status": None if trajectory is None else trajectory.status,
        "reward": None if trajectory is None else trajectory.reward,
        "error": play.error or (None if trajectory is None else trajectory.error),
        "trajectory": None
        if trajectory is None
        else {"run": play.settings.run, "store": play.settings.store_name, "id": trajectory.id},
    }


def picture(identifier: str, image: ImageRef | None) -> dict[str, Any] | None:
    """Address and size of a picture of a play."""
    if image is None:
        return None
    return {"url": f"/api/play/sessions/{identifier}/images/{image.sha256}", "width": image.width, "height": image.height}


def _proposal(step: Step) -> dict[str, Any]:
    return {
        "thought": step.thought,
        "actions": [to_json(action) for action in step.actions],
        "said": describe_actions(step),
        "text": "" if step.completion is None else step.completion.text[:LONGEST],
        "error": step.error,
    }


def _step(identifier: str, number: int, step: Step) -> dict[str, Any]:
    by = ("corrected" if PROPOSED in step.extra else "person") if is_persons(step) else "agent"
    return {
        "number": number,
        "by": by,
        "thought": step.thought[:LONGEST],
        "said": describe_actions(step),
        "actions": [to_json(action) for action in step.actions],
        "error": step.error,
        "imitated": step.imitated,
        "screenshot": picture(identifier, step.observation.screenshot),
    }
