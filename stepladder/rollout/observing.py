"""Environments that show what an agent is to see, in OSWorld's words: the screenshot alone, or with it the accessibility tree, as a
table or as marks on the screenshot ("som")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepladder.agents.osworld_prompt import ObservationType
from stepladder.config import ConfigError
from stepladder.images import ImageStore
from stepladder.interfaces import Environment, EnvironmentFailure
from stepladder.rollout.group import EpisodeJob, Play
from stepladder.rollout.marked import MarkedEnvironment
from stepladder.rollout.opening import known_options
from stepladder.rollout.wrapped import WrappedEnvironment
from stepladder.types import Action, Observation, Trajectory

#: The option by which environments give their tree. One without it gives a tree always, never, or as its server is told.
OPTION = "tree"


class TreeNeeded(WrappedEnvironment):
    """The environment `environment`, where an observation without an accessibility tree is a failure: an agent that was to read it
    would be measured without. The last observation of an episode needs none."""

    async def shown(self, seen: Observation, action: Action | None) -> Observation:
        """What it shows. Raises EnvironmentFailure."""
        return seen if action is not None and action.kind in ("done", "fail") else self._checked(seen)

    def _checked(self, seen: Observation) -> Observation:
        if seen.tree is None and not seen.done:
            raise EnvironmentFailure(
                "the environment shows no accessibility tree, which the agent is to see; one behind a server gives it where the "
                f"server is told so (stepladder serve --set options.{OPTION}=true)"
            )
        return seen


def observed(environment: Environment, observe: ObservationType, images: ImageStore) -> Environment:
    """`environment`, which shows what `observe` says. Pictures with marks go to `images`."""
    if observe == "screenshot":
        return environment
    needed = TreeNeeded(environment)
    return MarkedEnvironment(needed, images) if observe == "som" else needed


def observing(play: Play, observe: ObservationType, images: ImageStore) -> Play:
    """`play`, in environments that show what `observe` says."""
    if observe == "screenshot":
        return play

    async def observed_play(environment: Environment, job: EpisodeJob) -> Trajectory:
        return await play(observed(environment, observe, images), job)

    return observed_play


def observing_options(name: str, options: Mapping[str, Any], observe: ObservationType) -> dict[str, Any]:
    """The options of the environment `name`, with its tree where `observe` needs it. Raises ConfigError when they turn it off."""
    known = known_options(name)
    if observe == "screenshot" or (known is not None and OPTION not in known):
        return dict(options)
    if options.get(OPTION, True) is False:
        raise ConfigError(f"observe is {observe!r}, which needs the accessibility tree, and options.{OPTION} turns it off")
    return {**options, OPTION: True}
