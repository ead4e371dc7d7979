"""OpenEnv's face as JSON schemas and as paths of the OpenAPI document."""

from __future__ import annotations

from typing import Any, get_args

from stepladder.envs.bridge.json_schema import json_schema
from stepladder.envs.bridge.schema import post, route
from stepladder.types import Action, ImageRef, Status

_TEXT = {"type": ["string", "null"]}
_NAME = {"type": "string", "minLength": 1, "maxLength": 255, "description": "as the observation of reset gives it"}
_STATE = {
    "title": "State",
    "type": "object",
    "properties": {
        "episode_id": _TEXT,
        "step_count": {"type": "integer", "minimum": 0},
        "task_id": {"type": "string"},
        "seed": {"type": "integer", "minimum": 0},
    },
    "required": ["episode_id", "step_count"],
}
_OBSERVATION = {
    "title": "Observation",
    "type": "object",
    "properties": {
        "episode_id": {"type": "string"},
        "task_id": {"type": "string"},
        "instruction": {"type": "string", "description": "what the agent is asked to do"},
        "step": {"type": "integer", "minimum": 0, "description": "steps so far"},
        "status": {"enum": [*get_args(Status), None], "description": "why the episode is over; null while it is not"},
        "screenshot": {
            "anyOf": [json_schema(ImageRef), {"type": "null"}],
            "description": "the picture by the SHA-256 of its PNG file, its size in pixels",
        },
        "screenshot_base64": {**_TEXT, "description": "the PNG file, unless the client asked for binary pictures"},
        "accessibility_tree": {**_TEXT, "description": "XML as OSWorld's server gives it; null when the environment gives none"},
        "terminal": {**_TEXT, "description": "output of functions, text of dialogs"},
        "url": _TEXT,
    },
    "required": ["episode_id", "task_id", "instruction", "step", "status", "screenshot"],
}


def schemas() -> dict[str, Any]:
    """What /schema answers: JSON schemas of `action`, `observation` and `state`."""
    return {"action": _action(), "observation": _OBSERVATION, "state": _STATE}


def _action() -> dict[str, Any]:
    action = json_schema(Action)
    lines = {"type": "string", "description": "pyautogui lines, which are parsed and never run, or WAIT, DONE, FAIL; stands alone"}
    return {
        **action,
        "properties": {**action["properties"], "pyautogui": lines, "metadata": {"type": "object", "description": "not read"}},
        "required": [],
        "anyOf": [{"required": ["kind"]}, {"required": ["pyautogui"]}],
    }


def openenv_paths(prefix: str) -> dict[str, Any]:
    """The paths, each after `prefix`."""
    played = {
        "type": "object",
        "required": ["observation", "reward", "done"],
        "properties": {
            "observation": _OBSERVATION,
            "reward": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "the grade, once `done`"},
            "done": {"type": "boolean"},
        },
    }
    start = {
        "task": {"type": ["string", "object", "null"], "description": "an id, or a whole task; else the seed picks one"},
        "seed": {"type": ["integer", "null"], "minimum": 0, "maximum": 2**63 - 1},
        "episode_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 255},
    }
    act = {
        "action": _action(),
        "episode_id": _NAME,
        "timeout_s": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "request_id": {"type": ["string", "null"], "description": "not read"},
    }
    said = {"type": "object", "required": ["jsonrpc"]}
    paths = {
        **_looking(),
        "/reset": _pictured(post("Start an episode", played, ("400", "413", "502", "503", "504"), start, ())),
        "/step": _pictured(post("Act", played, ("400", "404", "413", "502", "504"), act, ("episode_id", "action"))),
        "/mcp": post("JSON-RPC; there are no tools", said, ("400", "413"), {}, ()),
    }
    return {prefix + path: path_item for path, path_item in paths.items()}


def _looking() -> dict[str, Any]:
    healthy = {"type": "object", "required": ["status"]}
    named = {"type": "object", "required": ["name", "description", "version"]}
    three = {"type": "object", "required": ["action", "observation", "state"]}
    query = [{"name": "episode_id", "in": "query", "required": True, "schema": _NAME}]
    return {
        "/health": {"get": route("Whether the server runs", healthy, ())},
        "/metadata": {"get": route("Name, description and version", named, ())},
        "/schema": {"get": route("JSON schemas of action, observation and state", three, ())},
        "/openapi.json": {"get": route("OpenEnv's routes alone", {"type": "object"}, ())},
        "/state": {"get": {**route("Episode id and step count", _STATE, ("400", "404")), "parameters": query}},
    }


def _pictured(path_item: dict[str, Any]) -> dict[str, Any]:
    """The answer may also be asked for in two parts, the second of them the picture in binary."""
    content = path_item["post"]["responses"]["200"]["content"]
    content["multipart/mixed"] = {"schema": {"type": "string", "description": "application/json, then image/png"}}
    return path_item
