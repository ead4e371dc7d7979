"""What `ServedEngine` and the servers that it asks have in common: a request, a reply, and the steps of an update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from stepladder.policies.http import PolicyFailure
from stepladder.types import FinishReason, IntArray, Prompt, Sampling

InProgress = Literal["finish", "continue"]


@dataclass(frozen=True)
class ServedRequest:
    """`written` are the ids of the reply that the server is to go on from, `limit` is how many it may add. `pictures` are data URLs
    in the order of the prompt; None is a picture that the server is to have already. `adapter` None asks the model as it is."""

    id: str
    model: str
    adapter: str | None
    prompt: Prompt
    written: Sequence[int]
    pictures: Sequence[str | None]
    sampling: Sampling
    limit: int
    image_id: int
    stop_ids: Sequence[int]
    banned_ids: Sequence[int]

    @property
    def tokens(self) -> IntArray:
        """int32[P]: the ids of the prompt, placeholders expanded."""
        if self.prompt.tokens is None:
            raise ValueError("the prompt has no tokens; render the messages first")
        return self.prompt.tokens

    @property
    def collapsed(self) -> list[int]:
        """Prompt and `written` with one placeholder for each picture, which the server expands itself."""
        ids: list[int] = []
        start = 0
        for place, length in self.prompt.image_spans:
            ids += [*self.tokens[start:place].tolist(), self.image_id]
            start = place + length
        return [*ids, *self.tokens[start:].tolist(), *self.written]

    @property
    def seed(self) -> int | None:
        """That of the sampling; a reply that goes on must not draw the numbers of its beginning again."""
        seed = self.sampling.seed
        return None if seed is None else (seed + 1_000_003 * len(self.written)) % 2**63

    def check_prompt(self, ids: Sequence[int], server: str) -> None:
        """Raises PolicyFailure where the server has read other ids than those that it was given (law 2)."""
        given = [*self.tokens.tolist(), *self.written]
        if list(ids) == given:
            return
        place = next((i for i, (one, other) in enumerate(zip(ids, given, strict=False)) if one != other), min(len(ids), len(given)))
        raise PolicyFailure(
            f"{server} has read {len(ids)} ids and was given {len(given)}; they differ from place {place} on. Was it started with "
            "the checkpoint, and the preprocessor_config.json, that is trained here?"
        )


@dataclass(frozen=True)
class ServedReply:
    """What the server has added: ids, their log-probabilities under the sampled distribution, why it stopped, and how the server
    calls the weights that sampled the first of them (None where it does not tell)."""

    tokens: list[int]
    logprobs: list[float]
    finish: FinishReason
    label: str | None = None

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.logprobs):
            raise PolicyFailure(f"the server gives {len(self.tokens)} ids and {len(self.logprobs)} log-probabilities of one reply")


@dataclass(frozen=True)
class Step:
    """One call of an update, and what it does in words. The weights that the server has are not known when a step that `touches`
    them fails."""

    does: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    touches: bool = False


@dataclass(frozen=True)
class Probe:
    """A call that tells whether the server was started as it must be: an answer with a status of `lacking` means `otherwise`."""

    path: str
    body: Mapping[str, Any] | None
    lacking: tuple[int, ...]
    otherwise: str


class ServedProtocol(Protocol):
    """A server's wire format. Nothing here makes a call."""

    #: The path of requests, and how it calls itself in /v1/models.
    path: str
    owner: str
    #: Whether a picture that was sent can be named by its hash from then on.
    names_pictures: bool

    def probes(self, adapters: bool) -> Sequence[Probe]:
        """What to ask before the first request; `adapters` says that updates are adapters."""

    def check(self, sampling: Sampling) -> None:
        """Raises ValueError for a sampling whose log-probabilities the server does not tell."""

    def body(self, request: ServedRequest) -> dict[str, Any]:
        """The JSON of a request."""

    def read(self, said: Any, request: ServedRequest) -> tuple[ServedReply, dict[str, float]]:
        """A reply and the entries of `Completion.usage`. Raises Malformed, and PolicyFailure for other ids than were given."""

    def lacks_picture(self, failure: str) -> bool:
        """Whether this is how the server says that it does not have a picture that was named by its hash."""

    def abort(self, ids: Sequence[str]) -> Sequence[Step]:
        """Answer these requests with what is written of them."""

    def load_adapter(self, name: str, directory: Path) -> Step:
        """Take in an adapter under a new name."""

    def unload_adapter(self, name: str) -> Step:
        """Let go of it."""

    def load_weights(self, directory: Path, label: str, in_progress: InProgress) -> Sequence[Step]:
        """Stop sampling, load all weights and drop what the old ones have computed. With "continue" requests are answered with what
        is written of them."""

    def resume(self) -> Step:
        """Sample again, after `load_weights` or a part of it."""
