"""What goes over the wire: observations, tasks, actions as JSON, in the fields of OSWorld's bridges and in Stepladder's own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from stepladder.codec import from_json, to_json
from stepladder.envs.bridge.tree import tree_xml
from stepladder.images import ImageStore
from stepladder.interfaces import ParseError
from stepladder.pyautogui.read import read_code
from stepladder.types import Action, Observation, Task


class BadRequest(ValueError):
    """A payload that is not what it should be; the message names the field."""


def observation_payload(observation: Observation, images: ImageStore, instruction: str, with_picture: bool) -> dict[str, Any]:
    """The fields of OSWorld's bridges (`screenshot_base64`, `accessibility_tree`, `terminal`, `instruction`) and the whole
    observation as `observation`. Without `with_picture` the picture is left out: its name, a SHA-256, is in `observation`, and
    /screenshot/{episode_id}/{sha256} gives its bytes."""
    payload: dict[str, Any] = {
        "instruction": instruction,
        "terminal": observation.text or None,
        "accessibility_tree": None if observation.tree is None else tree_xml(observation.tree),
        "observation": to_json(observation),
    }
    if with_picture:
        payload["screenshot_base64"] = picture_base64(observation, images)
    return payload


def picture_base64(observation: Observation, images: ImageStore) -> str | None:
    shown = observation.screenshot
    return None if shown is None else base64.b64encode(images.get(shown)).decode()


def read_observation(payload: Mapping[str, Any]) -> Observation:
    """The observation of an answer; its picture has still to be fetched. Raises ValueError."""
    return from_json(Observation, payload["observation"], "observation")


def read_task(given: Any, known: Mapping[str, Task], env: str) -> Task:
    """A task as one that the server has, by its id, or as a whole one of the environment `env` ("": of any). Raises BadRequest."""
    if isinstance(given, str):
        if given not in known:
            raise BadRequest(f"task: there is no task {given!r} here; /tasks lists them")
        return known[given]
    if not isinstance(given, dict):
        raise BadRequest("task: must be an id or an object")
    if set(given) == {"id"} and given["id"] in known:
        return known[given["id"]]
    try:
        task = from_json(Task, given, "task")
    except (ValueError, OverflowError) as error:  # a whole number may be larger than any float
        raise BadRequest(str(error)) from error
    if env and task.env != env:
        raise BadRequest(f"task: is one of environment {task.env!r}; this server has {env!r}")
    return task


def read_seed(given: Any) -> int:
    """Raises BadRequest."""
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**63:
        raise BadRequest("seed: must be a whole number from 0 on")
    return given


def read_action(given: Any) -> list[Action]:
    """Actions of a step: an object in Stepladder's form, or pyautogui lines, which are parsed and never run. Raises BadRequest."""
    if isinstance(given, str):
        try:
            return read_code(given)
        except ParseError as error:
            line = given.count("\n", 0, error.position) + 1
            raise BadRequest(f"action: line {line}: {error}") from error
    if not isinstance(given, dict):
        raise BadRequest("action: must be an object or a string")
    try:
        return [from_json(Action, given, "action")]
    except (ValueError, OverflowError) as error:  # a whole number may be larger than any float
        raise BadRequest(str(error)) from error
