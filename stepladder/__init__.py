"""Stepladder trains and evaluates computer-use agents. This is its vocabulary: the nouns and what a plug-in must offer.

Neither PyTorch nor a browser is imported. The work is in the folders: `envs`, `agents`, `policies`, `rollout`, `train`, `stages`.
"""

from stepladder.codec import from_json, to_json
from stepladder.config import ConfigError
from stepladder.errors import TaskError, UserError
from stepladder.images import ImageStore
from stepladder.interfaces import (
    Agent,
    ContextFull,
    Demonstrator,
    Environment,
    EnvironmentFailure,
    EnvironmentTimeout,
    ParseError,
    Policy,
    Reward,
)
from stepladder.store import StoreError, TrajectoryStore
from stepladder.types import (
    Action,
    Completion,
    Element,
    Group,
    ImageRef,
    Limits,
    Message,
    Observation,
    Prompt,
    Region,
    Sampling,
    Step,
    Task,
    Trajectory,
)

__all__ = [
    "Action",
    "Agent",
    "Completion",
    "ConfigError",
    "ContextFull",
    "Demonstrator",
    "Element",
    "Environment",
    "EnvironmentFailure",
    "EnvironmentTimeout",
    "Group",
    "ImageRef",
    "ImageStore",
    "Limits",
    "Message",
    "Observation",
    "ParseError",
    "Policy",
    "Prompt",
    "Region",
    "Reward",
    "Sampling",
    "Step",
    "StoreError",
    "Task",
    "TaskError",
    "Trajectory",
    "TrajectoryStore",
    "UserError",
    "from_json",
    "to_json",
]
