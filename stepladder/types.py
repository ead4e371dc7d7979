"""The nouns of Stepladder: frozen dataclasses that hold data and nothing else.

Everything a run produces is made of these. They import neither torch nor any environment, and `stepladder.codec` turns each of
them into JSON and back without loss. Those that can hold arrays (Message, Prompt, Completion, Step, Trajectory) are compared by
identity, all others by value.

Coordinates are pixels of the screenshot that was shown, origin in the top left corner. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

TRAJECTORY_SCHEMA = 1

# Not numpy's own alias NDArray: from numpy 2.5 on it no longer tells the codec that it is an array.
IntArray = np.ndarray[tuple[Any, ...], np.dtype[np.int32]]
FloatArray = np.ndarray[tuple[Any, ...], np.dtype[np.float32]]
Box = tuple[float, float, float, float]

ActionKind = Literal[
    "click",
    "double_click",
    "triple_click",
    "right_click",
    "middle_click",
    "move",
    "drag",
    "mouse_down",
    "mouse_up",
    "scroll",
    "type",
    "key",
    "key_down",
    "key_up",
    "wait",
    "call",
    "done",
    "fail",
]
ACTION_KINDS: tuple[str, ...] = get_args(ActionKind)

Status = Literal[
    "done",
    "gave_up",
    "max_steps",
    "max_tokens",
    "context_full",
    "parse_error",
    "env_error",
    "timeout",
]
STATUSES: tuple[str, ...] = get_args(Status)
#: Where `Trajectory.extra` keeps what the evaluator said of the end, where it says anything.
EVALUATOR = "evaluator"
#: The environment, not the policy, is to blame: such a trajectory is retried and left out of group statistics (law 4).
FAILED_ENVIRONMENT: tuple[str, ...] = ("env_error", "timeout")

FinishReason = Literal["stop", "length", "abort"]
Role = Literal["system", "user", "assistant", "tool"]
Imitated = Literal["reply", "thought", "nothing"]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture by content: the SHA-256 of its encoded file (hex) and its size in pixels. The bytes live in an `ImageStore`."""

    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of the agent, where, and how success is checked.

    `env` names the environment (`stepladder.envs.ENVIRONMENTS` or `package.module:Class`), `setup` and `check` are read by
    that environment alone, `split` says what the task may be used for ("train", "heldout", "all").
    """

    id: str
    instruction: str
    env: str
    setup: Mapping[str, Any] = field(default_factory=dict)
    check: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int = 10
    split: str = "all"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Element:
    """One node of an accessibility tree.

    `role` and `name` are what a screen reader would say, `value` is the content of a field, `box` is (left, top, width, height)
    in screenshot pixels or None where the node has no place on the screen, `states` holds words such as "focused", "checked",
    "selected", "expanded", "disabled", "password", and `parent` is the index of the parent in the tuple (-1 for a root).
    """

    role: str
    name: str = ""
    value: str = ""
    box: Box | None = None
    states: tuple[str, ...] = ()
    parent: int = -1


@dataclass(frozen=True, slots=True)
class Observation:
    """What the environment shows after a reset or an action.

    `tree` lists the accessibility tree in document order (None when it was not asked for), `text` is tool output or the text of
    a dialog, `state_key` is equal for states that count as the same (step groups, loop detection), `done` says that the
    environment has ended the episode.
    """

    screenshot: ImageRef | None = None
    tree: tuple[Element, ...] | None = None
    text: str = ""
    url: str = ""
    state_key: str = ""
    done: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """A place on a screenshot whose meaning is known: the source of perception items.

    `kind` is "word" for one visible word (`text`), otherwise the kind of a widget or picture ("button", "textbox", "password",
    "textarea", "checkbox", "radio", "select", "slider", "tab", "link", "icon", "color", "close", ...), where `text` is its label
    or content. `target` is the box of the clickable element that the region belongs to and `target_kind` its kind. Boxes are
    (left, top, width, height) in screenshot pixels. `states` as in `Element`.
    """

    text: str
    kind: str
    box: Box
    target: Box | None = None
    target_kind: str = ""
    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """One canonical action; every dialect is a spelling of this.

    kind          fields that matter
    ------------  -----------------------------------------------------------------------------------------------------
    click ...     x, y (None: at the pointer); `keys` are modifiers held during the click. Likewise double_click,
                  triple_click, right_click, middle_click, move, mouse_down, mouse_up
    drag          x, y (None: from the pointer) to x2, y2
    scroll        x, y (None: at the pointer), `amount` in wheel notches, positive is up; with `name` "horizontal" sideways,
                  positive is right; `keys` are modifiers held
    type          text
    key           keys pressed together, such as ("ctrl", "a"); names are lower-case (`stepladder.keys`)
    key_down/up   keys
    wait          seconds
    call          name and args of an API function
    done          text: the answer, where one is asked for
    fail          text: why the task cannot be done
    """

    kind: ActionKind
    x: float | None = None
    y: float | None = None
    x2: float | None = None
    y2: float | None = None
    text: str = ""
    keys: tuple[str, ...] = ()
    amount: float = 0.0
    seconds: float = 0.0
    name: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ACTION_KINDS:
            raise ValueError(f"Action.kind is {self.kind!r}; it must be one of {', '.join(ACTION_KINDS)}")


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One chat message in message space. `content` mixes text and pictures in order.

    `tokens` int32[N], when given, are the ids that were sampled for this (assistant) message: the renderer puts these very ids
    into the prompt and never tokenizes the text again (law 2).
    """

    role: Role
    content: tuple[str | ImageRef, ...]
    tokens: IntArray | None = None

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return tuple(part for part in self.content if isinstance(part, ImageRef))

    @property
    def text(self) -> str:
        return "".join(part for part in self.content if isinstance(part, str))


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The prompt in token space: `tokens` int32[P] with image placeholders expanded, and for picture i of the messages the pair
    (start, length) of its placeholder ids in `image_spans`."""

    messages: tuple[Message, ...]
    tokens: IntArray | None = None
    image_spans: tuple[tuple[int, int], ...] = ()

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return tuple(image for message in self.messages for image in message.images)


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """What was sampled: `tokens` int32[C] (end token included when it was sampled), `logprobs` float32[C] under the sampled
    distribution, why it stopped, and the version of the weights that sampled the first of them. `usage` is what the call of a
    server has used and cost (`stepladder.policies.budget` names the entries). `entropies` float32[C], in nats, are those of the
    distributions from which the tokens were sampled; None where whoever sampled does not tell."""

    text: str
    tokens: IntArray | None = None
    logprobs: FloatArray | None = None
    finish: FinishReason = "stop"
    version: int = 0
    usage: Mapping[str, float] = field(default_factory=dict)
    entropies: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One turn: what was seen, what was asked and answered, what was done.

    `thought` is the reasoning in dialect-free text, its last line "Action: <one short imperative>" where there is one. A person
    or a demonstrator has no prompt and no completion. `error` says why the reply could not be parsed (then `action` is None).
    `more` are further actions of the same reply, carried out one after another without a look at the screen in between; places of
    all of them are places of `observation`. `extra` keeps what another format says beyond all this (`stepladder.interchange`), by
    the format's name, and of a play what the person did (`stepladder.viewer.play_actor`). `imitated` is the loss mask of supervised
    training: the whole reply is learned, or its reasoning alone (what stands before the "Action:" line and the action), or nothing,
    so that the step is history only.
    """

    observation: Observation
    action: Action | None = None
    thought: str = ""
    prompt: Prompt | None = None
    completion: Completion | None = None
    error: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    more: tuple[Action, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    imitated: Imitated = "reply"

    @property
    def actions(self) -> tuple[Action, ...]:
        """Everything that was done in this turn, in order."""
        return self.more if self.action is None else (self.action, *self.more)


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One episode, whoever acted in it: the student, a teacher, a demonstrator, a person.

    `reward` is the task reward in [0, 1], None when the environment failed before it could be graded; `parts` holds named
    reward terms, unclamped. Members of a group share `group` and differ in `index`. `extra` as in `Step`.
    """

    id: str
    task: Task
    steps: tuple[Step, ...]
    final: Observation | None
    status: Status
    reward: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    group: str = ""
    index: int = 0
    seed: int = 0
    agent: str = ""
    policy: str = ""
    error: str | None = None
    schema: int = TRAJECTORY_SCHEMA
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"Trajectory.status is {self.status!r}; it must be one of {', '.join(STATUSES)}")

    @property
    def success(self) -> bool:
        return self.reward is not None and self.reward >= 0.5

    @property
    def environment_failed(self) -> bool:
        return self.status in FAILED_ENVIRONMENT


Group = list[Trajectory]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a policy samples. `temperature` 0 is greedy; `stop` strings end the reply and stay in it."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What an episode may use. `deadline` bounds the time that its environment takes in all and `step_deadline` one call of it,
    in seconds."""

    max_steps: int | None = None
    max_tokens: int | None = None
    max_parse_errors: int = 3
    deadline: float = 600.0
    step_deadline: float = 60.0
