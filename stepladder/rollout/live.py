"""What episodes that are being played show, as files that the viewer reads: `<run>/live/<store>-<number>.json`, one an episode.

A file is replaced at every turn and removed when its episode is over. That costs one small write a turn; nothing is ever read back,
and a disk that is full ends no episode.
"""

from __future__ import annotations

import json
import os
import platform
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from stepladder.codec import to_json
from stepladder.interfaces import Environment
from stepladder.rollout.episode import Watch
from stepladder.types import Observation, Step, Task

#: Characters of a text that are kept; a thought may be as long as a reply.
_LONGEST = 4000


class LiveScreens:
    """The episodes of one store that are being played by this process. `directory` is that of the run, `store` the name of the
    store in it (its file without ".jsonl"); no other process may write to that store."""

    def __init__(self, directory: Path, store: str) -> None:
        self.directory, self.store = directory / "live", store
        self._taken: set[int] = set()
        self._broken = False
        with suppress(OSError):
            for left in self.directory.glob(f"{store}-*.json"):  # of a process that was killed
                if left.stem.removeprefix(f"{store}-").isdigit():
                    left.unlink()

    @contextmanager
    def episode(self, task: Task, seed: int, identifier: str, policy: str, also: Watch | None = None) -> Iterator[Watch]:
        """What is to watch one episode (`stepladder.rollout.episode.run_episode`), and calls `also`; its file is there for as long
        as the context."""
        number = next(number for number in range(len(self._taken) + 1) if number not in self._taken)
        self._taken.add(number)
        slot = f"{self.store}-{number}"
        about = {"slot": slot, "store": self.store, "id": identifier, "seed": seed, "policy": policy}

        async def watch(environment: Environment, observation: Observation, steps: Sequence[Step]) -> None:
            if also is not None:
                await also(environment, observation, steps)
            played = getattr(environment, "task", task)
            self._write(
                slot, {**about, "task": played.id, "instruction": played.instruction[:_LONGEST], **_shown(observation, steps)}
            )

        try:
            yield watch
        finally:
            self._taken.discard(number)
            with suppress(OSError):
                self._path(slot).unlink(missing_ok=True)

    def _write(self, slot: str, record: dict[str, object]) -> None:
        if self._broken:
            return
        about = {"status": "playing", "updated": time.time(), "process": os.getpid(), "machine": platform.node()}
        path = self._path(slot)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            try:
                temporary.write_text(json.dumps({**record, **about}))
            except FileNotFoundError:
                self.directory.mkdir(parents=True, exist_ok=True)
                temporary.write_text(json.dumps({**record, **about}))
            temporary.replace(path)
        except (OSError, TypeError, ValueError) as error:  # what is shown decides nothing, so it must not end an episode
            self._broken = True
            warnings.warn(f"episodes cannot be watched: {error}", stacklevel=2)

    def _path(self, slot: str) -> Path:
        return self.directory / f"{slot}.json"


def watched(
    live: LiveScreens | None, task: Task, seed: int, identifier: str, policy: str, also: Watch | None = None
) -> AbstractContextManager[Watch | None]:
    """`LiveScreens.episode` where there is a `live`, else `also` alone."""
    return nullcontext(also) if live is None else live.episode(task, seed, identifier, policy, also)


def _shown(observation: Observation, steps: Sequence[Step]) -> dict[str, object]:
    """The screen, and what was done last to get there."""
    last = steps[-1] if steps else None
    action = None if last is None or not last.actions else last.actions[-1]
    return {
        "step": len(steps),
        "screenshot": to_json(observation.screenshot),
        "action": to_json(action),
        "thought": "" if last is None else last.thought[:_LONGEST],
    }
